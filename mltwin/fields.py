"""Checked sections of a scenario, and how a bad value is told: one line with the dotted path.

A `Section` is a frozen pydantic model that takes no unknown keys. `build` makes one from plain
data and turns pydantic's report into one `InputError` with a "did you mean".
"""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mltwin.sim.errors import InputError

Spec = str | dict[str, Any]
"""A name, or a table with `name` and parameters (or `file`)."""


class Section(BaseModel):
    """Base of scenarios and their parts: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        # `model` is what an LLM is called here.
        protected_namespaces=(),
    )


Model = TypeVar("Model", bound=BaseModel)


def build(cls: type[Model], data: Mapping[str, Any], *, where: str | None = None) -> Model:
    """An instance of cls from plain data (as TOML or JSON gives it).

    Raises InputError for the first bad field: its dotted path, the value and the mend.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise _retold(cls, error, where) from None
    except InputError as error:  # from a check of the whole section
        raise placed(error, where) from None


def placed(error: InputError, where: str | None) -> InputError:
    """The same error with the place where it was found put first."""
    place = ": ".join(part for part in (where, error.where) if part)
    return InputError(error.message, where=place or None, mend=error.mend)


def close_to(word: str, known: Iterable[str]) -> str:
    """How to mend an unknown word: the nearest known one, and all if they are few."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else ""


def _retold(cls: type[BaseModel], error: ValidationError, where: str | None) -> InputError:
    reports = error.errors(include_url=False)
    # An unknown key explains a missing one, so it is told first.
    report = min(reports, key=lambda r: r["type"] != "extra_forbidden")
    loc = _steps(report)
    path = ".".join(str(part) for part in loc)
    message, mend = _told(cls, report, loc)
    if more := len({_steps(other) for other in reports}) - 1:
        mend += f" (and {more} more)" if mend else f"{more} more error{'s' if more > 1 else ''}"
    place = ": ".join(part for part in (where, path) if part)
    return InputError(message, where=place or None, mend=mend or None)


def _steps(report: Any) -> tuple[Any, ...]:
    """Where an error is; the members of a union all tell the same place."""
    return tuple(part for part in report["loc"] if not _is_union_tag(part))


def _told(cls: type[BaseModel], report: Any, loc: tuple[Any, ...]) -> tuple[str, str]:
    """What is wrong with one field, and the mend."""
    kind, given, context = report["type"], report["input"], report.get("ctx") or {}
    if kind == "extra_forbidden":
        return "unknown key", close_to(str(loc[-1]), _fields_at(cls, loc[:-1]))
    if kind == "missing":
        return "is missing", "give it a value"
    if kind == "literal_error":
        choices = [c.strip("' ") for c in context["expected"].replace(" or ", ", ").split(",")]
        return f"unknown value {given!r}", close_to(str(given), choices)
    if kind in ("value_error", "assertion_error"):
        cause = context.get("error")
        if isinstance(cause, InputError):
            return cause.message, cause.mend or ""
        return str(cause), ""
    if kind == "list_type" and isinstance(given, Mapping):
        return "is one table where there may be several", f"write [[{loc[-1]}]], in two brackets"
    text = report["msg"].removeprefix("Input ")
    return f"{given!r:.80} {text[:1].lower()}{text[1:]}", ""


def _is_union_tag(part: Any) -> bool:
    """Whether a step of pydantic's location names a member of a union, not a key."""
    return isinstance(part, str) and (part in _TAGS or "[" in part)


_TAGS = {
    "str", "int", "float", "bool", "none", "Section",
    "constrained-str", "constrained-int", "constrained-float",
}  # fmt: skip


def _fields_at(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Names of the keys that the section at a location takes."""
    here: Any = cls
    for step in loc:
        if isinstance(step, str) and (found := _model_named(here, step)):
            here = found
            continue
        model = _model_in(here)
        if model is not None and step in model.model_fields:
            here = model.model_fields[step].annotation
        elif typing.get_origin(here) in (dict, list, tuple):
            here = typing.get_args(here)[-1]
    model = _model_in(here)
    fields = {} if model is None else model.model_fields
    return [field.alias or name for name, field in fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model among the members of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for member in typing.get_args(annotation):
            if (found := _model_in(member)) is not None:
                return found
    return None


def _model_named(annotation: Any, name: str) -> type[BaseModel] | None:
    """The model of that class name in a union (pydantic puts it into the location)."""
    model = _model_in(annotation)
    return model if model is not None and model.__name__ == name else None
