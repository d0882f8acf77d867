"""A user's own policies, written as the documentation shows, to compare with the built-in ones.

They decide as `fcfs` and `least_tokens` do, so that both runs simulate the same events.
"""

from mltwin.models.serving.hooks import PREFILL_ROLE, UP
from mltwin.policies import policy


@policy("priority")
def my_fcfs(request, tenants, ctx, params, memory):
    """First come, first served."""
    return float(request.arrival)


@policy("route")
def my_least_tokens(request, replicas, hits, ctx, params, memory):
    """The fewest outstanding tokens."""
    best = -1
    fewest = 0
    for i in range(len(replicas)):
        if replicas[i].state == UP and replicas[i].role & PREFILL_ROLE:
            tokens = replicas[i].outstanding_tokens
            if best < 0 or tokens < fewest:
                best = i
                fewest = tokens
    return best
