"""`read_trace`: any supported file in, one `Trace` out; the format is told by content."""

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mltwin.sim.errors import InputError

from .export import load
from .from_jsonl import parse_json
from .read_azure import read_azure
from .read_burstgpt import read_burstgpt
from .read_clients import AIPERF_MARKS, read_aiperf, read_guidellm
from .read_columns import FORMS, OWN, read_columns
from .read_mooncake import read_mooncake
from .read_parquet import is_parquet, open_parquet
from .read_splitwise import read_splitwise
from .read_vidur import read_vidur
from .read_vllm import REQUESTS, read_vllm_bench, read_vllm_requests
from .source import Source
from .table import Trace
from .tabular import Rejects


class Format(NamedTuple):
    """A text format: how to read it and the columns (members) that tell it."""

    read: Callable[..., Trace]
    marks: frozenset[str]
    kind: str  # csv or jsonl


def _known_form(name: str) -> Callable[..., Trace]:
    columns, unit = FORMS[name]

    def read(source: Source, rejects: Rejects, **options: Any) -> Trace:
        return read_columns(source, rejects, columns=columns, unit=unit, **options)

    read.__signature__ = inspect.signature(read_columns)  # type: ignore[attr-defined]
    return read


FORMATS: dict[str, Format] = {
    "azure": Format(
        read_azure, frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}), "csv"
    ),
    "burstgpt": Format(
        read_burstgpt, frozenset({"Timestamp", "Request tokens", "Response tokens"}), "csv"
    ),
    "splitwise": Format(
        read_splitwise, frozenset({"arrival_timestamp", "prompt_size", "token_size"}), "csv"
    ),
    "vidur": Format(read_vidur, frozenset({"num_prefill_tokens", "num_decode_tokens"}), "csv"),
    "apex": Format(_known_form("apex"), frozenset(FORMS["apex"][0].values()), "csv"),
    "llmservingsim": Format(
        _known_form("llmservingsim"), frozenset(FORMS["llmservingsim"][0].values()), ""
    ),
    "mooncake": Format(
        read_mooncake, frozenset({"timestamp", "input_length", "output_length"}), "jsonl"
    ),
    "lengths": Format(_known_form("lengths"), frozenset(FORMS["lengths"][0].values()), "csv"),
    "vllm-requests": Format(
        read_vllm_requests, frozenset(field.column for field in REQUESTS.values()), "jsonl"
    ),
    "columns": Format(
        read_columns, frozenset(field.column for field in OWN.values() if not field.optional), ""
    ),
    "vllm-bench": Format(read_vllm_bench, frozenset({"input_lens", "output_lens"}), "json"),
    "aiperf": Format(read_aiperf, AIPERF_MARKS, "jsonl"),
    "guidellm": Format(read_guidellm, frozenset({"benchmarks"}), "json"),
}
_BENCH_MARKS = {"input_lens", "total_input_tokens", "request_throughput"}
_GUIDELLM = re.compile(r'"benchmarks"\s*:\s*\[')
_BENCH = re.compile(rf'"({"|".join(sorted(_BENCH_MARKS))})"\s*:')


def read_trace(
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    sort: bool = False,
    on_error: str = "fail",
    rejects: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Trace:
    """Read a request trace, gz and xz as well.

    Args:
        path: a file, or a folder of ServeGen clients.
        format: a name in `FORMATS`, `servegen`, `saved` (our Parquet), or `auto` by content.
        sort: sort by arrival (stable) instead of refusing times that go back.
        on_error: `fail` at the first bad line, or `skip` such lines and count them in
            `meta["rejected"]`.
        rejects: with `skip`, a file to write all rejected lines to (JSON lines).
        **options: those of the format's reader, e.g. `columns`, `unit`, `arrivals`,
            `block_tokens`, `seed`.

    Raises:
        InputError: naming file, line, column, value and mend.
    """
    place = Path(path).expanduser()
    if format == "servegen" or (format == "auto" and place.is_dir()):
        return _servegen(place, options)
    source = Source(place)
    if format == "auto" and "columns" in options:
        format = "columns"
    if format == "auto":
        format = detect(source)
    if format == "saved":
        _check_options(load, options, "saved", ())
        return load(place)
    if format not in FORMATS:
        raise InputError(
            f"format {format!r} is unknown",
            where=str(place),
            mend=f"use one of auto, saved, servegen, {', '.join(FORMATS)}",
        )
    reader = FORMATS[format].read
    _check_options(reader, options, format, ("source", "rejects", "sort"))
    refused = Rejects(source, on_error, rejects)
    return reader(source, refused, sort=sort, **options)


def detect(source: Source) -> str:
    """The format's name by content. InputError with what was found where none fits."""
    if is_parquet(source):
        names = open_parquet(source).schema_arrow
        return "saved" if b"mltwin.trace" in (names.metadata or {}) else "columns"
    first, complete = _first_line(source)
    kind = "jsonl" if first.lstrip().startswith(("{", "[")) else "csv"
    if kind == "csv":
        names_found = {name.strip().strip('"') for name in first.split(",")}
    else:
        try:
            item = parse_json(first) if complete else None
        except ValueError:
            item = None
        names_found = set(item) if isinstance(item, dict) else set()
        if names_found & _BENCH_MARKS or (not names_found and _BENCH.search(_opening(source))):
            return "vllm-bench"
        if "benchmarks" in names_found or (not names_found and _GUIDELLM.search(_opening(source))):
            return "guidellm"
    for name, form in FORMATS.items():
        if form.kind in ("", kind) and form.marks <= names_found:
            return name
    shown = ", ".join(sorted(repr(name)[:40] for name in names_found)[:12]) or repr(first[:60])
    nearly = _nearly(names_found, kind)
    if nearly is not None:
        name, lacking = nearly
        raise source.error(
            f"no column {lacking!r}, which the {name} format needs; it has {shown}",
            mend="add the column, or map the columns with columns={...}",
        )
    raise source.error(
        f"no known format has {shown}",
        mend=f"map the columns with columns={{...}} or name the format ({', '.join(FORMATS)})",
    )


def _nearly(names_found: set[str], kind: str) -> tuple[str, str] | None:
    """The format of which all marks but one are there, and that one; None if not a single one."""
    found = []
    for name, form in FORMATS.items():
        missing = form.marks - names_found
        if form.kind in ("", kind) and len(missing) == 1 and len(form.marks) > 1:
            found.append((len(form.marks), name, next(iter(missing))))
    if not found:
        return None
    most = max(count for count, _, _ in found)
    best = [(name, missing) for count, name, missing in found if count == most]
    return best[0] if len(best) == 1 else None


def _opening(source: Source) -> str:
    with source.open() as guard:
        buffer = bytearray(1 << 16)
        filled = 0
        while filled < len(buffer):
            got = guard.readinto(memoryview(buffer)[filled:])
            if not got:
                break
            filled += got
    return bytes(buffer[:filled]).decode("utf-8-sig", errors="ignore")


def _first_line(source: Source) -> tuple[str, bool]:
    """The first line with something on it, and whether all of it was seen."""
    text = _opening(source)
    lines = text.splitlines(keepends=True)
    for line in lines:
        if line.strip():
            return line.strip("\r\n"), line.endswith(("\n", "\r")) or len(text) < 1 << 16
    raise source.error("the file holds only blank lines", mend="give a file with requests")


def _servegen(place: Path, options: dict[str, Any]) -> Trace:
    from .read_servegen import is_servegen, read_servegen

    if place.is_dir() and not is_servegen(place):
        raise InputError(
            "is a directory without ServeGen clients", where=str(place), mend="give a trace file"
        )
    _check_options(read_servegen, options, "servegen", ("path",))
    return read_servegen(place, **options)


def _check_options(
    reader: Callable[..., Trace], options: dict[str, Any], name: str, own: tuple[str, ...]
) -> None:
    known = [key for key in inspect.signature(reader).parameters if key not in (*own, "path")]
    for key in options:
        if key not in known:
            listed = f"it takes {', '.join(known)}" if known else "it takes no options"
            raise InputError(f"format {name} has no option {key!r}", mend=listed)
