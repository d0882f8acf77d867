"""Base of the small checked descriptions (specs) that generators are made from."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mltwin.sim.errors import InputError

T = TypeVar("T")


class Spec(BaseModel):
    """Unknown keys, NaN and infinities are refused; a spec cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def checked(adapter: TypeAdapter[T], value: Mapping[str, Any] | Spec, where: str) -> T:
    """The spec that `value` describes. Raises InputError naming the first wrong key and why."""
    try:
        data = value.model_dump() if isinstance(value, Spec) else dict(value)
        return adapter.validate_python(data)
    except (TypeError, ValueError) as wrong:
        if not isinstance(wrong, ValidationError):
            raise InputError(f"is no spec ({wrong})", where=where) from None
        first = wrong.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        shown = repr(first.get("input"))[:60]
        raise InputError(
            f"{first['msg']}, not {shown}",
            where=f"{where}.{place}" if place else where,
            mend="correct the spec",
        ) from None
