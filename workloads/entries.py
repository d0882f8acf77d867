"""What a catalogue of other people's data does: find an entry, locate its file, fetch it, check it.

`catalogue` (requests) and `objects.catalogue` (objects) hold the facts and say how a file's digest
is taken.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

DATA = Path(__file__).resolve().parent / "data"
DEFAULT = "azure-conv-synthetic"
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


def cache_dir() -> Path:
    """Where fetched traces are kept: MLTWIN_CACHE/traces, or the user's cache folder."""
    chosen = os.environ.get("MLTWIN_CACHE")
    base = Path(chosen) if chosen else _user_cache() / "mltwin"
    return base.expanduser() / "traces"


def names_of(entries: Mapping[str, Entry]) -> list[str]:
    """All names, the synthetic ones first."""
    return sorted(entries, key=lambda name: (not entries[name].synthetic, name))


def entry_of(name: str, entries: Mapping[str, Entry], what: str) -> Entry:
    """The entry of a name; `what` says of which kind. InputError with the nearest name."""
    if name in entries:
        return entries[name]
    listed = names_of(entries)
    close = difflib.get_close_matches(name, listed, n=1)
    mend = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(listed)}"
    raise InputError(f"no {what} is called {name!r}", where="catalogue", mend=mend)


def locate_entry(entry: Entry, check: Callable[[Entry, Path], None] | None) -> Path | None:
    """The file (or folder) of an entry under MLTWIN_DATA or in the cache; None where it is not.

    `check` raises InputError for a file of the right name with other content; None: not checked.
    """
    places = [cache_dir() / entry.file] if entry.file else []
    data = os.environ.get("MLTWIN_DATA")
    if data and entry.local:
        places.insert(0, Path(data).expanduser() / entry.local)
    for place in places:
        if place.exists():
            if check is not None and entry.sha256:
                check(entry, place)
            return place
    return None


def fetch_entry(entry: Entry, found: Path | None) -> Path:
    """The local file of an entry, downloaded from its owner unless it was found.

    https only, to a temporary file, capped at the size the catalogue knows, checked against its
    sha256, then renamed. Raises InputError: no network, other content, or nothing to fetch.
    """
    if entry.synthetic:
        raise InputError(
            f"{entry.name!r} is synthetic: there is nothing to fetch", mend="name it as it is"
        )
    if found is not None:
        return found
    if not entry.url:
        raise InputError(
            f"{entry.name!r} cannot be fetched ({entry.note or 'no pinned file'})",
            where="catalogue",
            mend=f"get it from {entry.page} and open it by path",
        )
    folder = cache_dir()
    temporary = folder / f".{entry.file}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(download(entry))
        os.replace(temporary, folder / entry.file)
    except OSError as failed:
        raise InputError(f"cannot be written ({failed})", where=str(folder)) from None
    finally:
        temporary.unlink(missing_ok=True)
    return folder / entry.file


def check_digest(entry: Entry, place: Path, digests: list[str], kind: str = "content") -> None:
    """InputError unless one of the digests of a file is that of the catalogue."""
    if entry.sha256 not in digests:
        raise InputError(
            f"its {kind} is not that of {entry.name!r} (sha256 {digests[-1][:12]}..., not "
            f"{entry.sha256[:12]}...)",
            where=str(place),
            mend="remove it and get it again, or open it by path as another trace",
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
