"""A profile from our own measurements: a file of ``mltwin calibrate measure``.

The same operators and learned corrections as in the shipped profiles. What the file lacks is
taken from a profile that is named, if one is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mltwin.models.gpu.operators import CollectiveCost, Operators
from mltwin.models.gpu.profile import FORMAT, Facts, GpuProfile, Power, Provenance
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from . import fit, read, refit_operators
from .measure.record import Header, key_of, read_measurements
from .profiles import HOST
from .refit_facts import facts_of
from .refit_operators import EXPERTS, HEADS, Fitted, stored

BACKENDS = ("torch-graph", "torch", "numpy")
"""Which one counts where several timed a point, best first."""
LEAST_ROWS = 8
MOST_SPREAD = 0.5
"""Points whose quartiles lie further apart, as a share of the median, are left out: the device
was busy with something else."""
SIZES = {
    "gemm": ("m", "n", "k"),
    "attention_prefill": ("batch", "tokens", *HEADS),
    "attention_decode": ("batch", "context", *HEADS),
    "norm": ("tokens", "width"),
    "activation": ("tokens", "width"),
    "moe": ("tokens", *EXPERTS),
    "copy_device": ("bytes",),
    "copy_h2d": ("bytes",),
    "copy_d2h": ("bytes",),
    "collective": ("gpus", "bytes"),
}
NEEDED = ("gemm", "attention_prefill", "attention_decode", "norm")


def fit_measurements(
    path: str | Path, name: str, like: GpuProfile | None = None
) -> tuple[GpuProfile, list[Fitted]]:
    """A profile fitted to a file of measurements, and its fits.

    Args:
        path: of ``mltwin calibrate measure``.
        name: what to call the profile.
        like: whose data sheet holds for this device, and whose operators stand in for those that
            were not measured; None: the sheet is estimated from the measurements.

    Raises:
        InputError: no such file, a damaged line, or operators that are missing (or timed at too
            few points) and nothing to take them from.
    """
    header, points = read_measurements(path)
    rows = _best_backend(points)
    if like is None:
        enough = {op for op in NEEDED if sum(row["op"] == op for row in rows) >= LEAST_ROWS}
        missing = [op for op in NEEDED if op not in enough]
        if missing:
            raise InputError(
                f"holds fewer than {LEAST_ROWS} timings of {', '.join(missing)}",
                where=str(path),
                mend="measure them too (--op), or name a profile to take them from (--like)",
            )
    for row in rows:
        _check_sizes(row, Path(path))
    facts = like.facts if like is not None else facts_of(header, rows)
    return _Fitter(Path(path), header, rows, facts, like).build(name)


def _check_sizes(row: Mapping[str, Any], path: Path) -> None:
    for name in SIZES.get(row["op"], ()):
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(
                f"{row['op']}: field {name!r} is {value!r}",
                where=str(path),
                mend="give a positive number, or remove the line",
            )
    if row["op"] in SIZES and not row["op"].startswith(("copy", "collective")):
        precision(str(row.get("dtype")), where=str(path))
    for op, name in (("moe", "distribution"), ("collective", "name"), ("power", "load")):
        if row["op"] == op and not isinstance(row.get(name), str):
            raise InputError(f"{op}: no {name!r}", where=str(path), mend="remove the line")


def _best_backend(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One steady line a point; of several backends the best."""
    chosen: dict[str, tuple[int, dict[str, Any]]] = {}
    for point in points:
        if "seconds" not in point or point.get("backend") not in BACKENDS:
            continue
        if float(point.get("spread", 0.0)) > MOST_SPREAD and point["op"] != "power":
            continue
        key, rank = key_of(dict(point)), BACKENDS.index(point["backend"])
        if key not in chosen or rank < chosen[key][0]:
            chosen[key] = rank, dict(point)
    return [row for _, row in chosen.values()]


class _Fitter:
    """Fits operator by operator and keeps the books."""

    def __init__(
        self,
        path: Path,
        header: Header,
        rows: list[dict[str, Any]],
        facts: Facts,
        like: GpuProfile | None,
    ) -> None:
        self.path, self.rows, self.facts, self.like = path, rows, facts, like
        self.provenance: list[Provenance] = []
        self.fits: list[Fitted] = []
        self.software = ", ".join(f"{k} {v}" for k, v in sorted(header.software.items()))

    def build(self, name: str) -> tuple[GpuProfile, list[Fitted]]:
        collectives = self._collectives()
        elementwise = self._elementwise()
        operators = Operators(
            gemm=self._by_format("gemm"),
            decode=self._attention("decode"),
            prefill=self._attention("prefill"),
            all_reduce=collectives.pop("all_reduce", {}),
            elementwise=elementwise,
            moe=self._by_format("moe"),
            collectives=collectives,
        )
        if self.like is not None:
            operators = self._filled(operators, self.like)
        profile = GpuProfile(
            format=FORMAT,
            name=name,
            engine=self.software,
            facts=self.facts,
            power=self._power(),
            host=HOST if self.like is None else self.like.host,
            operators=operators,
            provenance=tuple(self.provenance),
        )
        return profile, self.fits

    def _table(self, op: str) -> pd.DataFrame:
        return pd.DataFrame([row for row in self.rows if row["op"] == op])

    def _add(self, one: Fitted) -> Any:
        """Notes a fit; its cost."""
        self.fits.append(one)
        self._record(one.operator, one.method, one.error, one.rows, one.shape)
        return one.cost

    def _record(
        self,
        operator: str,
        method: str,
        error: fit.FitError,
        rows: pd.DataFrame,
        sizes: tuple[str, ...],
    ) -> None:
        self.provenance.append(
            Provenance(
                operator=operator,
                file=self.path.name,
                sha256=read.sha256(self.path),
                software=self.software,
                rows=error.rows,
                held_rows=error.held_rows,
                method=method,
                median=error.median,
                p95=error.p95,
                bias=error.bias,
                sigma=error.sigma,
                valid={s: (float(rows[s].min()), float(rows[s].max())) for s in sizes},
            )
        )

    def _by_format(self, op: str) -> dict[str, Any]:
        """GEMMs or experts, by number format."""
        table = self._table(op)
        if op == "moe" and len(table):
            table = table[table["distribution"] == "power_law_1.01"]
        if table.empty:
            return {}
        fit_one = {"gemm": refit_operators.fit_gemm, "moe": refit_operators.fit_moe}[op]
        return {
            name: self._add(fit_one(self.facts, f"{op}.{name}", dtype, rows))
            for name, (dtype, rows) in stored(table).items()
            if len(rows) >= LEAST_ROWS
        }

    def _attention(self, kind: str) -> dict[str, dict[int, Any]]:
        """Attention without window, by format of keys and values, then head size."""
        table = self._table(f"attention_{kind}")
        if "window" in table:
            table = table[table["window"] == 0]
        if table.empty:
            return {}
        fits = {"decode": refit_operators.fit_decode, "prefill": refit_operators.fit_prefill}
        costs: dict[str, dict[int, Any]] = {}
        for name, (dtype, of_dtype) in stored(table).items():
            for size, rows in of_dtype.groupby("head_dim", sort=True):
                if len(rows) < LEAST_ROWS:
                    continue
                rows = rows.reset_index(drop=True)
                one = fits[kind](self.facts, f"{kind}.{name}.{size}", dtype, rows)
                costs.setdefault(name, {})[int(str(size))] = self._add(one)
        return costs

    def _elementwise(self) -> Any:
        tables = [t for t in (self._table("norm"), self._table("activation")) if len(t)]
        if sum(map(len, tables)) >= LEAST_ROWS:
            rows = pd.concat(tables, ignore_index=True)
            return self._add(refit_operators.fit_elementwise(self.facts, rows))
        assert self.like is not None
        return self.like.operators.elementwise

    def _collectives(self) -> dict[str, dict[int, CollectiveCost]]:
        """By name, then devices."""
        table = self._table("collective")
        costs: dict[str, dict[int, CollectiveCost]] = {}
        if table.empty:
            return costs
        table = table.rename(columns={"bytes": "size_bytes"})
        for (name, gpus), rows in table.groupby(["name", "gpus"], sort=True):
            if len(rows) < LEAST_ROWS:
                continue
            cost, error = fit.fit_collective(rows, bandwidth=self.facts.nvlink_bandwidth)
            costs.setdefault(str(name), {})[int(str(gpus))] = cost
            operator = f"all_reduce.{gpus}" if name == "all_reduce" else f"nccl.{name}.{gpus}"
            method = "table of sizes; error with every fifth size left out"
            self._record(operator, method, error, rows, ("size_bytes",))
        return costs

    def _power(self) -> Power:
        table = self._table("power")
        if table.empty:
            return Power(None, None, None, "not measured")

        def watts(load: str) -> float | None:
            some = table[table["load"] == load].get("watts", pd.Series(dtype=float)).dropna()
            return None if some.empty else round(float(some.median()), 1)

        return Power(watts("prefill"), watts("decode"), watts("idle"), f"{self.path.name}, medians")

    def _filled(self, operators: Operators, like: GpuProfile) -> Operators:
        """With another profile's operators where nothing was measured, and their errors."""
        changes: dict[str, Any] = {"mixed": like.operators.mixed}
        taken = []
        for part in ("gemm", "decode", "prefill", "moe", "all_reduce", "collectives"):
            if not getattr(operators, part):
                changes[part] = getattr(like.operators, part)
                taken.append("nccl" if part == "collectives" else part)
        if operators.elementwise is like.operators.elementwise:
            taken.append("elementwise")
        for entry in like.provenance:
            if entry.operator.split(".")[0] in taken:
                method = f"taken from {like.name}: {entry.method}"
                self.provenance.append(replace(entry, method=method))
        return replace(operators, **changes)
