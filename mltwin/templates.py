"""Files to start from: a commented scenario, a policy of ten lines, the JSON schema."""

import json
import re
import types
import typing
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mltwin.sim.errors import InputError

from .fields import close_to
from .scenario import system_class
from .tomlfile import write_value


class Answer(NamedTuple):
    """A template's function: its name, docstring, parameters and body."""

    name: str
    text: str
    params: dict[str, float]
    body: str


# What each hook's template answers, as plain code.
_ANSWERS = {
    "admit": Answer(
        "admit_short",
        "Accept requests of at most `limit` prompt tokens.",
        {"limit": 8192.0},
        """\
    if request.prompt <= params[0]:
        return 1
    return 0""",
    ),
    "route": Answer(
        "first_below",
        "The first replica with fewer than `limit` requests, else the last one.",
        {"limit": 64.0},
        """\
    chosen = -1
    for i in range(len(replicas)):
        if replicas[i].state == UP and (replicas[i].role & PREFILL_ROLE) != 0:
            chosen = i
            if replicas[i].outstanding < params[0]:
                return i
    return chosen""",
    ),
    "place_decode": Answer(
        "stay_if_short",
        "Outputs of at most `limit` tokens decode where they are, others move.",
        {"limit": 64.0},
        """\
    if request.predicted <= params[0]:
        return ctx.replica
    best = -1
    for i in range(len(replicas)):
        if replicas[i].state == UP and (replicas[i].role & DECODE_ROLE) != 0:
            if best < 0 or replicas[i].outstanding < replicas[best].outstanding:
                best = i
    return best if best >= 0 else ctx.replica""",
    ),
    "priority": Answer(
        "weighted_length",
        "Shorter requests first; an output token counts `weight` times.",
        {"weight": 2.0},
        """\
    return request.prompt + params[0] * request.predicted""",
    ),
    "preempt": Answer(
        "largest_first",
        "The largest request yields; a token it has made counts `weight` times.",
        {"weight": 1.0},
        """\
    return request.prompt + params[0] * request.generated""",
    ),
    "evict": Answer(
        "cold_first",
        "The least recently used block goes first; a hit counts as `weight` seconds.",
        {"weight": 60.0},
        """\
    return ctx.now + params[0] * 1e12 * block.hits""",
    ),
    "scale": Answer(
        "start_when_queued",
        "Start a stopped replica when more than `limit` requests wait.",
        {"limit": 16.0},
        """\
    waiting = 0
    stopped = -1
    for i in range(len(replicas)):
        waiting += replicas[i].waiting
        if replicas[i].state == STOPPED:
            stopped = i
    if ctx.event == 0 and stopped >= 0 and waiting > params[0]:
        return START * ACTION + stopped
    return 0""",
    ),
    "evict_object": Answer(
        "recent_and_popular",
        "The least recently used object goes first; a past hit counts as `weight` later requests.",
        {"weight": 100.0},
        """\
    return ctx.clock + params[0] * object.hits""",
    ),
}
_IMPORTS = {
    "route": ["PREFILL_ROLE", "UP"],
    "place_decode": ["DECODE_ROLE", "UP"],
    "scale": ["ACTION", "START", "STOPPED"],
}


def policy_template(hook: str) -> str:
    """A complete small policy for a hook, to change.

    Raises InputError for an unknown hook.
    """
    from mltwin.policies.hooks import HOOKS

    if hook not in HOOKS:
        raise InputError(f"no hook {hook!r}", mend=close_to(hook, HOOKS))
    name, text, params, body = _ANSWERS[hook]
    lines = ["from mltwin.policies import policy", "", ""]
    if hook in _IMPORTS:
        lines.insert(0, f"from mltwin.models.serving.hooks import {', '.join(_IMPORTS[hook])}")
    read = [a if _reads(a, body) else f"_{a}" for a in HOOKS[hook].arguments]
    lines += [
        f'@policy("{hook}", params={json.dumps(params)})',
        f"def {name}({', '.join(read)}):",
        f'    """{text}"""',
        body,
        "",
    ]
    return "\n".join(lines)


def _reads(argument: str, body: str) -> bool:
    return re.search(rf"\b{argument}\b", body) is not None


def scenario_template(system: str = "serving") -> str:
    """A commented TOML scenario: every field with its default and its meaning.

    What has no default is commented out. The text is a valid scenario as it stands.
    """
    cls = system_class(system)
    lines = [f"# A {system} scenario of mltwin: `mltwin run THIS_FILE`.", f'system = "{system}"']
    sections, lists = [], []
    for name, field in cls.model_fields.items():
        if name == "system":
            continue
        section, member = _section(field), _listed(field)
        if member is not None:
            lists.append((name, field, member))
        elif section is not None:
            sections.append((name, field, section))
        else:
            lines.append(_line(name, field))
    for name, field, section in sections:
        lines += ["", *_section_lines(name, field, section)]
    for name, field, member in lists:
        lines += ["", *_list_lines(name, field, member)]
    return "\n".join(lines) + "\n"


def _listed(field: FieldInfo) -> type[BaseModel] | None:
    """The section class of a field that is a list of them."""
    annotation: Any = field.annotation
    if typing.get_origin(annotation) is not list:
        return None
    member = typing.get_args(annotation)[0]
    return member if isinstance(member, type) and issubclass(member, BaseModel) else None


def _list_lines(name: str, field: FieldInfo, section: type[BaseModel]) -> list[str]:
    """The tables of a list; of an empty one a table that is commented out."""
    lines = [f"# {(section.__doc__ or '').strip().splitlines()[0]} There may be several."]
    for item in field.get_default(call_default_factory=True):
        lines += [f"[[{name}]]", *_fields(section, item)]
    if len(lines) > 1:
        return lines
    lines.append(f"# [[{name}]]")
    for key, member in section.model_fields.items():
        line = _line(key, member, None if member.is_required() else _UNSET)
        lines.append(line if line.startswith("#") else f"# {line}")
    return lines


def _section_lines(name: str, field: FieldInfo, section: type[BaseModel]) -> list[str]:
    instance = field.get_default(call_default_factory=True)
    doc = (section.__doc__ or "").strip().splitlines()[0]
    if instance is None:
        lines = _fields(section, section())
        return [f"# {doc}", f"# [{name}]", *(f"# {line.removeprefix('# ')}" for line in lines)]
    if isinstance(instance, dict):
        lines = [f"# {doc} {field.description or ''}".rstrip()]
        for key, value in instance.items():
            lines += [f"[{name}.{key}]", *_fields(section, value)]
        return lines
    return [f"# {doc}", f"[{name}]", *_fields(section, instance)]


def _fields(section: type[BaseModel], instance: BaseModel) -> list[str]:
    return [
        _line(name, field, getattr(instance, name)) for name, field in section.model_fields.items()
    ]


_UNSET: Any = object()


def _line(name: str, field: FieldInfo, value: Any = _UNSET) -> str:
    """One field: its value, or a commented line that says what goes there."""
    if value is _UNSET:
        value = field.get_default(call_default_factory=True)
    described = f"  # {field.description}" if field.description else ""
    if value is None or value in ({}, []):
        return f"# {name} = {_placeholder(field.annotation)}{described}"
    return f"{name} = {write_value(_inline(value))}{described}"


def _inline(value: Any) -> Any:
    """A value as TOML writes it in one line: sections as tables, without what is not set."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return [_inline(item) for item in value] if isinstance(value, list) else value


def _placeholder(annotation: Any) -> str:
    names = {int: "<integer>", float: "<number>", str: "<text>", bool: "<true or false>"}
    members = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    member = next(m for m in members if m is not type(None))
    origin = typing.get_origin(member)
    if origin is typing.Literal:
        return "<" + " or ".join(str(v) for v in typing.get_args(member)) + ">"
    if origin is list:
        return "[...]"
    return "{ ... }" if origin is dict else names.get(member, "<value>")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The section class of a field that is one, or a dict of them."""
    annotation: Any = field.annotation
    if typing.get_origin(annotation) is dict:
        annotation = typing.get_args(annotation)[1]
    members = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    for member in members:
        if isinstance(member, type) and issubclass(member, BaseModel):
            return member
    return None


def scenario_schema(system: str = "serving") -> dict[str, Any]:
    """The JSON schema of a system's scenarios, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | system_class(
        system
    ).model_json_schema()


def write_new(path: str | Path, text: str, *, force: bool = False) -> Path:
    """Write a text to a file that does not exist yet (`force`: or does).

    Raises InputError where it exists or cannot be written.
    """
    target = Path(path)
    try:
        with open(target, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError("exists already", where=str(target), mend="pass --force") from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return target
