"""Admission: whether an arriving request is accepted.

Fills the hook ``admit``; 1 accepts, 0 refuses. Loads are taken over the replicas that are up and
have the prefill role; while there is none, requests are accepted and wait for one.
"""

from mltwin.models.serving.hooks import PREFILL_ROLE
from mltwin.sim.ticks import NEVER, TICKS_PER_S

from .declare import policy
from .views import serves


@policy("admit", default_for="serving")
def always(_request, _replicas, _tenants, _ctx, _params, _memory):
    """Accept all."""
    return 1


@policy("admit", params={"limit": 100.0})
def queue_limit(_request, replicas, _tenants, _ctx, params, _memory):
    """Refuse when `limit` requests wait for each replica on the average."""
    up = 0
    waiting = 0
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            up += 1
            waiting += replicas[i].waiting
    return 0 if up > 0 and waiting >= params[0] * up else 1


@policy("admit", params={"limit_tokens": 200_000.0})
def token_limit(request, replicas, _tenants, _ctx, params, _memory):
    """Refuse what would bring the outstanding tokens, prompt and predicted output, above
    `limit_tokens` for each replica on the average.
    """
    up = 0
    tokens = float(request.prompt) + request.predicted
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            up += 1
            tokens += replicas[i].outstanding_tokens
    return 0 if up > 0 and tokens > params[0] * up else 1


@policy("admit", params={"limit": 64.0})
def tenant_limit(request, _replicas, tenants, _ctx, params, _memory):
    """Refuse when the tenant has `limit` requests, times its weight, waiting or running."""
    tenant = tenants[request.tenant]
    return 0 if tenant.waiting + tenant.running >= params[0] * tenant.weight else 1


@policy("admit", params={"prefill_tokens_per_s": 10_000.0, "decode_s_per_token": 0.0})
def deadline_feasible(request, replicas, _tenants, ctx, params, _memory):
    """Refuse what cannot be done by its deadline even on the best replica.

    Estimate: all tokens queued there and the request's prompt at `prefill_tokens_per_s` times the
    replica's speed, then `decode_s_per_token` for each further token of the predicted output: 0
    when the deadline is that of the first token.
    """
    if request.deadline >= NEVER:
        return 1
    found = False
    shortest = 0.0
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            tokens = float(replicas[i].queued_tokens) + request.prompt
            needed = tokens / (params[0] * replicas[i].speed)
            if not found or needed < shortest:
                found = True
                shortest = needed
    left = (request.deadline - ctx.now) / TICKS_PER_S
    return 0 if found and shortest + (request.predicted - 1) * params[1] > left else 1
