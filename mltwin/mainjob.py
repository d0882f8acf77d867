"""The main job: should prefill and decode share GPUs? Llama-3.1-70B on 32 H100, three set-ups.

`mltwin run` with no scenario does this. Three ways to use the same 32 GPUs meet the same traffic
at rising load:

- colocated: every replica prefills and decodes in chunked batches;
- disaggregated: some replicas prefill, the others decode, KV moves over the network (DistServe,
  OSDI 2024);
- mixed pool: prefill and decode pools and between them replicas that do both (Splitwise, ISCA
  2024).

First the knee of the colocated set-up is found (the load at which the mean TTFT is three times
that of light load). Then, at three quarters of it, each set-up chooses its variant (replica size,
chunk or split) by the mean attainment over the SLO classes. Last the three meet at loads from a
quarter to 1.3 times the knee.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.executors import map_runs

from .scenario import Scenario
from .serving import ServingScenario
from .serving_metrics import good
from .serving_result import ServingResult

GPUS = 32
LOADS = (0.25, 0.5, 0.75, 0.9, 1.05, 1.3)
MIDDLE = 0.75
KNEE = 3.0
_TOO_FAST = 1e6
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class SloClass:
    """A kind of user: limits on TTFT and TPOT."""

    name: str
    ttft_ms: float
    tpot_ms: float

    @property
    def text(self) -> str:
        """`chat (TTFT 500 ms, TPOT 50 ms)`."""
        return f"{self.name} (TTFT {self.ttft_ms:,g} ms, TPOT {self.tpot_ms:g} ms)"


CHAT_CLASSES = (
    SloClass("interactive", 200, 25),
    SloClass("chat", 500, 50),
    SloClass("batch", 2000, 100),
)
# Prompts of 13,000 tokens on average; the last class is that of Mooncake's evaluation (FAST 2025).
LONG_CLASSES = (
    SloClass("interactive", 3000, 50),
    SloClass("standard", 10_000, 100),
    SloClass("batch", 30_000, 100),
)


@dataclass(frozen=True)
class Traffic:
    """A trace of the main job, its SLO classes, and the seeds it is run with."""

    trace: str
    classes: tuple[SloClass, ...] = CHAT_CLASSES
    prefix_caching: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class SetUp:
    """One way to use the GPUs: its family, what distinguishes the variant, and the scenario."""

    family: str
    variant: str
    scenario: ServingScenario

    @property
    def text(self) -> str:
        """`disaggregated (5P + 3D, tp4)`."""
        return f"{self.family} ({self.variant})"


@dataclass(frozen=True)
class Cell:
    """One run: its metrics, and the share of requests within each SLO class by name."""

    set_up: SetUp
    rate: float
    seed: int
    metrics: dict[str, float]
    attainment: dict[str, float]
    goodput: dict[str, float]
    digest: str


@dataclass(frozen=True)
class Study:
    """What the main job found for one trace.

    tried: every variant at the middle load; chosen: the best of each family; cells: the runs of
    the chosen at all loads and seeds; results: those of the first seed, whole.
    """

    traffic: Traffic
    knee: float
    middle: float
    rates: tuple[float, ...]
    tried: list[Cell]
    chosen: list[SetUp]
    cells: list[Cell]
    results: list[ServingResult]


def default_traffic() -> list[Traffic]:
    """The shipped synthetic trace; with MLTWIN_DATA also the real ones found there."""
    from mltwin.workloads.catalogue import locate

    found = [Traffic("azure-conv-synthetic")]
    if not os.environ.get("MLTWIN_DATA"):
        return found
    real = [traffic_of(name) for name in ("azure-conv-2023", "mooncake-conv")]
    return found + [traffic for traffic in real if locate(traffic.trace) is not None]


def traffic_of(trace: str) -> Traffic:
    """A trace of the catalogue, or a file, with the classes that suit its prompts.

    Mooncake's are long and share prefixes. Real traces have one seed: nothing in them is drawn.
    """
    if trace.startswith("mooncake-conv"):
        seeds = (0, 1, 2) if trace.endswith("-synthetic") else (0,)
        return Traffic(trace, LONG_CLASSES, prefix_caching=True, seeds=seeds)
    return Traffic(trace, seeds=(0, 1, 2) if trace.endswith("-synthetic") else (0,))


def study(
    traffic: Traffic,
    *,
    requests: int | None = None,
    workers: int | None = None,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Study:
    """Do the main job for one trace.

    Args:
        traffic: the trace, its SLO classes and seeds.
        requests: take only so many requests.
        workers: threads, by default one for each core.
        store: a folder in which the runs of the first seed are kept as soon as they are there.
        progress: called with the share done and what is being done.

    Raises InputError if the trace cannot be opened.
    """
    tell = progress or (lambda share, text: None)
    families = variants(traffic, requests)
    tell(0.0, "finding the knee")
    knee = find_knee(families[0][0], traffic)
    middle = nice(MIDDLE * knee)
    rates = tuple(sorted({nice(load * knee) for load in LOADS}))

    tell(0.1, f"choosing variants at {middle:g} requests/s")
    options = [set_up for family in families for set_up in family]
    jobs = [(set_up, middle, traffic.seeds[0]) for set_up in options]
    tried = [c for c, _ in _run_all(jobs, traffic, workers, lambda s: tell(0.1 + 0.3 * s, ""))]
    chosen = [best_variant([c for c in tried if c.set_up in family]) for family in families]

    tell(0.4, f"three set-ups at {len(rates)} loads")
    grid = [(s, rate, seed) for rate in rates for s in chosen for seed in traffic.seeds]
    done = _run_all(grid, traffic, workers, lambda s: tell(0.4 + 0.6 * s, ""), store)
    results = [result for cell, result in done if cell.seed == traffic.seeds[0]]
    cells = [cell for cell, _ in done]
    return Study(traffic, knee, middle, rates, tried, chosen, cells, results)


def variants(traffic: Traffic, requests: int | None = None) -> list[list[SetUp]]:
    """The candidates of each family, the plainest first."""
    prefill_route = {"route": "prefix_affinity"} if traffic.prefix_caching else {}

    def made(family: str, variant: str, cluster: dict[str, Any], policy: dict[str, Any]) -> SetUp:
        data = {
            "system": "serving",
            "name": family,
            "workload": {"trace": traffic.trace, "requests": requests},
            "cluster": cluster,
            "policy": policy,
            "prefix_caching": traffic.prefix_caching,
        }
        scenario = Scenario.parse(data)
        assert isinstance(scenario, ServingScenario)
        return SetUp(family, variant, scenario)

    colocated = [
        made(
            "colocated",
            f"{GPUS // tp} x tp{tp}, {tokens:,} tokens",
            {"mixed": {"replicas": GPUS // tp, "tp": tp, "max_tokens": tokens}},
            prefill_route,
        )
        for tp, tokens in ((4, 2048), (4, 512), (4, 1024), (4, 8192), (8, 2048), (8, 8192))
    ]
    disaggregated = [
        made(
            "disaggregated",
            f"{p}P + {8 - p}D, tp4",
            {"prefill": {"replicas": p, "tp": 4}, "decode": {"replicas": 8 - p, "tp": 4}},
            prefill_route,
        )
        for p in (4, 3, 5, 6)
    ]
    disaggregated += [
        made(
            "disaggregated",
            f"{p}P tp4 + {(GPUS - 4 * p) // 8}D tp8",
            {
                "prefill": {"replicas": p, "tp": 4},
                "decode": {"replicas": (GPUS - 4 * p) // 8, "tp": 8},
            },
            prefill_route,
        )
        for p in (4, 6)
    ]
    mixed = [
        made(
            "mixed pool",
            f"{p}P + {m}M + {8 - p - m}D, tp4",
            {
                "prefill": {"replicas": p, "tp": 4, "max_tokens": 2048},
                "shared": {"replicas": m, "tp": 4, "max_tokens": 2048, "role": "mixed"},
                "decode": {"replicas": 8 - p - m, "tp": 4, "max_tokens": 2048},
            },
            {
                "route": {"name": "splitwise_mixed", "limit_tokens": 2048.0},
                "place_decode": "splitwise_mixed",
            },
        )
        for p, m in ((3, 2), (2, 4), (3, 3), (4, 2), (4, 3), (5, 2), (2, 3), (1, 6))
    ]
    return [colocated, disaggregated, mixed]


def find_knee(set_up: SetUp, traffic: Traffic) -> float:
    """The load (requests/s) at which the mean TTFT is `KNEE` times that of light load.

    Light load is a trickle of one request in ten seconds; then the load is doubled until it is
    too much and the interval bisected to 3 %.

    Raises InputError if no load is too much (too few requests).
    """

    def mean_ttft(rate: float) -> float:
        result = _at(set_up, rate).run(traffic.seeds[0])
        return result.metrics["mean_ttft_ms"]

    limit = KNEE * mean_ttft(0.1)
    high = 1.0
    while mean_ttft(high) < limit:
        high *= 2
        if high > _TOO_FAST:
            raise InputError(
                "no load makes the mean TTFT rise", where=traffic.trace, mend="use more requests"
            )
    low = high / 2
    while high / low > 1.03:
        middle = math.sqrt(low * high)
        if mean_ttft(middle) < limit:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def best_variant(cells: list[Cell]) -> SetUp:
    """The variant of the highest mean attainment over the classes; ties: lowest p99 TTFT."""

    def worth(cell: Cell) -> tuple[float, float]:
        mean = float(np.mean(list(cell.attainment.values())))
        return -round(mean, 4), cell.metrics.get("p99_ttft_ms", math.inf)

    return min(cells, key=worth).set_up


def nice(rate: float) -> float:
    """A rate rounded to two digits, and to steps of 5 in the second from 50 up.

    >>> nice(0.1234), nice(18.7), nice(61.2)
    (0.12, 19.0, 60.0)
    """
    size = 10.0 ** (math.floor(math.log10(rate)) - 1)
    digits = round(rate / size)
    return round((digits if digits < 50 else 5 * round(digits / 5)) * size, 10)


def _at(set_up: SetUp, rate: float) -> ServingScenario:
    name = f"{set_up.family} at {rate:g} requests/s"
    return set_up.scenario.changed({"workload.rate": float(rate), "name": name})


def _run_all(
    jobs: list[tuple[SetUp, float, int]],
    traffic: Traffic,
    workers: int | None,
    progress: Callable[[float], None],
    store: Path | None = None,
) -> list[tuple[Cell, ServingResult]]:
    def one(job: tuple[SetUp, float, int]) -> tuple[Cell, ServingResult]:
        set_up, rate, seed = job
        result = _at(set_up, rate).run(seed)
        assert isinstance(result, ServingResult)
        if store is not None and seed == traffic.seeds[0]:
            result.save(store)
        return _cell(set_up, rate, seed, result, traffic), result

    outcomes = map_runs(one, jobs, workers=workers, progress=lambda done, n: progress(done / n))
    return [outcome.get() for outcome in outcomes]


def _cell(set_up: SetUp, rate: float, seed: int, result: ServingResult, traffic: Traffic) -> Cell:
    count, span = len(result.tables["requests"]["state"]), result.metrics["duration_s"]
    kept = {
        slo.name: int(good(result.latencies, {"ttft": slo.ttft_ms, "tpot": slo.tpot_ms}).sum())
        for slo in traffic.classes
    }
    return Cell(
        set_up,
        rate,
        seed,
        result.metrics,
        attainment={name: n / count for name, n in kept.items()},
        goodput={name: n / span for name, n in kept.items()},
        digest=result.digest,
    )
