"""The choices of the planner, and what they stand for. No Streamlit here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mltwin import InputError, Scenario

from . import serving_choices
from .copies import python_of
from .safe import check_scenario

DEFAULTS: dict[str, Any] = {
    "trace": "azure-conv-synthetic",
    "rate": 24.0,
    "requests": 3000,
    "arrivals": "trace",
    "model": "llama-3.1-70b",
    "gpu": "h100-sxm-80gb",
    "tp": 4,
    "other": False,
    "decode_gpu": "h100-sxm-80gb",
    "decode_tp": 4,
    "bandwidth_gbps": 400.0,
    "ttft_ms": 500.0,
    "tpot_ms": 50.0,
    "share": 0.9,
    "price": 2.5,
    "most": 16,
    "seeds": 3,
}
MAX_REQUESTS, MAX_REPLICAS, MAX_SEEDS = 20_000, 64, 10

EXAMPLES: dict[str, dict[str, Any]] = {
    "Chat: 70B on H100, four GPUs a replica": {},
    "Impatient users: first token in 0.2 s": {"ttft_ms": 200.0, "tpot_ms": 30.0},
    "Small model: 8B on A100": {
        "model": "llama-3.1-8b",
        "gpu": "a100-sxm-80gb",
        "tp": 1,
        "rate": 60.0,
        "ttft_ms": 300.0,
        "tpot_ms": 30.0,
    },
    "Long prompts: Mooncake conversations": {
        "trace": "mooncake-conv-synthetic",
        "rate": 2.0,
        "requests": 1000,
        "ttft_ms": 5000.0,
        "tpot_ms": 100.0,
        "most": 32,
    },
}
"""Starting points: a name and what differs from the defaults."""


def scenario_of(
    choices: Mapping[str, Any], uploads: Mapping[str, Path], *, shown: bool = False
) -> Scenario:
    """The scenario whose clusters are sought: pools of one replica each.

    Args:
        choices: of the page.
        uploads: this visitor's files by the names they had.
        shown: name an uploaded trace as the visitor knows it, for TOML to take along.

    Raises InputError for what no visitor may run, or too much work for the explorer.
    """
    _check_work(choices)
    pool = serving_choices.POOL | {"replicas": 1}
    given = {name: choices[name] for name in serving_choices.DEFAULTS if name in choices}
    given |= {
        "split": choices["other"],
        "mixed": pool | {"gpu": choices["gpu"], "tp": choices["tp"]},
        "prefill": pool | {"gpu": choices["gpu"], "tp": choices["tp"]},
        "decode": pool | {"gpu": choices["decode_gpu"], "tp": choices["decode_tp"]},
    }
    data = serving_choices.scenario_data(
        {**serving_choices.DEFAULTS, **given}, uploads, shown=shown
    )
    data |= {"name": "plan", "network": {"bandwidth_gbps": choices["bandwidth_gbps"]}}
    return Scenario.parse(data) if shown else check_scenario(data, uploads=uploads)


def command_words(choices: Mapping[str, Any]) -> list[str]:
    """Options of `mltwin search plan`.

    Raises InputError for numbers that make no search.
    """
    if not 0 < choices["share"] <= 1:
        raise InputError(f"{choices['share']} is no share", where="share", mend="choose 0.5 to 1")
    most, seeds = str(choices["most"]), str(choices["seeds"])
    return ["--most", most, "--least", f"{choices['share']:g}", "--seeds", seeds]


def python_text(scenario: Scenario, choices: Mapping[str, Any]) -> str:
    """A script that makes the plan and its report."""
    head, _, _ = python_of(scenario).partition("result = ")
    options = ", ".join(
        f"{name}={value!r}"
        for name, value in (
            ("most", choices["most"]),
            ("least", choices["share"]),
            ("seeds", choices["seeds"]),
        )
    )
    return f'{head}found = mt.plan(scenario, {options})\nprint(found)\nfound.save("plan")\n'


def serving_view(
    choices: Mapping[str, Any], best: str, counts: Mapping[str, int]
) -> dict[str, Any]:
    """The choices of the serving page that show the answer.

    Args:
        choices: of the planner.
        best: the set-up that is the answer.
        counts: field of a pool's replicas to how many.
    """
    shown = {name: choices[name] for name in serving_choices.DEFAULTS if name in choices}
    shown["split"] = best != "colocated"
    for field, count in counts.items():
        name = field.split(".")[1]
        decode = name == "decode" and choices["other"]
        gpu, tp = ("decode_gpu", "decode_tp") if decode else ("gpu", "tp")
        shown[name] = serving_choices.POOL | {
            "replicas": count,
            "gpu": choices[gpu],
            "tp": choices[tp],
        }
    if choices["bandwidth_gbps"] != 400.0:
        shown["more"] = f"[network]\nbandwidth_gbps = {choices['bandwidth_gbps']}\n"
    return shown


def _check_work(choices: Mapping[str, Any]) -> None:
    for name, limit in (
        ("requests", MAX_REQUESTS),
        ("most", MAX_REPLICAS),
        ("seeds", MAX_SEEDS),
    ):
        if not 1 <= choices[name] <= limit:
            raise InputError(
                f"{choices[name]:,} is not from 1 to {limit:,}",
                where=name,
                mend="larger plans run from the command line",
            )
