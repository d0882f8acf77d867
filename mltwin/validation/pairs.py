"""A measured number next to what the twin said of it: the one row that every validation makes."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

BELOW, AT, PAST, UNKNOWN = "below", "at", "past", "-"
LOAD_BINS = (BELOW, AT, PAST, UNKNOWN)


@dataclass(frozen=True)
class Pair:
    """One number of one measured run, and its prediction.

    Attributes:
        source: where the measurement comes from (``llmservingsim``, ``apex_plus``, ...).
        row_id: which run of it; the pairs of one run share it.
        gpu, engine, model, mode: the deployment (mode: ``agg``, ``disagg``, ``transfer``).
        load_bin: ``below``, ``at`` or ``past`` the knee of the deployment; ``-`` where unknown.
        metric: statistic and quantity, e.g. ``ttft_mean`` (times are in seconds).
        measured, predicted: in the same SI unit; predicted is None where the twin has no answer,
            and the note then says why.
        confidence: how well the twin's tables cover the run, in the source's own words.
        note: what a reader should know about the pair.

    Raises:
        InputError: a measured number that is not positive, a prediction that is no number, an
            unknown load bin, a missing answer without a reason.
    """

    source: str
    row_id: str
    gpu: str
    engine: str
    model: str
    mode: str
    load_bin: str
    metric: str
    measured: float
    predicted: float | None
    confidence: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        where = f"{self.source}, {self.row_id}, {self.metric}"
        if not (math.isfinite(self.measured) and self.measured > 0):
            raise InputError(f"measured {self.measured!r}", where=where)
        if self.predicted is None:
            if not self.note:
                raise InputError("no prediction and no reason", where=where)
        elif not (math.isfinite(self.predicted) and self.predicted >= 0):
            raise InputError(f"predicted {self.predicted!r}", where=where)
        if self.load_bin not in LOAD_BINS:
            raise InputError(f"load bin {self.load_bin!r}", where=where, mend=f"one of {LOAD_BINS}")

    @property
    def error_pct(self) -> float:
        """Signed error in per cent of the measured value; NaN where unanswered."""
        if self.predicted is None:
            return math.nan
        return 100.0 * (self.predicted / self.measured - 1.0)

    @property
    def quantity(self) -> str:
        """The metric without its statistic: ``ttft`` of ``ttft_p99``."""
        return self.metric.rpartition("_")[0] or self.metric


COLUMNS = tuple(field.name for field in fields(Pair))


def records(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Pairs as dicts, the signed error beside them (None where unanswered)."""
    found = []
    for pair in pairs:
        error = pair.error_pct
        found.append({**asdict(pair), "error_pct": None if math.isnan(error) else error})
    return found


def write_csv(pairs: Sequence[Pair], path: str | Path) -> None:
    """The pairs as a CSV file; numbers keep all their digits.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*COLUMNS, "error_pct"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(records(pairs))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None


def write_parquet(pairs: Sequence[Pair], path: str | Path) -> None:
    """The pairs as a Parquet file.

    Raises:
        InputError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = ("measured", "predicted", "error_pct")
    schema = pa.schema(
        [(n, pa.float64() if n in numbers else pa.string()) for n in (*COLUMNS, "error_pct")]
    )
    try:
        pq.write_table(pa.Table.from_pylist(records(pairs), schema=schema), path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None


def read_csv(path: str | Path) -> list[Pair]:
    """Pairs as :func:`write_csv` left them.

    Raises:
        InputError: no such file, a missing column, or a value that is none.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"columns {missing} are missing", where=str(path))
            return [pair_of(row, f"{path}, line {n}") for n, row in enumerate(reader, 2)]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None


def pair_of(row: dict[str, Any], where: str) -> Pair:
    """A pair from the cells of a CSV row.

    Raises:
        InputError: a value that is none, at ``where``.
    """
    given = {name: row[name] for name in COLUMNS}
    try:
        given["measured"] = float(given["measured"])
        given["predicted"] = float(given["predicted"]) if given["predicted"] else None
    except (TypeError, ValueError):
        raise InputError("measured or predicted is no number", where=where) from None
    return Pair(**given)
