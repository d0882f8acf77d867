"""The serving cases that are timed: one table, and how each becomes a scenario.

All serve Llama-3.1-8B on H100s, one GPU a replica, with the engine preset `vllm_v1`. Lengths are
those of the Azure conversation trace of 2023 (Patel et al., "Splitwise", ISCA 2024), prefixes those
of the Mooncake conversation trace (Qin et al., FAST 2025): the real ones where MLTWIN_DATA names
the folder of measured data, else the synthetic ones that ship with the package.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OWN_POLICIES = Path(__file__).with_name("own_policies.py")

MODEL = "llama-3.1-8b"
SEED = 1
CAPACITY_REQUESTS = 20_000
CAPACITY_CONCURRENCY = 512  # twice the batch: the queue is never empty

REAL = {"azure": "azure-conv-2023", "mooncake": "mooncake-conv"}
SYNTHETIC = {"azure": "azure-conv-synthetic", "mooncake": "mooncake-conv-synthetic"}


@dataclass(frozen=True)
class Case:
    """One thing to simulate.

    key: of its requests per second of wall time in the results.
    bar: that it should reach.
    lengths: which trace, "azure" or "mooncake".
    cluster, policy, network: sections of the scenario.
    rate: requests per second of simulated time, as a Poisson process.
    load: the rate as a share of the replicas' capacity. Without both the trace keeps its own times.
    """

    key: str
    title: str
    bar: float
    lengths: str
    cluster: dict[str, Any]
    rate: float | None = None
    load: float | None = None
    policy: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        return sum(pool["replicas"] for pool in self.cluster.values())

    @property
    def caching(self) -> bool:
        return self.lengths == "mooncake"


_SPLIT: dict[str, Any] = {
    "lengths": "azure",
    "cluster": {"prefill": {"replicas": 25}, "decode": {"replicas": 15}},
    "rate": 280.0,
    # Least-tokens routing breaks ties by index. Prefill replicas are often idle, so the first of
    # them get most requests, and at 35 Gb/s their egress links have more to carry than they can.
    "policy": {"route": "round_robin", "place_decode": "least_decode"},
}

CASES = {
    case.key: case
    for case in (
        Case(
            "single_replica_req_per_s",
            "1 replica",
            2_000_000,
            "azure",
            {"mixed": {"replicas": 1}},
            load=0.8,
        ),
        Case(
            "router_64_req_per_s",
            "64 replicas, least-tokens routing",
            1_000_000,
            "azure",
            {"mixed": {"replicas": 64}},
            load=0.8,
            policy={"route": "least_tokens"},
        ),
        Case(
            "pd_40_req_per_s",
            "25 prefill + 15 decode replicas, 100 Gb/s",
            500_000,
            network={"bandwidth_gbps": 100.0},
            **_SPLIT,
        ),
        Case(
            "pd_40_congested_req_per_s",
            "25 prefill + 15 decode replicas, 35 Gb/s",
            200_000,
            network={"bandwidth_gbps": 35.0},
            **_SPLIT,
        ),
        Case(
            "prefix_10_req_per_s",
            "10 replicas, prefix caching, cost-based routing",
            300_000,
            "mooncake",
            {"mixed": {"replicas": 10}},
            policy={"route": "cost_based"},
        ),
    )
}


def trace_name(lengths: str) -> str:
    """The real trace where MLTWIN_DATA is set, else the synthetic one."""
    return (REAL if os.environ.get("MLTWIN_DATA") else SYNTHETIC)[lengths]


def scenario(
    case: Case, requests: int, *, rate: float | None = None, trace: str | None = None
) -> Any:
    """The `ServingScenario` of a case. rate: Poisson; None keeps the trace's own times."""
    from mltwin.serving import ServingScenario

    workload: dict[str, Any] = {"trace": trace or trace_name(case.lengths), "requests": requests}
    if rate is not None:
        workload |= {"rate": rate, "arrivals": "poisson"}
    return ServingScenario.parse(
        {
            "system": "serving",
            "model": {"name": MODEL},
            "workload": workload,
            "cluster": case.cluster,
            "network": case.network,
            "policy": {"priority": "fcfs", **case.policy},
            "prefix_caching": case.caching,
        }
    )


def own_policies(given: Any) -> Any:
    """The scenario with priority and routing from a user's file."""
    return given.changed(
        {
            "policy.priority": f"{OWN_POLICIES}:my_fcfs",
            "policy.route": f"{OWN_POLICIES}:my_least_tokens",
        }
    )


def lowered(given: Any) -> Any:
    """A scenario as the kernel takes it: `mltwin.serving_run.Lowered`."""
    from mltwin.serving_run import lower

    return lower(given, SEED)


def prepare(given: Any) -> tuple[Any, dict[str, Any]]:
    """The kernel's input and the compiled policy of each hook that the kernel has to ask."""
    found = lowered(given)
    return found.input, {hook: policy.compiled() for hook, policy in found.policies.items()}


def offered_rate(case: Case) -> float | None:
    """Requests per second that a case is driven with; None: the trace's own times."""
    return case.rate if case.load is None else case.load * case.replicas * capacity(case)


def capacity(case: Case) -> float:
    """Requests per second that one replica completes while its queue is never empty.

    A closed loop over the case's lengths, counted between the first and the last tenth.
    """
    from mltwin.models.serving.simulate import simulate

    one = replace(case, cluster={"mixed": {"replicas": 1}})
    inp, policies = prepare(scenario(one, CAPACITY_REQUESTS, rate=1.0))
    nothing = np.zeros(0, np.int32)
    closed = replace(inp, concurrency=CAPACITY_CONCURRENCY, after=nothing, delay=nothing)
    finish = np.sort(simulate(closed, policies).requests["finish"])
    first, last = len(finish) // 10, 9 * len(finish) // 10
    return (last - first) / (int(finish[last] - finish[first]) / 1e12)


def fixed_cells() -> Any:
    """Whole-number iteration times of about an 8B model on an H100.

    The counts that tests hold must not move when a profile is fitted anew: 5 ms to read the
    weights, 27 us a token, 50 ns a token of context, 10 us a sequence.
    """
    from mltwin.models.serving.tables import IterationCells

    return IterationCells(
        token_row=np.zeros(1, np.int32),
        context_knots=np.array([0, 2**60], np.int64),
        cells=np.array([[5_000_000_000, 27_000_000, 50_000, 0]], np.int64),
        per_sequence=10_000_000,
        per_work=100,
    )
