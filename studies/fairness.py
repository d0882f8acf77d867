"""Does the virtual token counter protect a modest tenant from a greedy one, and at what price?

Paper: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024: algorithm 2 (VTC),
theorem 4.4 (two clients that both have requests waiting never differ by more than 2 max(w_p L, w_q
M) in service received; L the longest prompt, M the tokens of KV memory), section 5.2 with figure 3
(two overloaded clients).

Theirs: the workload (suite `overload` of the artefact: 256 prompt and 256 output tokens, the second
client sends twice as much as the first, together more than the server can do), the engine (S-LoRA,
built on LightLLM), the weights w_p = 1 and w_q = 2, 10,000 tokens of KV memory, and the measure:
service is prompt tokens plus twice the output tokens, spread from first to last token. Ours: the
GPU (L40S instead of A10G; with so little KV memory it makes about as many tokens), Llama-3.1-8B
instead of Llama-7B, Poisson arrivals, and two more cases: a modest tenant that asks for less than
its share, and one whose requests are short while the greedy one's are long.

What we find:
- Under FCFS the difference in service grows without end; under VTC it stays within the paper's
  bound. Rounds over tenants are as fair where requests are equal, and let the tenant with the
  long requests take most of the service where they are not.
- A tenant that asks for less than its share waits as long as the greedy one under FCFS, and about
  two seconds under VTC. A limit on requests in flight protects as well, but refuses requests of
  both and leaves the machine idle at times. VTC refuses none and keeps the throughput of FCFS where
  requests are equal (it is work-conserving; another mix of sizes makes other tokens).

Limits: one replica. Requests are told apart by tenant only. Our VTC moves counters once a plan and
not with each admission inside it. The paper's numbers on the A10G are not in its text as a table,
so that the bound is what is compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, number_axis, share_axis
from mltwin.text import Table
from mltwin.workloads.synthetic import synthesize
from mltwin.workloads.transforms import merge
from studies._common import Options, main, publish, run_all

GPU, MODEL = "l40s", "llama-3.1-8b"
KV_TOKENS, LONGEST_PROMPT = 10_000, 512
PROMPT_WEIGHT, OUTPUT_WEIGHT = 1.0, 2.0
BOUND = 2 * max(PROMPT_WEIGHT * LONGEST_PROMPT, OUTPUT_WEIGHT * KV_TOKENS)
DURATION_S = 360.0
# (requests/s, prompt tokens, output tokens) of the modest and of the greedy tenant
CASES = {
    "both overloaded": ((1.5, 256, 256), (3.0, 256, 256)),
    "modest within its share": ((0.75, 256, 256), (4.0, 256, 256)),
    "short against long": ((12.0, 64, 64), (1.5, 512, 512)),
}
POLICIES: dict[str, dict[str, Any]] = {
    "FCFS": {"priority": "fcfs"},
    "rounds over tenants": {"priority": "fair_share"},
    "limit in flight": {"priority": "fcfs", "admit": {"name": "tenant_limit", "limit": 16}},
    "VTC": {
        "priority": {
            "name": "vtc",
            "prompt_weight": PROMPT_WEIGHT,
            "output_weight": OUTPUT_WEIGHT,
        }
    },
}
TENANTS = ("modest", "greedy")


def trace_file(case: str, duration_s: float, folder: Path) -> str:
    """The requests of both tenants, written to a file that a scenario can name."""
    made = [
        synthesize(
            {
                "duration_s": duration_s,
                "arrivals": {"process": "poisson", "rate_per_s": rate},
                "prompt": {"law": "fixed", "value": prompt},
                "output": {"law": "fixed", "value": output},
                "tenants": {tenant: 1.0},
            },
            seed=seed,
        )
        for seed, (tenant, (rate, prompt, output)) in enumerate(
            zip(TENANTS, CASES[case], strict=True)
        )
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.replace(' ', '-')}.csv"
    merge(*made).to_csv(path)
    return str(path.resolve())


def scenario(trace: str, policy: str) -> mt.Scenario:
    """One replica under the requests of a trace."""
    pool = {"gpu": GPU, "replicas": 1, "engine": "lightllm", "kv_blocks": KV_TOKENS // 16}
    return mt.ServingScenario.parse(
        {
            "workload": {"trace": trace},
            "model": {"name": MODEL},
            "cluster": {"mixed": pool},
            "policy": POLICIES[policy],
        }
    )


def service(run: mt.Result, at_s: np.ndarray) -> np.ndarray:
    """Weighted tokens that each tenant has received by each time: (tenants, times).

    Prompt tokens count at the first output token, output tokens evenly until the last.
    """
    assert isinstance(run, mt.ServingResult)
    done = run.requests[run.requests["first_ticks"] >= 0]
    first, finish = done["first_ticks"] / 1e12, done["finish_ticks"] / 1e12
    found = np.zeros((len(TENANTS), len(at_s)))
    for i, name in enumerate(TENANTS):
        mine = (done["tenant"] == name).to_numpy()
        start, end = first[mine].to_numpy()[:, None], finish[mine].to_numpy()[:, None]
        prompt, output = (
            done[c][mine].to_numpy()[:, None] for c in ("prompt_tokens", "output_tokens")
        )
        share = np.clip((at_s - start) / np.maximum(end - start, 1e-9), 0, 1)
        got = PROMPT_WEIGHT * prompt * (at_s >= start) + OUTPUT_WEIGHT * output * share
        found[i] = got.sum(axis=0)
    return found


def by_time(run: mt.Result, tenant: str, at_s: np.ndarray) -> list[float]:
    """p50 TTFT in seconds of a tenant's requests that arrived in each span of time."""
    assert isinstance(run, mt.ServingResult)
    mine = run.requests[run.requests["tenant"] == tenant]
    span = np.digitize(mine["arrival_ticks"] / 1e12, at_s)
    medians = (mine["ttft_ms"] / 1000).groupby(span).median()
    return [float(medians.get(i, np.nan)) for i in range(1, len(at_s))]


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    duration_s = 120.0 if options.quick else DURATION_S
    times = np.linspace(0, duration_s, 61)
    pairs = [(case, policy) for case in CASES for policy in POLICIES]
    with TemporaryDirectory() as folder:
        traces = {case: trace_file(case, duration_s, Path(folder)) for case in CASES}
        runs = run_all([scenario(traces[case], policy) for case, policy in pairs], options)
    figures: dict[str, Any] = {"times_s": times, "bound": BOUND, "cases": {}}
    for (case, policy), (run,) in zip(pairs, runs, strict=True):
        figures["cases"].setdefault(case, {})[policy] = _figures(run, times)
    tables = {"latency": latency_table(figures)}
    publish(options, "fairness", picture(figures), tables, figures)
    return figures


def _figures(run: mt.Result, times: np.ndarray) -> dict[str, Any]:
    assert isinstance(run, mt.ServingResult)
    received = service(run, times)
    tenants = run.tenants.set_index("tenant")
    edges = times[::5]
    return {
        "service": received,
        "difference": np.abs(received[0] - received[1]),
        "largest_difference": float(np.abs(received[0] - received[1]).max()),
        "greedy_share": float(received[1, -1] / received[:, -1].sum()),
        "tokens_per_s": run.metrics["output_throughput"],
        "modest_ttft_s": by_time(run, "modest", edges),
        "p50_ttft_s": {name: tenants["p50_ttft_ms"][name] / 1000 for name in TENANTS},
        "p90_ttft_s": {name: tenants["p90_ttft_ms"][name] / 1000 for name in TENANTS},
        "refused": {name: tenants["refused"][name] / tenants["requests"][name] for name in TENANTS},
    }


def latency_table(figures: Mapping[str, Any]) -> Table:
    """Largest difference in service, TTFT of both tenants, refusals and throughput."""
    rows: list[list[Any]] = []
    for case, found in figures["cases"].items():
        for policy, mine in found.items():
            rows.append(
                [
                    case,
                    policy,
                    mine["largest_difference"],
                    f"{mine['greedy_share']:.0%}",
                    mine["p90_ttft_s"]["modest"],
                    mine["p90_ttft_s"]["greedy"],
                    f"{mine['refused']['modest']:.0%}, {mine['refused']['greedy']:.0%}",
                    mine["tokens_per_s"],
                ]
            )
    columns = ["case", "policy", "largest difference", "greedy's share of service"]
    columns += ["modest p90 TTFT, s", "greedy p90 TTFT, s", "refused", "output tokens/s"]
    caption = (
        "Difference in service received (prompt + 2 output tokens) since the start, until the last "
        f"arrival; the paper's bound for VTC while both wait: {BOUND:,.0f} (theorem 4.4). Where "
        "the modest tenant asks for less than its share the two cannot be equal. Refused: of the "
        "modest, of the greedy tenant."
    )
    breaks = {i * len(POLICIES) - 1 for i in range(1, len(CASES))}
    return Table(columns, rows, caption=caption, breaks=breaks)


def picture(figures: Mapping[str, Any]) -> Any:
    """Service over time, its difference against the bound, and what the tenants wait."""
    times = figures["times_s"]
    loaded, within, sizes = (figures["cases"][case] for case in CASES)
    with new_figure(3, 2, (10.5, 10.5), "VTC: a modest and a greedy tenant") as (figure, axes):
        _service(axes[0, 0], times, loaded)
        _difference(axes[0, 1], times, loaded, "Difference, both overloaded (as figure 3)")
        _difference(axes[1, 0], times, sizes, "Difference, short requests against long")
        _shares(axes[1, 1], figures["cases"])
        _waiting(axes[2, 0], times, within)
        _bars(axes[2, 1], within)
    return figure


def _service(axes: Any, times: np.ndarray, found: Mapping[str, Any]) -> None:
    for colour, policy in ((COLOURS[1], "FCFS"), (COLOURS[0], "VTC")):
        for i, style in enumerate(("-", "--")):
            label = f"{policy}, {TENANTS[i]}"
            received = found[policy]["service"][i] / 1e3
            axes.plot(times, received, style, color=colour, label=label)
    axes.set_title("Service received, both tenants overloaded")
    axes.set_xlabel("seconds")
    axes.set_ylabel("thousand weighted tokens")
    axes.legend()


def _difference(axes: Any, times: np.ndarray, found: Mapping[str, Any], title: str) -> None:
    for colour, policy in zip(_colours(), POLICIES, strict=True):
        axes.plot(times, found[policy]["difference"] / 1e3, color=colour, label=policy)
    note = "the paper's bound for VTC"
    axes.axhline(BOUND / 1e3, color="#222222", linestyle="--", linewidth=1, label=note)
    axes.set_title(title)
    axes.set_xlabel("seconds")
    axes.set_ylabel("thousand weighted tokens")
    axes.legend()


def _waiting(axes: Any, times: np.ndarray, found: Mapping[str, Any]) -> None:
    edges = times[::5]
    middle = (edges[1:] + edges[:-1]) / 2
    for colour, policy in zip(_colours(), POLICIES, strict=False):
        axes.plot(middle, found[policy]["modest_ttft_s"], color=colour, label=policy)
    number_axis(axes, "y")
    axes.set_title("The modest tenant within its share: its p50 TTFT")
    axes.set_xlabel("arrival, seconds")
    axes.set_ylabel("seconds")
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.66))


def _bars(axes: Any, found: Mapping[str, Any]) -> None:
    names = list(POLICIES)
    for i, (tenant, alpha) in enumerate(zip(TENANTS, (1.0, 0.45), strict=True)):
        at = np.arange(len(names)) + 0.38 * (i - 0.5)
        waits = [found[name]["p90_ttft_s"][tenant] for name in names]
        axes.barh(at, waits, height=0.34, color=_colours(), alpha=alpha)
        for y, name, wait in zip(at, names, waits, strict=True):
            refused = found[name]["refused"][tenant]
            note = f" {tenant} {wait:.1f} s" + (f", {refused:.0%} refused" if refused else "")
            axes.text(wait, y, note, va="center", fontsize=8)
    number_axis(axes, "x")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.35)
    axes.set_title("The modest tenant within its share: p90 TTFT")
    axes.set_xlabel("seconds")


def _shares(axes: Any, cases: Mapping[str, Any]) -> None:
    for i, (colour, policy) in enumerate(zip(_colours(), POLICIES, strict=False)):
        at = np.arange(len(cases)) + 0.2 * (i - 1.5)
        axes.barh(
            at, [found[policy]["greedy_share"] for found in cases.values()], 0.18, color=colour
        )
    axes.axvline(0.5, color="#222222", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(cases)), [name.replace(" ", "\n", 1) for name in cases])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1)
    share_axis(axes, "x")
    axes.set_title("The greedy tenant's share of the service")


def _colours() -> Sequence[str]:
    return [COLOURS[1], COLOURS[4], COLOURS[3], COLOURS[0]]


if __name__ == "__main__":
    main(study, __doc__)
