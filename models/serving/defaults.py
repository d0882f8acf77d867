"""What fills a hook when no policy is given: the least that makes the system run."""

import functools
from typing import Any

from mltwin.sim.jit import kernel

from .hooks import PREFILL_ROLE, UP, signature


def admit(request, replicas, tenants, ctx, params, memory):
    """Accept everything."""
    return 1


def route(request, replicas, hits, ctx, params, memory):
    """The first replica that is up and prefills."""
    for r in range(len(replicas)):
        if replicas[r].state == UP and replicas[r].role & PREFILL_ROLE:
            return r
    return -1


def place_decode(request, replicas, ctx, params, memory):
    """Decode where the prefill ran."""
    return ctx.replica


def priority(request, tenants, ctx, params, memory):
    """First come, first served."""
    return float(request.arrival)


def preempt(request, tenants, ctx, params, memory):
    """The request that is served last goes first."""
    return request.key


def evict(block, ctx, params, memory):
    """Least recently released."""
    return float(ctx.now)


def scale(replicas, ctx, params, memory):
    """Leave the replicas as they are."""
    return 0


DEFAULTS = {f.__name__: f for f in (admit, route, place_decode, priority, preempt, evict, scale)}


@functools.cache
def default_functions() -> dict[str, Any]:
    """The compiled default of each hook."""
    return {name: kernel(signature(name))(f) for name, f in DEFAULTS.items()}
