"""When does a semantic cache pay, and do thresholds by category make it pay more?

Paper: Wang et al., "Category-Aware Semantic Caching for Heterogeneous LLM Workloads", arXiv
2510.26835 (abstract): a remote vector database costs a miss 30 ms and needs hit ratios of 15-20 %
to break even; an index in memory with answers in a store costs 2 ms and needs 3-5 %; categories hit
in 40-60 % or 5-15 % of their queries, and 20-30 % of traffic stays uncached; thresholds and TTLs
that move with load cut the traffic to overloaded models by 9-17 % ("theoretical projections").

Theirs: these figures, the two architectures, and what varies by category (similarity threshold,
TTL, quota; dense code that repeats by a power law, sparse chat that repeats evenly, content that
goes stale). Ours: the workload (12,000 drawn queries in four categories; their dispersion,
repetition and lives are chosen by us, as the paper has no public trace), calls of 175 ms, all of
one length, in the middle of what the paper's 15-20 % imply, an LRU cache of 3,000 answers, and the
load experiment. Thresholds are picked on one drawing of the workload and scored on four others.

What we find:
- The two break-even figures do not fit one latency model. m / (L - f) is 15-20 % at m = 30 ms where
  a hit saves 150-200 ms; at 2 ms the same saving gives 1.0-1.3 %, not 3-5 %. The 3-5 % would follow
  from 6.0-7.5 ms a lookup (4.0-5.5 ms more than is told), from a store that takes 110-133 ms to
  fetch an answer, or from calls of 40-67 ms. The simulation crosses where the formula says.
- What the figures are for holds: at 30 ms the sparse and the volatile category, hits of 6 and 13 %,
  are slower with a cache than without; at 2 ms every category gains.
- At equal bounds on false answers, thresholds by category serve more queries rightly than one
  threshold for all: 31 against 22 % at 1 %, 35 against 28 % at 5 %. They serve 25 % rightly with
  0.3 % false, where a single one serves 22 % with 0.8 %: it must be as strict as the densest
  category needs.
- A cut of calls by 9-17 % can be had from an overloaded model, and is paid for in false answers: at
  1.3 times what it bears, thresholds that fall by 0.04 save 11 % of the calls and raise false
  answers from 2 to 11 %. The abstract gives no price.

Limits: one cache, one model. False answers come from how the workload was drawn: siblings of a
family are easily confused by construction, so that shares of false answers are of this workload and
only their order by policy is a finding. Categories are told without error and in no time beyond m.
We could read the paper's abstract, not its tables.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, FAINT, new_figure, share_axis
from mltwin.semantic import SemanticScenario
from mltwin.semantic_curves import threshold_curve, with_threshold
from mltwin.semantic_metrics import break_even
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

# The abstract of arXiv 2510.26835.
REMOTE_MS, MEMORY_MS = 30.0, 2.0
REMOTE_BREAK_EVEN, MEMORY_BREAK_EVEN = (0.15, 0.20), (0.03, 0.05)
TRAFFIC_CUT = (0.09, 0.17)

CALL_MS = 175.0
QUERIES, RATE, ENTRIES = 12_000, 50.0, 3000
SEEDS, TUNING_SEED = (1, 2, 3, 4), 0
BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1)
LEVELS = np.round(np.arange(0.6, 0.981, 0.02), 3)
FALLS = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
LOADS = (0.9, 1.1, 1.3)
CATEGORIES: dict[str, dict[str, Any]] = {
    "code": {"share": 0.35, "threshold": 0.93, "traffic": {"name": "dense"}},
    "docs": {
        "share": 0.2,
        "threshold": 0.84,
        "traffic": {
            "name": "dense",
            "intents": 2500,
            "exponent": 0.8,
            "paraphrase": 0.9,
            "sibling": 0.8,
            "base": 0.4,
        },
    },
    "chat": {"share": 0.3, "threshold": 0.68, "traffic": {"name": "sparse", "intents": 12_000}},
    "news": {
        "share": 0.15,
        "threshold": 0.7,
        "ttl_s": 6.0,
        "traffic": {"name": "sparse", "intents": 250, "life_s": 60.0},
    },
}
INDEXES = {"remote": REMOTE_MS, "in memory": MEMORY_MS}


def scenario(name: str, index_ms: float, queries: int, **changes: Any) -> SemanticScenario:
    """Four categories before a model of 175 ms, with a lookup of so many ms (`__` for a dot)."""
    alike = {"llm_ms": CALL_MS, "llm_spread": 0.0}
    made = SemanticScenario.model_validate(
        {
            "name": name,
            "workload": {"queries": queries, "rate": RATE},
            "categories": {key: {**alike, **value} for key, value in CATEGORIES.items()},
            "cache": {"entries": ENTRIES},
            "index": {"embed_ms": index_ms, "search_us": 0.0, "fetch_ms": 0.0},
        }
    )
    return made.changed({key.replace("__", "."): value for key, value in changes.items()})


def crossings(options: Options) -> dict[str, Any]:
    """Where the mean latency with a cache crosses that without, by formula and by simulation."""
    queries = 4000 if options.quick else 40_000
    found: dict[str, Any] = {}
    for index, lookup_ms in INDEXES.items():
        for saving_ms in (150.0, 200.0):
            expected = break_even(lookup_ms, saving_ms)
            ratios, latencies = [], []
            runs = run_all(
                [_repeating(lookup_ms, saving_ms, queries, expected * k) for k in _AROUND], options
            )
            for (run,) in runs:
                ratios.append(run.metrics["hit_ratio"])
                latencies.append(run.metrics["mean_latency_ms"])
            order = np.argsort(ratios)
            x, y = np.array(ratios)[order], np.array(latencies)[order]
            crossed = float(np.interp(-saving_ms, -y, x))
            key = f"{index}, {saving_ms:g} ms saved"
            found[key] = {"formula": expected, "simulated": crossed, "lookup_ms": lookup_ms}
    return found


_AROUND = (0.4, 0.8, 1.2, 1.6)


def _repeating(lookup_ms: float, call_ms: float, queries: int, hits: float) -> SemanticScenario:
    """One category in which about this share of queries repeats an earlier one word for word."""
    # Of n even draws among k intents, 1 - k (1 - exp(-n / k)) / n repeat: n / 2k where few do.
    intents = max(1, round(queries / (2 * hits) * (1 - 2 * hits / 3)))
    traffic = {"intents": intents, "exponent": 0.0, "verbatim": 1.0}
    return SemanticScenario.model_validate(
        {
            "name": f"{lookup_ms:g} ms {hits:.4f}",
            "workload": {"queries": queries, "rate": 1.0, "dimensions": 24},
            "categories": {
                "all": {
                    "llm_ms": call_ms,
                    "llm_spread": 0.0,
                    "threshold": 1.0,
                    "traffic": traffic,
                }
            },
            "cache": {"entries": queries},
            "index": {"embed_ms": lookup_ms, "search_us": 0.0, "fetch_ms": 0.0},
        }
    )


def implied() -> dict[str, Any]:
    """What the published figures say about each other under h = m / (L - f)."""
    saved = [REMOTE_MS / h for h in reversed(REMOTE_BREAK_EVEN)]
    at_memory = [break_even(MEMORY_MS, ms) for ms in reversed(saved)]
    pairs = list(zip(MEMORY_BREAK_EVEN, reversed(saved), strict=True))
    return {
        "saved_ms": saved,
        "break_even_at_2_ms": at_memory,
        "lookup_ms_for_3_to_5_percent": [h * ms for h, ms in pairs],
        "fetch_ms_for_3_to_5_percent": [ms - MEMORY_MS / h for h, ms in pairs],
        "saving_ms_for_3_to_5_percent": [MEMORY_MS / h for h in MEMORY_BREAK_EVEN],
    }


def coverage(options: Options, queries: int) -> dict[str, Any]:
    """Hit ratio and latency of each category behind either index, against no cache."""
    runs = run_all(
        [scenario(index, ms, queries) for index, ms in INDEXES.items()], options, _seeds(options)
    )
    found: dict[str, Any] = {}
    for index, mine in zip(INDEXES, runs, strict=True):
        tables = [_of(run).categories.set_index("category") for run in mine]
        rows = {}
        for name in CATEGORIES:
            part = {
                column: float(np.mean([table.loc[name, column] for table in tables]))
                for column in ("hit_ratio", "joined_ratio", "mean_latency_ms", "stale_hit_ratio")
            }
            part["gain_ms"] = CALL_MS - part["mean_latency_ms"]
            part["break_even"] = break_even(INDEXES[index], CALL_MS)
            rows[name] = part
        losing = [name for name, part in rows.items() if part["gain_ms"] < 0]
        found[index] = {
            "categories": rows,
            "losing": losing,
            "losing_share": sum(CATEGORIES[name]["share"] for name in losing),
            "mean_latency_ms": mean(mine, "mean_latency_ms"),
        }
    return found


def thresholds(options: Options, queries: int) -> dict[str, Any]:
    """Right answers from the cache at a bound on false ones: one threshold, or one a category."""
    base = scenario("tuning", MEMORY_MS, queries)
    curve = threshold_curve(base, LEVELS.tolist(), seed=TUNING_SEED)
    chosen = {bound: (curve.best_single(bound), curve.best(bound)) for bound in BOUNDS}
    cases = []
    for bound, (single, apart) in chosen.items():
        cases.append(with_threshold(base, single).set("name", f"one, {bound:g}"))
        cases.append(with_threshold(base, apart).set("name", f"by category, {bound:g}"))
    runs = run_all(cases, options, _seeds(options))
    rows = []
    for i, (bound, (single, apart)) in enumerate(chosen.items()):
        one, by = runs[2 * i], runs[2 * i + 1]
        rows.append({"bound": bound, "one": _scores(one), "by_category": _scores(by)})
        rows[-1] |= {"single": single, "apart": apart}
    return {"bounds": rows, "curve": {name: dict(part) for name, part in _lines(curve)}}


def _lines(curve: Any) -> Any:
    for name, part in curve.parts():
        yield name, {k: part[k].tolist() for k in ("threshold", "hit_ratio", "false_hit_ratio")}


def _scores(runs: Sequence[mt.Result]) -> dict[str, float]:
    names = ("hit_ratio", "false_hit_ratio", "useful_hit_ratio", "stale_hit_ratio")
    return {name: mean(runs, name) for name in names}


def adaptive(options: Options, queries: int) -> list[dict[str, Any]]:
    """Calls saved by thresholds that fall under load, by how far they may fall and by the load."""
    falls = FALLS[::3] if options.quick else FALLS
    base = scenario("fixed", MEMORY_MS, queries)
    quiet = base.run(TUNING_SEED).metrics
    needed = RATE * quiet["miss_ratio"] * CALL_MS / 1000  # servers that the misses keep busy
    servers = round(needed)
    base = base.changed({"llm.servers": servers, "workload.rate": RATE * servers / needed})
    cases = [(load, fall) for load in LOADS for fall in falls]
    runs = run_all([_loaded(base, *case) for case in cases], options, _seeds(options))
    fixed = {load: mine for (load, fall), mine in zip(cases, runs, strict=True) if fall == 0.0}
    rows = []
    for (load, fall), mine in zip(cases, runs, strict=True):
        calls = mean(mine, "llm_calls") / mean(fixed[load], "llm_calls")
        rows.append({"load": load, "fall": fall, "cut": 1 - calls, **_scores(mine)})
        rows[-1] |= {"wait_ms": mean(mine, "mean_llm_wait_ms")}
    return rows


def _loaded(base: SemanticScenario, load: float, fall: float) -> SemanticScenario:
    """Queries come `load` times as fast as the servers bear; thresholds may fall by `fall`."""
    changes: dict[str, Any] = {
        "name": f"load {load:g}, fall {fall:g}",
        "workload.rate": base.workload.rate * load,
        "adaptive.on": fall > 0,
    }
    for name, category in CATEGORIES.items():
        changes[f"categories.{name}.lowest_threshold"] = round(category["threshold"] - fall, 4)
    return base.changed(changes)


def _seeds(options: Options) -> Sequence[int]:
    return SEEDS[:1] if options.quick else SEEDS


def _of(run: mt.Result) -> Any:
    """A run of a semantic cache, with its own views."""
    return run


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    queries = 6000 if options.quick else QUERIES
    figures = {
        "implied": implied(),
        "crossings": crossings(options),
        "coverage": coverage(options, queries),
        "thresholds": thresholds(options, queries),
        "adaptive": adaptive(options, queries),
    }
    tables = {
        "break-even": break_even_table(figures),
        "categories": category_table(figures["coverage"]),
        "thresholds": threshold_table(figures["thresholds"]),
        "load": load_table(figures["adaptive"]),
    }
    publish(options, "semantic_cache", picture(figures), tables, figures)
    return figures


def break_even_table(figures: Mapping[str, Any]) -> Table:
    """Published, by formula, simulated."""
    told = {"remote": "15-20 %", "in memory": "3-5 %"}
    rows: list[list[Any]] = [
        [
            key.partition(",")[0],
            row["lookup_ms"],
            saved,
            told[key.partition(",")[0]],
            *_percents(row),
        ]
        for key, row in figures["crossings"].items()
        for saved in [float(key.split()[-3])]
    ]
    heads = [
        "index",
        "ms a lookup",
        "ms saved by a hit",
        "break-even, paper",
        "formula",
        "simulated",
    ]
    return Table(heads, rows)


def _percents(row: Mapping[str, float]) -> list[str]:
    return [f"{100 * row[name]:.2f} %" for name in ("formula", "simulated")]


def category_table(found: Mapping[str, Any]) -> Table:
    """Each category behind either index."""
    rows: list[list[Any]] = []
    for name in CATEGORIES:
        row: list[Any] = [name]
        for index in INDEXES:
            part = found[index]["categories"][name]
            row += [f"{100 * part['hit_ratio']:.1f} %", round(part["gain_ms"], 1)]
        rows.append(row)
    heads = ["category", *(f"{what}, {i}" for i in INDEXES for what in ("hits", "ms gained"))]
    note = f"ms gained: mean latency, where a call takes {CALL_MS:g} ms."
    return Table(heads, rows, caption=note)


def threshold_table(found: Mapping[str, Any]) -> Table:
    """Right answers at equal bounds."""
    rows: list[list[Any]] = []
    for row in found["bounds"]:
        one, by = row["one"], row["by_category"]
        rows.append(
            [
                f"{100 * row['bound']:g} %",
                *(f"{100 * part['false_hit_ratio']:.2f} %" for part in (one, by)),
                *(f"{100 * part['useful_hit_ratio']:.1f} %" for part in (one, by)),
                f"{row['single']:g}",
                " ".join(f"{value:g}" for value in row["apart"].values()),
            ]
        )
    heads = ["false answers at most", "false, one", "false, by category"]
    heads += ["right, one", "right, by category", "threshold", "thresholds"]
    order = f"Thresholds of {', '.join(CATEGORIES)}; scored on other seeds than they were tuned on."
    return Table(heads, rows, caption=order)


def load_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Calls saved under load."""
    cells: list[list[Any]] = [
        [
            row["load"],
            row["fall"],
            f"{100 * row['cut']:.1f} %",
            f"{100 * row['false_hit_ratio']:.1f} %",
            round(row["wait_ms"]),
        ]
        for row in rows
    ]
    heads = ["load without adapting", "thresholds fall by", "fewer calls", "false", "wait, ms"]
    return Table(heads, cells)


def picture(figures: Mapping[str, Any]) -> Any:
    """Break-even, categories, thresholds, load."""
    title = "Semantic caches: when they pay, and thresholds by category"
    with new_figure(2, 2, (10.4, 7.6), title) as (figure, axes):
        _curves(axes[0, 0], figures)
        _gains(axes[0, 1], figures["coverage"])
        _trade(axes[1, 0], figures["thresholds"])
        _cuts(axes[1, 1], figures["adaptive"])
    return figure


def _curves(axes: Any, figures: Mapping[str, Any]) -> None:
    saved = np.linspace(20, 400, 200)
    shaded = (REMOTE_BREAK_EVEN, MEMORY_BREAK_EVEN)
    for colour, (name, ms), told in zip(COLOURS, INDEXES.items(), shaded, strict=False):
        axes.plot(saved, ms / saved, color=colour, label=f"{name}, {ms:g} ms a lookup")
        axes.axhspan(*told, color=colour, alpha=0.15, linewidth=0)
        axes.text(398, sum(told) / 2, "paper", ha="right", va="center", fontsize=8, color=colour)
        for key, row in figures["crossings"].items():
            if key.startswith(name):
                axes.plot(float(key.split()[-3]), row["simulated"], "o", color=colour)
    low, high = figures["implied"]["saved_ms"]
    axes.axvspan(low, high, color=FAINT, alpha=0.15, linewidth=0)
    axes.set_ylim(0, 0.3)
    share_axis(axes)
    axes.set_xlabel("ms that a hit saves")
    axes.set_title("Break-even hit ratio (dots: simulated)")
    axes.legend(loc="upper right")


def _gains(axes: Any, found: Mapping[str, Any]) -> None:
    at = np.arange(len(CATEGORIES))
    for i, index in enumerate(INDEXES):
        parts = found[index]["categories"].values()
        values = [part["gain_ms"] for part in parts]
        axes.barh(at + 0.38 * (i - 0.5), values, 0.34, color=COLOURS[i], label=index)
        for y, part in zip(at + 0.38 * (i - 0.5), parts, strict=True):
            note = f" {100 * part['hit_ratio']:.0f} % hits"
            axes.text(max(part["gain_ms"], 0), y, note, va="center", fontsize=8)
    axes.axvline(0, color="#222222", linewidth=1)
    axes.set_yticks(at, list(CATEGORIES))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.set_xlabel("ms of mean latency gained")
    axes.set_title("A cache against none, by category")
    axes.legend(loc="lower right")


def _trade(axes: Any, found: Mapping[str, Any]) -> None:
    labels = {"one": "one threshold", "by_category": "by category"}
    for i, (key, label) in enumerate(labels.items()):
        x = [row[key]["false_hit_ratio"] for row in found["bounds"]]
        y = [row[key]["useful_hit_ratio"] for row in found["bounds"]]
        axes.plot(x, y, "o-", color=COLOURS[1 - i], label=label)
    share_axis(axes)
    share_axis(axes, "x")
    axes.set_xlabel("false, share of answers served")
    axes.set_title("Queries served rightly, at equal bounds on false answers")
    axes.legend(loc="lower right")


def _cuts(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for i, load in enumerate(LOADS):
        mine = [row for row in rows if row["load"] == load]
        x = [row["false_hit_ratio"] for row in mine]
        axes.plot(x, [row["cut"] for row in mine], "o-", color=COLOURS[i], label=f"load {load:g}")
    axes.axhspan(*TRAFFIC_CUT, color=FAINT, alpha=0.2, linewidth=0)
    axes.text(0.99, np.mean(TRAFFIC_CUT), "paper", transform=axes.get_yaxis_transform(), ha="right")
    share_axis(axes)
    share_axis(axes, "x")
    axes.set_xlabel("false, share of answers served")
    axes.set_title("Calls saved by thresholds that fall under load")
    axes.legend(loc="lower right")


if __name__ == "__main__":
    main(study, __doc__)
