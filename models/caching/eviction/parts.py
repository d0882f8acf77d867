"""Small pieces that several policies share."""

from typing import Any

from mltwin.models.caching.tables import NONE
from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler


def check_share(name: str, value: float, most: float = 1.0) -> float:
    """A parameter that must lie within 0 ... most. InputError where it does not."""
    if not 0.0 <= value <= most:
        raise InputError(
            f"{name} = {value:g} is not within 0 ... {most:g}", where=f"eviction.{name}"
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
def is_ghost(S: Any, x: Any) -> bool:
    """Whether absent x is in a list, hence a ghost.

    For policies that use no list 0, so that a link is never 0, and that clear `next` of a row that
    is in none.
    """
    return S.node[x].next != NONE
