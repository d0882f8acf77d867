"""What is on the shelf: traces, models, GPUs, policies, as tables and templates.

The command line and the explorer show these; a study rarely needs them.
"""

from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .fields import close_to
from .text import Table, show


def traces_table() -> Table:
    """The catalogue: name, requests, licence, and whether the trace is on this machine."""
    from mltwin.workloads.catalogue import info, list_traces, locate

    rows: list[list[Any]] = []
    for name in list_traces():
        entry = info(name)
        place = "shipped" if entry.synthetic else "here" if locate(name, verify=False) else "-"
        rows.append([name, entry.rows, place, entry.licence, entry.title])
    return Table(["trace", "requests", "where", "licence", "what"], rows)


def trace_info(name: str, seed: int = 0, **options: Any) -> Table:
    """Statistics of a trace (a name or a file), and where it comes from."""
    from mltwin.workloads.catalogue import open_trace

    trace = open_trace(name, seed=seed, **options)
    rows = pairs(trace.describe())
    rows += [["source", trace.source], *([f"meta.{k}", str(v)] for k, v in trace.meta.items())]
    return Table(["property", "value"], [[k, cut(v)] for k, v in rows], title=trace.name)


def fetch_trace(name: str) -> Path:
    """Download a trace of the catalogue from its owner; its local file."""
    from mltwin.workloads.catalogue import fetch

    return fetch(name)


def models_table() -> Table:
    """The shipped models: parameters, weights, KV bytes of a token."""
    from mltwin.models.llm import load_model, model_names

    rows: list[list[Any]] = []
    for name in model_names():
        model = load_model(name)
        rows.append(
            [
                name,
                model.parameters / 1e9,
                model.active_parameters / 1e9,
                model.weight_bytes / 1e9,
                model.kv_bytes_per_token(),
                model.max_context,
            ]
        )
    columns = ["model", "parameters (1e9)", "active (1e9)", "weights (GB)", "KV bytes/token"]
    return Table([*columns, "context"], rows)


def model_info(name: str) -> Table:
    """The shape of a model (a name or a config.json), and what follows from it."""
    from dataclasses import asdict

    from mltwin.models.llm import load_model

    model = load_model(name)
    rows = [[k, v] for k, v in pairs(asdict(model)) if k != "name" and v is not None]
    rows += [
        ["parameters", model.parameters],
        ["active_parameters", model.active_parameters],
        ["weight_bytes", model.weight_bytes],
        ["kv_bytes_per_token", model.kv_bytes_per_token()],
    ]
    return Table(["property", "value"], [[k, cut(v)] for k, v in rows], title=model.name)


def gpus_table() -> Table:
    """The shipped GPU profiles."""
    from mltwin.models.gpu.profile import load_profile, profile_names

    rows: list[list[Any]] = []
    for name in profile_names():
        facts = load_profile(name).facts
        rows.append(
            [
                name,
                facts.hbm_bytes / 1e9,
                facts.hbm_bandwidth / 1e9,
                facts.peak_flops.get("bfloat16", 0.0) / 1e12 or None,
                facts.tdp_w,
            ]
        )
    return Table(["gpu", "memory (GB)", "GB/s", "bf16 TFLOP/s", "TDP (W)"], rows)


def gpu_info(name: str) -> list[Table]:
    """Data-sheet facts of a GPU, and for each fitted operator where it came from and its error."""
    from dataclasses import asdict

    from mltwin.models.gpu.profile import load_profile

    profile = load_profile(name)
    facts = {"facts": asdict(profile.facts), "power": asdict(profile.power)}
    facts["host"] = asdict(profile.host)
    rows = [[k, cut(v)] for k, v in pairs(facts)]
    fits: list[list[Any]] = [
        [p.operator, p.software, p.rows, p.held_rows, 100 * p.median, 100 * p.p95, p.file]
        for p in profile.provenance
    ]
    columns = ["operator", "measured with", "rows", "held out", "error p50 %", "p95 %", "file"]
    return [
        Table(["property", "value"], rows, title=profile.name),
        Table(columns, fits, caption="errors are on the rows held out of the fit"),
    ]


def policies_table(hook: str | None = None) -> Table:
    """The built-in policies (of one hook)."""
    from mltwin.policies import defaults, list_policies

    if hook is not None:
        _check_hook(hook)
    usual = {p.name for p in defaults().values()}
    rows: list[list[Any]] = []
    best = set()
    for policy in list_policies(hook, system=None):
        params = ", ".join(f"{k} = {show(v)}" for k, v in policy.params.items())
        if policy.name in usual:
            best.add((len(rows), 1))
        rows.append([policy.hook, policy.name, params, policy.summary])
    columns = ["hook", "policy", "parameters", "what it does"]
    return Table(columns, rows, caption="the defaults stand out", best=best)


def policy_source(name: str) -> str:
    """The source of the built-in policies of a name (there may be one for several hooks)."""
    from mltwin.policies import list_policies

    every = list_policies(system=None)
    found = [p.source for p in every if p.name == name]
    if not found:
        raise InputError(f"no policy {name!r}", mend=close_to(name, {p.name for p in every}))
    return "\n\n".join(found)


def hooks_table() -> Table:
    """The decisions that a policy can make, system by system."""
    from mltwin.policies.hooks import HOOKS, system_of

    rows: list[list[Any]] = [
        [h.name, system_of(h.name), ", ".join(h.arguments), h.decides] for h in HOOKS.values()
    ]
    return Table(["hook", "system", "arguments", "decides"], rows)


def engines_table() -> Table:
    """The engine presets with their flags."""
    from .engines import PRESETS, Engine

    flags = list(Engine.model_fields)
    rows: list[list[Any]] = [
        [name, *(str(getattr(engine, flag)) for flag in flags)]
        for name, (engine, _) in PRESETS.items()
    ]
    notes = "; ".join(f"{name}: {text}" for name, (_, text) in PRESETS.items())
    return Table(["engine", *flags], rows, caption=notes)


def _check_hook(hook: str) -> None:
    from mltwin.policies.hooks import HOOKS

    if hook not in HOOKS:
        raise InputError(f"no hook {hook!r}", mend=close_to(hook, HOOKS))


def pairs(data: dict[str, Any], prefix: str = "") -> list[list[Any]]:
    """Nested data as dotted names and values."""
    rows: list[list[Any]] = []
    for key, value in data.items():
        if isinstance(value, dict) and value:
            rows += pairs(value, f"{prefix}{key}.")
        else:
            rows.append([f"{prefix}{key}", value])
    return rows


def cut(value: Any) -> Any:
    """A value that fits a table's cell."""
    if isinstance(value, int | float) or value is None:
        return show(value) if not isinstance(value, bool) else str(value)
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
