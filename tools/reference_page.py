"""Writes docs/reference.md and docs/reference-{caches,training,federated}.md: scenario fields,
engines, policies and hooks, as the code states them.

`python tools/reference_page.py` writes the pages, `--check` says whether they are current.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from written_pages import write_pages

DOCS = Path(__file__).resolve().parent.parent / "docs"

_KINDS = {"i4": "int32", "i8": "int64", "f8": "float64"}


def cell(text: Any) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def rows(header: list[str], body: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def kind_of(field: dict[str, Any]) -> str:
    """What a schema field takes, in words."""
    if "enum" in field:
        return ", ".join(str(value) for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(
            kind_of(option) for option in field["anyOf"] if option != {"type": "null"}
        )
    if "$ref" in field:
        return "table"
    if field.get("type") == "array":
        return f"list of {kind_of(field.get('items', {}))}"
    names = {
        "object": "table",
        "string": "text",
        "boolean": "true/false",
        "integer": "whole number",
    }
    return names.get(field.get("type", ""), field.get("type", "any"))


def default_of(field: dict[str, Any]) -> str:
    """The default as TOML would write it; nothing for None and for tables."""
    value = field.get("default")
    if value is None or value == "" or isinstance(value, dict | list):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def fields(definition: dict[str, Any]) -> str:
    """Table of the fields of one section."""
    return rows(
        ["field", "takes", "default", "what"],
        [
            [f"`{name}`", kind_of(field), default_of(field), field.get("description", "")]
            for name, field in definition["properties"].items()
        ],
    )


def scenario_part() -> str:
    """Every section and field of a serving scenario."""
    from mltwin.serving import ServingScenario

    schema = ServingScenario.model_json_schema()
    sections = {
        "Workload": "[workload]",
        "LanguageModel": "[model]",
        "Pool": "[cluster.<name>], one table a pool",
        "Network": "[network]",
        "Policies": "[policy]",
        "Control": "[control]",
        "Failure": "[[control.failures]]",
        "Slo": "[slo]",
        "PrefixPool": "[prefix_pool]",
    }
    parts = ["## Scenario fields", "### Top level", fields(schema)]
    for name, title in sections.items():
        parts += [f"### `{title}`", fields(schema["$defs"][name])]
    return "\n\n".join(parts)


def engine_part() -> str:
    """The engine presets and their flags."""
    from mltwin.engines import PRESETS

    flags = {name: preset.model_dump() for name, (preset, _) in PRESETS.items()}
    columns = list(next(iter(flags.values())))
    body = [[f"`{name}`", *values.values()] for name, values in flags.items()]
    sources = "\n".join(f"- `{name}`: {cell(source)}" for name, (_, source) in PRESETS.items())
    return f"## Engines\n\n{rows(['engine', *columns], body)}\n\n{sources}"


def policy_part() -> str:
    """The hooks, and the policies that fill them."""
    from mltwin.policies import list_policies
    from mltwin.policies.hooks import HOOKS, system_of

    hooks = rows(
        ["hook", "system", "arguments", "decides"],
        [
            [f"`{h.name}`", system_of(h.name), ", ".join(h.arguments), h.decides]
            for h in HOOKS.values()
        ],
    )
    body = []
    for policy in list_policies(system=None):
        params = ", ".join(f"{name} = {value:g}" for name, value in policy.params.items())
        body.append([f"`{policy.hook}`", f"`{policy.name}`", policy.stability, params, policy.doc])
    policies = rows(["hook", "policy", "stability", "parameters", "what"], body)
    return f"## Hooks\n\n{hooks}\n\n## Policies\n\n{policies}"


def record_part() -> str:
    """What policies are given: the fields of each record, with the comments of the source."""
    from mltwin.policies.hooks import SYSTEMS

    sources = [Path(str(module.__file__)).read_text("utf-8") for module in SYSTEMS.values()]
    parts = ["## Records", "What the arguments of a policy hold, with units. All are read-only."]
    for block in re.findall(r"^[A-Z_]+ = record\((.*?)^\)", "\n".join(sources), re.S | re.M):
        name = re.search(r'"(\w+)"', block)
        fields = re.findall(r'\(\s*"(\w+)",\s*"(\w+)",?\s*\),?(?:[ ]*# (.*))?', block)
        assert name is not None and fields
        body = [[f"`{field}`", _KINDS[kind], comment] for field, kind, comment in fields]
        parts += [f"### {name[1]}", rows(["field", "type", "what"], body)]
    return "\n\n".join(parts)


def page() -> str:
    """The whole page."""
    head = (
        "# Fields, engines, policies\n\nMade by `python tools/reference_page.py` from the code; a "
        "test holds it current. What the words mean: [Scenarios and metrics](serving.md)."
    )
    return "\n\n".join([head, scenario_part(), engine_part(), policy_part(), record_part()]) + "\n"


def caches_page() -> str:
    """The systems of caches: their fields, and the eviction policies of object caches."""
    from mltwin.scenario import system_class, system_names

    parts = [
        "# Fields of caches\n\nMade by `python tools/reference_page.py` from the code; a test "
        "holds it current. What the words mean: the [how-to](how-to/index.md) and "
        "[theory](theory/index.md) pages.",
        eviction_part(),
    ]
    for name in system_names():
        cls = system_class(name)
        if not cls.__module__.startswith("mltwin.") or "cach" not in name:
            continue
        parts.append(system_part(name, cls.model_json_schema()))
    return "\n\n".join(parts) + "\n"


def training_page() -> str:
    """The systems of networks and training: topologies, and their fields."""
    from mltwin.scenario import system_class
    from mltwin.topologies import topology_table

    table = topology_table()
    body = [[f"`{name}`", about, f"`{parameters}`"] for name, about, parameters in table.rows]
    parts = [
        "# Fields of networks and training\n\nMade by `python tools/reference_page.py` from the "
        "code; a test holds it current. What the words mean: the [how-to](how-to/index.md) and "
        "[theory](theory/index.md) pages.",
        f"## Topologies\n\n{rows(table.columns, body)}",
    ]
    for name in ("network", "training", "training-run"):
        parts.append(system_part(name, system_class(name).model_json_schema()))
    return "\n\n".join(parts) + "\n"


def federated_page() -> str:
    """Federated learning: its fields, its policies, its laws of clients."""
    from mltwin.federated_catalogue import strategies
    from mltwin.federated_clients import laws_table
    from mltwin.scenario import system_class

    policies = strategies()
    body = [[kind, f"`{name}`", *rest] for kind, name, *rest in policies.rows]
    laws = laws_table()
    parts = [
        "# Fields of federated learning\n\nMade by `python tools/reference_page.py` from the code; "
        "a test holds it current. `mltwin fed strategies` and `mltwin fed clients --laws` print "
        "the tables of policies and laws.",
        system_part("federated", system_class("federated").model_json_schema()),
        f"## Policies\n\n{rows(policies.columns, body)}",
        f"## Laws of clients\n\n{rows(laws.columns, laws.rows)}",
    ]
    return "\n\n".join(parts) + "\n"


def eviction_part() -> str:
    """The eviction policies of object caches."""
    from mltwin.cache_shelf import eviction_table
    from mltwin.policies import list_policies

    scores = [policy.name for policy in list_policies("evict_object")]
    table = eviction_table()
    body = [[f"`{row[0]}`", *(cell or "" for cell in row[1:])] for row in table.rows]
    return (
        f"## Eviction policies\n\n{rows(table.columns, body)}\n\n"
        f"From `{scores[0]}` on they are scores, as your own may be: "
        "[Who leaves a cache](how-to/policy.md#who-leaves-a-cache)."
    )


def system_part(name: str, schema: dict[str, Any]) -> str:
    """All fields of a system, section by section."""
    parts = [f"## {name}", " ".join(str(schema.get("description", "")).split()), fields(schema)]
    for path, definition in _sections(schema, schema, ""):
        parts += [f"### {name}: `{path}`", fields(definition)]
    return "\n\n".join(part for part in parts if part)


def _sections(
    schema: dict[str, Any], definition: dict[str, Any], prefix: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables below a definition: where they stand in a file, and their fields."""
    for name, field in definition.get("properties", {}).items():
        for path, found in _tables(schema, field, f"{prefix}{name}"):
            yield path, found
            inner = path.strip("[]")
            yield from _sections(schema, found, f"{inner}.")


def _tables(
    schema: dict[str, Any], field: dict[str, Any], path: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The definitions that a field refers to, with the heading under which each stands."""
    if "$ref" in field:
        found = schema["$defs"][field["$ref"].rpartition("/")[2]]
        if "properties" in found:
            yield f"[{path}]", found
    for option in field.get("anyOf", []):
        yield from _tables(schema, option, path)
    for _, found in _tables(schema, field["items"], path) if "items" in field else ():
        yield f"[[{path}]]", found
    more = field.get("additionalProperties")
    if isinstance(more, dict):
        yield from _tables(schema, more, f"{path}.<name>")


PAGES = {
    "reference.md": page,
    "reference-caches.md": caches_page,
    "reference-training.md": training_page,
    "reference-federated.md": federated_page,
}


def main() -> int:
    """Write the pages, or with --check compare them."""
    return write_pages({DOCS / name: make for name, make in PAGES.items()})


if __name__ == "__main__":
    sys.exit(main())
