"""What does a cluster of two kinds of machine serve for the same power, or the same money?

Paper: Patel et al., "Splitwise: Efficient Generative LLM Inference Using Phase Splitting", ISCA
2024: section V (designs AA, HH, HA, HHcap against baselines of one kind), section VI (throughput
within limits at equal power and at equal cost; the mixed pool when the traffic changes).

Theirs: the measured iteration times of DGX-A100, DGX-H100 and power-capped DGX-H100 with
Llama-2-70B at TP 8 (`MLTWIN_DATA/kernels/splitwise`; without that folder the study stops), relative
cost and power of the machines, the limits (slowdown against an idle A100 at p50, p90 and p99) and
the budgets (what 40 DGX-H100 draw or cost), all from the published simulator's files. Lengths: the
Azure 2023 conversation and code traces (in `MLTWIN_DATA`; stand-ins else), Poisson arrivals as
theirs. Ours: scheduler, routing, transfers, the search over the split of each design, and two
baselines that the paper has not: the same machines with chunked prefill.

What we find:
- Against the paper's baselines (whole prompts beside tokens in one iteration) splitting serves two
  to three times as much within the limits at equal power or cost; the abstract claims 1.4 times at
  20 % lower cost and 2.35 times at the same. Baselines fail first at the p99 of TTFT, as long
  prompts share iterations with many others.
- Most of that can be had without splitting: chunked prefill on the same H100 doubles or triples the
  baseline, and for conversation comes level with the best split. The paper came before chunking
  was usual. On A100 it does not help, as a chunk takes too long for the limit between tokens.
- Splits follow the traffic: conversation wants more machines for tokens than for prompts, code
  (long prompts, short answers) nearly all for prompts. At equal power capped H100 for tokens do
  best, at equal cost A100 for both do as well as H100.
- A split made for one traffic serves the other badly; letting machines change roles (the mixed
  pool) wins much of it back.

Limits: Llama-2-70B instead of the paper's main model BLOOM-176B, whose rows the data lacks, so that
counts are to be compared in kind and not one by one. Token time depends on the batch and not on the
context, as in the paper's model; beyond 64 sequences it is extrapolated. Iterations that hold
prompts and tokens last 10 % longer than prompts alone (the published simulator's factor), which is
kind to mixing. One network speed. The mixed pool changes one role a second at most. Rates are found
by bisection, to 2.5 requests/s, on one seed.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, number_axis
from mltwin.text import Table
from studies._common import Options, main, publish, run_all, shared_data, trace_or

MODEL, TP = "llama-2-70b", 8
A100, H100, CAPPED = "a100-80gb", "h100-80gb", "h100-80gb-pcap"
# notebooks/utils.py of splitwise-sim: relative cost and power of a machine of 8 GPUs.
COST = {A100: 2.21, H100: 4.76, CAPPED: 4.76}
POWER = {A100: 24.8, H100: 44.0, CAPPED: 30.8}
BUDGET_H100 = 40
# notebooks/plots.ipynb of splitwise-sim: slowdown allowed at p50, p90, p99.
QUANTILES = (50, 90, 99)
LIMITS = {"ttft": (2.0, 3.0, 6.0), "tpot": (1.25, 1.5, 5.0), "e2e": (1.25, 1.5, 5.0)}
MIXED_FACTOR = 1.1  # prompts with tokens in one iteration against prompts alone
CHUNK_TOKENS = 1024
# (machine for prompts, machine for tokens); without the second all do both.
DESIGNS = {
    "Baseline-A100": (A100, None),
    "Baseline-H100": (H100, None),
    "Chunked-A100": (A100, None),
    "Chunked-H100": (H100, None),
    "Splitwise-AA": (A100, A100),
    "Splitwise-HH": (H100, H100),
    "Splitwise-HA": (H100, A100),
    "Splitwise-HHcap": (H100, CAPPED),
}
# scripts/run_throughput_isopower.sh and _isocost.sh: machines for prompts and tokens (BLOOM-176B).
PUBLISHED_SPLIT = {
    ("power", "Splitwise-AA"): (45, 25),
    ("power", "Splitwise-HH"): (25, 15),
    ("power", "Splitwise-HA"): (25, 26),
    ("power", "Splitwise-HHcap"): (25, 21),
    ("cost", "Splitwise-AA"): (51, 35),
    ("cost", "Splitwise-HH"): (25, 15),
    ("cost", "Splitwise-HA"): (30, 21),
    ("cost", "Splitwise-HHcap"): (30, 10),
}
CLAIM = "the abstract claims up to 1.4x at 20 % lower cost, 2.35x at the same cost and power"
TRACES = {
    "conversation": ("azure-conv-2023", "azure-conv-synthetic"),
    "code": (
        "azure-code-2023",
        {  # p50 and p90 of the published code trace
            "requests": 20_000,
            "arrivals": {"process": "poisson", "rate_per_s": 5.0},
            "prompt": {"law": "lognormal", "p50": 1500, "p90": 4000, "high": 7500},
            "output": {"law": "lognormal", "p50": 13, "p90": 60, "high": 2000},
        },
    ),
}
MAX_RATE = 320.0
DURATION_S = 120.0
SHIFT_RATES = [20, 40, 60, 80, 100, 120]

Cluster = dict[str, Any]


@cache
def points(machine: str) -> tuple[list[list[float]], list[list[float]]]:
    """Median prompt ms by tokens, and token ms by batch, of a machine; both made non-falling."""
    prompt: dict[int, list[float]] = defaultdict(list)
    token: dict[int, list[float]] = defaultdict(list)
    path = shared_data("kernels", "splitwise", "perf_model.csv")
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = row["model"], row["hardware"], row["tensor_parallel"]
            if place != ("llama2-70b", machine, str(TP)):
                continue
            batch, size = int(row["batch_size"]), int(row["prompt_size"])
            prompt[batch * size].append(float(row["prompt_time"]))
            if (size, row["token_size"]) == (512, "128"):
                token[batch].append(float(row["token_time"]))
    return _rising(prompt), _rising(token)


def _rising(found: Mapping[int, Sequence[float]]) -> list[list[float]]:
    knots = sorted(found)
    values = np.maximum.accumulate([float(np.median(found[knot])) for knot in knots])
    return [[knot, float(value)] for knot, value in zip(knots, values, strict=True)]


# Engine of the machines that do both phases, of those that do one, and tokens of an iteration.
ENGINES: dict[str, tuple[Any, int]] = {
    "Baseline": ({"name": "orca", "reserve": "prompt"}, 16_384),
    "Chunked": ("vllm_v1", CHUNK_TOKENS),
    "Splitwise": ("distserve", 2048),  # prompts batched up to 2048 tokens (section IV)
}


def pool(machine: str, count: int, style: str) -> Cluster:
    """Machines of one kind, run as the baseline, chunked, or for one phase."""
    prompt, token = points(machine)
    factor = 1.0 if style == "Splitwise" else MIXED_FACTOR
    timing = {
        "format": "mltwin-user-timing-1",
        "kind": "phases",
        "prefill": {
            "kind": "splitwise",
            "phase": "prefill",
            "points": [[tokens, factor * ms] for tokens, ms in prompt],
        },
        "decode": {"kind": "splitwise", "phase": "decode", "points": token},
    }
    engine, max_tokens = ENGINES[style]
    return {
        "gpu": "a100-sxm-80gb" if machine == A100 else "h100-sxm-80gb",
        "tp": TP,
        "replicas": count,
        "timing": timing,
        "kv_blocks": 83_000,  # 0.9 x 8 x 80 GB less 138 GB of weights, 16 tokens of 320 kB each
        "engine": engine,
        "max_batch": 512,
        "max_tokens": max_tokens,
    }


def designs(budget: str, step: int) -> list[tuple[str, int, int, Cluster]]:
    """(name, machines for prompts, for tokens, cluster) of every design within a budget."""
    price = POWER if budget == "power" else COST
    total = BUDGET_H100 * price[H100]
    found = []
    for name, (first, second) in DESIGNS.items():
        if second is None:
            count = int(total / price[first] + 1e-9)
            style = name.split("-")[0]
            found.append((name, count, count, {"mixed": pool(first, count, style)}))
            continue
        for prompts in range(step, int(total / price[first]), step):
            tokens = int((total - prompts * price[first]) / price[second] + 1e-9)
            if tokens:
                cluster = {
                    "prefill": pool(first, prompts, "Splitwise"),
                    "decode": pool(second, tokens, "Splitwise"),
                }
                found.append((name, prompts, tokens, cluster))
    return found


def scenario(
    cluster: Cluster, trace: Any, rate: float, duration_s: float, *, roles: bool = False
) -> mt.Scenario:
    """A cluster under Poisson arrivals with the lengths of a trace."""
    policy: dict[str, Any] = {"route": "least_tokens", "place_decode": "least_decode"}
    if roles:
        policy["scale"] = {"name": "dynamic_roles", "cooldown_s": 1.0}
    return mt.ServingScenario.parse(
        {
            "workload": {
                "trace": trace,
                "arrivals": "poisson",
                "rate": rate,
                "requests": max(200, int(rate * duration_s)),
            },
            "model": {"name": MODEL},
            "cluster": cluster,
            "network": {"bandwidth_gbps": 400.0},
            "policy": policy,
            "control": {"scale_interval_s": 1.0},
        }
    )


def slowdowns(run: mt.Result) -> dict[str, list[float]]:
    """Latencies over those of a request alone on an A100, at p50, p90 and p99."""
    assert isinstance(run, mt.ServingResult)
    requests = run.requests
    prompt, token = points(A100)
    sizes, times = np.array(prompt).T
    alone = np.interp(requests["prompt_tokens"].to_numpy(), sizes, times)
    between = token[0][1]
    whole = alone + between * (requests["output_tokens"] - 1)
    ratios = {
        "ttft": requests["ttft_ms"] / alone,
        "tpot": requests["tpot_ms"] / between,
        "e2e": requests["e2e_ms"] / whole,
    }
    return {name: np.nanpercentile(ratio, QUANTILES).tolist() for name, ratio in ratios.items()}


def within(run: mt.Result) -> bool:
    """Whether all nine limits hold."""
    found = slowdowns(run)
    return all(
        value <= limit
        for name, limits in LIMITS.items()
        for value, limit in zip(found[name], limits, strict=True)
    )


def highest_rates(
    clusters: Sequence[Cluster], trace: Any, options: Options, duration_s: float
) -> list[float]:
    """The highest rate at which each cluster keeps the limits, by bisection of all together."""
    low, high = np.zeros(len(clusters)), np.full(len(clusters), MAX_RATE)
    for _ in range(4 if options.quick else 7):
        middle = (low + high) / 2
        tried = [
            scenario(cluster, trace, rate, duration_s)
            for cluster, rate in zip(clusters, middle.tolist(), strict=True)
        ]
        good = np.array([within(runs[0]) for runs in run_all(tried, options)])
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return low.tolist()


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    traces, real = {}, {}
    for kind, (name, stand_in) in TRACES.items():
        traces[kind], real[kind] = trace_or(name, stand_in)
    duration_s = 20.0 if options.quick else DURATION_S
    best: dict[str, Any] = {}
    for budget in ("power", "cost"):
        for kind, trace in traces.items():
            found = designs(budget, 15 if options.quick else 3)
            rates = highest_rates([c for *_, c in found], trace, options, duration_s)
            for (name, prompts, tokens, cluster), rate in zip(found, rates, strict=True):
                key = f"{budget}/{kind}"
                mine = best.setdefault(key, {})
                if name not in mine or rate > mine[name]["rate"]:
                    mine[name] = {"rate": rate, "prompts": prompts, "tokens": tokens}
                    mine[name] |= _price(name, prompts, tokens)
                    mine[name]["cluster"] = cluster
    figures: dict[str, Any] = {
        "real_traces": real,
        "claim": CLAIM,
        "best": best,
        "curves": curves(best["power/conversation"], traces["conversation"], options, duration_s),
        "shift": shift(best["power/conversation"], traces["code"], options, 2 * duration_s),
    }
    for designs_found in best.values():
        for mine in designs_found.values():
            del mine["cluster"]
    tables = {"throughput": throughput_table(best)}
    publish(options, "splitwise", picture(figures), tables, figures)
    return figures


def _price(name: str, prompts: int, tokens: int) -> dict[str, float]:
    first, second = DESIGNS[name]
    if second is None:
        return {"power": prompts * POWER[first], "cost": prompts * COST[first]}
    return {
        "power": prompts * POWER[first] + tokens * POWER[second],
        "cost": prompts * COST[first] + tokens * COST[second],
    }


def curves(
    best: Mapping[str, Any], trace: Any, options: Options, duration_s: float
) -> dict[str, Any]:
    """p90 slowdowns over the rate of the best cluster of each design."""
    rates = np.linspace(20, 200, 4 if options.quick else 10).tolist()
    made = [scenario(best[n]["cluster"], trace, r, duration_s) for n in best for r in rates]
    found = [slowdowns(runs[0]) for runs in run_all(made, options)]
    table = {"rates": rates}
    for i, name in enumerate(best):
        mine = found[i * len(rates) : (i + 1) * len(rates)]
        table[name] = {key: [f[key][1] for f in mine] for key in ("ttft", "tpot")}
    return table


def shift(
    best: Mapping[str, Any], trace: Any, options: Options, duration_s: float
) -> dict[str, Any]:
    """p90 TTFT slowdown of the conversation's HH split under code, roles fixed or changing."""
    rates = SHIFT_RATES[1::2] if options.quick else SHIFT_RATES
    cluster = best["Splitwise-HH"]["cluster"]
    found: dict[str, Any] = {"rates": rates}
    for name, roles in (("fixed split", False), ("mixed pool", True)):
        made = [scenario(cluster, trace, float(r), duration_s, roles=roles) for r in rates]
        found[name] = [slowdowns(runs[0])["ttft"][1] for runs in run_all(made, options)]
    return found


def throughput_table(best: Mapping[str, Any]) -> Table:
    """The best split of each design, and the published one."""
    rows: list[list[Any]] = []
    breaks = set()
    for key, found in best.items():
        budget, kind = key.split("/")
        base = found["Baseline-H100"]["rate"]
        for name, mine in found.items():
            split = name.startswith("Splitwise")
            told = PUBLISHED_SPLIT.get((budget, name)) if kind == "conversation" else None
            rows.append(
                [
                    f"equal {budget}, {kind}",
                    name,
                    f"{mine['prompts']}P {mine['tokens']}T" if split else str(mine["prompts"]),
                    mine["rate"],
                    mine["rate"] / base if base else None,
                    f"{told[0]}P {told[1]}T" if told else None,
                ]
            )
        breaks.add(len(rows) - 1)
    columns = ["budget, traffic", "design", "machines", "requests/s", "of Baseline-H100"]
    caption = f"Published machines: BLOOM-176B. For comparison {CLAIM}."
    return Table([*columns, "published machines"], rows, caption=caption, breaks=breaks)


def picture(figures: Mapping[str, Any]) -> Any:
    """Throughput within limits by design and budget, slowdowns, and a change of traffic."""
    with new_figure(2, 2, (11.5, 8), "Splitwise: machines for prompts, machines for tokens") as (
        figure,
        axes,
    ):
        _bars(axes[0, 0], figures["best"], "power")
        _bars(axes[0, 1], figures["best"], "cost")
        _curves(axes[1, 0], figures["curves"])
        _shift(axes[1, 1], figures["shift"])
    return figure


def _bars(axes: Any, best: Mapping[str, Any], budget: str) -> None:
    names = list(DESIGNS)
    for i, (kind, colour) in enumerate(zip(TRACES, COLOURS, strict=False)):
        rates = [best[f"{budget}/{kind}"][name]["rate"] for name in names]
        at = np.arange(len(names)) + 0.4 * (i - 0.5)
        axes.barh(at, rates, height=0.36, color=colour, label=kind)
        for y, rate in zip(at, rates, strict=True):
            axes.text(rate, y, f" {rate:.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.1)
    axes.set_title(f"Within all limits, {budget} of {BUDGET_H100} DGX-H100")
    axes.set_xlabel("requests/s of the cluster")
    axes.set_xlim(0, 1.25 * max(found["rate"] for mine in best.values() for found in mine.values()))
    axes.legend(loc="upper right")


def _curves(axes: Any, curves: Mapping[str, Any]) -> None:
    colours = dict(zip(("Baseline", "Chunked", "Splitwise"), COLOURS[1:], strict=False))
    styles = {"A100": ":", "H100": "-", "AA": ":", "HH": "-", "HA": "--", "HHcap": "-."}
    for name in DESIGNS:
        kind, machines = name.split("-")
        axes.plot(
            curves["rates"],
            curves[name]["tpot"],
            styles[machines],
            color=colours[kind],
            label=name,
        )
    axes.axhline(LIMITS["tpot"][1], color="#888888", linestyle="--", linewidth=0.8)
    axes.set_ylim(0, 4)
    axes.set_title("Time between tokens, p90, conversation, equal power")
    axes.set_xlabel("requests/s of the cluster")
    axes.set_ylabel("slowdown against an idle A100")
    axes.legend()


def _shift(axes: Any, shift: Mapping[str, Any]) -> None:
    for colour, name in zip(COLOURS, ("fixed split", "mixed pool"), strict=False):
        axes.plot(shift["rates"], shift[name], "o-", color=colour, label=name)
    axes.axhline(LIMITS["ttft"][1], color="#888888", linestyle="--", linewidth=0.8)
    number_axis(axes, "y")
    axes.set_title("The conversation's HH split under code traffic")
    axes.set_xlabel("requests/s of the cluster")
    axes.set_ylabel("p90 TTFT, slowdown against an idle A100")
    axes.legend()


if __name__ == "__main__":
    main(study, __doc__)
