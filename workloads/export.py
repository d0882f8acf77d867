"""Traces out: Parquet (`save`, `load`), and the text forms that other programs read.

form      file   times           keeps
columns   both   s, exact        everything
azure     CSV    100 ns stamps   arrival, lengths
vidur     CSV    s, exact        arrival, lengths
mooncake  JSONL  ms, exact       arrival, lengths, blocks, session, priority

The mooncake form does not name the block size: tell the reader where it is not 512.
A form that cannot hold a column refuses the trace unless `lossy=True` drops it.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError

from .read_parquet import open_parquet
from .source import Source
from .table import COLUMNS, DEFAULTS, Trace

_KEPT = {
    "columns": set(COLUMNS) | {"blocks"},
    "azure": {"arrival", "prompt", "output"},
    "vidur": {"arrival", "prompt", "output"},
    "mooncake": {"arrival", "prompt", "output", "session", "priority", "blocks"},
}
_FORMULA = ("=", "+", "-", "@", "'")
_VERSION = 1
AZURE_EPOCH_NS = 1_700_000_000 * 10**9  # where a trace does not know its own start


def save(trace: Trace, path: str | Path) -> Path:
    """Parquet with the digest and the rest of the trace in its metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    head = {
        "version": _VERSION,
        "name": trace.name,
        "source": trace.source,
        "tenants": trace.tenants,
        "block_tokens": trace.block_tokens,
        "sha256": trace.sha256,
        "meta": trace.meta,
    }
    data = {label: getattr(trace, label) for label in COLUMNS}
    if trace.block_tokens:
        offsets = np.concatenate([[0], np.cumsum(trace.block_count, dtype=np.int64)])
        data["blocks"] = pa.LargeListArray.from_arrays(offsets, trace.packed_blocks())
    try:
        text = json.dumps(head, allow_nan=False)
    except (TypeError, ValueError) as wrong:
        raise InputError(
            f"its meta cannot be written as JSON ({wrong})",
            where=trace.name,
            mend="keep plain data in meta",
        ) from None
    table = pa.table(data).replace_schema_metadata({"mltwin.trace": text})
    with whole_file(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
    return Path(path)


def load(path: str | Path) -> Trace:
    """What `save` wrote. InputError where it is another Parquet file or was altered."""
    import pyarrow as pa

    source = Source(path)
    opened = open_parquet(source)
    stored = (opened.schema_arrow.metadata or {}).get(b"mltwin.trace")
    if stored is None:
        raise source.error("is not a saved trace", mend="read it with columns={...}")
    try:
        head = json.loads(stored)
        table = opened.read()
        blocks = table["blocks"].combine_chunks() if head["block_tokens"] else None
        trace = Trace.make(
            **{label: table[label].to_numpy() for label in COLUMNS},
            tenants=head["tenants"],
            block_count=None if blocks is None else blocks.value_lengths().to_numpy(),
            block_ids=None if blocks is None else blocks.flatten().to_numpy(),
            block_tokens=head["block_tokens"],
            name=head["name"],
            source=head["source"],
            meta=head["meta"],
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException, OSError) as wrong:
        raise source.error(f"is a damaged saved trace ({wrong!r:.100})") from None
    if trace.sha256 != head["sha256"]:
        raise source.error("does not have the digest it was saved with", mend="save it again")
    return trace


def to_csv(trace: Trace, path: str | Path, form: str = "columns", *, lossy: bool = False) -> Path:
    """CSV in form `columns`, `azure` or `vidur`."""
    writers: dict[str, Callable[[Trace], tuple[list[str], list[list[Any]]]]] = {
        "columns": _own_columns,
        "azure": lambda kept: _azure_columns(kept, lossy),
        "vidur": _vidur_columns,
    }
    if form not in writers:
        raise InputError(f"no CSV form {form!r}", mend=f"use one of {', '.join(writers)}")
    _check_kept(trace, form, lossy)
    header, columns = writers[form](trace)

    def text() -> Iterator[str]:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n" if form == "azure" else "\n")
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))
        yield out.getvalue()

    return _write(path, text())


def to_jsonl(trace: Trace, path: str | Path, form: str = "columns", *, lossy: bool = False) -> Path:
    """JSON lines in form `columns` or `mooncake`."""
    if form not in ("columns", "mooncake"):
        raise InputError(f"no JSONL form {form!r}", mend="use one of columns, mooncake")
    _check_kept(trace, form, lossy)
    if form == "mooncake" and trace.block_tokens:
        trace = _prompt_blocks_only(trace, lossy)
    lines = _own_lines(trace) if form == "columns" else _mooncake_lines(trace)
    return _write(path, lines)


def decimals(ticks: NDArray[np.int64], places: int) -> list[str]:
    """Ticks as exact decimals of the unit that is 10**places ticks, shortest form."""
    whole, part = np.divmod(ticks, 10**places)
    texts = []
    for unit, rest in zip(whole.tolist(), part.tolist(), strict=True):
        texts.append(f"{unit}.{rest:0{places}d}".rstrip("0") if rest else str(unit))
    return texts


def _given(trace: Trace) -> set[str]:
    """Columns that hold more than their default."""
    given = {label for label, value in DEFAULTS.items() if (getattr(trace, label) != value).any()}
    given |= {"tenant"} if trace.tenants != ("default",) else set()
    return given | ({"blocks"} if trace.block_tokens else set())


def _check_kept(trace: Trace, form: str, lossy: bool) -> None:
    lost = sorted(_given(trace) - _KEPT[form])
    if lost and not lossy:
        raise InputError(
            f"form {form} has no place for {', '.join(lost)}",
            where=trace.name,
            mend="use form 'columns', or lossy=True to drop it",
        )


def _own_table(trace: Trace) -> dict[str, list[Any]]:
    """Our own columns; those with nothing but defaults are left out."""
    given = _given(trace)
    table: dict[str, list[Any]] = {
        "arrival_s": decimals(trace.arrival, 12),
        "prompt": trace.prompt.tolist(),
        "output": trace.output.tolist(),
    }
    if "tenant" in given:
        table["tenant"] = [trace.tenants[i] for i in trace.tenant.tolist()]
    for label in ("session", "priority", "after"):
        if label in given:
            table[label] = getattr(trace, label).tolist()
    for label in ("delay", "timeout"):
        if label in given:
            table[f"{label}_s"] = decimals(getattr(trace, label), 12)
    if trace.block_tokens:
        ends = np.cumsum(trace.block_count, dtype=np.int64)
        table["block_ids"] = [part.tolist() for part in np.split(trace.packed_blocks(), ends[:-1])]
        table["block_tokens"] = [trace.block_tokens] * len(trace)
    return table


def _own_columns(trace: Trace) -> tuple[list[str], list[list[Any]]]:
    table = _own_table(trace)
    if "tenant" in table:
        # Spreadsheets run cells that begin like a formula; the reader takes the quote away again.
        table["tenant"] = [f"'{n}" if n.startswith(_FORMULA) else n for n in table["tenant"]]
    if "block_ids" in table:
        table["block_ids"] = [" ".join(map(str, ids)) for ids in table["block_ids"]]
    return list(table), list(table.values())


def _own_lines(trace: Trace) -> Iterator[str]:
    table = _own_table(trace)
    if "tenant" in table:
        table["tenant"] = [f"'{n}" if n.startswith(_FORMULA) else n for n in table["tenant"]]
    exact = {"arrival_s", "delay_s", "timeout_s"}
    for row in zip(*table.values(), strict=True):
        cells = (
            f"{json.dumps(label)}: {value if label in exact else json.dumps(value)}"
            for label, value in zip(table, row, strict=True)
        )
        yield "{" + ", ".join(cells) + "}\n"


def _prompt_blocks_only(trace: Trace, lossy: bool) -> Trace:
    """Mooncake lists the blocks of the prompt alone; blocks of the output are dropped."""
    most = -(-trace.prompt.astype(np.int64) // trace.block_tokens)
    over = trace.block_count > most
    if not over.any():
        return trace
    if not lossy:
        raise InputError(
            f"form mooncake has no place for the output's blocks of {int(over.sum())} requests",
            where=trace.name,
            mend="use form 'columns', or lossy=True to drop them",
        )
    return trace.changed(block_count=np.minimum(trace.block_count, most))


def _mooncake_lines(trace: Trace) -> Iterator[str]:
    given = _given(trace)
    times = decimals(trace.arrival, 9)
    ends = np.cumsum(trace.block_count, dtype=np.int64)
    ids = np.split(trace.packed_blocks(), ends[:-1]) if trace.block_tokens else []
    for i, (prompt, output) in enumerate(
        zip(trace.prompt.tolist(), trace.output.tolist(), strict=True)
    ):
        line = f'{{"timestamp": {times[i]}, "input_length": {prompt}, "output_length": {output}'
        if ids:
            line += f', "hash_ids": {json.dumps(ids[i].tolist())}'
        if "session" in given:
            session = int(trace.session[i])
            line += f', "session_id": "{session if session >= 0 else ""}"'
        if "priority" in given:
            line += f', "priority": {int(trace.priority[i])}'
        yield line + "}\n"


def _azure_columns(trace: Trace, lossy: bool) -> tuple[list[str], list[list[Any]]]:
    rest = trace.arrival % 100_000
    if rest.any() and not lossy:
        raise InputError(
            f"arrival of request {int(np.argmax(rest > 0))} is finer than the 100 ns of form azure",
            where=trace.name,
            mend="use form 'vidur' or 'columns', or lossy=True to round down",
        )
    start = _start_ns(trace)
    stamps = []
    for steps in (trace.arrival // 100_000).tolist():
        second, fraction = divmod(start // 100 + steps, 10**7)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        stamps.append(f"{moment:%Y-%m-%d %H:%M:%S}.{fraction:07d}")
    header = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
    return header, [stamps, trace.prompt.tolist(), trace.output.tolist()]


def _start_ns(trace: Trace) -> int:
    """The wall clock at time 0 where the trace came from an Azure file, else a round moment."""
    text = str(trace.meta.get("start", ""))
    return int(text) if text.isdigit() and len(text) == 19 else AZURE_EPOCH_NS


def _vidur_columns(trace: Trace) -> tuple[list[str], list[list[Any]]]:
    header = ["arrived_at", "num_prefill_tokens", "num_decode_tokens"]
    return header, [decimals(trace.arrival, 12), trace.prompt.tolist(), trace.output.tolist()]


def _write(path: str | Path, parts: Iterable[str]) -> Path:
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as out:
        out.writelines(parts)
    return Path(path)


@contextmanager
def whole_file(path: str | Path) -> Iterator[str]:
    """A temporary file beside `path` that takes its place when all went well."""
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        yield str(temporary)
        os.replace(temporary, final)
    except OSError as failed:
        raise InputError(f"cannot be written ({failed})", where=str(final)) from None
    finally:
        temporary.unlink(missing_ok=True)
