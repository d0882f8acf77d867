"""Reading and writing TOML: the standard library reads it, this module writes it.

Only what scenarios hold is written: tables, lists of tables, strings, integers, floats, booleans
and flat lists. None is left out, as TOML has no such value.
"""

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises InputError naming the file and, where the syntax is wrong, the line and column.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(f"cannot be read: {reason}", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not TOML: {error}", where=str(path)) from None


def parse_value(text: str) -> Any:
    """A value as typed on a command line: TOML where it is TOML, else the text itself.

    >>> parse_value("8"), parse_value("0.5"), parse_value("true"), parse_value("least_tokens")
    (8, 0.5, True, 'least_tokens')
    """
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return found["value"] if set(found) == {"value"} else text


def write_toml(data: Mapping[str, Any]) -> str:
    """The text of a TOML document; plain keys first, then tables, in the order given."""
    lines: list[str] = []
    _table(lines, (), data)
    return "\n".join(lines).strip() + "\n"


def _table(lines: list[str], path: tuple[str, ...], data: Mapping[str, Any]) -> None:
    nested = {k: v for k, v in data.items() if _is_nested(v)}
    plain = {k: v for k, v in data.items() if k not in nested and v is not None}
    if path and (plain or not nested):
        lines += ["", f"[{_dotted(path)}]"]
    lines += [f"{_key(k)} = {write_value(v)}" for k, v in plain.items()]
    for key, value in nested.items():
        inner = (*path, key)
        if isinstance(value, Mapping):
            _table(lines, inner, value)
            continue
        for row in value:
            lines += ["", f"[[{_dotted(inner)}]]"]
            lines += [f"{_key(k)} = {write_value(v)}" for k, v in row.items() if v is not None]


def _is_nested(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(row, Mapping) for row in value)
    )


def write_value(value: Any) -> str:
    """One TOML value on one line; a mapping becomes an inline table."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written to a scenario")
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        items = (f"{_key(k)} = {write_value(v)}" for k, v in value.items() if v is not None)
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(write_value(v) for v in value) + "]"
    raise TypeError(f"a {type(value).__name__} cannot be written as TOML")


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(_key(part) for part in path)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else write_value(key)
