"""Protocol buffers without their library: the wire format, and what a Chakra trace needs of it.

A message is a row of fields, each a varint key (number << 3 | type) and a value: type 0 a varint,
1 eight bytes, 2 a length and so many bytes, 5 four bytes ("Encoding", protobuf.dev). Unknown fields
are passed over, so later schemas can be read as far as they agree.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError
from mltwin.workloads.source import open_file

MOST_BYTES = 4_000_000_000
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_SIGN = 1 << 63


class WireError(ValueError):
    """The bytes are no protocol buffer; the text says where."""


def read_bytes(path: Path) -> bytes:
    """A whole file, unpacked if it is packed by gzip. InputError if it cannot be read."""
    with open_file(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(MOST_BYTES + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"cannot be unpacked: {error}", where=str(path)) from None
    if len(data) > MOST_BYTES:
        raise InputError(f"holds more than {MOST_BYTES:,} bytes", where=str(path))
    return data


def looks_like_json(data: bytes) -> bool:
    """Whether the first sign that is no space opens a JSON object or list."""
    return data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, place behind it) of the varint at a place."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError(f"a number at byte {at} does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def messages(data: bytes) -> Iterator[bytes]:
    """The messages of a file in which the length of each stands before it."""
    at = 0
    while at < len(data):
        length, begin = varint(data, at)
        if begin + length > len(data):
            raise WireError(f"the message at byte {at} is cut off: {length} bytes are missing some")
        yield data[begin : begin + length]
        at = begin + length


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a message: int for varints, bytes for all else."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = varint(data, at)
        elif kind in (_EIGHT, _FOUR):
            length = 8 if kind == _EIGHT else 4
        else:
            raise WireError(f"field {number} has the unknown type {kind}")
        if at + length > len(data):
            raise WireError(f"field {number} is cut off")
        yield number, data[at : at + length]
        at += length


def text(value: Any) -> str:
    """A string field. WireError if it is a number, or no UTF-8."""
    if not isinstance(value, bytes):
        raise WireError(f"a text is the number {value}")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise WireError("a text is no UTF-8") from None


def whole(value: Any) -> int:
    """A varint field. WireError if it is bytes."""
    if not isinstance(value, int):
        raise WireError(f"a number has {len(value)} bytes")
    return value


def whole_numbers(values: list[Any]) -> list[int]:
    """A repeated integer: single values, or packed ones as bytes."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = varint(value, at)
            found.append(number)
    return found


def attribute(data: bytes) -> tuple[str, Any]:
    """(name, value) of an `AttributeProto`; lists come as lists, unset ones as None."""
    name, found = "", None
    for number, value in fields(data):
        if number == 1:
            name = text(value)
        elif number >= 3:
            found = _attribute_value(number, value)
    return name, found


# Field numbers of AttributeProto.value; an odd number is one value, the even one above it a list.
_DOUBLE, _FLOAT, _STRING, _RAW, _BOOL = 3, 5, 29, 31, 27
_SIGNED, _ZIGZAG = (7, 9), (15, 17)
_FORMS = {_DOUBLE: "<d", _FLOAT: "<f", 19: "<I", 21: "<Q", 23: "<i", 25: "<q"}


def _attribute_value(number: int, value: Any) -> Any:
    single = number if number % 2 else number - 1
    if single == number:
        return _single(number, value)
    found: list[Any] = []
    if not isinstance(value, bytes):
        raise WireError(f"a list is the number {value}")
    for inner, item in fields(value):
        if inner != 1:
            continue
        if isinstance(item, bytes) and single not in (_STRING, _RAW):
            found += _packed(single, item)
        else:
            found.append(_single(single, item))
    return found


def _single(number: int, value: Any) -> Any:
    form = _FORMS.get(number)
    if form is not None:
        if not isinstance(value, bytes) or len(value) != struct.calcsize(form):
            raise WireError(f"field {number} has not the bytes of its type")
        return struct.unpack(form, value)[0]
    if number == _STRING:
        return text(value)
    if number == _RAW:
        return value
    value = whole(value)
    if number == _BOOL:
        return bool(value)
    if number in _ZIGZAG:
        return (value >> 1) ^ -(value & 1)
    if number in _SIGNED and value >= _SIGN:
        return value - 2 * _SIGN
    return value


def _packed(number: int, data: bytes) -> list[Any]:
    form = _FORMS.get(number)
    if form is not None:
        if len(data) % struct.calcsize(form):
            raise WireError(f"field {number} is cut off")
        return [item[0] for item in struct.iter_unpack(form, data)]
    return [_single(number, value) for value in whole_numbers([data])]
