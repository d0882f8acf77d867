"""Scaling: starting, draining and re-roling replicas while a run goes on.

Fills the hook ``scale``, asked every `scale_interval_s` of the scenario, again and again until it
answers 0. A fixed split of a cluster is the scenario's pools with ``none``; a plan by the clock is
the scenario's control events.
"""

from typing import Any

from mltwin.models.serving.hooks import (
    ACTION,
    ARGUMENT,
    DECODE_ROLE,
    DRAIN,
    MIXED_ROLE,
    PREFILL_ROLE,
    SET_ROLE,
    START,
    STARTING,
    STOPPED,
    UP,
)
from mltwin.sim.ticks import TICKS_PER_S

from .declare import policy
from .views import count_serving, fewest_requests_of_role, serves


@policy("scale", default_for="serving")
def none(_replicas, _ctx, _params, _memory):
    """Leave all as it is."""
    return 0


def pool_action(replicas: Any, pool: int, params: Any) -> int:
    """START or DRAIN of one replica of a pool (an answer of the hook), 0 if none is needed."""
    minimum = max(params[4], 1.0)
    up = 0
    starting = 0
    queued = 0
    stopped = -1
    emptiest = -1
    for i in range(len(replicas)):
        if replicas[i].pool != pool:
            continue
        if replicas[i].state == UP:
            up += 1
            queued += replicas[i].queued_tokens
            if emptiest < 0 or replicas[i].outstanding < replicas[emptiest].outstanding:
                emptiest = i
        elif replicas[i].state == STARTING:
            starting += 1
        elif replicas[i].state == STOPPED and stopped < 0:
            stopped = i
    if stopped >= 0 and (queued > params[0] * (up + starting) or up + starting < minimum):
        return START * ACTION + stopped
    calm = starting == 0 and queued < params[1] * up
    if calm and up > minimum and replicas[emptiest].outstanding <= params[2]:
        return DRAIN * ACTION + emptiest
    return 0


@policy(
    "scale",
    params={
        "high_tokens": 8192.0,
        "low_tokens": 512.0,
        "drain_requests": 8.0,
        "cooldown_s": 30.0,
        "minimum": 1.0,
    },
    memory=lambda sizes: sizes.replicas,
)
def queue_threshold(replicas, ctx, params, memory):
    """Each pool for itself: start a stopped replica when more than `high_tokens` wait to be
    prefilled for each that is up or starting; drain the emptiest when fewer than `low_tokens` wait
    for each and it holds at most `drain_requests` requests. At most one action of a pool in
    `cooldown_s`, and never fewer than `minimum` (nor 1) left up.

    memory: when each pool may act again, ticks.
    """
    for i in range(len(replicas)):
        pool = replicas[i].pool
        if i > 0 and replicas[i - 1].pool == pool:
            continue
        if ctx.now >= memory[pool]:
            action = pool_action(replicas, pool, params)
            if action != 0:
                memory[pool] = ctx.now + params[3] * TICKS_PER_S
                return action
    return 0


def shifted(replicas: Any, towards: int, away: int) -> int:
    """SET_ROLE of the emptiest replica one step towards a phase, 0 if none can be spared.

    A replica of the other phase becomes mixed; if there is none, a mixed one gives up the other
    phase, as long as another replica has it.
    """
    chosen = fewest_requests_of_role(replicas, away)
    if chosen >= 0:
        return SET_ROLE * ACTION + MIXED_ROLE * ARGUMENT + chosen
    chosen = fewest_requests_of_role(replicas, MIXED_ROLE)
    if chosen >= 0 and count_serving(replicas, away) > 1:
        return SET_ROLE * ACTION + towards * ARGUMENT + chosen
    return 0


@policy(
    "scale",
    params={"queued_tokens": 8192.0, "decode_requests": 64.0, "cooldown_s": 5.0},
    memory=1,
)
def dynamic_roles(replicas, ctx, params, memory):
    """Move the emptiest replica one step (prefill - mixed - decode) towards the phase that is
    overloaded, if the other is not: prefill when more than `queued_tokens` wait for each replica
    that prefills, decode when each replica that decodes has more than `decode_requests` requests.
    At most one step in `cooldown_s`. Neither phase is ever left without a replica.

    The mixed pool of Splitwise (Patel et al., ISCA 2024, section IV-A) with roles as its means.

    memory: when it may act again, ticks.
    """
    if ctx.event != 0 or ctx.now < memory[0]:
        return 0
    queued = 0.0
    decoding = 0.0
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            queued += replicas[i].queued_tokens
        if serves(replicas[i], DECODE_ROLE):
            decoding += replicas[i].outstanding
    slow_prefill = queued > params[0] * count_serving(replicas, PREFILL_ROLE)
    slow_decode = decoding > params[1] * count_serving(replicas, DECODE_ROLE)
    action = 0
    if slow_prefill and not slow_decode:
        action = shifted(replicas, PREFILL_ROLE, DECODE_ROLE)
    elif slow_decode and not slow_prefill:
        action = shifted(replicas, DECODE_ROLE, PREFILL_ROLE)
    if action != 0:
        memory[0] = ctx.now + params[2] * TICKS_PER_S
    return action
