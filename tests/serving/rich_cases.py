"""Small systems that use every part of the serving model, for tests of what must not matter.

Run as a program it prints the digest of each case as JSON, so that interpreters under other
settings can be compared: ``python rich_cases.py requests``.
"""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mltwin.models.serving.hooks import (
    ACTION,
    DECODE_ROLE,
    DRAIN,
    EVERY_ITERATION,
    MIXED_ROLE,
    ON_EVENT,
    PREFILL_ROLE,
    START,
    STOPPED,
    UP,
    signature,
)
from mltwin.models.serving.outcome import Outcome
from mltwin.models.serving.simulate import simulate
from mltwin.models.serving.tables import (
    CHANGE_ROLE,
    CHUNK,
    CONTROL,
    DRAIN_REPLICA,
    FAIL,
    FULL,
    RECOVER,
    START_REPLICA,
    SWAP,
    EngineKind,
    IterationCells,
    PrefixStores,
    ServingInput,
)
from mltwin.sim.jit import kernel
from mltwin.sim.rng import ARRIVALS, LENGTHS, SESSIONS, THINK, exponentials, integers
from mltwin.sim.runspec import array_digest

MS = 10**9  # ticks


class Case(NamedTuple):
    """A system and its policies by hook, plain functions."""

    inp: ServingInput
    policies: dict[str, Callable]

    def run(self, **options: Any) -> Outcome:
        """The kernel's outcome."""
        return simulate(self.inp, compiled(self.policies), **options)


def in_turn(request, replicas, hits, ctx, params, memory):
    """Replicas that are up and prefill, one after another."""
    n = len(replicas)
    at = int(memory[0])
    for k in range(n):
        r = (at + k) % n
        if replicas[r].state == UP and replicas[r].role & PREFILL_ROLE:
            memory[0] = (r + 1) % n
            return r
    return -1


def most_hits(request, replicas, hits, ctx, params, memory):
    """The longest cached prefix, then the fewest outstanding tokens."""
    best = -1
    for r in range(len(replicas)):
        if replicas[r].state != UP or not replicas[r].role & PREFILL_ROLE:
            continue
        if (
            best < 0
            or hits[r] > hits[best]
            or (
                hits[r] == hits[best]
                and replicas[r].outstanding_tokens < replicas[best].outstanding_tokens
            )
        ):
            best = r
    return best


def most_memory(request, replicas, hits, ctx, params, memory):
    """The most free blocks; needs the live view."""
    best = -1
    for r in range(len(replicas)):
        if (
            replicas[r].state == UP
            and replicas[r].role & PREFILL_ROLE
            and (best < 0 or replicas[r].free_blocks > replicas[best].free_blocks)
        ):
            best = r
    return best


def few_waiting(request, replicas, tenants, ctx, params, memory):
    """Refuse a tenant with params[0] requests in the system, running ones counted half."""
    tenant = tenants[request.tenant]
    return 1 if tenant.waiting + 0.5 * tenant.running < params[0] else 0


def least_busy_decoder(request, replicas, ctx, params, memory):
    best = -1
    for r in range(len(replicas)):
        if (
            replicas[r].state == UP
            and replicas[r].role & DECODE_ROLE
            and (best < 0 or replicas[r].outstanding < replicas[best].outstanding)
        ):
            best = r
    return best if best >= 0 else ctx.replica


def shortest_first(request, tenants, ctx, params, memory):
    """The least predicted output to come."""
    return float(request.predicted - request.generated)


def ageing(request, tenants, ctx, params, memory):
    """Short and old requests first; changes with every iteration."""
    return float(request.predicted) - 1e-9 * float(ctx.now - request.arrival)


def least_served_tenant(request, tenants, ctx, params, memory):
    """Fair by tokens of admitted prompts; the counters change at events."""
    return tenants[request.tenant].prompt_served / tenants[request.tenant].weight


def least_used(block, ctx, params, memory):
    return float(block.hits) - 0.1 * block.depth


def wanted_and_recent(block, ctx, params, memory):
    return 1e15 * block.wanted + block.released + 1e9 * block.tokens_after - 0.5 * block.made


def by_load(replicas, ctx, params, memory):
    """Start a replica when there are more than 4 requests for each one up, drain below 1."""
    up = 0
    load = 0
    idle = -1
    stopped = -1
    for r in range(len(replicas)):
        if replicas[r].state == UP:
            up += 1
            load += replicas[r].outstanding
            if replicas[r].outstanding == 0:
                idle = r
        elif replicas[r].state == STOPPED:
            stopped = r
    if ctx.event > 0:
        return 0
    if load > 4 * up and stopped >= 0:
        return START * ACTION + stopped
    if load < up and up > 1 and idle >= 0:
        return DRAIN * ACTION + idle
    return 0


@functools.cache
def _compile(hook: str, function: Callable) -> Any:
    return kernel(signature(hook))(function)


def compiled(policies: dict[str, Callable]) -> dict[str, Any]:
    """Policies by hook, compiled where Numba is on."""
    return {hook: _compile(hook, function) for hook, function in policies.items()}


def curved_cells(scale: int = 1) -> IterationCells:
    """Iteration times with three rows of token counts and three context columns, in 1 ns steps."""
    rows = np.repeat(np.arange(3, dtype=np.int32), [9, 56, 1])
    knots = np.array([0, 300, 1500, 2**60])
    row, column = np.divmod(np.arange(9), 3)
    cells = np.stack(
        [9 * MS + row * 2 * MS, 60_001_000 + 0 * row, 7_000 + 500 * column, 3 * row], axis=1
    )
    return IterationCells(
        rows, knots, scale * cells, per_sequence=scale * 40_003_000, per_work=scale * 5_000
    )


def engine(**options: Any) -> EngineKind:
    """A small engine, so tight that requests wait, and some are pre-empted."""
    return EngineKind(curved_cells(), **{"max_batch": 8, "max_tokens": 64, "blocks": 60, **options})


def load(n: int, seed: int, kinds: list[EngineKind], gap_ms: float, **options: Any) -> ServingInput:
    """n requests at random times with random lengths; options are fields of `ServingInput`."""
    who = np.arange(n)
    gaps = np.rint(exponentials(seed, ARRIVALS, who) * gap_ms * MS / 10).astype(np.int64)
    gaps *= 10 * (integers(seed, ARRIVALS, who, 4, counter=1) > 0)  # a quarter come in pairs
    return ServingInput(
        **{
            "arrival": np.cumsum(gaps),
            "prompt": 1 + integers(seed, LENGTHS, who, 150).astype(np.int32),
            "output": 1 + integers(seed, LENGTHS, who, 60, counter=1).astype(np.int32),
            "predicted": 1 + integers(seed, LENGTHS, who, 60, counter=2).astype(np.int32),
            "kinds": kinds,
            "kind_of": np.zeros(1, np.int64),
            "seed": seed,
            **options,
        }
    )


def prefixes(inp: ServingInput, families: int) -> dict[str, Any]:
    """Prompts of a family share leading blocks, half of each prompt."""
    n = len(inp.arrival)
    family = integers(inp.seed, SESSIONS, np.arange(n), families)
    count = (inp.prompt // inp.block_tokens).astype(np.int32)
    shared = (count + 1) // 2
    start = np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64)
    ids = []
    own = families * 16
    for i in range(n):
        for j in range(count[i]):
            if j < shared[i]:
                ids.append(int(family[i]) * 16 + j)
            else:
                ids.append(own)
                own += 1
    return {
        "prefix_caching": True,
        "block_start": start,
        "block_count": count,
        "block_ids": np.array(ids, np.int32),
    }


def script(*events: tuple[float, int, int, int]) -> np.ndarray:
    """Control events (ms, kind, replica, argument)."""
    rows = np.zeros(len(events), CONTROL)
    for row, (at_ms, *rest) in zip(rows, events, strict=True):
        row["time"] = round(at_ms * MS)
        row["kind"], row["replica"], row["argument"] = rest
    return rows


def chunked_recompute(n: int, seed: int) -> Case:
    """Two mixed engines, chunked prefill block by block, pre-emption by recomputation."""
    kind = engine(reserve=CHUNK, watermark=1, blocks=30)
    inp = load(n, seed, [kind], 40, kind_of=np.zeros(2, np.int64), memory={"route": 1})
    return Case(inp, {"route": in_turn})


def split_swap(n: int, seed: int) -> Case:
    """A split engine that swaps, clients that give up, shortest first."""
    kind = engine(
        mixed=False, chunked=False, preemption=SWAP, host_blocks=20, swap_ticks=MS // 500, blocks=30
    )
    who = np.arange(n)
    timeout = np.where(who % 5 == 0, (1 + who % 7) * 150 * MS, 0)
    inp = load(n, seed, [kind], 90, timeout=timeout)
    return Case(inp, {"priority": shortest_first})


def disaggregated(n: int, seed: int) -> Case:
    """Two prefill and two decode replicas behind slow links, sessions, failures, prefix caches."""
    kinds = [
        engine(mixed=False, chunked=False, max_tokens=256, blocks=80),
        engine(max_tokens=32, blocks=50),
    ]
    who = np.arange(n)
    later = who % 3 > 0
    span = 60.0 * n
    inp = load(
        n,
        seed,
        kinds,
        60,
        kind_of=np.array([0, 0, 1, 1]),
        role_of=np.array([PREFILL_ROLE, PREFILL_ROLE, DECODE_ROLE, DECODE_ROLE]),
        nic_bytes_per_s=np.full(4, 4.0e8),
        latency=MS // 3,
        session=(who // 3).astype(np.int32),
        after=np.where(later, who - 1, -1).astype(np.int32),
        delay=np.rint(exponentials(seed, THINK, who) * 100 * MS).astype(np.int64),
        timeout=np.where(who % 11 == 0, 400 * MS, 0),
        control=script(
            (0.21 * span, FAIL, 2, 0),
            (0.30 * span, FAIL, 0, 0),
            (0.31 * span, FAIL, 1, 0),
            (0.40 * span, CHANGE_ROLE, 3, MIXED_ROLE),
            (0.42 * span, RECOVER, 2, 0),
            (0.45 * span, RECOVER, 0, 0),
            (0.48 * span, RECOVER, 1, 0),
            (0.50 * span, CHANGE_ROLE, 3, DECODE_ROLE),
            (0.60 * span, DRAIN_REPLICA, 1, 0),
            (0.70 * span, START_REPLICA, 1, 0),
        ),
    )
    vars(inp).update(prefixes(inp, 4))
    return Case(inp, {"route": most_hits, "place_decode": least_busy_decoder})


def scored_cache(n: int, seed: int) -> Case:
    """Prefix caches whose eviction is scored, keys that change with every iteration."""
    inp = load(
        n,
        seed,
        [engine(blocks=40)],
        45,
        kind_of=np.zeros(2, np.int64),
        stability=EVERY_ITERATION,
        default_evict=False,
    )
    vars(inp).update(prefixes(inp, 6))
    return Case(inp, {"route": most_hits, "priority": ageing, "evict": least_used})


def queue_aware_cache(n: int, seed: int) -> Case:
    """Caches too small for what waits, and an eviction order that knows the queue."""
    kind = engine(blocks=30, reserve=CHUNK, keep_preempted=True)
    inp = load(
        n,
        seed,
        [kind],
        30,
        kind_of=np.zeros(2, np.int64),
        memory={"route": 1},
        timeout=np.where(np.arange(n) % 6 == 0, 500 * MS, 0),
        default_evict=False,
        count_wanted=True,
    )
    vars(inp).update(prefixes(inp, 5))
    return Case(inp, {"route": in_turn, "evict": wanted_and_recent})


def pooled(n: int, seed: int) -> Case:
    """Little HBM, a host tier and a pool behind slow links, clients that give up, a failure."""
    span = 40.0 * n
    inp = load(
        n,
        seed,
        [engine(blocks=24, reserve=CHUNK), engine(mixed=False, chunked=False, blocks=24)],
        40,
        kind_of=np.array([0, 1, 0]),
        memory={"route": 1},
        timeout=np.where(np.arange(n) % 9 == 0, 400 * MS, 0),
        control=script((0.3 * span, FAIL, 2, 0), (0.5 * span, RECOVER, 2, 0)),
    )
    vars(inp).update(prefixes(inp, 3))
    inp.stores = PrefixStores(
        host_blocks=20,
        pool_blocks=60,
        host_bytes_per_s=2e9,
        pool_bytes_per_s=4e9,
        host_latency=MS // 2,
        pool_latency=3 * MS,
    )
    return Case(inp, {"route": in_turn})


def closed_static(n: int, seed: int) -> Case:
    """Twelve clients in a closed loop, static batches, all blocks reserved."""
    kind = engine(mixed=False, chunked=False, static=True, reserve=FULL, max_tokens=512)
    return Case(load(n, seed, [kind], 1, concurrency=12, think=30 * MS), {})


def autoscaled(n: int, seed: int) -> Case:
    """Replicas that come and go with the load, seen up to 100 ms late; keys change at events."""
    kinds = [engine(startup=700 * MS), engine(mixed=False, chunked=False, max_tokens=200)]
    kinds[1].speed = 1.5
    inp = load(
        n,
        seed,
        kinds,
        30,
        kind_of=np.array([0, 1, 0, 0]),
        up=np.array([1, 1, 0, 0]),
        scale_every=250 * MS,
        snapshot_every=100 * MS,
        live_view=True,
        stability=ON_EVENT,
        **three_tenants(n),
    )
    policies = {"route": most_memory, "priority": least_served_tenant, "scale": by_load}
    return Case(inp, policies)


def stale_view(n: int, seed: int) -> Case:
    """Three replicas seen as they were up to 100 ms ago, a limited queue, cancellations."""
    inp = load(
        n,
        seed,
        [engine()],
        20,
        kind_of=np.zeros(3, np.int64),
        snapshot_every=100 * MS,
        live_view=True,
        timeout=np.where(np.arange(n) % 4 == 0, 300 * MS, 0),
        params={"admit": np.array([5.0])},
        **three_tenants(n),
    )
    return Case(inp, {"route": most_memory, "admit": few_waiting})


def three_tenants(n: int) -> dict[str, Any]:
    """Columns of tenants that take turns."""
    return {
        "tenant": (np.arange(n) % 3).astype(np.int32),
        "tenant_weights": np.array([1.0, 2.0, 4.0]),
    }


def lightllm(n: int, seed: int) -> Case:
    """Admission by the largest future token use, a prefill every few decode iterations."""
    kind = engine(mixed=False, chunked=False, wait_iterations=4, peak=True, blocks=50)
    return Case(load(n, seed, [kind], 70, live_view=True), {"route": most_memory})


CASES: dict[str, Callable[[int, int], Case]] = {
    f.__name__: f
    for f in (
        chunked_recompute,
        split_swap,
        disaggregated,
        scored_cache,
        queue_aware_cache,
        pooled,
        closed_static,
        autoscaled,
        stale_view,
        lightllm,
    )
}


def outcome_digest(outcome: Outcome, *, log: bool = False) -> str:
    """One hash over all columns, totals and gaps, and the event log if it is asked for."""
    parts = [np.asarray(outcome.requests[name]) for name in sorted(outcome.requests)]
    parts += [np.asarray(outcome.replicas[name]) for name in sorted(outcome.replicas)]
    parts += [np.array([outcome.totals[name] for name in sorted(outcome.totals)])]
    parts.append(outcome.gaps)
    if log:
        assert outcome.log is not None and len(outcome.log)
        parts.append(outcome.log)
    return array_digest(*parts)


def digests(n: int) -> dict[str, str]:
    """Digest of each case with n requests, its event log included."""
    return {
        name: outcome_digest(make(n, 1).run(log=True), log=True) for name, make in CASES.items()
    }


if __name__ == "__main__":
    print(json.dumps(digests(int(sys.argv[1]))))
