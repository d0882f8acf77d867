"""Does a cluster need one pool of KV blocks, or do local caches and a good router do as well?

Paper: Qin et al., "Mooncake: Trading More Storage for Less Computation - A KVCache-centric
Architecture for Serving LLM Chatbot", FAST 2025: a pool of the nodes' host memory that every node
reads over RDMA, against caches that each node keeps for itself.

Theirs: the trace (first half hour of the conversations; `MLTWIN_DATA`, else a shipped stand-in with
sessions, and the page says which), blocks of 512 tokens, ten nodes with room for 3 million tokens
each, and the claim that the pool's hits are up to 2.36 times those of local caches. Ours: the
routers, a Llama-3.1-70B prefilled on four H100 a node at half their peak, first come first served,
LRU everywhere, links of 25 GB/s (200 Gbit/s).

What we find (on the trace):
- How much a pool gains is a statement about the router that it is compared with. It hits 3.4 times
  as many blocks as local caches behind random routing and 3.6 times as many as behind round robin,
  but 1.01 times as many as behind a router that weighs missed blocks with load. Any factor between,
  2.36 too, can be had by a choice of router.
- Smaller caches do not change that: with 1,000 blocks a node (168 GB) the pool finds 1.05 times as
  much as the weighing router finds in local caches.
- Routing by the longest prefix alone is a gamble on the first requests. All conversations share
  their first block: without time, its first holder gets them all, and the other nine caches stay
  empty. In time, the trace's first requests come at one instant, go to different nodes and leave
  the block on each, and this router then finds nearly everything. The stand-in's come one by one:
  all go to one node and wait for minutes.
- The pool pays for its hits with a fetch. Over links of 25 GB/s its mean TTFT is within 5 % of that
  of local caches behind the best of our routers up to three times the trace's rate, and 26 % above
  it at three and a half times, where fetches cost more than free placement gains. Over 100 GB/s it
  is lower by 6 to 16 % at every load.
- A pool whose nodes share 25 GB/s in all is worse than local caches at every load.
- The best weight of load falls as load rises: 1 at the trace's own rate, 0.2 at two to three times,
  and none at three and a half, where hits are what keeps the cluster stable.

Limits: decoding is another cluster's. Writes into the pool are counted, not timed. Prefill time is
FLOPs over an assumed share of the peak. No tiers: local blocks are read at no cost, as from HBM,
though 3 million tokens (1 TB) would lie in host memory; that favours local caches.
"""

from collections.abc import Sequence
from typing import Any

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, number_axis, share_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all, trace_or

CLAIMED = 2.36  # "up to": hits of the pool over those of local caches, FAST 2025
NODES, BLOCKS = 10, 5_859  # 3 million tokens a node
TRACE, STAND_IN = "mooncake-conv", "mooncake-conv-synthetic"
SIZES = [1_000, 2_000, 3_000, 5_859, 10_000]  # blocks of a node
RATES = [1.0, 2.0, 2.5, 3.0, 3.5]  # of the trace's own
QUICK_REQUESTS = 2_000

LOCAL: dict[str, dict[str, Any]] = {
    "random": {"routing__policy": "random"},
    "round robin": {"routing__policy": "round_robin"},
    "least loaded": {"routing__policy": "least_loaded"},
    "longest prefix": {"routing__policy": "affinity"},
    "prefix and load": {"routing__policy": "cost"},
}
WEIGHTS = [0.05, 0.2, 1.0]  # of load against missed blocks, in time
POOL = "pool"
POOLED: dict[str, dict[str, Any]] = {
    "pool, 25 GB/s": {},
    "pool, 100 GB/s": {"network__gb_per_s": 100.0},
    "pool, 25 GB/s shared": {"network__shared_gb_per_s": 25.0},
}
TIMED = ["least loaded", "longest prefix"]
METRICS = ("block_hit_ratio", "mean_ttft_ms", "p99_ttft_ms", "busy_share", "mean_fetch_ms")


def scenario(trace: str, requests: int | None, **fields: Any) -> mt.Scenario:
    """Ten nodes with LRU caches, unless `fields` (dots as __) say otherwise."""
    base = mt.Scenario.parse({"system": "kv-cache"})
    usual: dict[str, Any] = {
        "workload__trace": trace,
        "nodes__count": NODES,
        "nodes__hbm_blocks": BLOCKS,
    }
    if requests:
        usual["workload__requests"] = requests
    return base.with_(**(usual | fields))


def pooled(blocks: int = BLOCKS) -> dict[str, Any]:
    """The fields of one pool of all nodes' memory; routing by load, as all see the same blocks."""
    return {
        "nodes__hbm_blocks": 0,
        "pool__blocks": NODES * blocks,
        "routing__policy": "least_loaded",
    }


def hits_by_size(
    trace: str, requests: int | None, sizes: Sequence[int], options: Options
) -> dict[str, list[float]]:
    """Block hit ratios without time: of each router over local caches, and of the pool."""
    cases = {
        (name, size): scenario(
            trace, requests, timed=False, **{"nodes__hbm_blocks": size, **fields}
        )
        for name, fields in LOCAL.items()
        for size in sizes
    }
    for size in sizes:
        cases[POOL, size] = scenario(trace, requests, timed=False, **pooled(size))
    found = dict(zip(cases, run_all(list(cases.values()), options), strict=True))
    return {
        name: [mean(found[name, size], "block_hit_ratio") for size in sizes]
        for name in (*LOCAL, POOL)
    }


def by_rate(
    trace: str, requests: int | None, rates: Sequence[float], options: Options
) -> dict[str, dict[str, list[float]]]:
    """Hits and latencies in time, by load."""
    ways = {name: LOCAL[name] for name in TIMED}
    ways |= {
        f"prefix and {weight:g} load": {"routing__policy": "cost", "routing__load_weight": weight}
        for weight in WEIGHTS
    }
    ways |= {name: pooled() | fields for name, fields in POOLED.items()}
    cases = {
        (name, rate): scenario(trace, requests, workload__rate_scale=rate, **fields)
        for name, fields in ways.items()
        for rate in rates
    }
    found = dict(zip(cases, run_all(list(cases.values()), options), strict=True))
    return {
        name: {metric: [mean(found[name, rate], metric) for rate in rates] for metric in METRICS}
        for name in ways
    }


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    trace, real = trace_or(TRACE, STAND_IN)
    requests = QUICK_REQUESTS if options.quick else None
    sizes = SIZES[::3] if options.quick else SIZES
    rates = RATES[::3] if options.quick else RATES
    figures: dict[str, Any] = {
        "trace": trace,
        "real": real,
        "sizes": sizes,
        "rates": rates,
        "hits": hits_by_size(trace, requests, sizes, options),
        "timed": by_rate(trace, requests, rates, options),
    }
    publish(options, "kv_pool", picture(figures), tables(figures), figures)
    return figures


def tables(figures: dict[str, Any]) -> dict[str, Table]:
    """Hits by size, and TTFT by load."""
    where = "" if figures["real"] else " (stand-in)"
    own = figures["sizes"].index(BLOCKS)
    pool = figures["hits"][POOL][own]
    hits = Table(
        [
            "block hit ratio",
            *[f"{size:,} blocks" for size in figures["sizes"]],
            f"pool / this at {BLOCKS:,}",
        ],
        [[name, *row, f"{pool / row[own]:.2f}"] for name, row in figures["hits"].items()],
        title=f"Hits of ten caches or one pool, by size of a node's share{where}",
    )
    latency = Table(
        ["mean TTFT, ms", *[f"{rate:g} x rate" for rate in figures["rates"]]],
        [[name, *row["mean_ttft_ms"]] for name, row in figures["timed"].items()],
        title=f"TTFT by load, {BLOCKS:,} blocks a node{where}",
    )
    in_time = Table(
        ["block hit ratio in time", *[f"{rate:g} x rate" for rate in figures["rates"]]],
        [[name, *row["block_hit_ratio"]] for name, row in figures["timed"].items()],
        title=f"Hits in time{where}",
    )
    return {"hits": hits, "ttft": latency, "hits-in-time": in_time}


def picture(figures: dict[str, Any]) -> Any:
    """Hits by size, and TTFT by load."""
    title = "Ten KV caches or one pool" + ("" if figures["real"] else " (stand-in trace)")
    with new_figure(1, 2, (10.5, 4.2), title) as (figure, axes):
        left, right = axes[0]
        kilo = [size / 1000 for size in figures["sizes"]]
        names = [*LOCAL, POOL]
        colours = dict(zip(names, (*COLOURS[1:6], COLOURS[0]), strict=True))
        for name in names:
            left.plot(kilo, figures["hits"][name], marker="o", color=colours[name], label=name)
        left.set_title("Blocks found, without time")
        left.set_xlabel("thousand blocks of each node")
        left.set_ylim(0)
        share_axis(left)
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
        dashes = {"pool, 25 GB/s": "-", "pool, 100 GB/s": "--", "pool, 25 GB/s shared": ":"}
        weighed = [name for name in figures["timed"] if name.startswith("prefix and")]
        colours |= {name: COLOURS[5] for name in weighed}
        dashes |= dict(zip(weighed, (":", "-", "--"), strict=True))
        for name, row in figures["timed"].items():
            right.plot(
                figures["rates"],
                [ms / 1000 for ms in row["mean_ttft_ms"]],
                marker="o",
                color=colours.get(name, COLOURS[0]),
                linestyle=dashes.get(name, "-"),
                label=name,
            )
        number_axis(right, "y")
        right.set_title("Mean TTFT by load")
        right.set_xlabel("times the trace's rate")
        right.set_ylabel("s")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return figure


if __name__ == "__main__":
    main(study, __doc__)
