"""JSON files that map clients or devices to records, checked; pickles are refused."""

import json
import math
import os
from typing import Any

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source, read_text

_PICKLE = (b"\x80", b"(dp", b"}q", b"ccopy_reg")
_MEND_PICKLE = (
    'convert it where you trust it: python -c "import json, pickle, sys; '
    "json.dump({str(k): v for k, v in pickle.load(open(sys.argv[1], 'rb')).items()}, "
    "open(sys.argv[2], 'w'))\" old.pkl new.json"
)


def read_json(path: str | os.PathLike[str]) -> tuple[Source, Any]:
    """A file and its JSON value, gz and xz too.

    Raises:
        InputError: no such file, a pickle (which could run any program), no JSON, a key twice.
    """
    _refuse_pickle(path)
    source = Source(path)
    try:
        value = json.loads(read_text(source), object_pairs_hook=_unique, parse_constant=_no_number)
    except json.JSONDecodeError as wrong:
        raise source.error(f"is not JSON ({wrong.msg})", wrong.lineno, "save it as JSON") from None
    except ValueError as wrong:
        raise source.error(str(wrong), mend="correct the file") from None
    except RecursionError:
        raise source.error("is nested too deeply", mend="correct the file") from None
    return source, value


def read_map(path: str | os.PathLike[str], what: str) -> tuple[Source, dict[str, Any]]:
    """A file and its JSON object with an entry or more; `what` says of what.

    Raises:
        InputError: as `read_json`; another JSON value than an object, or an empty one.
    """
    source, value = read_json(path)
    if not isinstance(value, dict) or not value:
        raise source.error(
            f"is not a JSON object of {what}", mend=f"give {{id: ...}} with one entry a {what}"
        )
    return source, value


def positive(source: Source, key: str, record: Any, field: str) -> float:
    """A number above 0 of a record. Raises InputError naming file, key, field and value."""
    value = record.get(field) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(
            f"{value!r} is not a number above 0",
            where=f"{source.path}, key {key!r}, field {field!r}",
            mend="correct it, or leave the entry out",
        )
    return float(value)


def numbers(source: Source, key: str, record: Any, field: str) -> list[float]:
    """A list of numbers of a record. Raises InputError naming file, key, field and value."""
    values = record.get(field) if isinstance(record, dict) else None
    where = f"{source.path}, key {key!r}, field {field!r}"
    mend = "give a list of seconds, or leave the entry out"
    if not isinstance(values, list):
        raise InputError(f"{str(values)[:40]!r} is not a list", where=where, mend=mend)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 9e9:
            raise InputError(f"{str(value)[:40]!r} is not a time", where=where, mend=mend)
    return [float(value) for value in values]


def _refuse_pickle(path: str | os.PathLike[str]) -> None:
    try:
        with open(path, "rb") as raw:
            head = raw.read(16)
    except OSError:
        return  # `Source` says what is wrong
    if head.startswith(_PICKLE):
        raise InputError(
            "is a pickle, which could run any program when opened; it is not read",
            where=str(path),
            mend=_MEND_PICKLE,
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"has the key {twice!r} twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"has {name}, which is not a number")
