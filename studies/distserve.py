"""Does splitting prefill from decode serve more requests per GPU within the limits?

Paper: Zhong et al., "DistServe: Disaggregating Prefill and Decoding for Goodput-optimized Large
Language Model Serving", OSDI 2024: figure 8 (attainment against rate and SLO scale), figure 11
(ablation) and algorithms 1 and 2 (placement search), OPT-13B and OPT-66B on A100-80G.

Theirs: the iteration times, which are the coefficients published with the paper for its own engine
and for vLLM (`MLTWIN_DATA/kernels/distserve`; without that folder the study stops), the KV memory
of each parallelism, limits, parallelism and prompts per GPU (100) of the artefact's scripts, and
the quantiles of prompt and output lengths of its first 100 ShareGPT requests. Ours: the simulated
scheduler, KV memory and network. Poisson arrivals, lengths drawn from those quantiles.

What we find (full run):
- OPT-13B within 0.2 s and 0.1 s: the search on 4 GPUs picks two prefill GPUs (TP 2) and one decode
  GPU, with 1.6 requests/s per GPU at 90 %. The authors' simulator picks the same with 1.56.
- vLLM as it was run (one GPU for 13B, four for 66B) stays below 90 % at any rate: with its
  published coefficients the longest tenth of the prompts misses the TTFT limit on an idle GPU. So
  we have no ratio, where the paper measured 4.6 (OPT-13B, limit 0.25 s) and 2.75 (OPT-66B). Our
  curve lies within 5 points of their stored ablation's.
- Most of that is kernels and parallelism rather than disaggregation. Colocated on DistServe's own
  kernels (TP 2 for 13B) a replica serves more per GPU than the paper's placement; our curve is
  within 3 points of their "vLLM++", which in their ablation is level with DistServe. Prompts are
  five times as long as answers, so that all GPUs may as well prefill, and a limit of 0.1 s on the
  mean TPOT of a request forgives it. On 8 GPUs the search finds placements (prefill TP 4, decode
  TP 2) that beat it.
- What disaggregation does buy are even gaps between tokens: p99 about three times lower.
- Moving KV between nodes over 25 Gbit/s instead of NVLink takes most of the goodput away: the
  reason for algorithm 2, which keeps a pair inside a node. Their simulator moves KV in no time.

Limits: TTFT ends with the prefill, and the transfer falls into TPOT. Pipeline stages are modelled
as full pipelines and searched for decode only. Ray's overheads are left out. The stored curves of
figure 11 name neither model nor limits: that they are multiples of 1/300, 1/200 and 1/100, and our
own vLLM curve, say OPT-13B and 200/100 ms. From 2 requests/s per GPU on their disaggregated curve
lies above ours. That their decode has no limit of KV memory is part of it; the rest we cannot
explain, as the file does not name the placement.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.text import Table
from studies._common import Options, crossing, main, mean, publish, run_all, shared_data

# Quantiles of the artefact's first 100 ShareGPT requests (simdistserve/benchmarks/alignment).
AT = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]
PROMPT_TOKENS = [10, 162, 450, 814, 1258, 1591, 2003]
OUTPUT_TOKENS = [2, 6, 15, 55, 260, 469, 894]
PROMPTS_PER_GPU = 100
NVLINK_GBPS = 2400.0  # of one A100, each way; the nodes of the paper are joined by 25 Gbit/s
LEVEL = 0.9
# Limits in ms (TTFT, TPOT), TP of vLLM, and prefill TP, decode TP and PP of DistServe: from
# evaluation/2-benchmark-serving of the artefact; TP of our colocated system; rates per GPU.
MODELS: dict[str, dict[str, Any]] = {
    "opt-13b": {
        "limits": (200.0, 100.0),
        "vllm": 1,
        "tuned": 2,
        "split": (2, 1, 1),
        "rates": [0.1, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5],
        "scale_rate": 1,
    },
    "opt-66b": {
        "limits": (400.0, 100.0),
        "vllm": 4,
        "tuned": 4,
        "split": (4, 2, 2),
        "rates": [0.02, 0.0625, 0.125, 0.1875, 0.25, 0.3125, 0.375, 0.5, 0.625],
        "scale_rate": 0.125,
    },
}
SCALES = [0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0]
BANDWIDTHS_GBPS = [10, 25, 50, 100, 200, 400, 800, 2400]
SEARCHES = {"opt-13b": (4, 8), "opt-66b": (8,)}  # GPUs of the node to place on

# Published. Figure 8: ratios at 90 % printed by evaluation/2-benchmark-serving/plot.ipynb.
PUBLISHED_RATIO = {"opt-13b": 4.6, "opt-66b": 2.75}
# simdistserve/README.md: best goodput per GPU on 4 GPUs, prefill TP 2 and decode TP 1, step 0.25.
PUBLISHED_SEARCH = 1.56
# simdistserve/benchmarks/figure11-abalation/figure/figure_11a.json: shares at 1..5 requests/s/GPU.
PUBLISHED_RATES = [1, 2, 3, 4, 5]
PUBLISHED_SHARES = {
    "disaggregated": [0.983, 0.897, 0.813, 0.653, 0.490],
    "vLLM": [0.62, 0.49, 0.39, 0.32, 0.19],
    "colocated, tuned": [0.955, 0.895, 0.810, 0.625, 0.380],  # "vLLM++"
}
COLOUR = {"disaggregated": COLOURS[0], "vLLM": COLOURS[1], "colocated, tuned": COLOURS[2]}

Placement = tuple[int, int, int, int, int]
"""Prefill replicas and their TP; decode replicas, their TP and pipeline stages."""


@cache
def coefficients(engine: str, model: str, tp: int) -> dict[str, Any]:
    """Published coefficients of an engine (distserve, vllm) in ms."""
    path = shared_data("kernels", "distserve", f"profiler-a100-80g.{engine}.json")
    return json.loads(path.read_text())[f"facebook/{model}"][str(tp)]


@cache
def kv_tokens(model: str, tp: int, pp: int) -> int:
    """Tokens of KV that a replica holds, as published."""
    rows = shared_data("kernels", "distserve", "max_num_tokens.csv").read_text().split()
    found = {tuple(row.split(",")[:3]): int(row.split(",")[3]) for row in rows[1:]}
    return found[(f"facebook/{model}", str(tp), str(pp))]


def pool(engine: str, model: str, tp: int, pp: int = 1, replicas: int = 1) -> dict[str, Any]:
    """A pool timed by the published coefficients; pp stages share a batch, a full pipeline."""
    given = coefficients(engine, model, tp)
    decode = {
        part: [given[part][0], given[part][1] / pp, given[part][2] / pp]
        for part in ("decoding_smallbs", "decoding_largebs")
    }
    threshold = "decoding_large_small_bs_threshold"
    timing = {
        "format": "mltwin-user-timing-1",
        "kind": "phases",
        "prefill": {"kind": "distserve", "phase": "prefill", "prefill": given["prefill"]},
        "decode": {"kind": "distserve", "phase": "decode", threshold: given[threshold] * pp}
        | decode,
    }
    return {
        "gpu": "a100-sxm-80gb",
        "timing": timing,
        "tp": tp,
        "pp": pp,
        "replicas": replicas,
        "engine": "vllm_v0",  # whole prompts first, as vLLM in 2023 and DistServe's prefill
        "max_tokens": 16384,
        "max_batch": 1024,
        "kv_blocks": kv_tokens(model, tp, pp) // 16,
    }


def colocated(engine: str, model: str, tp: int) -> dict[str, Any]:
    """One replica that does both phases."""
    return {"mixed": pool(engine, model, tp)}


def split(model: str, placement: Placement) -> dict[str, Any]:
    """Prefill and decode replicas on DistServe's kernels."""
    n_prefill, tp_prefill, n_decode, tp_decode, pp_decode = placement
    return {
        "prefill": pool("distserve", model, tp_prefill, replicas=n_prefill),
        "decode": pool("distserve", model, tp_decode, pp_decode, n_decode),
    }


def gpus_of(cluster: Mapping[str, Any]) -> int:
    """GPUs of all its replicas."""
    return sum(pool["replicas"] * pool["tp"] * pool["pp"] for pool in cluster.values())


def scenario(
    model: str, cluster: Mapping[str, Any], rate_per_gpu: float, gbps: float = NVLINK_GBPS
) -> mt.Scenario:
    """A cluster under Poisson arrivals of ShareGPT-like requests."""
    gpus = gpus_of(cluster)
    ttft, tpot = MODELS[model]["limits"]
    trace = {
        "requests": PROMPTS_PER_GPU * gpus,
        "arrivals": {"process": "poisson", "rate_per_s": float(rate_per_gpu) * gpus},
        "prompt": {"law": "knots", "at": AT, "values": PROMPT_TOKENS},
        "output": {"law": "knots", "at": AT, "values": OUTPUT_TOKENS},
    }
    return mt.ServingScenario.parse(
        {
            "workload": {"trace": trace},
            "model": {"name": model},
            "cluster": cluster,
            "network": {"bandwidth_gbps": gbps},
            "slo": {"ttft_ms": ttft, "tpot_ms": tpot},
        }
    )


def shares(
    cases: Sequence[tuple[str, Mapping[str, Any], float]],
    rates: Sequence[float],
    options: Options,
    seeds: Sequence[int],
) -> np.ndarray:
    """SLO attainment of each (model, cluster, Gbit/s) at each rate per GPU."""
    made = [scenario(m, cluster, rate, gbps) for m, cluster, gbps in cases for rate in rates]
    found = [mean(runs, "slo_attainment") for runs in run_all(made, options, seeds)]
    return np.array(found).reshape(len(cases), len(rates))


def systems(model: str) -> dict[str, Mapping[str, Any]]:
    """The paper's placements, and a colocated one on DistServe's kernels with the best TP."""
    facts = MODELS[model]
    tp_prefill, tp_decode, pp_decode = facts["split"]
    return {
        "disaggregated": split(model, (1, tp_prefill, 1, tp_decode, pp_decode)),
        "vLLM": colocated("vllm", model, facts["vllm"]),
        "colocated, tuned": colocated("distserve", model, facts["tuned"]),
    }


def compared(model: str, options: Options, seeds: Sequence[int]) -> dict[str, Any]:
    """Each system by rate, by SLO scale at one rate, and its gaps between tokens."""
    facts = MODELS[model]
    rates = facts["rates"][::2] if options.quick else facts["rates"]
    ttft, tpot = facts["limits"]
    found: dict[str, Any] = {"rates": rates, "attainment": {}, "goodput": {}, "scale": {}}
    found["p99_itl_ms"] = {}
    for name, cluster in systems(model).items():
        runs = run_all([scenario(model, cluster, rate) for rate in rates], options, seeds)
        found["attainment"][name] = [_attained(group, ttft, tpot) for group in runs]
        found["goodput"][name] = goodput(model, cluster, options, seeds)
        chosen = runs[rates.index(facts["scale_rate"])]
        found["scale"][name] = [_attained(chosen, ttft * scale, tpot * scale) for scale in SCALES]
        found["p99_itl_ms"][name] = [mean(group, "p99_itl_ms") for group in runs]
    return found


def goodput(
    model: str, cluster: Mapping[str, Any], options: Options, seeds: Sequence[int]
) -> dict[str, Any]:
    """The highest rate per GPU that keeps the level (0: none), and its interval over seeds."""
    rates = MODELS[model]["rates"]
    frontier = mt.goodput(
        scenario(model, cluster, MODELS[model]["scale_rate"]),
        rate_field="workload.trace.arrivals.rate_per_s",
        least=LEVEL,
        low=rates[0] * gpus_of(cluster),
        high=rates[-1] * gpus_of(cluster),
        seeds=list(seeds),
        check=not options.quick,
        workers=options.workers,
    )
    if not frontier.reached:
        return {"rate": 0.0, "interval": None}
    bounds, gpus = frontier.interval, gpus_of(cluster)
    interval = None if bounds is None else [bounds.low / gpus, bounds.high / gpus]
    return {"rate": frontier.rate_per_gpu, "interval": interval}


def _attained(runs: Sequence[mt.Result], ttft_ms: float, tpot_ms: float) -> float:
    """Mean share of requests within both limits."""
    limits = {"ttft": ttft_ms, "tpot": tpot_ms}
    found = [r.with_limits(limits) for r in runs if isinstance(r, mt.ServingResult)]
    return mean(found, "slo_attainment")


def placements(model: str, gpus: int) -> list[Placement]:
    """All that fit on so many GPUs and for which there are coefficients."""
    tps = {"opt-13b": (1, 2, 4), "opt-66b": (2, 4)}[model]
    return [
        (n_prefill, tp_prefill, n_decode, tp_decode, pp)
        for tp_prefill in tps
        for tp_decode in tps
        for pp in (1, 2)
        for n_prefill in range(1, gpus + 1)
        for n_decode in range(1, gpus + 1)
        if n_prefill * tp_prefill + n_decode * tp_decode * pp <= gpus
        and np.gcd(n_prefill, n_decode) == 1
    ]


def search(
    model: str, gpus: int, options: Options, seeds: Sequence[int]
) -> list[tuple[float, Placement]]:
    """Goodput per GPU of each placement on so many GPUs of one node, best first."""
    found = placements(model, gpus)
    top = {"opt-13b": 3.0, "opt-66b": 0.5}[model]
    rates = np.linspace(0, top, 6 if options.quick else 11)[1:].tolist()
    table = shares([(model, split(model, p), NVLINK_GBPS) for p in found], rates, options, seeds)
    goods = [crossing(rates, row.tolist(), LEVEL) for row in table]
    return sorted(zip(goods, found, strict=True), reverse=True)


def named(placement: Placement) -> str:
    """A placement as a label."""
    n_prefill, tp_prefill, n_decode, tp_decode, pp = placement
    stages = f" PP{pp}" if pp > 1 else ""
    return f"{n_prefill} x P(TP{tp_prefill}) + {n_decode} x D(TP{tp_decode}{stages})"


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    seeds = range(2 if options.quick else 5)
    many = seeds if options.quick else range(20)  # 100 requests per GPU say little about a tail
    figures: dict[str, Any] = {"published": _published()}
    for model in MODELS:
        mine = figures[model] = compared(model, options, many)
        mine["search"] = {}
        for gpus in SEARCHES[model][: 1 if options.quick else 2]:
            found = search(model, gpus, options, seeds)
            mine["search"][str(gpus)] = [[good, named(p)] for good, p in found if good][:8]
        bands = BANDWIDTHS_GBPS[1::3] if options.quick else BANDWIDTHS_GBPS
        cluster = systems(model)["disaggregated"]
        table = shares([(model, cluster, float(b)) for b in bands], mine["rates"], options, seeds)
        mine["bandwidth_gbps"] = bands
        mine["bandwidth_goodput"] = [crossing(mine["rates"], row.tolist(), LEVEL) for row in table]
    tables = {"goodput": goodput_table(figures), "placements": placement_table(figures)}
    publish(options, "distserve", picture(figures), tables, figures)
    return figures


def _published() -> dict[str, Any]:
    return {
        "figure 8, DistServe over vLLM at 90 %": PUBLISHED_RATIO,
        "README, goodput per GPU on 4 GPUs (P TP2, D TP1)": PUBLISHED_SEARCH,
        "figure 11a, OPT-13B": PUBLISHED_SHARES,
    }


def goodput_table(figures: Mapping[str, Any]) -> Table:
    """Goodput per GPU of each system, with what the authors published."""
    rows: list[list[Any]] = []
    for model in MODELS:
        mine = figures[model]
        good, place = mine["goodput"], mine["rates"].index(MODELS[model]["scale_rate"])
        for name in good:
            told = PUBLISHED_SEARCH if (model, name) == ("opt-13b", "disaggregated") else None
            share, gap = mine["attainment"][name][place], mine["p99_itl_ms"][name][place]
            rate, bounds = good[name]["rate"], good[name]["interval"]
            spread = f"{bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else None
            rows.append([model, name, rate, spread, told, f"{share:.1%}", gap])
        ours, vllm = good["disaggregated"]["rate"], good["vLLM"]["rate"]
        name = "disaggregated over vLLM"
        told = PUBLISHED_RATIO[model]
        rows.append([model, name, ours / vllm if vllm else None, None, told, None, None])
    columns = ["model", "system", "goodput at 90 %", "95 % interval", "published"]
    columns += ["within limits", "p99 gap, ms"]
    caption = (
        "Goodput: requests/s per GPU with 90 % within both limits, 0 if below 90 % even at the "
        "lowest rate, with its interval over the seeds. Within limits, and the p99 gap between "
        "tokens: at 1 (OPT-13B) and 0.125 (OPT-66B) requests/s per GPU. "
        "Published: the search of their simulator (README, 4 GPUs), and the ratios that they "
        "measured on GPUs (figure 8; TTFT 250 ms for OPT-13B)."
    )
    return Table(columns, rows, caption=caption, breaks={3, 7})


def placement_table(figures: Mapping[str, Any]) -> Table:
    """The best placements of the search."""
    rows: list[list[Any]] = []
    breaks = set()
    for model in MODELS:
        for gpus, found in figures[model]["search"].items():
            rows += [[model, int(gpus), place, good] for good, place in found[:5]]
            breaks.add(len(rows) - 1)
    columns = ["model", "GPUs of the node", "placement", "goodput per GPU at 90 %"]
    return Table(columns, rows, breaks=breaks)


def picture(figures: Mapping[str, Any]) -> Any:
    """Attainment by rate and scale, gaps between tokens, the search, the price of slow links."""
    title = "DistServe: goodput per GPU, prefill and decode apart or together"
    with new_figure(4, 2, (10.5, 14), title) as (figure, axes):
        for column, model in enumerate(MODELS):
            _by_rate(axes[0, column], model, figures[model])
            _by_scale(axes[1, column], model, figures[model])
            _gaps(axes[2, column], model, figures[model])
        _search(axes[3, 0], figures["opt-13b"])
        _bandwidth(axes[3, 1], figures)
    return figure


def _by_rate(axes: Any, model: str, mine: Mapping[str, Any]) -> None:
    for name, values in mine["attainment"].items():
        axes.plot(mine["rates"], values, "-", color=COLOUR[name], label=name)
    if model == "opt-13b":
        for name, values in PUBLISHED_SHARES.items():
            label = f"{name}, published (fig. 11a)"
            axes.plot(PUBLISHED_RATES, values, "o", mfc="none", color=COLOUR[name], label=label)
    axes.axhline(LEVEL, color="#888888", linewidth=0.8, linestyle="--")
    ttft, tpot = MODELS[model]["limits"]
    axes.set_title(f"{model.upper()}: TTFT {ttft:.0f} ms, TPOT {tpot:.0f} ms")
    axes.set_xlabel("requests/s per GPU")
    axes.set_ylabel("within both limits")
    axes.set_ylim(0, 1.03)
    share_axis(axes)
    axes.legend()


def _by_scale(axes: Any, model: str, mine: Mapping[str, Any]) -> None:
    for name, values in mine["scale"].items():
        axes.plot(SCALES, values, "-", color=COLOUR[name], label=name)
    axes.axhline(LEVEL, color="#888888", linewidth=0.8, linestyle="--")
    axes.set_title(f"{model.upper()} at {MODELS[model]['scale_rate']:g} requests/s per GPU")
    axes.set_xlabel("SLO scale (tighter to the right)")
    axes.invert_xaxis()
    axes.set_ylim(0, 1.03)
    share_axis(axes)


def _gaps(axes: Any, model: str, mine: Mapping[str, Any]) -> None:
    for name, values in mine["p99_itl_ms"].items():
        axes.plot(mine["rates"], values, "-", color=COLOUR[name], label=name)
    axes.set_title(f"{model.upper()}: gap between tokens, p99")
    axes.set_xlabel("requests/s per GPU")
    axes.set_ylabel("ms")
    axes.set_ylim(0, 700)


def _search(axes: Any, mine: Mapping[str, Any]) -> None:
    goods, names = zip(*mine["search"]["4"], strict=True)
    axes.barh(names, goods, color=COLOURS[0], height=0.6)
    axes.axvline(PUBLISHED_SEARCH, color=COLOURS[1], linestyle="--")
    note = f"published for\nP(TP2) + D(TP1): {PUBLISHED_SEARCH}"
    axes.text(PUBLISHED_SEARCH + 0.03, len(goods) - 1, note, fontsize=8, color=COLOURS[1])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 2.3)
    axes.set_title("OPT-13B: placements on 4 GPUs")
    axes.set_xlabel("goodput per GPU, requests/s")


def _bandwidth(axes: Any, figures: Mapping[str, Any]) -> None:
    for colour, model in zip(COLOURS, MODELS, strict=False):
        good = np.array(figures[model]["bandwidth_goodput"])
        best = max(good.max(), 1e-9)
        axes.plot(figures[model]["bandwidth_gbps"], good / best, "o-", color=colour, label=model)
    axes.set_xscale("log")
    axes.set_xticks([10, 25, 100, 400, 2400], ["10", "25", "100", "400", "2400\n(NVLink)"])
    axes.minorticks_off()
    share_axis(axes)
    axes.set_ylim(0, 1.05)
    axes.set_title("The paper's placement over slower links")
    axes.set_xlabel("KV transfer, Gbit/s each way")
    axes.set_ylabel("share of goodput")
    axes.legend()


if __name__ == "__main__":
    main(study, __doc__)
