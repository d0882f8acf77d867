"""Widgets made from the fields of a scenario: their bounds, choices and help are the field's."""

import types
import typing
from collections.abc import Sequence
from typing import Any

from mltwin import InputError


def field_info(scenario_cls: type, path: str) -> Any:
    """The pydantic field at a dotted path; the name of a pool stands for any pool.

    Raises InputError for a path that the class does not have.
    """
    here: Any = scenario_cls
    info: Any = None
    for step in path.split("."):
        if info is not None and typing.get_origin(info.annotation) is dict:
            info = None  # the step is a name in a table, such as that of a pool
            continue
        fields = getattr(here, "model_fields", {})
        if step not in fields:
            raise InputError(f"{scenario_cls.__name__} has no field {path!r}", where=path)
        info = fields[step]
        here = _model_of(info.annotation)
    return info


def _model_of(annotation: Any) -> Any:
    """The section that an annotation names, also as the value of a table or a list."""
    if hasattr(annotation, "model_fields"):
        return annotation
    for part in typing.get_args(annotation):
        if (found := _model_of(part)) is not None:
            return found
    return None


def bounds(info: Any) -> tuple[Any, Any]:
    """Least and greatest value of a field; None where it has no bound. An open bound is told as
    it stands."""
    low = high = None
    for rule in info.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", None)) if low is None else low
        high = getattr(rule, "le", getattr(rule, "lt", None)) if high is None else high
    return low, high


def choices_of(annotation: Any) -> list[Any]:
    """The values of a Literal in an annotation; [] if it has none."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [c for part in typing.get_args(annotation) for c in choices_of(part)]
    return []


def label_of(path: str) -> str:
    """A label from a field's name: `workload.think_s` gives "Think (s)"."""
    name = path.rpartition(".")[2]
    for suffix, unit in (("_s", "s"), ("_ms", "ms"), ("_us", "us"), ("_gbps", "Gbit/s")):
        if name.endswith(suffix):
            name = f"{name.removesuffix(suffix)} ({unit})"
            break
    text = name.replace("_", " ")
    return text if text.isupper() else text[:1].upper() + text[1:]


def field(
    scenario_cls: type,
    path: str,
    value: Any,
    *,
    label: str | None = None,
    kind: str | None = None,
    choices: Sequence[Any] | None = None,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    format_func: Any = str,
    key: str,
) -> Any:
    """A widget for a field of a scenario; the value that the visitor chose.

    Args:
        scenario_cls: `ServingScenario`, say.
        path: dotted, as `Scenario.set` takes it.
        value: what it shows first (and returns until it is changed).
        label: else from the field's name.
        kind: "slider", "number", "select", "toggle" or "text"; else by the field's type.
        choices: of a select, else the field's literal values.
        low, high, step: narrower than the field's own bounds, for a slider's sake; a value beyond
            them widens them.
        format_func: how a choice is shown.
        key: of the widget: `view.key(...)`.
    """
    import streamlit as st

    info = field_info(scenario_cls, path)
    name, help_text = label or label_of(path), info.description
    options = list(choices) if choices is not None else choices_of(info.annotation)
    least, most = bounds(info)
    low, high = least if low is None else low, most if high is None else high
    chosen = kind or ("select" if options else _kind_of(value))
    if chosen == "toggle":
        return st.toggle(name, bool(value), key=key, help=help_text)
    if chosen == "select":
        shown = options if value in options else [value, *options]
        return st.selectbox(
            name, shown, shown.index(value), key=key, help=help_text, format_func=format_func
        )
    if chosen == "text":
        return st.text_input(name, value or "", key=key, help=help_text)
    cast = int if isinstance(value, int) else float
    low = low if low is None else min(low, value)
    high = high if high is None else max(high, value)
    limits: dict[str, Any] = {
        "min_value": None if low is None else cast(low),
        "max_value": None if high is None else cast(high),
        "step": None if step is None else cast(step),
    }
    draw: Any = st.slider if chosen == "slider" else st.number_input
    return draw(name, value=value, key=key, help=help_text, **limits)


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "toggle"
    return "number" if value is None or isinstance(value, int | float) else "text"
