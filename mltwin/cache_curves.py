"""Miss-ratio curves: what capacity buys, for LRU in one pass and for any policy by replays.

- LRU over objects: exact at every size, in one pass (`models.caching.stack_distance`);
- LRU over bytes: one pass too with ``one_pass=True``, which is an approximation; else replays;
- all others: a replay for each capacity, several at a time;
- ``sample``: only a share of the objects. LRU by SHARDS, others by a cache of `sample` times the
  capacity that sees the sampled objects only (Waldspurger, Saemundsson, Ahmad, Park, "Cache
  modeling and optimization using miniature simulations", ATC 2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.models.caching.shards import sampled_miss_ratio
from mltwin.models.caching.stack_distance import ByteDistances, StackDistances
from mltwin.policies import Policy
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import SELECTION, uniforms
from mltwin.workloads.objects.table import ObjectTrace

from .cache_policies import ChosenEviction, choose_eviction
from .cache_replay import UNITS, Spec, replay_cache
from .cache_shelf import open_objects, size_of
from .fields import close_to
from .text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 20
REPLICATES = 4


@dataclass(frozen=True)
class Curve:
    """Miss ratios of one policy at rising capacities.

    Attributes:
        policy: its name.
        capacities: int64, objects or bytes.
        miss_ratio: float64 per capacity, of requests.
        byte_miss_ratio: of bytes; None where objects are counted.
        error: standard error of `miss_ratio` where it comes from samples; None where it is exact.
        method: how it was found.
    """

    policy: str
    capacities: NDArray[np.int64]
    miss_ratio: NDArray[np.float64]
    byte_miss_ratio: NDArray[np.float64] | None = None
    error: NDArray[np.float64] | None = None
    method: str = "replay"


@dataclass(frozen=True)
class Curves:
    """Miss-ratio curves of several policies on one trace."""

    trace: str
    unit: str
    requests: int
    curves: tuple[Curve, ...]

    def __getitem__(self, policy: str) -> Curve:
        for curve in self.curves:
            if curve.policy == policy:
                return curve
        known = [curve.policy for curve in self.curves]
        raise InputError(f"no curve of {policy!r}", where="curves", mend=close_to(policy, known))

    def table(self) -> Table:
        """A row for each capacity, a column for each policy; the best stands out.

        A policy that was sampled has a second column with the standard error.
        """
        columns = [f"capacity ({self.unit})"]
        place = []
        for curve in self.curves:
            place.append(len(columns))
            columns += [curve.policy] if curve.error is None else [curve.policy, "±"]
        rows: list[list[Any]] = []
        best = set()
        for i, capacity in enumerate(self.curves[0].capacities):
            row: list[Any] = [int(capacity)]
            for curve in self.curves:
                row.append(float(curve.miss_ratio[i]))
                row += [] if curve.error is None else [float(curve.error[i])]
            least = min(row[k] for k in place)
            if len(place) > 1:
                best |= {(i, k) for k in place if row[k] == least}
            rows.append(row)
        how = [f"{curve.policy}: {curve.method}" for curve in self.curves]
        if len(columns) > 1 + len(self.curves):
            how.append("±: standard error")
        title = f"{self.trace}: miss ratio"
        return Table(columns, rows, title=title, caption="; ".join(how), best=best)

    def data(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "trace": self.trace,
            "unit": self.unit,
            "requests": self.requests,
            "curves": [
                {
                    "policy": curve.policy,
                    "method": curve.method,
                    "capacities": curve.capacities.tolist(),
                    "miss_ratio": curve.miss_ratio.tolist(),
                    "byte_miss_ratio": _listed(curve.byte_miss_ratio),
                    "error": _listed(curve.error),
                }
                for curve in self.curves
            ],
        }

    def cheapest(
        self,
        *,
        dollars_per_unit: float,
        dollars_per_miss: float,
        requests: float | None = None,
    ) -> Table:
        """The capacity at which capacity and misses together cost the least, for each policy.

        Args:
            dollars_per_unit: of one object (byte) of capacity, over the time that `requests` take.
            dollars_per_miss: of one miss.
            requests: to pay for; those of the trace if not given.

        Raises InputError for a price below 0 or that is no number.
        """
        for name, price in (("unit", dollars_per_unit), ("miss", dollars_per_miss)):
            if not 0 <= price < np.inf:
                raise InputError(
                    f"{price!r} is no price", where=f"dollars_per_{name}", mend="give 0 or more"
                )
        count = self.requests if requests is None else requests
        rows: list[list[Any]] = []
        for curve in self.curves:
            capacity = curve.capacities * dollars_per_unit
            misses = curve.miss_ratio * count * dollars_per_miss
            k = int(np.argmin(capacity + misses))
            rows.append(
                [
                    curve.policy,
                    int(curve.capacities[k]),
                    float(curve.miss_ratio[k]),
                    float(capacity[k]),
                    float(misses[k]),
                    float(capacity[k] + misses[k]),
                ]
            )
        best = {(min(range(len(rows)), key=lambda k: rows[k][5]), 5)} if len(rows) > 1 else set()
        columns = ["policy", f"capacity ({self.unit})", "miss ratio"]
        columns += ["capacity $", "misses $", "total $"]
        return Table(columns, rows, title="Cheapest capacity", best=best)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """All curves over capacity (log scale), bands of two standard errors; saved on demand."""
        from .plots import COLOURS, byte_axis, new_figure, number_axis, save_figure

        title = f"{self.trace}: miss ratio by capacity"
        with new_figure(1, 1, (7.0, 4.0), title) as (figure, axes):
            axis = axes[0][0]
            for k, curve in enumerate(self.curves):
                colour = COLOURS[k % len(COLOURS)]
                style = ("-", "--", ":")[k // len(COLOURS) % 3]
                axis.plot(
                    curve.capacities,
                    100 * curve.miss_ratio,
                    style,
                    color=colour,
                    label=curve.policy,
                )
                if curve.error is not None:
                    low = curve.miss_ratio - 2 * curve.error
                    high = curve.miss_ratio + 2 * curve.error
                    axis.fill_between(
                        curve.capacities, 100 * low, 100 * high, color=colour, alpha=0.15, lw=0
                    )
            number_axis(axis)
            if self.unit == "bytes":
                byte_axis(axis)
            axis.set_ylim(0, None)
            axis.set_xlabel("capacity" if self.unit == "bytes" else "capacity (objects)")
            axis.set_ylabel("misses (%)")
            axis.legend(ncols=1 + len(self.curves) // 8)
        return save_figure(figure, path)


def miss_ratio_curve(
    trace: ObjectTrace | str | Path,
    policies: "Sequence[Spec | Policy] | Spec | Policy" = "lru",
    capacities: ArrayLike | None = None,
    *,
    unit: str = "objects",
    sample: float | None = None,
    one_pass: bool = False,
    workers: int = 1,
    seed: int = 0,
) -> Curves:
    """Miss ratios at rising capacities.

    Args:
        trace: an object trace, a catalogue name or a file.
        policies: as `replay_cache` takes them, at least one.
        capacities: objects or bytes, >= 1, also as text ("10%", "64MiB"); by default 20 from a
            thousandth of all to all.
        unit: what capacities count, "objects" or "bytes".
        sample: share of the objects to look at, in each of four disjoint samples; None: all.
        one_pass: LRU over bytes in one approximate pass instead of a replay for each capacity.
        workers: threads for replays.
        seed: of random policies and of the samples.

    Raises:
        InputError: unknown policies, bad capacities, a sample that is no share, bytes without
            sizes.
    """
    if unit not in UNITS:
        raise InputError(f"unit {unit!r}", where="unit", mend=close_to(unit, UNITS))
    if sample is not None and not (isinstance(sample, int | float) and 0 < sample <= 1):
        raise InputError(f"{sample!r} is no share", where="sample", mend="give 0 < sample <= 1")
    given = [policies] if isinstance(policies, str | Mapping | Policy) else policies
    listed = [choose_eviction(spec) for spec in given]
    if not listed:
        raise InputError("there are no policies", where="policies", mend="name one, as in lru")
    if isinstance(trace, str | Path):
        trace = open_objects(trace)
    grid = _grid(trace, capacities, unit)
    curves = [_curve(trace, one, grid, unit, sample, one_pass, workers, seed) for one in listed]
    return Curves(trace.name, unit, trace.requests, tuple(curves))


def _grid(trace: ObjectTrace, capacities: ArrayLike | None, unit: str) -> NDArray[np.int64]:
    if capacities is None:
        whole = trace.unique if unit == "objects" else trace.footprint_bytes
        steps = np.geomspace(max(1, whole / 1000), max(1, whole), POINTS)
        return np.unique(steps.astype(np.int64))
    if isinstance(capacities, str):
        capacities = [capacities]
    if isinstance(capacities, Sequence):
        capacities = [size_of(c, trace, unit) if isinstance(c, str) else c for c in capacities]
    given = np.unique(np.asarray(capacities))
    if not len(given) or given.dtype.kind not in "iu" or given[0] < 1:
        raise InputError(
            f"{capacities!r} are no capacities", where="capacities", mend="give whole numbers >= 1"
        )
    return given.astype(np.int64)


def _curve(
    trace: ObjectTrace,
    policy: ChosenEviction,
    grid: NDArray[np.int64],
    unit: str,
    sample: float | None,
    one_pass: bool,
    workers: int,
    seed: int,
) -> Curve:
    name = policy.name
    plain = name == "lru" and trace.op is None and not policy.params
    if sample is not None:
        if plain and unit == "objects":
            found = sampled_miss_ratio(
                trace.ids,
                trace.objects,
                grid,
                rate=sample,
                replicates=_replicates(sample),
                seed=seed,
            )
            about = f"SHARDS, {sample:g} of the objects"
            return Curve(name, grid, found.miss_ratio, None, _known(found.error), about)
        return _miniature(trace, policy, grid, unit, sample, workers, seed)
    if plain and unit == "objects":
        ratios = StackDistances(trace.objects).add(trace.ids).miss_ratio()
        at = np.minimum(grid, len(ratios) - 1)
        return Curve(name, grid, ratios[at], None, None, "one pass, exact")
    if plain and one_pass and trace.size_bytes is not None:
        distances = ByteDistances(trace.objects, grid).add(trace.ids, trace.size_bytes)
        return Curve(
            name,
            grid,
            distances.miss_ratio(),
            distances.byte_miss_ratio(),
            None,
            "one pass, approximate",
        )
    return _replays(trace, policy, grid, unit, workers, seed)


def _replays(
    trace: ObjectTrace,
    policy: ChosenEviction,
    grid: NDArray[np.int64],
    unit: str,
    workers: int,
    seed: int,
) -> Curve:
    from mltwin.sim.executors import map_runs

    def one(capacity: int) -> Any:
        return replay_cache(trace, policy, int(capacity), unit=unit, seed=seed)

    runs = [run.get() for run in map_runs(one, [int(c) for c in grid], workers=workers)]
    sized = None if unit == "objects" else np.array([1 - run.byte_hit_ratio for run in runs])
    return Curve(policy.name, grid, np.array([run.miss_ratio for run in runs]), sized)


def _miniature(
    trace: ObjectTrace,
    policy: ChosenEviction,
    grid: NDArray[np.int64],
    unit: str,
    sample: float,
    workers: int,
    seed: int,
) -> Curve:
    """Small caches on samples of the objects, averaged over disjoint samples."""
    from .caching_trace import select

    replicates = _replicates(sample)
    drawn = uniforms(seed, SELECTION, np.arange(trace.objects))
    small = np.maximum(1, np.rint(grid * sample)).astype(np.int64)
    curves = []
    for k in range(replicates):
        chosen = (drawn >= k * sample) & (drawn < (k + 1) * sample)
        part = select(trace, chosen[trace.ids])
        if part.requests:
            curves.append(_small(part, policy, small, unit, workers, seed))
    if not curves:
        raise InputError("no object is in the sample", where="sample", mend="raise it")
    table = np.array([curve.miss_ratio for curve in curves])
    sized = [curve.byte_miss_ratio for curve in curves if curve.byte_miss_ratio is not None]
    error = table.std(axis=0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else None
    return Curve(
        policy.name,
        grid,
        table.mean(axis=0),
        np.array(sized).mean(axis=0) if sized else None,
        error,
        f"miniature caches, {sample:g} of the objects",
    )


def _small(
    part: ObjectTrace,
    policy: ChosenEviction,
    small: NDArray[np.int64],
    unit: str,
    workers: int,
    seed: int,
) -> Curve:
    """Capacities that round to one another are replayed once."""
    distinct, back = np.unique(small, return_inverse=True)
    curve = _replays(part, policy, distinct, unit, workers, seed)
    sized = curve.byte_miss_ratio
    return Curve(
        curve.policy, small, curve.miss_ratio[back], None if sized is None else sized[back]
    )


def _replicates(sample: float) -> int:
    """As many disjoint samples as there are, at most four."""
    return max(1, min(REPLICATES, int(1 / sample + 1e-9)))


def _known(error: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(error).any() else error


def _listed(values: NDArray[np.float64] | None) -> list[float] | None:
    return None if values is None else values.tolist()
