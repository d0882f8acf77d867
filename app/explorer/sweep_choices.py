"""The choices of the sweep page, and the study that they stand for. No Streamlit here."""

import base64
import hashlib
import pprint
import tomllib
from collections.abc import Mapping
from typing import Any

from mltwin import InputError, Scenario
from mltwin.sweeps.study import Study, make_study
from mltwin.tomlfile import parse_value, write_toml, write_value

from .safe import check_scenario

BASE = """\
system = "serving"
name = "base"

[workload]
requests = 2000
arrivals = "poisson"

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
    "kind": "grid",
    "field1": "workload.rate",
    "values1": "{ from = 8.0, to = 48.0, steps = 6 }",
    "field2": "policy.route",
    "values2": "least_requests, round_robin",
    "points": 20,
    "seeds": 3,
    "metric": "",
}
KINDS = {
    "grid": "all combinations",
    "lhs": "a Latin hypercube of so many points",
    "random": "so many random points",
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "Load against routing": {},
    "GPUs a replica against load": {
        "field1": "workload.rate",
        "values1": "8.0, 16.0, 24.0, 32.0",
        "field2": "cluster.mixed.tp",
        "values2": "2, 4, 8",
    },
    "Batch size against tokens of an iteration": {
        "field1": "cluster.mixed.max_batch",
        "values1": "{ from = 16, to = 512, steps = 6, scale = 'log' }",
        "field2": "cluster.mixed.max_tokens",
        "values2": "{ from = 1024, to = 16384, steps = 5, scale = 'log' }",
    },
    "One field alone": {"field2": "", "values2": ""},
}
"""Starting points: a name and what differs from the defaults."""

FIELDS = (
    *("workload.rate", "workload.burstiness", "workload.requests", "policy.route"),
    *("policy.priority", "policy.admit", "cluster.mixed.replicas", "cluster.mixed.tp"),
    *("cluster.mixed.gpu", "cluster.mixed.max_batch", "cluster.mixed.max_tokens"),
    *("cluster.mixed.gpu_memory_utilization", "model.quantisation", "network.bandwidth_gbps"),
)
"""Fields of a serving scenario that are offered; any other may be typed."""
MAX_RUNS, MAX_SEEDS, MAX_POINTS = 600, 20, 200
MAX_REQUESTS = 20_000_000
"""Requests of all runs of a sweep together."""


def study_of(choices: Mapping[str, Any]) -> Study:
    """The checked study of the page's choices.

    Raises InputError for text that is no scenario, fields or values that do not fit, anything that
    the explorer does not run, or more work than it does.
    """
    base = _base(choices["base"])
    study = make_study(base, space_of(choices), seeds=_seeds(choices["seeds"]), where="the study")
    if study.runs > MAX_RUNS:
        raise InputError(
            f"{study.runs:,} runs are more than the explorer makes",
            where="the study",
            mend=f"ask for at most {MAX_RUNS}, or use the command line",
        )
    for scenario in study.scenarios:
        check_scenario(scenario.data())
    _check_work(study)
    return study


def space_of(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The space as plain data (`mltwin.sweeps.spaces`).

    Raises InputError for values that are neither a list nor a range.
    """
    fields = {
        str(choices[f"field{i}"]).strip(): values_of(choices[f"values{i}"], f"values {i}")
        for i in (1, 2)
        if str(choices[f"field{i}"]).strip()
    }
    if choices["kind"] not in KINDS:
        raise InputError(f"unknown kind {str(choices['kind'])[:40]!r}", where="points")
    if choices["kind"] == "grid":
        return {"grid": fields}
    points = choices["points"]
    if not 1 <= points <= MAX_POINTS:
        raise InputError(f"{points} points", where="points", mend=f"choose 1 to {MAX_POINTS}")
    return {choices["kind"]: {"points": points, **fields}}


def store_name(visitor: str, toml: str) -> str:
    """The name of a visitor's folder for a study, in the form of `workspace.new_token`: the same
    after a cancel or a reload, so that a sweep goes on; nobody else can name it.

    Args:
        visitor: the unguessable token of the visitor's own files.
        toml: the study.
    """
    digest = hashlib.sha256(f"{visitor}\n{toml}".encode()).digest()
    return base64.urlsafe_b64encode(digest)[:22].decode()


def values_of(text: str, where: str) -> Any:
    """Values as they are typed: `1, 2, 4`, or a range as in a study file, `{ from = 1, .. }`.

    Raises InputError where it is neither.
    """
    bare = text.strip()
    if not bare:
        raise InputError("there are none", where=where, mend="write values with commas between")
    if bare.startswith(("{", "[")):
        try:
            return tomllib.loads(f"values = {bare}")["values"]
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(
                f"is no range: {error}",
                where=where,
                mend="write { from = 1, to = 8, steps = 4 }",
            ) from None
    return [parse_value(part.strip()) for part in bare.split(",") if part.strip()]


def study_toml(study: Study, choices: Mapping[str, Any]) -> str:
    """The study as a file of `mltwin sweep`."""
    head = write_toml({"seeds": choices["seeds"], "scenario": study.base.data(full=False)})
    lines = [head]
    for kind, table in space_of(choices).items():
        lines.append(f"[{kind}]")
        # One a line: a table of its own for a range would change the order of the fields.
        lines += [f"{write_value(field)} = {write_value(spec)}" for field, spec in table.items()]
    return "\n".join(lines) + "\n"


def python_of(study: Study, choices: Mapping[str, Any]) -> str:
    """A script that makes the sweep and prints what the command line prints."""
    base = pprint.pformat(study.base.data(full=False), width=80, sort_dicts=False)
    space = pprint.pformat(space_of(choices), width=80, sort_dicts=False)
    return (
        "import mltwin as mt\n\n"
        f"base = mt.Scenario.parse(\n{_indented(base)}\n)\n"
        f"space = {space}\n"
        f"found = mt.sweep(base, space, seeds={choices['seeds']})\n"
        "print(found.table())\n"
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _base(text: str) -> Scenario:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"is not TOML: {error}", where="base") from None
    return check_scenario(data)


def _seeds(seeds: int) -> int:
    if not 1 <= seeds <= MAX_SEEDS:
        raise InputError(f"{seeds} seeds", where="seeds", mend=f"choose 1 to {MAX_SEEDS}")
    return seeds


def _check_work(study: Study) -> None:
    asked = sum(_requests(scenario.data()) for scenario in study.scenarios) * len(study.seeds)
    if asked > MAX_REQUESTS:
        raise InputError(
            f"{asked:,} requests in all are more than the explorer simulates",
            where="the study",
            mend=f"ask for at most {MAX_REQUESTS:,}, or use the command line",
        )


def _requests(data: Mapping[str, Any]) -> int:
    """Requests of one run, where the scenario says how many."""
    workload = data.get("workload")
    found = workload.get("requests") if isinstance(workload, Mapping) else None
    return found if isinstance(found, int) else 0
