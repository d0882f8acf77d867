"""Fitted laws that ship with the package, one JSON file each: data/<kind>-<name>.json."""

from pathlib import Path

from mltwin.sim.errors import InputError

DATA = Path(__file__).with_name("data")


def shipped_names(kind: str) -> tuple[str, ...]:
    """Names of the shipped files of a kind, in order."""
    return tuple(sorted(p.stem.removeprefix(f"{kind}-") for p in DATA.glob(f"{kind}-*.json")))


def read_law(kind: str, name: str, what: str) -> tuple[str, str]:
    """(text, path) of a shipped law, or of a file that the user names.

    Args:
        kind: of the shipped files.
        name: of one of them, or a path.
        what: is looked for, as errors call it.

    Raises:
        InputError: there is none.
    """
    known = shipped_names(kind)
    path = DATA / f"{kind}-{name}.json" if name in known else Path(name)
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError:
        raise InputError(
            f"no {what} {name!r}", mend=f"use one of {', '.join(known)}, or a file"
        ) from None
