"""Policies for the random cases, one or more for each hook, in plain Python.

Floats, ints and loops only, so that the same text runs interpreted (reference) and compiled
(kernel).
"""

from mltwin.models.serving.hooks import (
    ACTION,
    ARGUMENT,
    DECODE_ROLE,
    DRAIN,
    PREFILL_ROLE,
    SET_ROLE,
    START,
    STOPPED,
    UP,
)

# admission ---------------------------------------------------------------------------------------


def admit_short_queues(request, replicas, tenants, ctx, params, memory):
    """Refuses while more than params[0] requests wait."""
    waiting = 0
    for i in range(len(replicas)):
        waiting += replicas[i].waiting
    return 1 if waiting <= params[0] else 0


def admit_most(request, replicas, tenants, ctx, params, memory):
    """Refuses every params[0]-th request, and tenants with more than params[1] in the system."""
    memory[0] += 1.0
    if memory[0] >= params[0]:
        memory[0] = 0.0
        return 0
    tenant = tenants[request.tenant]
    return 1 if tenant.waiting + tenant.running <= params[1] else 0


# routing -----------------------------------------------------------------------------------------


def route_round_robin(request, replicas, hits, ctx, params, memory):
    n = len(replicas)
    start = int(memory[0])
    for k in range(n):
        i = (start + k) % n
        if replicas[i].state == UP and replicas[i].role & PREFILL_ROLE:
            memory[0] = (i + 1) % n
            return i
    return 0


def route_scattered(request, replicas, hits, ctx, params, memory):
    """Anywhere, by request id and seed."""
    n = len(replicas)
    start = (ctx.request * 7919 + ctx.seed) % n
    for k in range(n):
        i = (start + k) % n
        if replicas[i].state == UP and replicas[i].role & PREFILL_ROLE:
            return i
    return 0


def route_least_tokens(request, replicas, hits, ctx, params, memory):
    best = -1
    least = 0.0
    for i in range(len(replicas)):
        r = replicas[i]
        if r.state == UP and r.role & PREFILL_ROLE:
            load = (r.outstanding_tokens + r.queued_tokens) / r.speed
            if best < 0 or load < least:
                best = i
                least = load
    return best


def route_least_requests(request, replicas, hits, ctx, params, memory):
    best = -1
    for i in range(len(replicas)):
        r = replicas[i]
        if r.state != UP or not r.role & PREFILL_ROLE:
            continue
        if best < 0 or r.outstanding < replicas[best].outstanding:
            best = i
    return best


def route_most_hits(request, replicas, hits, ctx, params, memory):
    """The longest cached prefix, less params[0] blocks for each request that waits."""
    best = -1
    most = 0.0
    for i in range(len(replicas)):
        if replicas[i].state == UP and replicas[i].role & PREFILL_ROLE:
            score = hits[i] - params[0] * replicas[i].waiting
            if best < 0 or score > most:
                best = i
                most = score
    return best


def route_live(request, replicas, hits, ctx, params, memory):
    """The most free blocks, then the least decode context; needs the live view."""
    best = -1
    for i in range(len(replicas)):
        r = replicas[i]
        if r.state != UP or not r.role & PREFILL_ROLE:
            continue
        if (
            best < 0
            or r.free_blocks > replicas[best].free_blocks
            or (
                r.free_blocks == replicas[best].free_blocks
                and r.decode_context < replicas[best].decode_context
            )
        ):
            best = i
    return best


# placing of decodes ------------------------------------------------------------------------------
# Always the source or a later replica, so that no two wait for each other's memory, and none with
# less memory than the source: there a request might never fit.


def place_least_tokens(request, replicas, ctx, params, memory):
    source = ctx.replica
    best = source
    for i in range(source + 1, len(replicas)):
        r = replicas[i]
        if r.state != UP or not r.role & DECODE_ROLE or r.blocks < replicas[source].blocks:
            continue
        if best == source or r.outstanding_tokens < replicas[best].outstanding_tokens:
            best = i
    return best


def place_scattered(request, replicas, ctx, params, memory):
    """Any later replica, or the source, by how often it was asked and how much is on its way."""
    source = ctx.replica
    memory[0] += 1.0
    for i in range(source + int(memory[0]) % (len(replicas) - source), len(replicas)):
        r = replicas[i]
        if r.state != UP or not r.role & DECODE_ROLE or r.blocks < replicas[source].blocks:
            continue
        if r.incoming <= params[0]:
            return i
    return source


# priorities --------------------------------------------------------------------------------------


def priority_shortest(request, tenants, ctx, params, memory):
    return float(request.prompt + request.predicted - request.generated)


def priority_class(request, tenants, ctx, params, memory):
    """Class first, then deadline."""
    return request.deadline * 1e-6 - request.priority * 1e15


def priority_constant(request, tenants, ctx, params, memory):
    """All alike: the id decides."""
    return 1.0


def priority_fair(request, tenants, ctx, params, memory):
    """On events: the tenant that was served least for its weight; fewer attempts first."""
    tenant = tenants[request.tenant]
    return tenant.prompt_served / tenant.weight + params[0] * request.attempts


def priority_fair_tokens(request, tenants, ctx, params, memory):
    """Every iteration: prompt and output tokens that the tenant was given."""
    tenant = tenants[request.tenant]
    return (tenant.prompt_served + 2.0 * tenant.output_served) / tenant.weight


def priority_aging(request, tenants, ctx, params, memory):
    """Every iteration: short prompts first, but waiting counts."""
    return request.prompt - (ctx.now - request.arrival) / params[0]


# pre-emption and eviction ------------------------------------------------------------------------


def preempt_longest_left(request, tenants, ctx, params, memory):
    return float(request.predicted - request.generated)


def preempt_youngest_first_tries(request, tenants, ctx, params, memory):
    return request.arrival * 1e-6 - 1e9 * request.attempts


def evict_least_used(block, ctx, params, memory):
    return block.hits - params[0] * block.depth


def evict_oldest_shallow(block, ctx, params, memory):
    return block.released * 1e-6 + block.depth * params[0]


def evict_by_all(block, ctx, params, memory):
    """All that may be known of a block, and how often the policy was asked before."""
    memory[0] += 1.0
    score = (block.made + 3 * block.released) * 1e-8 + 7.0 * block.wanted + block.hits
    score += 0.3 * block.new_hits - 0.02 * block.tokens_before + 0.01 * block.tokens_after
    score += 0.4 * block.last_evicted + params[0] * (memory[0] % 5) + ctx.request % 3
    if block.score > -1e300:
        score += 0.1 * block.score
    return score


# scaling -----------------------------------------------------------------------------------------


def scale_to_queue(replicas, ctx, params, memory):
    """Starts all that stand when more than params[0] wait, drains idle ones but one if none do."""
    waiting = 0
    can_prefill = 0
    for i in range(len(replicas)):
        waiting += replicas[i].waiting
        if replicas[i].state == UP and replicas[i].role & PREFILL_ROLE:
            can_prefill += 1
    if waiting > params[0] or can_prefill == 0:
        for i in range(len(replicas)):
            if replicas[i].state == STOPPED:
                return START * ACTION + i
    if waiting == 0 and can_prefill > 1:
        for k in range(len(replicas)):
            i = len(replicas) - 1 - k
            if replicas[i].state == UP and replicas[i].outstanding <= params[1]:
                return DRAIN * ACTION + i
    return 0


def scale_roles(replicas, ctx, params, memory):
    """Now and then the second replica (in turn 0) and the last (in turn 1) change their roles."""
    n = len(replicas)
    if ctx.event == 0:
        memory[0] += 1.0
        role = 1 + int(memory[0]) % 3
        return SET_ROLE * ACTION + role * ARGUMENT + 1
    if ctx.event == 1 and n > 2 and int(memory[0]) % 2 == 0:
        return SET_ROLE * ACTION + (2 + int(memory[0] / 2) % 2) * ARGUMENT + n - 1
    return 0
