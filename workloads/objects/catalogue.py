"""Object traces by name: where they are, their checksums, how to get them.

`data/objects.json` holds facts about other people's data, not the data, and the specs of a few
synthetic traces, which are drawn when opened.
"""

import difflib
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError
from mltwin.workloads.entries import (
    DATA,
    Entry,
    check_digest,
    entry_of,
    fetch_entry,
    locate_entry,
    names_of,
)

from .packed import BinaryFile
from .table import ObjectTrace

_CACHEBENCH = "cachebench"
_CACHEBENCH_FILES = ("config.json", "pop.json", "sizes.json")


def list_objects() -> list[str]:
    """All names, the synthetic ones first."""
    return names_of(_entries())


def info(name: str) -> Entry:
    """What is known of a trace. InputError with the nearest name where there is none.

    `bytes` and `sha256` are those of the owner's file, packed where the owner packs it; `rows` are
    lines or records, which may stand for several requests.
    """
    return entry_of(name, _entries(), "object trace")


def synthetic_spec(name: str) -> dict[str, Any]:
    """The spec of a synthetic trace, to change and pass to `make_objects`."""
    if not info(name).synthetic:
        raise InputError(f"{name!r} is a real trace and has no spec", where="catalogue")
    return dict(_specs()[name])


def locate(name: str, *, verify: bool = True) -> Path | None:
    """The file (or folder) of a trace under MLTWIN_DATA or in the cache; None where it is not.

    A file of the right name with other content raises InputError: it is not the trace.
    """
    return locate_entry(info(name), _verify if verify else None)


def fetch(name: str) -> Path:
    """The local file of a trace, downloaded from its owner if it is not here yet.

    https only, capped at the size the catalogue knows, checked, then renamed. Raises InputError:
    no network, other content, or nothing to fetch (synthetic, or a licence that asks for more).
    """
    entry = info(name)
    return fetch_entry(entry, None if entry.synthetic else locate(name))


def open_objects(
    name_or_path: str | os.PathLike[str], *, seed: int = 0, **options: Any
) -> ObjectTrace:
    """An object trace by catalogue name, or by path (a file, or a folder of CacheBench).

    A name stands before a path of the same name. `seed` draws synthetic traces and those from
    CacheBench distributions; `options` go to `read_objects` (and replace those of the catalogue),
    to `cachebench`, or change the spec of a synthetic trace. A real trace that is not here is not
    fetched: call `fetch`.
    """
    text = os.fspath(name_or_path)
    if text not in _entries():
        place = Path(text).expanduser()
        if not place.exists() and difflib.get_close_matches(text, _entries(), cutoff=0.75):
            info(text)  # a name misspelt
        return _read(place, seed, options)
    entry = info(text)
    if entry.synthetic:
        from .synthetic import make_objects

        return make_objects({**synthetic_spec(text), **options}, seed)
    found = locate(text)
    if found is None:
        raise InputError(
            f"{text!r} is not on this machine",
            where="catalogue",
            mend=f"fetch it (mltwin cache fetch {text}), set MLTWIN_DATA, or take 'zipf-1.0'"
            if entry.url
            else f"get it from {entry.page} and set MLTWIN_DATA, or use the synthetic 'zipf-1.0'",
        )
    own = {} if entry.format == _CACHEBENCH else {"format": entry.format, **dict(entry.options)}
    trace = _read(found, seed, {**own, **options})
    note = {"catalogue": text, "licence": entry.licence, "citation": entry.citation}
    return trace.changed(name=text, source=entry.page, meta={**trace.meta, **note})


def _read(place: Path, seed: int, options: dict[str, Any]) -> ObjectTrace:
    if place.is_dir() and (place / _CACHEBENCH_FILES[0]).is_file():
        from .histograms import cachebench

        for key in options:
            if key != "requests":
                raise InputError(
                    f"a CacheBench folder has no option {key!r}", mend="it takes requests"
                )
        return cachebench(place, seed=seed, **options)
    from .readers import read_objects

    return read_objects(place, **options)


@functools.cache
def _entries() -> dict[str, Entry]:
    entries = {}
    for facts in _facts():
        options = tuple(facts.get("options", {}).items())
        kept = {key: value for key, value in facts.items() if key not in ("options", "spec")}
        entries[facts["name"]] = Entry(**kept, options=options)
    return entries


@functools.cache
def _specs() -> dict[str, dict[str, Any]]:
    return {facts["name"]: facts["spec"] for facts in _facts() if "spec" in facts}


def _facts() -> list[dict[str, Any]]:
    return list(json.loads((DATA / "objects.json").read_text("utf-8"))["traces"])


def _verify(entry: Entry, place: Path) -> None:
    """The file as it lies, or what is packed in it, must have the digest of the catalogue."""
    if place.is_dir():
        digests = [_digest_of_folder(place)]
    else:
        file = BinaryFile(place)
        digests = [file.sha256(packed=True)]
        if digests[0] != entry.sha256 and file.packing:
            digests.append(file.sha256())
    check_digest(entry, place, digests)


def _digest_of_folder(place: Path) -> str:
    digest = hashlib.sha256()
    for name in _CACHEBENCH_FILES:
        try:
            digest.update((place / name).read_bytes())
        except OSError as failed:
            raise InputError(f"cannot be read ({failed})", where=str(place / name)) from None
    return digest.hexdigest()
