"""Every built-in policy in whole runs: the kernel and its SimPy twin end equal, bit for bit.

The runs are overloaded, with pre-emption, four tenants and two speeds of replica, so that each
hook is asked and its answers matter.
"""

import functools
from typing import Any

import numpy as np
import pytest

from mltwin.models.serving import reference
from mltwin.models.serving.hooks import DECODE_ROLE, MIXED_ROLE, PREFILL_ROLE, STABILITIES
from mltwin.models.serving.outcome import Outcome
from mltwin.models.serving.simulate import simulate
from mltwin.models.serving.tables import EngineKind, IterationCells, ServingInput
from mltwin.policies import Policy, Sizes, defaults, list_policies, policy_params
from mltwin.sim.rng import (
    ARRIVALS,
    CLIENTS,
    LENGTHS,
    PREDICTION,
    SERVICE,
    SESSIONS,
    TENANTS,
    THINK,
    integers,
    uniforms,
)

N, TENANTS_N, SESSIONS_N, SECOND = 200, 4, 10, 10**12
BLOCK = 16
MIXED = np.full(6, MIXED_ROLE)
SPLIT = np.array([PREFILL_ROLE] * 2 + [DECODE_ROLE] * 2 + [MIXED_ROLE] * 2)

pytestmark = pytest.mark.slow


def draw(stream: int, below: int) -> np.ndarray:
    return np.asarray(integers(3, stream, np.arange(N), below)).astype(np.int32)


def kinds() -> list[EngineKind]:
    cells = IterationCells(
        np.zeros(1, np.int32),
        np.array([0, 2**60]),
        np.array([[5_000_000_000, 20_000_000, 1000, 0]]),
    )
    common: dict[str, Any] = {"cells": cells, "startup": SECOND // 10}
    return [
        EngineKind(max_batch=8, max_tokens=512, blocks=90, **common),
        EngineKind(max_batch=6, max_tokens=256, blocks=80, speed=0.5, **common),
    ]


def prefixes(prompt: np.ndarray) -> dict[str, Any]:
    """Block ids of prompts that share prefixes in twelve groups."""
    count, group = prompt // BLOCK, draw(CLIENTS, 12)
    ids = [g * 64 + np.arange(c) for g, c in zip(group, count, strict=True)]
    return {
        "prefix_caching": True,
        "block_count": count.astype(np.int32),
        "block_start": np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64),
        "block_ids": np.concatenate(ids).astype(np.int32),
    }


@functools.cache
def run(policy: Policy, split: bool) -> tuple[Outcome, Outcome]:
    """Outcomes of kernel and twin with this policy, all others being the defaults."""
    chosen = {**defaults(), policy.hook: policy}
    sizes = Sizes(N, TENANTS_N, SESSIONS_N, len(MIXED))
    prompt = draw(LENGTHS, 600) + 1
    arrival = np.sort((uniforms(3, ARRIVALS, np.arange(N)) * SECOND / 2).astype(np.int64))
    made = ServingInput(
        arrival=arrival,
        prompt=prompt,
        output=draw(SERVICE, 120) + 1,
        predicted=draw(PREDICTION, 120) + 1,
        kinds=kinds(),
        kind_of=np.array([0, 1] * 3),
        role_of=SPLIT if split else MIXED,
        pool_of=np.array([0, 0, 1, 1, 2, 2]),
        up=np.array([1, 1, 1, 1, 1, 0]),
        nic_bytes_per_s=np.full(6, 1e9),
        latency=1000,
        tenant=draw(TENANTS, TENANTS_N),
        tenant_weights=np.array([1.0, 1.0, 2.0, 3.0]),
        session=draw(SESSIONS, SESSIONS_N + 1) - 1,
        priority=draw(THINK, 3),
        deadline=arrival + np.arange(N)[::-1] * 10**10,
        scale_every=SECOND // 2,
        live_view=True,
        seed=5,
        stability=STABILITIES[chosen["priority"].stability],
        default_evict=chosen["evict"].name == "lru",
        count_wanted=chosen["evict"].queue,
        params={hook: policy_params(p) for hook, p in chosen.items()},
        memory={hook: p.memory_size(sizes) for hook, p in chosen.items()},
        **({} if split else prefixes(prompt)),
    )
    fast = simulate(made, {hook: p.compiled() for hook, p in chosen.items()})
    twin = reference.simulate(made, {h: p.function for h, p in chosen.items()}, check=False)
    return fast, twin


@pytest.mark.parametrize("split", [False, True], ids=["mixed", "split"])
@pytest.mark.parametrize("policy", list_policies(), ids=lambda p: f"{p.hook}-{p.name}")
def test_kernel_and_twin_agree(policy: Policy, split: bool) -> None:
    fast, twin = run(policy, split)
    assert fast.differences(twin) == []
    assert fast.totals["done"] + fast.totals["refused"] == N
    assert fast.totals["done"] > 0


@pytest.mark.parametrize("hook", ["route", "place_decode", "priority", "preempt", "evict"])
def test_policies_make_a_difference(hook: str) -> None:
    """No two policies of a hook give the same run, but for the pairs that must do so here."""
    split = hook in ("place_decode", "preempt")
    finishes = {p.name: run(p, split)[0].requests["finish"] for p in list_policies(hook)}
    same = {
        frozenset((a, b))
        for a in finishes
        for b in finishes
        if a < b and np.array_equal(finishes[a], finishes[b])
    }
    assert same <= {
        frozenset(("lowest_priority", "latest_arrival")),  # as the scheduler is fcfs
        frozenset(("cost_based", "reach_cost")),  # as there is no prefix pool
        frozenset(("lfu", "lfu_decay")),  # as the run is shorter than the half-life
        frozenset(("least_decode", "local_first")),  # as no source is 20,000 tokens ahead
    }
