"""With a KV pool behind the replicas, does it still matter where a request goes?

Paper: Qin et al., "Mooncake: Trading More Storage for Less Computation - A KVCache-centric
Architecture for Serving LLM Chatbot", FAST 2025: a pool of KV blocks in the cluster's memory,
written as prefills complete and read by every prefill instance; Zuo et al., "Serving Large
Language Models on Huawei CloudMatrix384", arXiv 2506.12708: with such a pool, requests may go
anywhere.

Theirs: the pool, and the claim. Ours: the trace (a synthetic stand-in for Mooncake's
conversations), the replicas (Llama-3.1-70B on four H100, prefill and decode together, prefixes
cached in GPU memory), links, policies and load.

What we find (4,000 requests, three seeds):
- The claim holds for what is found: with a pool of 4 TB every router finds 33 % of the prompt
  tokens, where caches in GPU memory alone find between 8 % (random) and 22 % (prefix and load).
- It does not hold for the TTFT: random routing still takes 1.3 s where weighing reach and load
  takes 0.82 s, and going by the longest prefix alone is worse than random at most loads. Load has
  to be spread whatever is cached, and what need not be fetched costs nothing.
- The same 4 TB as a host tier for each replica gain little unless the router looks into them:
  those that do not find 14 % to 25 %, the one that sees them (reach and load) 33 %, for a mean
  TTFT 5 % above the pool's.
- A pool written as blocks leave the GPU finds less than one written as prefills complete, 13 %
  less at 500 GB and 27 % at 4 TB (as much at 250 GB): till then a block can be found by one
  replica only.
- "Where it is cheaper" protects against a slow pool: at 2 GB/s fetching always takes 4.6 s, 3.5
  times as long as no pool. But it is too careful at 5 to 10 GB/s, where fetching always is 6 %
  faster: the estimate compares times of one request, and does not see that a fetch leaves the GPU
  to others.

Limits: a synthetic trace; writes take no bandwidth; a prefill starts when all of its fetch has
landed, not layer by layer; GPU memory and pool hold the same format; the router sees all stores as
they are; no SSD behind the pool.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

MODEL, GPU, TP, REPLICAS = "llama-3.1-70b", "h100-sxm-80gb", 4, 4
TRACE = "mooncake-conv-synthetic"
LOADS = [0.15, 0.25, 0.35, 0.45, 0.5]  # of the trace's own rate
LOAD = 0.35  # of all but the first panel
POOL_GB, HOST_GB = 4000.0, 1000.0  # the same memory in all, shared or per replica
POOL_GB_PER_S = 100.0
SPEEDS = [2.0, 5.0, 10.0, 25.0, 50.0, 100.0]  # GB/s of the pool, to all replicas together
SIZES = [250.0, 500.0, 1000.0, 2000.0, 4000.0]  # GB of the pool
ROUTERS: dict[str, Any] = {
    "random": "random",
    "least requests": "least_requests",
    "longest prefix": "prefix_affinity",
    "prefix and load": {"name": "cost_based", "load_weight": 0.1},
    "reach and load": {"name": "reach_cost", "load_weight": 0.1},
}
ORDER = ("random", "least requests", "longest prefix", "prefix and load", "reach and load")
PLACES: dict[str, dict[str, Any] | None] = {
    "GPU only": None,
    "host tiers": {"host_gb": HOST_GB},
    "pool": {"pool_gb": POOL_GB, "pool_gb_per_s": POOL_GB_PER_S},
}


def scenario(
    router: str, place: Mapping[str, Any] | None, load: float, requests: int
) -> mt.Scenario:
    """Replicas with prefix caches under the trace, and where their KV lives besides."""
    return mt.ServingScenario.parse(
        {
            "workload": {"trace": TRACE, "requests": requests, "rate_scale": load},
            "model": {"name": MODEL},
            "cluster": {"mixed": {"gpu": GPU, "tp": TP, "replicas": REPLICAS}},
            "policy": {"route": ROUTERS[router]},
            "prefix_caching": True,
            **({"prefix_pool": dict(place)} if place else {}),
        }
    )


def summary(runs: Sequence[mt.Result]) -> dict[str, float]:
    """What is looked at, mean over seeds; without stores nothing is fetched."""
    found = {name: mean(runs, f"{name}_ttft_ms") / 1000 for name in ("mean", "p50", "p99")}
    found["hits"] = mean(runs, "prefix_hit_ratio")
    for name in ("fetched_ratio", "pool_read_gb", "mean_duplicates_gb"):
        found[name] = mean(runs, name) if name in runs[0].metrics else 0.0
    return found


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    requests, seeds = (2000, [0]) if options.quick else (4000, [0, 1, 2])
    loads = LOADS[2::2] if options.quick else LOADS
    speeds = SPEEDS[::2] if options.quick else SPEEDS
    sizes = SIZES[1::3] if options.quick else SIZES
    pool = PLACES["pool"] or {}
    cases: dict[Any, mt.Scenario] = {}
    for router in ROUTERS:
        for place in PLACES:
            for load in loads:
                cases[router, place, load] = scenario(router, PLACES[place], load, requests)
    for fetch in ("always", "cheaper"):
        for speed in speeds:
            slow = {**pool, "pool_gb_per_s": speed, "fetch": fetch}
            cases["speed", fetch, speed] = scenario("least requests", slow, LOAD, requests)
    for write in ("completion", "eviction"):
        for size in sizes:
            small = {**pool, "pool_gb": size, "write": write}
            cases["size", write, size] = scenario("least requests", small, LOAD, requests)
    runs = run_all(list(cases.values()), options, seeds)
    found = {key: summary(group) for key, group in zip(cases, runs, strict=True)}
    figures: dict[str, Any] = {
        "trace": TRACE,
        "requests": requests,
        "loads": loads,
        "speeds": speeds,
        "sizes": sizes,
        "by_load": {
            place: {router: [found[router, place, load] for load in loads] for router in ROUTERS}
            for place in PLACES
        },
        "by_speed": {
            fetch: [found["speed", fetch, speed] for speed in speeds]
            for fetch in ("always", "cheaper")
        },
        "by_size": {
            write: [found["size", write, size] for size in sizes]
            for write in ("completion", "eviction")
        },
    }
    publish(options, "serving_pool", picture(figures), {"routers": table(figures)}, figures)
    return figures


def table(figures: Mapping[str, Any]) -> Table:
    """Routers and places at one load."""
    at = figures["loads"].index(LOAD)
    rows: list[list[Any]] = []
    for place in PLACES:
        for router in ORDER:
            mine = figures["by_load"][place][router][at]
            cells = [mine["mean"], mine["p50"], mine["p99"]]
            shares = [f"{mine['hits']:.1%}", f"{mine['fetched_ratio']:.1%}"]
            rows.append([place, router, *cells, *shares, mine["mean_duplicates_gb"]])
    caption = (
        f"{figures['requests']} requests of {TRACE} at {LOAD:g} of its rate, {REPLICAS} replicas. "
        "Found: prompt tokens found in GPU memory at admission, fetched ones among them. Twice: "
        "what the replicas' GPU memories hold once more, mean (not counted without stores)."
    )
    columns = ["KV lives in", "router", "mean TTFT, s", "p50", "p99", "found", "fetched"]
    breaks = {len(ORDER) - 1, 2 * len(ORDER) - 1}
    return Table([*columns, "twice, GB"], rows, caption=caption, breaks=breaks)


def picture(figures: Mapping[str, Any]) -> Any:
    """TTFT by load, hits by router, TTFT by the pool's bandwidth, hits by its size."""
    with new_figure(2, 2, (11, 7.6), "Where KV lives, and where requests go") as (figure, axes):
        for colour, router in zip(_colours(), ORDER, strict=True):
            for place, style in (("GPU only", "--"), ("pool", "-")):
                values = [mine["mean"] for mine in figures["by_load"][place][router]]
                label = router if place == "pool" else None
                axes[0, 0].plot(figures["loads"], values, style, color=colour, label=label)
        axes[0, 0].set_ylim(0, 3)  # random and longest prefix leave it without a pool
        axes[0, 0].set_title("Mean TTFT by load: dashed GPU memory only, solid with the pool")
        axes[0, 0].set_xlabel("share of the trace's rate")
        axes[0, 0].set_ylabel("seconds")
        axes[0, 0].legend()
        _bars(axes[0, 1], figures)
        for colour, (fetch, found) in zip(COLOURS, figures["by_speed"].items(), strict=False):
            values = [mine["mean"] for mine in found]
            axes[1, 0].plot(figures["speeds"], values, "o-", color=colour, label=f"fetch: {fetch}")
        at = figures["loads"].index(LOAD)
        level = figures["by_load"]["GPU only"]["least requests"][at]["mean"]
        axes[1, 0].axhline(level, color="#222222", linestyle="--", linewidth=1, label="no pool")
        axes[1, 0].set_ylim(0, 3 * level)
        axes[1, 0].set_xscale("log")
        axes[1, 0].set_xticks(figures["speeds"], [f"{speed:g}" for speed in figures["speeds"]])
        axes[1, 0].minorticks_off()
        axes[1, 0].set_title("Mean TTFT by the pool's bandwidth, least requests")
        axes[1, 0].set_xlabel("GB/s to all replicas together")
        axes[1, 0].set_ylabel("seconds")
        axes[1, 0].legend()
        for colour, (write, found) in zip(COLOURS, figures["by_size"].items(), strict=False):
            values = [mine["hits"] for mine in found]
            axes[1, 1].plot(figures["sizes"], values, "o-", color=colour, label=f"at {write}")
        share_axis(axes[1, 1])
        axes[1, 1].set_ylim(0)
        axes[1, 1].set_title("Prompt tokens found, by the pool's size and when it is written")
        axes[1, 1].set_xlabel("GB")
        axes[1, 1].legend()
    return figure


def _bars(axes: Any, figures: Mapping[str, Any]) -> None:
    at = figures["loads"].index(LOAD)
    width = 0.8 / len(PLACES)
    for k, place in enumerate(PLACES):
        values = [figures["by_load"][place][router][at]["hits"] for router in ORDER]
        places = [i + (k - 1) * width for i in range(len(ORDER))]
        axes.bar(places, values, width, color=COLOURS[k], label=place)
    axes.set_xticks(range(len(ORDER)), [router.replace(" ", "\n", 1) for router in ORDER])
    share_axis(axes)
    axes.set_ylim(0, 0.45)  # room for the legend
    axes.set_title(f"Prompt tokens found, {LOAD:g} of the rate")
    axes.legend(ncols=3)


def _colours() -> list[str]:
    return [COLOURS[6], COLOURS[3], COLOURS[1], COLOURS[2], COLOURS[0]]


if __name__ == "__main__":
    main(study, __doc__)
