"""The workspace: the one folder in which the explorer reads and writes.

`mltwin app --workspace DIR` names it through the environment variable MLTWIN_WORKSPACE; without it,
it is a private folder among the user's data. Below it: `jobs/` (a folder for each job),
`uploads/` (a folder for each visitor who uploaded something). Paths that a visitor types are taken
from it and may not leave it.
"""

import os
import re
import secrets
from pathlib import Path

from mltwin import InputError

VARIABLE = "MLTWIN_WORKSPACE"
_LONGEST = 400
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


def root() -> Path:
    """The workspace, made if it does not exist; only its owner may enter what is made."""
    named = os.environ.get(VARIABLE)
    if named:
        return private(Path(named).expanduser().resolve())
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return private(Path(data).expanduser().resolve() / "mltwin" / "explorer")


def private(folder: Path) -> Path:
    """The folder, made with mode 0700 where it is missing.

    Raises InputError where it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot be made: {error.strerror}", where=str(folder), mend="choose another workspace"
        ) from None
    return folder


def inside(typed: str) -> Path:
    """A path that a visitor typed, taken from the workspace.

    Raises InputError for one that leaves the workspace (also by `..` or a link) or names what
    belongs to single visitors.
    """
    base = root()
    try:
        if len(typed) > _LONGEST:
            raise ValueError("too long")
        path = (base / typed).resolve()
    except (OSError, ValueError, RuntimeError):
        path = base.parent
    if not path.is_relative_to(base):
        raise InputError(
            "is outside the workspace", where=typed[:80], mend="give a path within the workspace"
        )
    if path.relative_to(base).parts[:1] in (("jobs",), ("uploads",)):
        raise InputError(
            "belongs to a visitor", where=typed[:80], mend="give another path of the workspace"
        )
    return path


def new_token() -> str:
    """A name that nobody can guess (128 random bits)."""
    return secrets.token_urlsafe(16)


def is_token(text: str) -> bool:
    """Whether a text has the form of `new_token`: so it can name no other folder."""
    return _TOKEN.fullmatch(text) is not None
