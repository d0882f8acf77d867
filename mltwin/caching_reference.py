"""One cache through the plain-Python policies, request by request: a twin of `replay_cache`."""

import numpy as np

from mltwin.models.caching.cache import Cache
from mltwin.models.caching.tables import HIT, REFUSED
from mltwin.models.caching.tiers_reference import reference_of
from mltwin.sim.errors import InputError
from mltwin.workloads.objects.table import DELETE, GET, SET, ObjectTrace

from .cache_replay import CacheRun


def replay_reference(
    trace: ObjectTrace, cache: Cache, name: str, unit: str, life: int, windows: int
) -> CacheRun:
    """Replay a trace through the reference of a cache.

    Args:
        trace: its requests.
        cache: says which policy, capacity and admission; it is not touched.
        name: of the policy, for the run.
        unit: "objects" or "bytes".
        life: ticks after which an object without an end of its own is stale; 0: never.
        windows: parts of equal length to count apart.

    Raises InputError for policies that have no reference.
    """
    if trace.cost is not None:
        raise InputError("it knows no costs", where="reference", mend="leave the costs out")
    twin = reference_of(cache, trace.ids.tolist())
    edges = np.linspace(0, trace.requests, max(1, windows) + 1).astype(np.int64)
    window = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    counts = np.zeros((len(edges) - 1, 4), np.int64)
    refused = expired = evicted = 0
    for i, x in enumerate(trace.ids.tolist()):
        op = GET if trace.op is None else int(trace.op[i])
        if op == DELETE:
            twin.clock += 1
            twin.remove(x)
            continue
        size = 1 if unit == "objects" or trace.size_bytes is None else int(trace.size_bytes[i])
        now = 0 if trace.arrival is None else int(trace.arrival[i])
        own = 0 if trace.ttl_ns is None else int(trace.ttl_ns[i])
        was_there = x in twin.sizes
        ask = twin.store if op == SET else twin.request
        outcome = ask(x, size, now, own or life)
        refused += outcome == REFUSED
        expired += was_there and outcome != HIT
        evicted += len(twin.victims)
        if op == GET:
            hit = outcome == HIT
            counts[window[i]] += (1, hit, size, size * hit)
    requests, hits, asked, got = (int(v) for v in counts.sum(axis=0))
    return CacheRun(
        name, cache.capacity, unit, requests, hits, refused, expired, evicted, asked, got, counts
    )
