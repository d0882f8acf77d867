"""Our two policies: the code that the gate guards."""

from mltwin.models.serving.hooks import PREFILL_ROLE, UP
from mltwin.policies import policy


@policy("admit", params={"limit_tokens": 60000.0})
def while_there_is_room(_request, replicas, _tenants, _ctx, params, _memory):
    """Accept a request while some replica has fewer than `limit_tokens` outstanding."""
    for i in range(len(replicas)):
        if replicas[i].state == UP and replicas[i].outstanding_tokens < params[0]:
            return 1
    return 0


@policy("route", params={"answer_weight": 2.0})
def soonest_free(request, replicas, _hits, _ctx, params, _memory):
    """The replica that would be done soonest: its tokens and ours over its speed.

    A token of the expected answer counts `answer_weight` times as much as one of the prompt.
    """
    mine = request.prompt + params[0] * request.predicted
    best = -1
    shortest = 0.0
    for i in range(len(replicas)):
        if replicas[i].state == UP and (replicas[i].role & PREFILL_ROLE) != 0:
            wait = (replicas[i].outstanding_tokens + mine) / replicas[i].speed
            if best < 0 or wait < shortest:
                best = i
                shortest = wait
    return best
