"""Where should a request go: to the replica that holds its prefix, or to the one with least to do?

Paper: Qin et al., "Mooncake: Trading More Storage for Less Computation - A KVCache-centric
Architecture for Serving LLM Chatbot", FAST 2025: algorithm 1 (KVCache-centric scheduling weighs the
prefill that a hit saves against the queue) and its conversation trace.

Theirs: the trace, with 512-token blocks whose ids tell shared prefixes (`MLTWIN_DATA`; a shipped
stand-in with sessions else, and the page says which), and the claim that both sides must be
weighed: routing by cache alone overloads the holders of popular prefixes. Ours: the replicas
(Llama-3.1-70B on four H100, prefill and decode together, each with a prefix cache in its GPU
memory), the policies and the load.

What we find (on the trace):
- Routers that do not look at prefixes find little of what could be reused: the same blocks end up
  on several replicas, so that the caches of eight hold hardly more than one. Prefix-aware routers
  find two to three times as much.
- With caches five and more times the GPU's, as Mooncake's pool in host memory gives, prefix-aware
  routing comes to the hits of one infinite cache (34.7 % of the tokens), though each replica only
  knows its own.
- Weighing both gives the lowest mean TTFT at every load and every cache size, with load weighed far
  below the prefill that is missed: an outstanding token is mostly one that decodes, and costs less
  time than one to be prefilled. Going by the cache alone has the best hits and median TTFT, and a
  worse tail.
- Random routing breaks down first: nothing evens out prompts of up to 120,000 tokens.

Limits: one tier of cache per replica; larger ones stand in for host memory, at no time to fetch.
No moving of cached blocks between replicas, no hot-spot replication, no early rejection. Views of
the replicas are fresh. Sessions are told by blocks only. The paper's own comparison of routers ran
on other GPUs and a dummy model and is not repeated number by number.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all, trace_or

MODEL, GPU, TP, REPLICAS = "llama-3.1-70b", "h100-sxm-80gb", 4, 8
TRACE, STAND_IN = "mooncake-conv", "mooncake-conv-synthetic"
BLOCK_TOKENS = 512
LOADS = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]  # of the trace's own rate
CACHES = [250_000, 470_000, 1_000_000, 2_500_000, 5_000_000]  # tokens of each replica
OWN_CACHE, LOAD = 470_000, 0.9  # what four H100 hold; load of the sweep over caches
WEIGHTS = [0.01, 0.1, 0.3, 1.0, 3.0, 10.0]
ROUTERS: dict[str, Any] = {
    "random": "random",
    "round robin": "round_robin",
    "least requests": "least_requests",
    "least tokens": "least_tokens",
    "prefix affinity": "prefix_affinity",
    "prefix and load": {"name": "cost_based", "load_weight": 0.1},
}
# An infinite cache for all, and one LRU cache of that many tokens for all: counted on the trace
# alone, without time (own computation, token hit ratio of the first 30 minutes).
INFINITE_HITS = 0.347


def scenario(
    trace: str, router: Any, load: float, cache_tokens: int, requests: int | None = None
) -> mt.Scenario:
    """Eight replicas with prefix caches under the trace."""
    blocks = cache_tokens // BLOCK_TOKENS
    return mt.ServingScenario.parse(
        {
            "workload": {"trace": trace, "rate_scale": load, "requests": requests},
            "model": {"name": MODEL},
            "cluster": {"mixed": {"gpu": GPU, "tp": TP, "replicas": REPLICAS, "kv_blocks": blocks}},
            "policy": {"route": router},
            "prefix_caching": True,
            "block_tokens": BLOCK_TOKENS,
        }
    )


def imbalance(run: mt.Result) -> float:
    """Prompt tokens that the busiest replica computed, over the mean of all."""
    assert isinstance(run, mt.ServingResult)
    computed = run.replicas["prefill_tokens"]
    return float(computed.max() / computed.mean())


def summary(runs: Sequence[mt.Result]) -> dict[str, float]:
    """What a router is judged by, mean over seeds."""
    found = {name: mean(runs, f"{name}_ttft_ms") / 1000 for name in ("mean", "p50", "p90", "p99")}
    found["hits"] = mean(runs, "prefix_hit_ratio")
    found["tpot_ms"] = mean(runs, "p50_tpot_ms")
    found["imbalance"] = float(np.mean([imbalance(run) for run in runs]))
    return found


def swept(
    cases: Mapping[Any, mt.Scenario], options: Options, seeds: Sequence[int]
) -> dict[Any, dict[str, float]]:
    """The summary of each scenario."""
    runs = run_all(list(cases.values()), options, seeds)
    return {key: summary(group) for key, group in zip(cases, runs, strict=True)}


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    trace, real = trace_or(TRACE, STAND_IN)
    requests = 2000 if options.quick else None
    loads, caches = (LOADS[::2], CACHES[1::2]) if options.quick else (LOADS, CACHES)
    weights = WEIGHTS[::3] if options.quick else WEIGHTS
    seeds = range(1 if options.quick else 3)  # of the random router; the trace is what it is

    def case(router: Any, load: float, cache: int) -> mt.Scenario:
        return scenario(trace, router, load, cache, requests)

    by_load = swept(
        {(n, load): case(r, load, OWN_CACHE) for n, r in ROUTERS.items() for load in loads},
        options,
        seeds,
    )
    by_cache = swept(
        {(n, size): case(r, LOAD, size) for n, r in ROUTERS.items() for size in caches},
        options,
        seeds,
    )
    by_weight = swept(
        {
            weight: case({"name": "cost_based", "load_weight": weight}, LOAD, 2_500_000)
            for weight in weights
        },
        options,
        seeds[:1],
    )
    figures: dict[str, Any] = {
        "trace": TRACE if real else STAND_IN,
        "loads": loads,
        "caches": caches,
        "weights": weights,
        "by_load": _nested(by_load),
        "by_cache": _nested(by_cache),
        "by_weight": [by_weight[weight] for weight in weights],
    }
    publish(options, "prefix_routing", picture(figures), {"routers": table(figures)}, figures)
    return figures


def _nested(found: Mapping[tuple[str, Any], dict[str, float]]) -> dict[str, list[dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = {}
    for (name, _), mine in found.items():
        rows.setdefault(name, []).append(mine)
    return rows


def table(figures: Mapping[str, Any]) -> Table:
    """The routers at the chosen load, with the GPU's cache and with the largest."""
    rows: list[list[Any]] = []
    caches = figures["caches"]
    for at in (caches.index(OWN_CACHE), len(caches) - 1):
        for name, found in figures["by_cache"].items():
            mine = found[at]
            cells = [mine["mean"], mine["p50"], mine["p90"], mine["p99"], f"{mine['hits']:.1%}"]
            rows.append([caches[at], name, *cells, mine["imbalance"]])
    columns = ["cache of a replica, tokens", "router", "mean TTFT, s", "p50", "p90", "p99"]
    caption = (
        f"Trace: {figures['trace']} at {LOAD:g} of its rate, {REPLICAS} replicas. Hits: share of "
        f"prompt tokens found in a cache; one infinite cache finds {INFINITE_HITS:.1%} in the "
        "first 30 minutes of the published trace. Busiest: prompt tokens that the busiest replica "
        "computed, over the mean."
    )
    breaks = {len(ROUTERS) - 1}
    return Table([*columns, "hits", "busiest"], rows, caption=caption, breaks=breaks)


def picture(figures: Mapping[str, Any]) -> Any:
    """TTFT by load, hits by cache size, TTFT by cache size, and the weight of load."""
    title = f"Prefix-aware routing on {figures['trace']}"
    with new_figure(2, 2, (11, 7.6), title) as (figure, axes):
        _lines(axes[0, 0], figures, "by_load", "loads", "mean")
        axes[0, 0].set_ylim(0, 4)  # random and round robin leave it
        axes[0, 0].set_title("Mean TTFT by load, cache of four H100")
        axes[0, 0].set_xlabel("share of the trace's rate")
        axes[0, 0].set_ylabel("seconds")
        axes[0, 0].legend()
        _lines(axes[0, 1], figures, "by_cache", "caches", "hits")
        if figures["trace"] == TRACE:
            axes[0, 1].axhline(INFINITE_HITS, color="#222222", linestyle="--", linewidth=1)
            axes[0, 1].text(CACHES[0], INFINITE_HITS, "one infinite cache", va="bottom", fontsize=8)
        share_axis(axes[0, 1])
        axes[0, 1].set_ylim(0)
        axes[0, 1].set_title("Prompt tokens found in a cache")
        _lines(axes[1, 0], figures, "by_cache", "caches", "p90")
        axes[1, 0].set_ylim(0, 8)
        axes[1, 0].set_title(f"p90 TTFT by cache, {LOAD:g} of the rate")
        axes[1, 0].set_ylabel("seconds")
        for axis in (axes[0, 1], axes[1, 0]):
            axis.set_xlabel("cache of a replica, million tokens")
            axis.set_xscale("log")
            axis.set_xticks(figures["caches"], [f"{size / 1e6:g}" for size in figures["caches"]])
            axis.minorticks_off()
        _weight(axes[1, 1], figures)
    return figure


def _lines(axes: Any, figures: Mapping[str, Any], by: str, over: str, metric: str) -> None:
    for colour, name in zip(_colours(), ROUTERS, strict=True):
        values = [mine[metric] for mine in figures[by][name]]
        axes.plot(figures[over], values, "o-", markersize=4, color=colour, label=name)


def _weight(axes: Any, figures: Mapping[str, Any]) -> None:
    found = figures["by_weight"]
    hits = [mine["hits"] for mine in found]
    axes.plot(hits, [mine["mean"] for mine in found], "o-", color=COLOURS[0], label="mean")
    axes.plot(hits, [mine["p90"] for mine in found], "o-", color=COLOURS[5], label="p90")
    for weight, mine in zip(figures["weights"], found, strict=True):
        axes.annotate(
            f"{weight:g}", (mine["hits"], mine["p90"]), (0, 5), textcoords="offset points",
            fontsize=8, ha="center",
        )  # fmt: skip
    share_axis(axes, "x")
    axes.set_ylim(0)
    axes.set_title("How much load should weigh (2.5 million tokens)")
    axes.set_xlabel("prompt tokens found in a cache; the numbers are load weights")
    axes.set_ylabel("TTFT, s")
    axes.legend()


def _colours() -> list[str]:
    return [COLOURS[6], COLOURS[3], COLOURS[4], COLOURS[1], COLOURS[2], COLOURS[0]]


if __name__ == "__main__":
    main(study, __doc__)
