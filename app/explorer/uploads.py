"""Files that a visitor uploads: kept in a folder of their own, named by their content.

The folder's name is an unguessable token in the visitor's URL (`files=`), so that a reload finds
the files again and nobody else does. What a file was called is kept for display only.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from . import workspace

MAX_BYTES = 50 << 20
MOST = 20
"""Files of one visitor; the oldest make room."""
_FILES = "files"
_NAMES = "names.json"
_KEPT_S = 86_400.0


def upload(label: str, types: Sequence[str], *, key: str = "upload") -> Path | None:
    """A file uploader; the path of the stored file, or None before one was chosen.

    Args:
        label: of the uploader.
        types: endings that are taken, such as ["jsonl", "csv", "jsonl.gz"].
        key: of the widget.
    """
    import streamlit as st

    given = st.file_uploader(label, type=list(types), key=key, max_upload_size=MAX_BYTES >> 20)
    if given is None:
        return None
    return keep(folder(make=True), given.name, given.getvalue())


def mine() -> dict[str, Path]:
    """This visitor's files: what they were called, with a number where two are called alike, to
    where they are; oldest first."""
    place = folder()
    names = _names(place) if place.is_dir() else {}
    found: dict[str, Path] = {}
    for stored, shown in names.items():
        label, n = shown, 2
        while label in found:
            label, n = f"{shown} ({n})", n + 1
        if (place / stored).is_file():
            found[label] = place / stored
    return found


def called(path: Path) -> str:
    """What an uploaded file was called."""
    return _names(path.parent).get(path.name, path.name)


def named(text: str) -> str:
    """A message in which this visitor's files are called what the visitor called them."""
    for name, path in mine().items():
        text = text.replace(str(path), name).replace(path.name, name)
    return text


def folder(*, make: bool = False) -> Path:
    """This visitor's folder; it may not exist unless `make` is set."""
    import streamlit as st

    token = st.session_state.get(_FILES) or st.query_params.get(_FILES, "")
    base = workspace.private(workspace.root() / "uploads")
    if not workspace.is_token(token) or not (base / token).is_dir():
        token = workspace.new_token()
        if not make:
            return base / token
        prune(base)
        workspace.private(base / token)
    st.session_state[_FILES] = token
    if st.query_params.get(_FILES) != token:
        st.query_params[_FILES] = token
    return base / token


def keep(place: Path, name: str, content: bytes) -> Path:
    """Store content under the hash of it, with the ending of its name; the file."""
    ending = "".join(Path(name).suffixes[-2:])[:20]
    clean = "".join(c for c in ending if c.isalnum() or c in "._-")
    path = place / (hashlib.sha256(content).hexdigest()[:32] + clean)
    names = _names(place)
    if path.name not in names:
        path.write_bytes(content)
        os.chmod(path, 0o600)
        names[path.name] = Path(name).name[:100]
        for stored in list(names)[:-MOST]:
            (place / stored).unlink(missing_ok=True)
            del names[stored]
        part = place / f"{_NAMES}.part"
        part.write_text(json.dumps(names), encoding="utf-8")
        part.replace(place / _NAMES)
    return path


def prune(base: Path) -> None:
    """Remove the folders of visitors that nothing was added to for a day."""
    for path in base.iterdir():
        try:
            old = time.time() - path.stat().st_mtime > _KEPT_S
        except OSError:
            continue
        if old and workspace.is_token(path.name):
            for file in path.iterdir():
                file.unlink(missing_ok=True)
            path.rmdir()


def _names(place: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((place / _NAMES).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found
