"""The sidebar of the serving page: a control for each choice, with the field's own help."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from mltwin import ServingScenario, choices

from . import uploads
from .controls import field
from .serving_choices import DEFAULTS, EXAMPLES, MAX_BARS, UPLOAD, policy_of, pool_names
from .view import View

SIZES = (500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
_TP = (1, 2, 4, 8)


def sidebar(view: View) -> None:
    """Draw all controls and take what they say into the view."""
    with st.sidebar:
        _example(view)
        with st.expander("Traffic", expanded=True, icon=":material/timeline:"):
            view.set(**_traffic(view))
        with st.expander("Model and cluster", expanded=True, icon=":material/memory:"):
            view.set(**_cluster(view))
        with st.expander("Goals and price", icon=":material/flag:"):
            view.set(**_goals(view))
        with st.expander("Policies", icon=":material/alt_route:"):
            view.set(policies=_policies(view))
        with st.expander("Seed and error bars", icon=":material/casino:"):
            view.set(**_run(view))
        with st.expander("More fields", icon=":material/tune:"):
            view.set(more=_more(view))


def _example(view: View) -> None:
    """A starting point sets all choices at once."""

    def take() -> None:
        chosen = st.session_state.get(key)
        if chosen in EXAMPLES:
            view.restart(**{**DEFAULTS, **EXAMPLES[chosen]})

    key = view.key("example")
    st.selectbox(
        "Start from",
        list(EXAMPLES),
        index=None,
        placeholder="an example",
        key=key,
        on_change=take,
        help="Sets all controls to an example; change them from there.",
    )


def _field(view: View, path: str, name: str, **options: Any) -> Any:
    return field(ServingScenario, path, view.get(name), key=view.key(name), **options)


def _traffic(view: View) -> dict[str, Any]:
    traces = dict(choices.traces_here())
    mine = {UPLOAD + path.name: f"{name} (yours)" for name, path in uploads.mine().items()}
    chosen: dict[str, Any] = {
        "trace": _field(
            view,
            "workload.trace",
            "trace",
            choices=[*traces, *mine],
            format_func=lambda name: mine.get(name, name),
        ),
        "rate": _field(
            view,
            "workload.rate",
            "rate",
            kind="slider",
            low=0.5,
            high=100.0,
            step=0.5,
            label="Rate (requests/s)",
        ),
    }
    size = view.get("requests")
    chosen["requests"] = st.select_slider(
        "Requests",
        sorted({*SIZES, size}),
        size,
        format_func=lambda n: f"{n:,}",
        key=view.key("requests"),
        help="How many are simulated: the first ones of the trace, or the trace repeated.",
    )
    chosen["arrivals"] = _field(view, "workload.arrivals", "arrivals")
    chosen["burstiness"] = view.get("burstiness")
    if chosen["arrivals"] == "gamma":
        chosen["burstiness"] = _field(
            view, "workload.burstiness", "burstiness", kind="slider", low=0.02, high=2.0
        )
    return chosen


def _cluster(view: View) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "model": _field(view, "model.name", "model", choices=choices.model_names(), label="Model"),
        "split": st.toggle(
            "Prefill and decode apart",
            view.get("split"),
            key=view.key("split"),
            help="Two pools: one fills prompts and hands the KV cache over, one decodes.",
        ),
    }
    chosen["prefix_caching"] = _field(view, "prefix_caching", "prefix_caching")
    for name in pool_names(chosen):
        chosen[name] = _pool(view, name, titled=chosen["split"])
    return chosen


def _pool(view: View, name: str, *, titled: bool) -> dict[str, Any]:
    pool = {**DEFAULTS[name], **view.get(name)}

    def one(part: str, **options: Any) -> Any:
        path, key = f"cluster.{name}.{part}", view.key(f"{name}.{part}")
        return field(ServingScenario, path, pool[part], key=key, **options)

    if titled:
        st.markdown(f"**{name.title()} pool**")
    pool["replicas"] = one("replicas", kind="slider", low=1, high=32)
    pool["gpu"] = one("gpu", choices=choices.gpu_names(), label="GPU")
    left, right = st.columns(2)
    with left:
        pool["tp"] = one("tp", kind="select", choices=_TP, label="GPUs each")
    with right:
        pool["engine"] = one("engine", choices=list(choices.engine_texts()))
    return pool


def _goals(view: View) -> dict[str, Any]:
    chosen = {}
    for name, label in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2e_ms", "E2E")):
        chosen[name] = st.number_input(
            f"{label} limit (ms)",
            min_value=0.0,
            value=view.get(name),
            step=10.0 if name != "e2e_ms" else 1000.0,
            key=view.key(name),
            help="A request within all limits is good. 0: no limit.",
        )
    chosen["price"] = st.number_input(
        "Price of a GPU ($ an hour)",
        min_value=0.0,
        value=view.get("price"),
        step=0.1,
        key=view.key("price"),
        help="What you pay; the value at the start is only an example. 0: unknown.",
    )
    return chosen


def _policies(view: View) -> dict[str, Any]:
    """A policy for each hook that matters here; only those that are no default are kept."""
    given: Mapping[str, Any] = view.get("policies")
    shown = [hook for hook in choices.policies_by_hook() if _matters(hook, view)]
    return {hook: found for hook in shown if (found := _policy(view, hook, given.get(hook)))}


def _matters(hook: str, view: View) -> bool:
    if hook == "place_decode":
        return bool(view.get("split"))
    return hook != "evict" or bool(view.get("prefix_caching"))


def _policy(view: View, hook: str, given: Any) -> Any:
    """What the scenario says of a hook: a name, a table, or None for the default."""
    offered = {policy.name: policy for policy in choices.policies_by_hook()[hook]}
    name, params = policy_of(given)
    usual = next(iter(offered))
    key = view.key(f"policy.{hook}")
    name = st.selectbox(
        hook.replace("_", " ").capitalize(),
        list(offered),
        list(offered).index(name) if name in offered else 0,
        key=key,
        help=f"{choices.hook_texts()[hook]}.",
    )
    policy = offered[name]
    if name != usual:
        st.caption(policy.summary)
    changed = {}
    for param, default in policy.params.items():
        value = st.number_input(
            param.replace("_", " "), value=float(params.get(param, default)), key=f"{key}.{param}"
        )
        if value != default:
            changed[param] = value
    if changed:
        return {"name": name, **changed}
    return None if name == usual else name


def _run(view: View) -> dict[str, Any]:
    bars = st.select_slider(
        "Error bars from draws",
        sorted({0, 10, 20, MAX_BARS, view.get("error_bars")}),
        view.get("error_bars"),
        key=view.key("error_bars"),
        help="Intervals from so many more runs under draws of the GPU profiles' fitted "
        "parameters; 0: none.",
    )
    return {"seed": _field(view, "seed", "seed", kind="number", high=10**9), "error_bars": bars}


def _more(view: View) -> str:
    return str(
        st.text_area(
            "Any other field of a scenario, as TOML",
            view.get("more"),
            key=view.key("more"),
            placeholder="[control]\nsnapshot_s = 0.5",
            height=140,
            max_chars=4000,
            help="Laid over what the controls say; `mltwin scenario init` lists all fields.",
        )
    )
