"""The choices of the serving page, and the scenario that they stand for. No Streamlit here."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mltwin import InputError

UPLOAD = "upload:"
"""Begins the choice of a visitor's own trace, before the name of the stored file."""
POOL = {"replicas": 4, "gpu": "h100-sxm-80gb", "tp": 4, "engine": "vllm_v1"}
DEFAULTS: dict[str, Any] = {
    "trace": "azure-conv-synthetic",
    "rate": 24.0,
    "requests": 5000,
    "arrivals": "trace",
    "burstiness": 1.0,
    "model": "llama-3.1-70b",
    "split": False,
    "mixed": POOL,
    "prefill": POOL | {"replicas": 2},
    "decode": POOL | {"replicas": 2},
    "prefix_caching": False,
    "policies": {},
    "ttft_ms": 500.0,
    "tpot_ms": 50.0,
    "e2e_ms": 0.0,
    "price": 2.5,
    "seed": 0,
    "error_bars": 0,
    "more": "",
}
MAX_BARS = 50

EXAMPLES: dict[str, dict[str, Any]] = {
    "70B on 16 H100, shared": {},
    "70B on 16 H100, prefill and decode apart": {"split": True},
    "8B on 4 H100": {
        "model": "llama-3.1-8b",
        "rate": 70.0,
        "mixed": POOL | {"tp": 1},
    },
    "Sessions with prefix caching": {
        "trace": "mooncake-conv-synthetic",
        "rate": 2.5,
        "requests": 3000,
        "prefix_caching": True,
        "policies": {"route": "prefix_affinity"},
        "ttft_ms": 5000.0,
        "tpot_ms": 100.0,
    },
    "A burst meets a queue limit": {
        "rate": 30.0,
        "arrivals": "gamma",
        "burstiness": 0.05,
        "policies": {"admit": {"name": "queue_limit", "limit": 10.0}},
    },
}
"""Starting points: a name and what differs from the defaults."""


def pool_names(choices: Mapping[str, Any]) -> tuple[str, ...]:
    """The pools in use."""
    return ("prefill", "decode") if choices["split"] else ("mixed",)


def policy_of(chosen: Any) -> tuple[str, dict[str, float]]:
    """Name and parameters of a policy as a scenario has it; "" where it has neither."""
    if isinstance(chosen, Mapping):
        params = {k: v for k, v in chosen.items() if k != "name" and isinstance(v, int | float)}
        return str(chosen.get("name", "")), params
    return (chosen, {}) if isinstance(chosen, str) else ("", {})


def scenario_data(
    choices: Mapping[str, Any], uploads: Mapping[str, Path], *, shown: bool = False
) -> dict[str, Any]:
    """The scenario's plain data.

    Args:
        choices: of the page.
        uploads: this visitor's files by the names they had.
        shown: name an uploaded trace as the visitor knows it, for TOML to take along.

    Raises InputError for an upload that is not this visitor's, or text that is no TOML.
    """
    workload = {"trace": _trace(choices["trace"], uploads, shown)}
    workload |= {key: choices[key] for key in ("rate", "requests", "arrivals")}
    if choices["arrivals"] == "gamma":
        workload["burstiness"] = choices["burstiness"]
    cluster = {}
    for name in pool_names(choices):
        cluster[name] = {**DEFAULTS[name], **_table(choices[name], name)}
        if choices["price"] > 0:
            cluster[name]["dollars_per_gpu_hour"] = choices["price"]
    limits = {key: choices[key] for key in ("ttft_ms", "tpot_ms", "e2e_ms") if choices[key] > 0}
    data = {
        "system": "serving",
        "name": "serving",
        "seed": choices["seed"],
        "workload": workload,
        "model": {"name": choices["model"]},
        "cluster": cluster,
        "policy": dict(_table(choices["policies"], "policies")),
        "slo": limits,
        "prefix_caching": choices["prefix_caching"],
    }
    return _merged(data, more_of(choices["more"]))


def more_of(text: str) -> dict[str, Any]:
    """What a visitor wrote as TOML beyond the controls.

    Raises InputError where it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(
            f"is not TOML: {error}", where="more fields", mend="write it as in a scenario file"
        ) from None


def command_words(choices: Mapping[str, Any]) -> list[str]:
    """Options of `mltwin run` that are no part of the scenario.

    Raises InputError for more draws than the explorer makes.
    """
    bars = choices["error_bars"]
    if not 0 <= bars <= MAX_BARS:
        raise InputError(
            f"{bars} draws cannot be made", where="error bars", mend=f"choose 0 to {MAX_BARS}"
        )
    return ["--error-bars", str(bars)] if bars else []


def label_of(choices: Mapping[str, Any]) -> str:
    """A few words that tell this view from the page's defaults."""
    parts = []
    for name, value in choices.items():
        if value == DEFAULTS[name]:
            continue
        if isinstance(value, Mapping):
            changed = {k: v for k, v in value.items() if v != DEFAULTS[name].get(k)}
            parts += [f"{name} {k.replace('_', ' ')} {_word(v)}" for k, v in changed.items()]
        else:
            parts.append(name.replace("_", " ") if value is True else f"{name} {_word(value)}")
    return ", ".join(parts[:6]) or "defaults"


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("name", "changed"))
    return f"{value:g}" if isinstance(value, float) else str(value)[:40]


def _trace(chosen: str, uploads: Mapping[str, Path], shown: bool) -> str:
    if not chosen.startswith(UPLOAD):
        return chosen
    stored = chosen.removeprefix(UPLOAD)
    for name, path in uploads.items():
        if path.name == stored:
            return name if shown else str(path)
    raise InputError(
        "was uploaded by someone else, or too long ago",
        where="workload.trace",
        mend="upload the file again",
    )


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError("is no table", where=name)
    return value


def _merged(data: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with those of `more` laid over them."""
    merged = dict(data)
    for key, value in more.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged
