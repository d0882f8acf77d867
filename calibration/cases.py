"""What profiles are fitted to, as cases: the rows of one operator of one GPU, how they are split,
fitted and predicted, and what a data sheet says of them."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.models.gpu.operators import Operators
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from . import fit, read
from .profiles import LAUNCH_BOUND_S, MOE_FORMATS, _groups
from .sources import Source
from .tables import Index, as_text

Array = npt.NDArray[np.float64]
Fitted = tuple[Any, fit.FitError]


@dataclass(frozen=True)
class Family:
    """One kind of operator.

    Attributes:
        sizes: columns that baselines learn from.
        shape: columns that name a shape: all rows of one are held out together.
        arguments: from rows to what ``seconds`` of the cost takes.
        work: from (rows, case) to seconds at the data sheet's peak and at its bandwidth.
    """

    sizes: tuple[str, ...]
    shape: tuple[str, ...]
    arguments: Callable[[pd.DataFrame], tuple[Any, ...]]
    work: Callable[[pd.DataFrame, "Case"], tuple[Array, Array]]


@dataclass(frozen=True)
class Case:
    """The measured rows of one operator of one GPU.

    Attributes:
        source: the GPU, its data sheet among it.
        operator: as in a profile's provenance, e.g. ``gemm.bfloat16``.
        family: a key of :data:`FAMILIES`.
        rows: sizes and ``seconds``.
        file, version: where they come from.
        peak, width: operations a second at best; bytes of one weight or cached number.
        options: of the fit.
    """

    source: Source
    operator: str
    family: str
    rows: pd.DataFrame
    file: Path
    version: str
    peak: float
    width: float
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> Array:
        """Seconds of the rows."""
        return self.rows["seconds"].to_numpy(float)

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """Rows that a fit holds out: one shape in five, whole."""
        if self.family == "collective":
            held = np.arange(len(self.rows)) % 5 == 2
            held[[0, -1]] = False
            return held
        return read.held_out(*(self.rows[c].astype(int) for c in FAMILIES[self.family].shape))

    def shapes(self) -> npt.NDArray[np.int64]:
        """A label for each row, equal where the shape is."""
        return fit.shapes(self.rows, *FAMILIES[self.family].shape)

    def only(self, rows: npt.NDArray[np.bool_]) -> "Case":
        """The case with some of its rows."""
        return replace(self, rows=self.rows[rows].reset_index(drop=True))

    def sizes(self) -> Array:
        """Logarithms of the sizes, (rows, sizes)."""
        names = list(FAMILIES[self.family].sizes)
        return np.log2(np.maximum(self.rows[names].to_numpy(float), 1e-9))

    def work(self) -> tuple[Array, Array]:
        """Seconds of arithmetic at the peak and of memory at full bandwidth, on paper."""
        return FAMILIES[self.family].work(self.rows, self)

    def fit(self) -> Fitted:
        """The cost fitted to the rows that are not held out, and its error on those that are."""
        return _FITS[self.family](self.rows, **self.options)

    def predict(self, cost: Any) -> Array:
        """Seconds of the rows as measured: repeated calls, small operands in the L2 cache."""
        named = {"warm": True} if self.family == "decode" else {}
        return np.asarray(cost.seconds(*FAMILIES[self.family].arguments(self.rows), **named))

    def predict_served(self, cost: Any) -> Array:
        """Seconds of the rows as an iteration asks for them: shape by shape, never falling as the
        batch grows, key-value caches read from memory."""
        labels, times = self.shapes(), np.empty(len(self.rows))
        sizes = len(FAMILIES[self.family].shape)
        for label in np.unique(labels):
            here = labels == label
            arguments = FAMILIES[self.family].arguments(self.rows[here])
            moving, fixed = arguments[:-sizes], (float(a[0]) for a in arguments[-sizes:])
            times[here] = cost.seconds(*moving, *fixed)
        return times

    def cost_of(self, operators: Operators) -> Any | None:
        """The cost of this operator in a profile, or None."""
        kind, *names = self.operator.split(".")
        found: Any = operators.collectives if kind == "nccl" else getattr(operators, kind)
        for name in names:
            found = found.get(int(name) if name.isdigit() else name)
            if found is None:
                return None
        return found


def _columns(rows: pd.DataFrame, *names: str) -> tuple[Array, ...]:
    return tuple(rows[name].to_numpy(float) for name in names)


def _decode_arguments(rows: pd.DataFrame) -> tuple[Any, ...]:
    b, c, h, k, d = _columns(rows, "batch", "context", "heads", "kv_heads", "head_dim")
    return b, b * c, c, h, k, d


def _prefill_arguments(rows: pd.DataFrame) -> tuple[Any, ...]:
    b, t, h, k, d = _columns(rows, "batch", "tokens", "heads", "kv_heads", "head_dim")
    return b * t, b * t * (t + 1) / 2, t, h, k, d


def _gemm_work(rows: pd.DataFrame, case: Case) -> tuple[Array, Array]:
    m, n, k = _columns(rows, "m", "n", "k")
    moved = n * k * case.width + m * k * case.options["activation_bytes"] + m * n * 2
    return 2 * m * n * k / case.peak, moved / case.source.facts.hbm_bandwidth


def _attention_work(rows: pd.DataFrame, case: Case) -> tuple[Array, Array]:
    """Bytes: queries and outputs of 2 bytes, keys and values as cached."""
    b, h, k, d = _columns(rows, "batch", "heads", "kv_heads", "head_dim")
    if case.family == "decode":
        queries, keys = b, b * rows["context"].to_numpy(float)
        pairs = keys
    else:
        t = rows["tokens"].to_numpy(float)
        queries = keys = b * t
        pairs = b * t * (t + 1) / 2
    moved = 4 * queries * h * d + 2 * keys * k * d * case.width
    return 4 * h * d * pairs / case.peak, moved / case.source.facts.hbm_bandwidth


def _moe_work(rows: pd.DataFrame, case: Case) -> tuple[Array, Array]:
    """Experts that are read at least once if each token chose at random."""
    m, h, w, e, t = _columns(rows, *_MOE_SIZES)
    touched = e * -np.expm1(m * np.log1p(-np.minimum(t / e, 1 - 1e-9)))
    moved = touched * 3 * h * w * case.width
    return 6 * m * t * h * w / case.peak, moved / case.source.facts.hbm_bandwidth


def _collective_work(rows: pd.DataFrame, case: Case) -> tuple[Array, Array]:
    size = rows["size_bytes"].to_numpy(float)
    return np.zeros(len(rows)), size / case.source.facts.nvlink_bandwidth


_MOE_SIZES = ("tokens", "hidden", "width", "experts", "chosen")
_HEADS = ("heads", "kv_heads", "head_dim")
FAMILIES = {
    "gemm": Family(
        ("m", "n", "k"), ("n", "k"), lambda rows: _columns(rows, "m", "n", "k"), _gemm_work
    ),
    "decode": Family(
        ("batch", "context", "heads", "kv_heads"), _HEADS, _decode_arguments, _attention_work
    ),
    "prefill": Family(
        ("batch", "tokens", "heads", "kv_heads"), _HEADS, _prefill_arguments, _attention_work
    ),
    "moe": Family(
        _MOE_SIZES, _MOE_SIZES[1:], lambda rows: _columns(rows, *_MOE_SIZES), _moe_work
    ),
    "collective": Family(
        ("size_bytes",), ("size_bytes",), lambda rows: _columns(rows, "size_bytes"),
        _collective_work,
    ),
}  # fmt: skip
_FITS: dict[str, Callable[..., Fitted]] = {
    "gemm": fit.fit_gemm,
    "decode": fit.fit_decode,
    "prefill": fit.fit_prefill,
    "moe": fit.fit_moe,
    "collective": fit.fit_collective,
}


def family_cases(
    family: str, text: Path, source: Source, version: str, file: Path
) -> Iterator[Case]:
    """The operators of one table, filtered as for a profile.

    Args:
        family: a key of :data:`mltwin.calibration.tables.TABLES`.
        text: the table, as CSV.
        version, file: what to call it.

    Raises:
        InputError: a file that cannot be read, or a value that is no positive number.
    """
    made = _READERS[family](text, source, version, file)
    while True:
        try:
            case = next(made)
        except StopIteration:
            return
        except (ValueError, TypeError, OSError, EOFError, zlib.error) as error:
            raise InputError(f"not a table of {family} ({error})", where=str(file)) from None
        _check_numbers(case)
        yield case


def _whole(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The table, which must have a value everywhere: filters would drop such rows unseen."""
    missing = table.isna()
    for name in table.columns[missing.any()]:
        row = int(np.flatnonzero(missing[name])[0])
        raise InputError(f"{name} is missing", where=f"{file}, data row {row + 1}")
    return table


def _check_numbers(case: Case) -> None:
    names = dict.fromkeys(("seconds", *FAMILIES[case.family].sizes, *FAMILIES[case.family].shape))
    for name in names:
        values = pd.to_numeric(case.rows[name], errors="coerce").to_numpy(float)
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(wrong):
            raise InputError(
                f"{case.operator}: {name} is {case.rows[name].iloc[wrong[0]]}",
                where=str(case.file),
                mend="give positive numbers",
            )


def cases(index: Index, source: Source, only: str | None = None) -> Iterator[Case]:
    """Every operator of a GPU that the tables of a folder hold, filtered as for its profile.

    Args:
        only: a key of :data:`mltwin.calibration.tables.TABLES`; None: all of them.
    """
    for family in _READERS if only is None else (only,):
        version = source.version
        if family == "all_reduce":
            version = source.comm or version
        elif family == "nccl":
            version = "nccl-999"  # the newest
        system = source.folder.rsplit("/", 1)[-1]
        found = index.choose(system, family, version)
        if found is not None:
            yield from family_cases(family, as_text(found[1]), source, *found)


def case_of(index: Index, source: Source, operator: str) -> Case:
    """One operator of a GPU.

    Raises:
        InputError: the tables do not hold it.
    """
    kind = operator.split(".")[0]
    for case in cases(index, source, only=kind):
        if case.operator == operator:
            return case
    raise InputError(f"no {operator} of {source.name}", where=str(index.root))


def _gemms(text: Path, source: Source, version: str, file: Path) -> Iterator[Case]:
    for name, rows in _whole(read.read_gemm(text), file).groupby("dtype", sort=True):
        dtype = str(name)
        least = fit.GEMM_LEAST.get(dtype, 64)
        rows = rows[(rows["n"] >= least) & (rows["k"] >= least)]
        if rows.empty or rows["seconds"].quantile(0.05) > LAUNCH_BOUND_S:
            continue
        narrow = 1.0 if dtype == "bfloat16" else source.narrow.get(dtype, 2.0)
        facts, width = source.facts, precision(dtype).weight_bytes
        peak = facts.peak_flops["bfloat16"] * narrow
        options = {
            "sms": facts.sms,
            "flops": peak,
            "bandwidth": facts.hbm_bandwidth,
            "weight_bytes": width,
            "activation_bytes": 2.0 if dtype == "bfloat16" else 4.0,
        }
        rows = rows.reset_index(drop=True)
        yield Case(source, f"gemm.{dtype}", "gemm", rows, file, version, peak, width, options)


def _decodes(text: Path, source: Source, version: str, file: Path) -> Iterator[Case]:
    facts = source.facts
    for (kv_dtype, head_dim), rows in _groups(_whole(read.read_decode_attention(text), file)):
        width = precision(kv_dtype).weight_bytes
        options = {
            "sms": facts.sms,
            "bandwidth": facts.hbm_bandwidth,
            "kv_bytes": width,
            "l2_bytes": facts.l2_bytes,
            "serial": source.serial and kv_dtype == "bfloat16",
        }
        yield Case(
            source, f"decode.{kv_dtype}.{head_dim}", "decode", rows.reset_index(drop=True), file,
            version, facts.peak_flops["bfloat16"], width, options,
        )  # fmt: skip


def _prefills(text: Path, source: Source, version: str, file: Path) -> Iterator[Case]:
    facts = source.facts
    peak = facts.peak_flops["bfloat16"]
    for (kv_dtype, head_dim), rows in _groups(_whole(read.read_prefill_attention(text), file)):
        # Shorter prompts are launches: no fit takes them.
        rows = rows[rows["tokens"] >= 16].reset_index(drop=True)
        width = precision(kv_dtype).weight_bytes
        options = {"flops": peak, "sms": facts.sms}
        if len(rows):
            yield Case(
                source, f"prefill.{kv_dtype}.{head_dim}", "prefill", rows, file, version, peak,
                width, options,
            )  # fmt: skip


def _moes(text: Path, source: Source, version: str, file: Path) -> Iterator[Case]:
    table = _whole(read.read_moe(text), file)
    table = table[table["distribution"] == "power_law_1.01"]
    keys = [c for c in table if c not in ("seconds", "kernel")]
    table = table.groupby(keys, as_index=False)[["seconds"]].min()
    for name, rows in table.groupby("dtype", sort=True):
        stored = MOE_FORMATS.get(str(name))
        rows = fit.usable_experts(rows).reset_index(drop=True)
        if stored is None or rows.empty:
            continue
        narrow = source.narrow.get(stored, 2.0 if stored.startswith("fp8") else 1.0)
        facts, width = source.facts, precision(stored).weight_bytes
        peak = facts.peak_flops["bfloat16"] * narrow
        options = {"flops": peak, "bandwidth": facts.hbm_bandwidth, "weight_bytes": width}
        yield Case(source, f"moe.{stored}", "moe", rows, file, version, peak, width, options)


def _all_reduces(text: Path, source: Source, version: str, file: Path) -> Iterator[Case]:
    table = _whole(read.read_all_reduce(text), file)
    for gpus, rows in table.groupby("gpus", sort=True):
        yield _collective(rows, f"all_reduce.{gpus}", source, version, file)


def _nccls(text: Path, source: Source, version: str, file: Path) -> Iterator[Case]:
    for (name, gpus), rows in _whole(read.read_nccl(text), file).groupby(["op", "gpus"], sort=True):
        yield _collective(rows, f"nccl.{name}.{gpus}", source, version, file)


def _collective(
    rows: pd.DataFrame, operator: str, source: Source, version: str, file: Path
) -> Case:
    """One row a size, its median: repeats are multi-modal where protocols compete."""
    medians = rows.groupby("size_bytes", as_index=False)[["seconds"]].median()
    bandwidth = source.facts.nvlink_bandwidth
    return Case(
        source, operator, "collective", medians, file, version, 1.0, 2.0, {"bandwidth": bandwidth}
    )


_READERS: dict[str, Callable[[Path, Source, str, Path], Iterator[Case]]] = {
    "gemm": _gemms,
    "decode": _decodes,
    "prefill": _prefills,
    "moe": _moes,
    "all_reduce": _all_reduces,
    "nccl": _nccls,
}
