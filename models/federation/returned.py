"""What policies return, looked at before it is used: each mistake is one clear error."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .hooks import Updates

Array = npt.NDArray[Any]


def clients_from(policy: Any, given: Any) -> Array:
    """int32[n], the clients that a selection chose.

    Raises InputError: they are no whole numbers.
    """
    found = _numbers(given)
    if found is None or (found.dtype.kind not in "iu" and found.size and np.any(found % 1)):
        raise _wrong(policy, "choose", given, "return int32[<= count], numbers of clients")
    return found.astype(np.int32).reshape(-1)


def bytes_from(policy: Any, hook: str, given: Any, count: int) -> Array:
    """float64[n], the bytes that a codec says transfers have.

    Raises InputError: they are no numbers, or not as many as clients.
    """
    found = _numbers(given)
    if found is None or found.size not in (1, count) or not np.all(found >= 0):
        raise _wrong(policy, hook, given, f"return float64[{count}], 0 or more for each client")
    return np.broadcast_to(found.reshape(-1).astype(np.float64), (count,))


def updates_from(policy: Any, given: Any, before: Updates) -> Updates:
    """What a codec or an attack made of updates.

    Raises InputError: another number of updates or parameters.
    """
    delta = getattr(given, "delta", None)
    if not isinstance(delta, np.ndarray) or delta.shape != before.delta.shape:
        n, d = before.delta.shape
        told = given if delta is None else delta
        raise _wrong(policy, "apply", told, f"return Updates with delta float32[{n}, {d}]")
    return given


def change_from(policy: Any, given: Any, parameters: int) -> Array:
    """float64[d], the change that a rule of combination made of updates.

    Raises InputError: another number of parameters.
    """
    found = _numbers(given)
    if found is None or found.shape != (parameters,):
        raise _wrong(policy, "combine", given, f"return float64[{parameters}]")
    return found


def _numbers(given: Any) -> Array | None:
    try:
        found = np.asarray(given)
    except ValueError:  # rows of unequal length
        return None
    return found if found.dtype.kind in "iuf" else None


def _wrong(policy: Any, hook: str, given: Any, mend: str) -> InputError:
    what = (
        f"{given.dtype}{list(given.shape)}"
        if isinstance(given, np.ndarray) and given.size > 4
        else f"{given!r:.60}"
    )
    return InputError(f"returned {what}", where=f"{type(policy).__name__}.{hook}", mend=mend)
