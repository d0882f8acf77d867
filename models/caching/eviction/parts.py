"""Small pieces that several policies share."""

from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler


def check_share(name: str, value: float, least: float = 0.0, most: float = 1.0) -> float:
    """A parameter that must lie within least ... most. InputError where it does not."""
    if not least <= value <= most:
        raise InputError(
            f"{name} = {value:g} is not within {least:g} ... {most:g}", where=f"eviction.{name}"
        )
    return value


@handler
def _size(S: Any, x: Any) -> int:
    return S.extent[x]


@handler
def _one(S: Any, x: Any) -> int:
    return 1


def counted_size(sized: bool) -> Any:
    """Handler (S, x): the size of x, or 1 in the plain form, which keeps no sizes."""
    return _size if sized else _one


@handler
def first_push_front(S: Any, sentinel: int, x: Any) -> None:
    """`lists.push_front` in the first of the two lists of `twin`."""
    head = S.twin[sentinel].next
    S.twin[x].previous = sentinel
    S.twin[x].next = head
    S.twin[head].previous = x
    S.twin[sentinel].next = x


@handler
def first_unlink(S: Any, x: Any) -> None:
    """`lists.unlink` from the first of the two lists of `twin`."""
    before = S.twin[x].previous
    after = S.twin[x].next
    S.twin[before].next = after
    S.twin[after].previous = before


@handler
def first_back(S: Any, sentinel: int) -> Any:
    """`lists.back` of the first of the two lists of `twin`."""
    return np.uint64(S.twin[sentinel].previous)


@handler
def second_push_front(S: Any, sentinel: int, x: Any) -> None:
    """`lists.push_front` in the second of the two lists of `twin`."""
    head = S.twin[sentinel].after
    S.twin[x].before = sentinel
    S.twin[x].after = head
    S.twin[head].before = x
    S.twin[sentinel].after = x


@handler
def second_unlink(S: Any, x: Any) -> None:
    """`lists.unlink` from the second of the two lists of `twin`."""
    before = S.twin[x].before
    after = S.twin[x].after
    S.twin[before].after = after
    S.twin[after].before = before


@handler
def second_back(S: Any, sentinel: int) -> Any:
    """`lists.back` of the second of the two lists of `twin`."""
    return np.uint64(S.twin[sentinel].before)
