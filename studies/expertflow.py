"""Where do 93.72 % less memory and up to ten times the speed of an expert cache come from?

Paper: He et al., "ExpertFlow: Efficient Mixture-of-Experts Inference via Predictive Expert Caching
and Token Scheduling", arXiv 2410.17954 (2024; version 2: 2026): the routing of all layers is
predicted in one pass, experts are prefetched, mispredictions corrected at run time, and tokens with
similar routes run together. Beside it arXiv 2511.05814, that proposes LFU over LRU for experts.

Theirs: the claims of the abstract, up to 93.72 % less GPU memory and up to 10 times the throughput
of strong offloading baselines on one GPU (version 1: 2 to 10 times). Models, links, baselines and
the predictor's accuracy stand in the body of the paper, which we could not read, so that nothing
here repeats one of its experiments. Ours: the models (Mixtral 8x7B, Qwen3-30B-A3B, and a shape of
small experts, one of 128 a token), an H100's roofline, links from a measured SSD (12.6 GB/s) over
measured PCIe 5 (54 GB/s) to NVLink-C2C's data sheet (450 GB/s) and beyond, and a synthetic router.

What we find:
- 93.72 % is a choice, not a gain: it says how few experts are held. Mixtral reaches it with 7 of
  256, while one token uses 64; Qwen3 with 79 of 6,144, while one token uses 384. Nothing is left to
  cache: not one hit. With small experts, one a token, the same share holds 66 where a token uses
  12, and a third of the activations hit.
- Prefetching alone does not give 2 to 10 times. It overlaps loads with compute and so gains a
  factor of 2 at most, where both take the same time. Over PCIe 5 a Mixtral expert takes 48 times
  longer to load than to compute: a perfect predictor gains 3 %. It gains 22 % over NVLink-C2C, and
  16 % at 2 TB/s, where there is little left to hide.
- Where the link is the bottleneck, bytes count, and wrong guesses cost more than right ones bring:
  over PCIe 5 a predictor of recall and precision 0.9 is 12 % slower than none, and over NVLink-C2C
  one below about 0.85 does harm.
- 2 to 10 times, and more, is what loading only the experts in use gains over loading all of each
  layer: with 93.72 % saved, for one token 3.9 times (Mixtral), 15 times (Qwen3) and 161 times
  (small experts). It falls with the batch, as a pass uses more of each layer's experts: at 16
  tokens Mixtral gains nothing, Qwen3 1.6 times, the small experts 8 times.
- Regrouping tokens needs fewer experts a pass, up to 6 % here, where requests come in kinds. With
  a quarter of the experts held it is 7 % faster; with half of them held it is 3 % slower, as
  passes of unlike tokens share fewer experts with each other. One pass for all tokens is faster
  than any split.
- LFU beats LRU where popularity is steady and tokens do not repeat their predecessor's experts, as
  arXiv 2511.05814 says (67 % of hits to 51 %). With three in ten slots repeated, LRU is as good;
  with six in ten LRU is far better (82 % to 67 %), the more so where requests have favourites.

Limits: the router is synthetic; its skew and correlations have the form of published ones, not
their values. Decoding only. The roofline's efficiencies are assumed. Streaming all experts is
arithmetic (bytes over bandwidth, or compute, whichever is longer), not simulated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, number_axis, share_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

CLAIMED_SAVING, CLAIMED_SPEEDUP = 0.9372, (2, 10)  # abstract of arXiv 2410.17954, versions 1 and 2
LINKS = {  # GB/s
    "SSD": 12.6,  # ServerlessLLM's loads on an A5000: OPT-6.7B, 13.3 GB in 1.06 s
    "PCIe 5": 54.0,  # ServerlessLLM's loads on an H100: Qwen3-32B, 65.5 GB in 1.21 s
    "NVLink-C2C": 450.0,  # GH200 data sheet, one direction
    "2 TB/s": 2000.0,
}
RECALLS = [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0]  # and precisions; 0: no predictor
SHARES = [0.03, 0.06, 0.125, 0.25, 0.5, 0.75, 1.0]
BATCHES = [1, 2, 4, 8, 16, 32]
CORRELATIONS = [0.0, 0.3, 0.6]
MODELS: dict[str, dict[str, Any]] = {
    "Mixtral 8x7B": {"name": "mixtral-8x7b"},
    "Qwen3-30B-A3B": {"name": "qwen3-30b-a3b"},
    "1 of 128, small": {
        "layers": 12,
        "experts": 128,
        "experts_per_token": 1,
        "expert_mb": 9.4,
        "other_gb": 0.3,
    },
}
FIRST, LINK, SHARE = "Mixtral 8x7B", "PCIe 5", 0.5
STEPS = 150


def scenario(name: str = "", model: str = FIRST, steps: int = STEPS, **fields: Any) -> mt.Scenario:
    """Half of the experts in HBM behind PCIe 5, unless `fields` (dots as __) say otherwise."""
    base = mt.Scenario.parse({"system": "expert-cache", "name": name, "model": MODELS[model]})
    usual = {
        "routing__steps": steps,
        "memory__hbm_share": SHARE,
        "link__dram_gb_per_s": LINKS[LINK],
    }
    return base.with_(**(usual | fields))


def predictor(quality: float, lookahead: int | str = 1) -> dict[str, Any]:
    """The fields of a predictor whose recall and precision are `quality`; 0: none."""
    if not quality:
        return {}
    return {
        "predictor__kind": "given",
        "predictor__recall": quality,
        "predictor__precision": quality,
        "predictor__lookahead": lookahead,
    }


METRICS = (
    "output_throughput",
    "resident_throughput",
    "hit_ratio",
    "stall_share",
    "moved_gb_per_token",
    "experts_per_visit",
    "memory_saved_ratio",
)


def swept(
    cases: Mapping[Any, mt.Scenario], options: Options, seeds: Sequence[int]
) -> dict[Any, dict[str, float]]:
    """What each scenario comes to, mean over the seeds."""
    found = run_all(list(cases.values()), options, seeds)
    return {
        key: {name: mean(runs, name) for name in METRICS}
        for key, runs in zip(cases, found, strict=True)
    }


def holding(model: str, saving: float) -> tuple[int, dict[str, Any]]:
    """How many experts are held if so much of all weights is to be saved, and the model's bytes."""
    facts = scenario(model=model, steps=1).run(0).facts
    keys, expert = facts["layers"] * facts["experts"], facts["expert_bytes"]
    total = facts["other_bytes"] + keys * expert
    return max(1, int(((1 - saving) * total - facts["other_bytes"]) // expert)), facts


def streaming(facts: Mapping[str, Any], link: float, batch: int, resident: float) -> float:
    """Tokens/s where every layer's experts are all loaded in each pass: the longer of loads and
    compute."""
    load_s = facts["layers"] * facts["experts"] * facts["expert_bytes"] / (link * 1e9)
    return batch / max(load_s, batch / resident)


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    steps = 25 if options.quick else STEPS
    seeds = range(1 if options.quick else 3)
    recalls = RECALLS[::2] if options.quick else RECALLS
    shares = SHARES[::2] if options.quick else SHARES
    batches = BATCHES[::2] if options.quick else BATCHES
    figures: dict[str, Any] = {
        "recalls": recalls,
        "shares": shares,
        "batches": batches,
        "by_recall": by_recall(options, seeds, steps, recalls),
        "by_share": by_share(options, seeds, steps, shares),
        "by_batch": by_batch(options, seeds, steps, batches),
        "regrouping": regrouping(options, seeds, steps),
        "policies": policies(options, seeds, steps),
    }
    tables = {
        "prefetching": prefetch_table(figures),
        "savings": saving_table(figures),
        "regrouping": regroup_table(figures),
        "policies": policy_table(figures),
    }
    publish(options, "expertflow", picture(figures), tables, figures)
    return figures


def by_recall(
    options: Options, seeds: Sequence[int], steps: int, recalls: list[float]
) -> dict[str, list[dict[str, float]]]:
    """Hits and speed by the predictor's quality, for each link; gains are over no predictor."""
    cases = {
        (link, q): scenario(f"{link} {q}", steps=steps, link__dram_gb_per_s=rate, **predictor(q))
        for link, rate in LINKS.items()
        for q in recalls
    }
    found = swept(cases, options, seeds)
    rows = {link: [found[link, q] for q in recalls] for link in LINKS}
    for mine in rows.values():
        for row in mine:
            row["gain"] = row["output_throughput"] / mine[0]["output_throughput"]
    return rows


def by_share(
    options: Options, seeds: Sequence[int], steps: int, shares: list[float]
) -> dict[str, list[dict[str, float]]]:
    """Speed by how many experts are held, on two links, without and with a perfect predictor."""
    cases = {}
    for link in ("PCIe 5", "NVLink-C2C"):
        for text, quality in ((link, 0.0), (f"{link}, perfect predictor", 1.0)):
            for share in shares:
                fields = {"link__dram_gb_per_s": LINKS[link], "memory__hbm_share": share}
                fields |= {"memory__preload": True} | predictor(quality)
                cases[text, share] = scenario(f"{text} {share}", steps=steps, **fields)
    found = swept(cases, options, seeds)
    return {text: [found[text, s] for s in shares] for text, _ in cases}


def by_batch(
    options: Options, seeds: Sequence[int], steps: int, batches: list[int]
) -> dict[str, dict[str, Any]]:
    """Gains over streaming all experts when as much memory is saved as is claimed."""
    held = {model: holding(model, CLAIMED_SAVING) for model in MODELS}
    cases = {
        (model, batch): scenario(
            f"{model} {batch}",
            model,
            steps if model == FIRST else max(steps // 3, 10),
            memory__hbm_experts=held[model][0],
            routing__batch=batch,
        )
        for model in MODELS
        for batch in batches
    }
    found = swept(cases, options, seeds)
    rows: dict[str, dict[str, Any]] = {}
    for model, (experts, facts) in held.items():
        mine = [found[model, batch] for batch in batches]
        for batch, row in zip(batches, mine, strict=True):
            row["streaming"] = streaming(facts, LINKS[LINK], batch, row["resident_throughput"])
            row["gain"] = row["output_throughput"] / row["streaming"]
        keys = facts["layers"] * facts["experts"]
        token = facts["layers"] * facts["experts_per_token"]
        rows[model] = {"held": experts, "keys": keys, "a_token": token, "rows": mine}
    return rows


def regrouping(
    options: Options, seeds: Sequence[int], steps: int
) -> dict[str, dict[str, dict[str, float]]]:
    """32 tokens a step in one pass, in four, and in four of similar tokens; by how much topics
    differ, and by the share of experts that is held."""
    ways: dict[str, dict[str, Any]] = {
        "one pass": {},
        "four passes": {"micro_batches": 4},
        "four passes, regrouped": {"micro_batches": 4, "regroup": True},
    }
    places = [(strength, share) for strength in (0.0, 1.0) for share in (0.25, 0.5)]
    cases = {
        (place, way): scenario(
            f"{place} {way}",
            "Qwen3-30B-A3B",
            max(steps // 3, 10),
            routing__batch=32,
            routing__topic_strength=place[0],
            memory__hbm_share=place[1],
            **fields,
        )
        for place in places
        for way, fields in ways.items()
    }
    found = swept(cases, options, seeds)
    return {
        f"{'four topics' if s else 'one ranking'}, {share:.0%} held": {
            way: found[(s, share), way] for way in ways
        }
        for s, share in places
    }


def policies(
    options: Options, seeds: Sequence[int], steps: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Hits of each policy by how much tokens repeat their predecessor's experts, for requests
    that all share one ranking, and for requests of four topics."""
    names = ("lru", "lfu", "layer", "static", "belady")
    routers = {
        **{f"one ranking, repeats {c:g}": (c, 0.0) for c in CORRELATIONS},
        **{f"four topics, repeats {c:g}": (c, 1.0) for c in CORRELATIONS},
    }
    cases = {
        (text, policy): scenario(
            f"{text} {policy}",
            steps=2 * steps,
            policy=policy,
            routing__token_correlation=repeats,
            routing__topic_strength=strength,
        )
        for text, (repeats, strength) in routers.items()
        for policy in names
    }
    found = swept(cases, options, seeds)
    return {text: {policy: found[text, policy] for policy in names} for text in routers}


def prefetch_table(figures: Mapping[str, Any]) -> Table:
    """Speed and hits by link and quality of the predictor."""
    rows: list[list[Any]] = []
    breaks = set()
    for link, mine in figures["by_recall"].items():
        for quality, row in zip(figures["recalls"], mine, strict=True):
            told = f"{quality:g}" if quality else "none"
            cells = [row["output_throughput"], f"{row['gain']:.2f}", f"{row['hit_ratio']:.1%}"]
            rows.append([link, told, *cells, f"{row['stall_share']:.1%}"])
        breaks.add(len(rows) - 1)
    caption = (
        f"{FIRST}, one token a step, {SHARE:.0%} of the experts in HBM, LRU, one layer of "
        "look-ahead; recall and precision of the predictor are equal."
    )
    columns = ["link", "predictor", "tokens/s", "over none", "hits", "stalled"]
    return Table(columns, rows, caption=caption, breaks=breaks)


def saving_table(figures: Mapping[str, Any]) -> Table:
    """What saving 93.72 % leaves, and the gain over streaming all experts."""
    rows: list[list[Any]] = []
    for model, mine in figures["by_batch"].items():
        for batch, row in zip(figures["batches"], mine["rows"], strict=True):
            held = f"{mine['held']} of {mine['keys']}"
            cells = [row["experts_per_visit"], f"{row['hit_ratio']:.1%}", row["output_throughput"]]
            rows.append(
                [model, held, mine["a_token"], batch, *cells, row["streaming"], row["gain"]]
            )
    columns = ["model", "held", "a token uses", "batch", "experts a layer", "hits", "tokens/s"]
    caption = (
        f"As many experts in HBM as save {CLAIMED_SAVING:.2%} of all weights; {LINK}, LRU, no "
        "predictor. Streaming loads all experts of each layer in each pass."
    )
    size = len(figures["batches"])
    breaks = {size * i - 1 for i in range(1, len(MODELS))}
    return Table([*columns, "streaming", "gain"], rows, caption=caption, breaks=breaks)


def regroup_table(figures: Mapping[str, Any]) -> Table:
    """One pass, four, and four regrouped."""
    rows: list[list[Any]] = [
        [
            text,
            way,
            row["experts_per_visit"],
            row["moved_gb_per_token"],
            row["output_throughput"],
        ]
        for text, ways in figures["regrouping"].items()
        for way, row in ways.items()
    ]
    columns = ["requests", "32 tokens in", "experts a layer and pass", "GB/token", "tokens/s"]
    return Table(columns, rows, caption="Qwen3-30B-A3B, LRU, PCIe 5.", breaks={2, 5, 8})


def policy_table(figures: Mapping[str, Any]) -> Table:
    """Hit ratios of the policies."""
    found = figures["policies"]
    names = list(next(iter(found.values())))
    rows: list[list[Any]] = [
        [text, *(f"{mine[name]['hit_ratio']:.1%}" for name in names)]
        for text, mine in found.items()
    ]
    caption = f"{FIRST}, {SHARE:.0%} of the experts in HBM, no predictor, cold start but static."
    return Table(["routing", *names], rows, caption=caption, breaks={len(CORRELATIONS) - 1})


def picture(figures: Mapping[str, Any]) -> Any:
    """Hits and gains by quality, speed by memory saved, and the gain over streaming by batch."""
    with new_figure(2, 2, (11, 7.6), "Expert caches: what prefetching and sparsity bring") as (
        figure,
        axes,
    ):
        for axis, metric in ((axes[0, 0], "hit_ratio"), (axes[0, 1], "gain")):
            for colour, (link, mine) in zip(COLOURS, figures["by_recall"].items(), strict=False):
                y = [row[metric] for row in mine]
                axis.plot(figures["recalls"], y, "o-", markersize=4, color=colour, label=link)
            axis.set_xlabel("recall and precision of the predictor (0: none)")
        axes[0, 0].set_title(f"{FIRST}: activations found resident")
        axes[0, 0].set_ylim(0, 1.02)
        share_axis(axes[0, 0])
        axes[0, 0].legend()
        axes[0, 1].set_title("Speed over loading on demand")
        axes[0, 1].axhline(2, color=COLOURS[6], linestyle="--", linewidth=1)
        axes[0, 1].text(0, 2.02, "most that overlap can give", fontsize=8, va="bottom")
        axes[0, 1].set_ylim(0.6, 2.2)
        _by_saving(axes[1, 0], figures)
        _by_batch(axes[1, 1], figures)
    return figure


def _by_saving(axes: Any, figures: Mapping[str, Any]) -> None:
    looks = ((COLOURS[0], "--"), (COLOURS[0], "-"), (COLOURS[2], "--"), (COLOURS[2], "-"))
    for (colour, line), (text, mine) in zip(looks, figures["by_share"].items(), strict=True):
        saved = [row["memory_saved_ratio"] for row in mine]
        speed = [row["output_throughput"] / row["resident_throughput"] for row in mine]
        axes.plot(saved, speed, line, marker="o", markersize=4, color=colour, label=text)
    axes.axvline(CLAIMED_SAVING, color=COLOURS[6], linewidth=1, linestyle=":")
    number_axis(axes, "y")
    axes.text(CLAIMED_SAVING - 0.01, 0.9, "93.72 %", fontsize=8, ha="right", va="top")
    share_axis(axes, "x")
    axes.set_title(f"{FIRST}: speed by memory saved")
    axes.set_xlabel("weights not held in HBM")
    axes.set_ylabel("of the speed with all resident")
    axes.legend(handlelength=3.2)


def _by_batch(axes: Any, figures: Mapping[str, Any]) -> None:
    for colour, (model, mine) in zip(COLOURS, figures["by_batch"].items(), strict=False):
        gains = [row["gain"] for row in mine["rows"]]
        text = f"{model}: {mine['held']} of {mine['keys']} held"
        axes.plot(figures["batches"], gains, "o-", markersize=4, color=colour, label=text)
    axes.axhspan(*CLAIMED_SPEEDUP, color=COLOURS[6], alpha=0.12, linewidth=0)
    axes.text(figures["batches"][-1], CLAIMED_SPEEDUP[1], "claimed: 2 to 10", fontsize=8,
              ha="right", va="top")  # fmt: skip
    number_axis(axes, "y")
    axes.set_xscale("log", base=2)
    axes.set_xticks(figures["batches"], [str(batch) for batch in figures["batches"]])
    axes.set_title("93.72 % saved: speed over streaming all experts")
    axes.set_xlabel("tokens a step")
    axes.legend()


if __name__ == "__main__":
    main(study, __doc__)
