"""Ranges of the parameters of policies, and parts of a whole."""

from typing import Any

from mltwin.sim.errors import InputError


def within(policy: Any, **ranges: tuple[float, float]) -> None:
    """Refuse parameters of a policy that are out of their ranges (ends included).

    Raises:
        InputError: the first that is, or is not a number.
    """
    for name, (low, high) in ranges.items():
        value = getattr(policy, name)
        if not low <= value <= high:
            raise InputError(f"{name} is {value}", mend=f"give {low:g} to {high:g}")


def part(fraction: float, count: int) -> int:
    """floor(fraction * count), 29 for 0.29 of 100 too."""
    return int(fraction * count + 1e-9)


def one_of(policy: Any, name: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is none of the known ones (InputError)."""
    value = getattr(policy, name)
    if value not in known:
        raise InputError(f"{name} is {value!r}", mend=f"choose one of {', '.join(known)}")
