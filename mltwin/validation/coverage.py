"""Do the error bars of kernels hold what they claim? Shape by shape, on rows that no fit saw."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltwin.calibration.cases import Case, cases
from mltwin.calibration.sources import SOURCES
from mltwin.calibration.tables import index_tables
from mltwin.models.gpu.draw import SCALES_95, error_scale
from mltwin.models.gpu.draw_operators import FEW, FEW_ROWS, MANY_ROWS
from mltwin.models.gpu.profile import load_profile
from mltwin.sim.errors import InputError
from mltwin.text import Table
from mltwin.uncertainty import coverage

_ROWS = {"gemm": "m", "moe": "tokens"}
"""Families that are drawn apart for few and for many rows, and the column that says how many."""


@dataclass(frozen=True)
class Covered:
    """How often the measured times of one operator lie within its error bars.

    Attributes:
        gpu, operator: as the profile names them.
        part: of its times that has a factor of its own (``few`` or ``many`` rows), or "".
        shapes: held-out shapes.
        scale: log error that the profile claims for 68 % of them.
        share_68, share_95: of the shapes whose mean log error lies within the intervals of that
            level.
        largest: absolute mean log error of the worst shape, in scales.
    """

    gpu: str
    operator: str
    part: str
    shapes: int
    scale: float
    share_68: float
    share_95: float
    largest: float

    @property
    def family(self) -> str:
        """The operator without its format."""
        return self.operator.partition(".")[0]


def kernel_coverage(data: str | Path, gpus: tuple[str, ...] = ()) -> list[Covered]:
    """The error bars of the shipped profiles against the rows held out of their fits.

    The scale itself comes from those rows (its level of 68 % is thus partly by construction); what
    is tested is that few shapes lie far outside. Collectives are left out: their tables hold every
    size.

    Args:
        data: a folder of measured operator tables.
        gpus: names of profiles; none given: all that were fitted.

    Raises:
        InputError: no tables there, or none of these GPUs.
    """
    index = index_tables(data)
    found = [
        covered
        for source in SOURCES
        if not gpus or source.name in gpus
        for case in cases(index, source)
        if case.family != "collective"
        for covered in _of_case(case)
    ]
    if not found:
        raise InputError(
            "no held-out rows of these GPUs",
            where=str(data),
            mend=f"fitted are {[source.name for source in SOURCES]}",
        )
    return found


def _of_case(case: Case) -> Iterator[Covered]:
    profile = load_profile(case.source.name)
    cost = case.cost_of(profile.operators)
    row = next((p for p in profile.provenance if p.operator == case.operator), None)
    held = case.only(case.held)
    if cost is None or row is None or not len(held.rows):
        return
    error = np.log(held.predict(cost) / held.measured)
    for part, mask in _parts(held):
        if mask.any():
            _, shape = np.unique(held.shapes()[mask], return_inverse=True)
            mean = np.bincount(shape, error[mask]) / np.bincount(shape)
            scale = error_scale(row)
            yield Covered(
                gpu=profile.name,
                operator=case.operator,
                part=part,
                shapes=len(mean),
                scale=scale,
                share_68=_share(mean, scale),
                share_95=_share(mean, SCALES_95 * scale),
                largest=float(np.abs(mean).max() / scale) if scale else 0.0,
            )


def _share(errors: np.ndarray, limit: float) -> float:
    return coverage([(-limit, limit)] * len(errors), errors.tolist())


def _parts(case: Case) -> list[tuple[str, np.ndarray]]:
    """Rows by the factor that counts for them."""
    column = _ROWS.get(case.family)
    if column is None:
        return [("", np.ones(len(case.rows), bool))]
    few = case.rows[column].to_numpy(float) <= FEW
    return [(FEW_ROWS, few), (MANY_ROWS, ~few)]


def by_family(found: list[Covered]) -> list[Covered]:
    """All operators of a family and part together, over GPUs; shares weigh by shapes."""
    groups: dict[tuple[str, str], list[Covered]] = {}
    for one in found:
        groups.setdefault((one.family, one.part), []).append(one)
    return [_pooled(family, part, group) for (family, part), group in groups.items()]


def _pooled(family: str, part: str, group: list[Covered]) -> Covered:
    weights = [one.shapes for one in group]

    def mean(name: str) -> float:
        return float(np.average([getattr(one, name) for one in group], weights=weights))

    return Covered(
        gpu="all" if len({one.gpu for one in group}) > 1 else group[0].gpu,
        operator=family,
        part=part,
        shapes=sum(weights),
        scale=mean("scale"),
        share_68=mean("share_68"),
        share_95=mean("share_95"),
        largest=max(one.largest for one in group),
    )


def coverage_table(found: list[Covered]) -> Table:
    """One row an operator."""
    columns = ["gpu", "operator", "rows", "shapes", "scale %", "within 68 %", "within 95 %"]
    rows: list[list[str | int | float | None]] = [
        [c.gpu, c.operator, c.part, c.shapes, 100 * c.scale, 100 * c.share_68, 100 * c.share_95]
        for c in found
    ]
    return Table(columns, rows, caption="shares of held-out shapes, in per cent")
