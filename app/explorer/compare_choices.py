"""The choices of the compare page, and the scenarios that they stand for. No Streamlit here."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from mltwin import InputError, Scenario
from mltwin.tomlfile import parse_value

from .safe import check_scenario

BASE = """\
system = "serving"
name = "base"

[workload]
requests = 2000
rate = 24.0

[model]
name = "llama-3.1-70b"

[cluster.mixed]
replicas = 4
gpu = "h100-sxm-80gb"
tp = 4

[slo]
ttft_ms = 500.0
tpot_ms = 50.0
"""
DEFAULTS: dict[str, Any] = {
    "base": BASE,
    "variants": ["policy.route = random"],
    "seeds": 5,
    "least": 1.0,
    "quantity": "",
}
MAX_VARIANTS, MAX_SEEDS = 3, 30
MAX_REQUESTS = 5_000_000
"""Requests of all runs of a comparison together."""
_LONGEST_NAME = 48
_SECTION = re.compile(r"^\s*\[", re.MULTILINE)
_WHOLE = re.compile(r"^\s*system\s*=", re.MULTILINE)


def scenarios(choices: Mapping[str, Any]) -> list[Scenario]:
    """The base, then each variant; their names all differ.

    Raises InputError for text that is no scenario, a field that does not exist, or more work than
    the explorer does.
    """
    base = _base(choices["base"])
    found = [base]
    for number, text in enumerate(_texts(choices["variants"]), start=1):
        variant = _variant(base, text, f"variant {number}")
        taken = {scenario.name for scenario in found}
        name = variant.name if variant.name not in taken else f"{variant.name} ({number})"
        found.append(variant.set("name", name))
    _check_work(found, choices["seeds"])
    return found


def changes_of(text: str, where: str) -> dict[str, Any]:
    """Changes written one a line, `field = value`, by dotted field.

    Raises InputError for a line that is no assignment.
    """
    changes: dict[str, Any] = {}
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        field, equals, value = bare.partition("=")
        if not equals or not field.strip() or not value.strip():
            raise InputError(
                f"{bare[:60]!r} is no change", where=where, mend="write one a line: field = value"
            )
        changes[field.strip()] = parse_value(value.strip())
    if not changes:
        raise InputError("changes nothing", where=where, mend="write one a line: field = value")
    return changes


def least_of(choices: Mapping[str, Any]) -> float:
    """The least difference that matters, as a share.

    Raises InputError for one that is none.
    """
    if not 0 < choices["least"] <= 100:
        raise InputError(
            f"{choices['least']} % is no difference", where="least", mend="choose 0.01 to 100"
        )
    return float(choices["least"]) / 100


def command_words(choices: Mapping[str, Any], files: Sequence[str]) -> list[str]:
    """`compare`, its files and options, as both the page and a reader run them.

    Raises InputError for more seeds than the explorer runs.
    """
    if not 1 <= choices["seeds"] <= MAX_SEEDS:
        raise InputError(
            f"{choices['seeds']} seeds", where="seeds", mend=f"choose 1 to {MAX_SEEDS}"
        )
    least = f"{100 * least_of(choices):g}%"
    return ["compare", *files, "--seeds", str(choices["seeds"]), "--least", least]


def python_of(found: Sequence[Scenario], choices: Mapping[str, Any]) -> str:
    """A script that makes the comparison and its report."""
    lines = ["import mltwin as mt", "", "scenarios = ["]
    lines += [f"    mt.Scenario.parse({scenario.data(full=False)!r})," for scenario in found]
    lines += [
        "]",
        f"compared = mt.compare(scenarios, seeds=range({choices['seeds']}))",
        f"print(compared.differences(least={least_of(choices):g}))",
        'compared.report("compared.html")',
    ]
    return "\n".join(lines) + "\n"


def _texts(variants: Any) -> list[str]:
    """The variants that hold text; one at least."""
    if not isinstance(variants, list) or not all(isinstance(text, str) for text in variants):
        raise InputError("is no list of texts", where="variants")
    texts = [text for text in variants if text.strip()]
    if not 1 <= len(texts) <= MAX_VARIANTS:
        raise InputError(
            f"{len(texts)} variants", where="variants", mend=f"write 1 to {MAX_VARIANTS}"
        )
    return texts


def _base(text: str) -> Scenario:
    scenario = _checked(_toml(text, "base"), "base")
    return scenario if scenario.name else scenario.set("name", "base")


def _variant(base: Scenario, text: str, where: str) -> Scenario:
    """A whole scenario (it has a `system`), part of one (it has a section), or changes by line."""
    if _WHOLE.search(text):
        scenario = _checked(_toml(text, where), where)
        return scenario if scenario.name else scenario.set("name", where)
    if _SECTION.search(text):
        part = _toml(text, where)
        named = part.get("name", where)
        return _checked(_merged(base.data(full=False), part), where).set("name", named)
    changes = changes_of(text, where)
    try:
        changed = base.changed(changes)
    except InputError as error:
        raise InputError(error.message, where=f"{where}: {error.where}", mend=error.mend) from None
    scenario = _checked(changed.data(full=False), where)
    return scenario if "name" in changes else scenario.set("name", _name(changes))


def _checked(data: Mapping[str, Any], where: str) -> Scenario:
    try:
        return check_scenario(data)
    except InputError as error:
        place = f"{where}: {error.where}" if error.where else where
        raise InputError(error.message, where=place, mend=error.mend) from None


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(
            f"is not TOML: {error}", where=where, mend="write it as in a scenario file"
        ) from None


def _merged(data: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """The data with the part's values in the place of its own, table by table."""
    out = dict(data)
    for key, value in part.items():
        mine = out.get(key)
        nested = isinstance(value, Mapping) and isinstance(mine, Mapping)
        out[key] = _merged(mine, value) if nested else value  # type: ignore[arg-type]
    return out


def _name(changes: Mapping[str, Any]) -> str:
    parts = [f"{field.rpartition('.')[2]} = {value}" for field, value in changes.items()]
    text = ", ".join(parts)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def _check_work(found: Sequence[Scenario], seeds: int) -> None:
    each = [s.data().get("workload", {}).get("requests", 0) for s in found]
    total = seeds * sum(n for n in each if isinstance(n, int))
    if total > MAX_REQUESTS:
        raise InputError(
            f"{total:,} requests in all are more than the explorer runs",
            where="seeds",
            mend=f"ask for at most {MAX_REQUESTS:,}: fewer seeds, or workload.requests",
        )
