"""Scheduling: the key by which a replica's waiting queue is served, smallest first.

Fills the hook ``priority``; ties go to the smaller request id. A key is a float64: times above
2.5 h are rounded to some ticks, and requests that are so close to each other go by their id, which
is the order of a trace.
"""

from typing import Any

import numpy as np

from mltwin.models.serving.hooks import ENQUEUE
from mltwin.sim.ticks import TICKS_PER_S

from .declare import policy


@policy("priority", default_for="serving")
def fcfs(request, _tenants, _ctx, _params, _memory):
    """First come, first served: by arrival, also after a pre-emption or a hand-over."""
    return float(request.arrival)


@policy("priority")
def shortest_prompt(request, _tenants, _ctx, _params, _memory):
    """The shortest prompt first; needs no prediction. Long prompts may starve (see aging)."""
    return float(request.prompt)


@policy("priority")
def shortest_job(request, _tenants, _ctx, _params, _memory):
    """The shortest predicted answer first (SSJF: Qiu et al., "Efficient Interactive LLM Serving
    with Proxy Model-based Sequence Length Prediction", 2024, section 3).
    """
    return float(request.predicted)


@policy("priority", stability="on_event", params={"prompt_weight": 1.0})
def srpt(request, _tenants, _ctx, params, _memory):
    """Shortest remaining processing time first: output tokens still to come (at least one) plus
    prompt tokens times `prompt_weight` (Schrage, "A Proof of the Optimality of the SRPT
    Discipline", Operations Research 16, 1968).

    Keys change when a pre-empted request comes back with part of its answer made.
    """
    remaining = max(float(request.predicted) - request.generated, 1.0)
    return remaining + params[0] * request.prompt


# 2**20 ticks are a microsecond; arrivals are below 2**62 ticks, so below 2**42 of these.
CLASS_STEP = 2.0**43


@policy("priority")
def priority_class(request, _tenants, _ctx, _params, _memory):
    """The most urgent class first, within a class by arrival (to the microsecond, then by id).

    Class and arrival share one float64: exact for classes within +-1023; beyond, arrivals are
    rounded further but classes never mix.
    """
    return float(request.arrival >> 20) - CLASS_STEP * request.priority


@policy("priority")
def earliest_deadline(request, _tenants, _ctx, _params, _memory):
    """The earliest deadline first (Liu and Layland, JACM 20, 1973); those without one last."""
    return float(request.deadline)


def virtual_tokens(tenant: Any, lift: float, params: Any) -> float:
    """Weighted tokens that a tenant has been served, per unit of its weight, plus its lift."""
    served = params[0] * tenant.prompt_served + params[1] * tenant.output_served
    return served / tenant.weight + lift


@policy(
    "priority",
    stability="every_iteration",
    params={"prompt_weight": 1.0, "output_weight": 2.0},
    memory=lambda sizes: sizes.tenants + 1,
)
def vtc(request, tenants, ctx, params, memory):
    """Virtual token counter: the tenant that has been served the fewest tokens first, where prompt
    tokens count `prompt_weight` and output tokens `output_weight`, over the tenant's weight
    (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, algorithm 2).

    A tenant that queues a request is lifted to the smallest counter of those that wait, so that
    idleness saves up no credit (one that waits itself is among them, and not lifted). When nobody
    waits it is lifted to the tenant queued last, which stands for the paper's "last client that
    left the queue". Counters stand still while one plan admits requests; the paper moves them
    with each.

    memory: lift of each tenant, then 1 + the tenant queued last.
    """
    mine = request.tenant
    last = len(tenants)
    if ctx.event == ENQUEUE:
        level = np.inf
        for i in range(len(tenants)):
            if tenants[i].waiting > 0:
                level = min(level, virtual_tokens(tenants[i], memory[i], params))
        if level == np.inf and memory[last] > 0.0:
            i = int(memory[last]) - 1
            level = virtual_tokens(tenants[i], memory[i], params)
        short = level - virtual_tokens(tenants[mine], memory[mine], params)
        if 0.0 < short < np.inf:
            memory[mine] += short
        memory[last] = mine + 1.0
    return virtual_tokens(tenants[mine], memory[mine], params)


@policy("priority", memory=lambda sizes: sizes.tenants)
def fair_share(request, tenants, _ctx, _params, memory):
    """Rounds over the tenants, a request each (times its weight): start-time fair queueing
    (Goyal, Vin, Cheng, SIGCOMM 1996) with requests as the unit of work.

    A request's round is one turn after its tenant's previous one, but not before the present
    round: the smallest that still waits, or the largest given when nobody waits. Unlike vtc it
    needs no counters of tokens and never recomputes a key.

    memory: the last round given to each tenant.
    """
    current = np.inf
    latest = 0.0
    for i in range(len(tenants)):
        latest = max(latest, memory[i])
        if tenants[i].waiting > 0:
            oldest = memory[i] - (tenants[i].waiting - 1) / tenants[i].weight
            current = min(current, oldest)
    if current == np.inf:
        current = latest
    mine = request.tenant
    memory[mine] = max(current, memory[mine] + 1.0 / tenants[mine].weight)
    return memory[mine]


@policy("priority", params={"tokens_per_s": 1000.0})
def aging(request, _tenants, _ctx, params, _memory):
    """The shortest prompt first, where each second of waiting counts like `tokens_per_s` fewer
    prompt tokens, so that none starves.

    prompt - rate * (now - arrival): as all wait at the same rate, the order never changes, and
    the key leaves out the term that is common to all, rate * now.
    """
    return request.prompt + params[0] * (request.arrival / TICKS_PER_S)


@policy(
    "priority",
    stability="every_iteration",
    params={"prompt_tokens_per_s": 10_000.0, "output_tokens_per_s": 50.0},
)
def response_ratio(request, _tenants, ctx, params, _memory):
    """The highest response ratio first: (waiting + service) / service, where the service time is
    the prompt at `prompt_tokens_per_s` plus the predicted output at `output_tokens_per_s` (Brinch
    Hansen, "Operating System Principles", 1973). Short requests lead, long ones gain by waiting.
    """
    waited = (ctx.now - request.arrival) / TICKS_PER_S
    service = request.prompt / params[0] + request.predicted / params[1]
    return -(waited + service) / service
