"""Public traces by name: where they are, their checksums, and how to get them.

`data/catalogue.json` holds facts about other people's data, not the data. `data/<name>.json` holds
the specs of the shipped synthetic traces, made to published statistics of real ones.
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

from .entries import (
    DATA,
    DEFAULT,
    Entry,
    cache_dir,
    check_digest,
    entry_of,
    fetch_entry,
    locate_entry,
    names_of,
)

if TYPE_CHECKING:
    from .table import Trace

_SYNTHETIC = "synthetic:"


def list_traces() -> list[str]:
    """All names, the synthetic ones first."""
    return names_of(_entries())


def info(name: str) -> Entry:
    """What is known of a trace. InputError with the nearest name where there is none."""
    return entry_of(name, _entries(), "trace")


def synthetic_spec(name: str) -> dict[str, Any]:
    """The spec of a shipped synthetic trace, to change and pass to `synthesize`."""
    if not info(name).synthetic:
        raise InputError(f"{name!r} is a real trace and has no spec", where="catalogue")
    return dict(_facts(name)["spec"])


def synthetic_statistics(name: str) -> dict[str, Any]:
    """The published statistics of the original that a shipped synthetic trace was made to."""
    if not info(name).synthetic:
        raise InputError(f"{name!r} is a real trace", where="catalogue")
    return dict(_facts(name)["original"])


def locate(name: str, *, verify: bool = True) -> Path | None:
    """The file (or folder) of a trace under MLTWIN_DATA or in the cache; None where it is not.

    A file of the right name with other content raises InputError: it is not the trace.
    """
    return locate_entry(info(name), _verify if verify else None)


def fetch(name: str) -> Path:
    """The local file of a trace, downloaded from its owner if it is not here yet.

    https only, to a temporary file, capped at the size the catalogue knows, checked against its
    sha256, then renamed. Raises InputError: no network, other content, or nothing to fetch.
    """
    entry = info(name)
    return fetch_entry(entry, None if entry.synthetic else locate(name))


def open_trace(name_or_path: str | os.PathLike[str], *, seed: int = 0, **options: Any) -> "Trace":
    """A trace by catalogue name, by path, or `synthetic:<name>`.

    A name stands before a path of the same name. `seed` draws synthetic traces, and requests and
    arrivals where the data gives only statistics or lengths; `options` go to `read_trace` (and
    replace those of the catalogue). A real trace that is not here is not fetched: call `fetch`.
    """
    text = os.fspath(name_or_path)
    if text.startswith(_SYNTHETIC):
        return _synthetic(_full_name(text.removeprefix(_SYNTHETIC)), seed, options)
    if text not in _entries():
        return _read(text, seed, options)
    entry = info(text)
    if entry.synthetic:
        return _synthetic(text, seed, options)
    found = locate(text)
    if found is None:
        raise InputError(
            f"{text!r} is not on this machine",
            where="catalogue",
            mend=f"fetch it, set MLTWIN_DATA, or use the shipped {DEFAULT!r}",
        )
    trace = _read(found, seed, {"format": entry.format, **dict(entry.options), **options})
    note = {"catalogue": text, "licence": entry.licence, "citation": entry.citation}
    return trace.changed(name=text, source=entry.page, meta={**trace.meta, **note})


def is_drawn(name_or_path: str | os.PathLike[str], **options: Any) -> bool:
    """Whether `open_trace` of this name or path gives other requests for another seed."""
    text = os.fspath(name_or_path)
    if text.startswith(_SYNTHETIC):
        return True
    if text not in _entries():
        return _draws(text, options)
    entry = info(text)
    found = None if entry.synthetic else locate(text, verify=False)
    return found is None or _draws(found, {**dict(entry.options), **options})


def _draws(path: str | Path, options: Mapping[str, Any]) -> bool:
    """Whether a file gives only statistics, or lengths, and the rest is drawn."""
    return "arrivals" in options or Path(path).is_dir()


def _read(path: str | Path, seed: int, options: dict[str, Any]) -> "Trace":
    from .readers import read_trace

    if _draws(path, options):
        options = {"seed": seed, **options}
    return read_trace(path, **options)


def _full_name(name: str) -> str:
    """`azure-conv` stands for `azure-conv-synthetic`."""
    longer = f"{name}-synthetic"
    return longer if name not in _entries() and longer in _entries() else name


def _synthetic(name: str, seed: int, options: dict[str, Any]) -> "Trace":
    from .synthetic import synthesize

    if not info(name).synthetic:
        raise InputError(f"{name!r} is a real trace", where="catalogue", mend="drop 'synthetic:'")
    return synthesize({**synthetic_spec(name), **options}, seed)


@functools.cache
def _entries() -> dict[str, Entry]:
    entries = {}
    for facts in json.loads((DATA / "catalogue.json").read_text("utf-8"))["traces"]:
        options = tuple(facts.pop("options", {}).items())
        entries[facts["name"]] = Entry(**facts, options=options)
    return entries


@functools.cache
def _facts(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text("utf-8"))


def _verify(entry: Entry, place: Path) -> None:
    """The unpacked content must have the digest of the catalogue; a folder has none."""
    if place.is_dir():
        return
    from .source import Source

    source = Source(place)
    digest = hashlib.sha256()
    with source.open() as guard:
        while chunk := guard.read(1 << 18):
            digest.update(chunk)
    kind = "unpacked content" if source.packing else "content"
    check_digest(entry, place, [digest.hexdigest()], kind)


__all__ = [
    "DATA",
    "DEFAULT",
    "Entry",
    "cache_dir",
    "fetch",
    "info",
    "is_drawn",
    "list_traces",
    "locate",
    "open_trace",
    "synthetic_spec",
    "synthetic_statistics",
]
