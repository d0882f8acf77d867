"""Public traces by name: where they are, their checksums, and how to get them.

`data/catalogue.json` holds facts about other people's data, not the data. `data/<name>.json` holds
the specs of the shipped synthetic traces, made to published statistics of real ones.
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from .table import Trace

DATA = Path(__file__).resolve().parent / "data"
DEFAULT = "azure-conv-synthetic"
_SYNTHETIC = "synthetic:"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Entry:
    """One trace of the catalogue.

    bytes, sha256: of the unpacked file; sha256_stored: of the packed copy, where one is kept.
    take_bytes: only this many leading bytes of the owner's file belong to the entry.
    url: https address at the owner's, pinned to a commit; empty: get it by hand from `page`.
    local: path below the folder that MLTWIN_DATA names.
    """

    name: str
    title: str
    licence: str
    citation: str
    page: str
    format: str
    rows: int | None = None
    file: str = ""
    url: str = ""
    bytes: int = 0
    sha256: str = ""
    sha256_stored: str = ""
    take_bytes: int = 0
    local: str = ""
    note: str = ""
    synthetic: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All facts as plain data."""
        return {**asdict(self), "options": dict(self.options)}


def list_traces() -> list[str]:
    """All names, the synthetic ones first."""
    return sorted(_entries(), key=lambda name: (not _entries()[name].synthetic, name))


def info(name: str) -> Entry:
    """What is known of a trace. InputError with the nearest name where there is none."""
    import difflib

    if name in _entries():
        return _entries()[name]
    close = difflib.get_close_matches(name, list_traces(), n=1)
    mend = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(list_traces())}"
    raise InputError(f"no trace is called {name!r}", where="catalogue", mend=mend)


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


def cache_dir() -> Path:
    """Where fetched traces are kept: MLTWIN_CACHE/traces, or the user's cache folder."""
    chosen = os.environ.get("MLTWIN_CACHE")
    base = Path(chosen) if chosen else _user_cache() / "mltwin"
    return base.expanduser() / "traces"


def locate(name: str, *, verify: bool = True) -> Path | None:
    """The file (or folder) of a trace under MLTWIN_DATA or in the cache; None where it is not.

    A file of the right name with other content raises InputError: it is not the trace.
    """
    entry = info(name)
    places = [cache_dir() / entry.file] if entry.file else []
    data = os.environ.get("MLTWIN_DATA")
    if data and entry.local:
        places.insert(0, Path(data).expanduser() / entry.local)
    for place in places:
        if place.is_dir() or (place.is_file() and not (verify and entry.sha256)):
            return place
        if place.is_file():
            _verify(entry, place)
            return place
    return None


def fetch(name: str) -> Path:
    """The local file of a trace, downloaded from its owner if it is not here yet.

    https only, to a temporary file, capped at the size the catalogue knows, checked against its
    sha256, then renamed. Raises InputError: no network, other content, or nothing to fetch.
    """
    entry = info(name)
    if entry.synthetic:
        raise InputError(f"{name!r} is synthetic: there is nothing to fetch", mend="open it")
    found = locate(name)
    if found is not None:
        return found
    if not entry.url:
        raise InputError(
            f"{name!r} cannot be fetched ({entry.note or 'no pinned file'})",
            where="catalogue",
            mend=f"get it from {entry.page} and open it by path",
        )
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{entry.file}.{os.getpid()}.part"
    try:
        temporary.write_bytes(download(entry))
        os.replace(temporary, folder / entry.file)
    except OSError as failed:
        raise InputError(f"cannot be written ({failed})", where=str(folder)) from None
    finally:
        temporary.unlink(missing_ok=True)
    return folder / entry.file


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
    from .source import Source

    source = Source(place)
    digest = hashlib.sha256()
    with source.open() as guard:
        while chunk := guard.read(1 << 18):
            digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        kind = "unpacked content" if source.packing else "content"
        raise InputError(
            f"its {kind} is not that of {entry.name!r} (sha256 {digest.hexdigest()[:12]}..., "
            f"not {entry.sha256[:12]}...)",
            where=str(place),
            mend="remove the file and fetch it again, or open it by path as another trace",
        )


def download(entry: Entry) -> bytes:
    """The owner's bytes, checked. InputError where they cannot be had or are others."""
    import urllib.error
    import urllib.request

    if not entry.url.startswith("https://"):
        raise InputError(f"{entry.url} is not https", where="catalogue")
    opener = urllib.request.build_opener(_HttpsOnly())
    try:
        with opener.open(entry.url, timeout=_TIMEOUT_S) as answer:
            content = answer.read(entry.bytes if entry.take_bytes else entry.bytes + 1)
    except (urllib.error.URLError, OSError, ValueError) as failed:
        reason = getattr(failed, "reason", failed)
        raise InputError(
            f"cannot be fetched from {entry.page} ({reason}): offline or unreachable",
            where=entry.name,
            mend=f"the shipped {DEFAULT!r} serves without network",
        ) from None
    if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise InputError(
            f"what {entry.page} sent ({len(content):,} bytes) is not the trace of the catalogue",
            where=entry.name,
            mend="get the file by hand and open it by path",
        )
    return content


def _HttpsOnly() -> Any:
    """A redirect handler that follows to https only."""
    import urllib.error
    import urllib.request

    class Handler(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *given: Any) -> Any:
            target = str(given[-1])
            if not target.startswith("https://"):
                raise urllib.error.URLError(f"redirected to {target[:60]!r}, which is not https")
            return super().redirect_request(*given)

    return Handler()


def _user_cache() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME")
    return Path(chosen) if chosen else Path.home() / ".cache"
