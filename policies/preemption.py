"""Pre-emption: which running request gives way when a replica is short of KV blocks.

Fills the hook ``preempt``; the request with the largest score goes, among equals the one with the
largest id.
"""

from .declare import policy


@policy("preempt", default_for="serving")
def lowest_priority(request, _tenants, _ctx, _params, _memory):
    """The one that the scheduler served last: the largest priority key. With fcfs the request
    that arrived last, as in vLLM.
    """
    return request.key


@policy("preempt")
def latest_arrival(request, _tenants, _ctx, _params, _memory):
    """The one that arrived last, whatever the scheduler."""
    return float(request.arrival)


@policy("preempt")
def longest_remaining(request, _tenants, _ctx, _params, _memory):
    """The one with the most output still to come, as predicted: it would hold blocks longest."""
    return max(float(request.predicted) - request.generated, 0.0)


@policy("preempt")
def most_generated_first(request, _tenants, _ctx, _params, _memory):
    """The one with the most output made: frees the most blocks beyond its prompt."""
    return float(request.generated)


@policy("preempt")
def fewest_generated(request, _tenants, _ctx, _params, _memory):
    """The one with the least output made: the least decoding is in vain."""
    return -float(request.generated)
