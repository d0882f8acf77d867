"""Placement: which replica decodes a request once its prompt is prefilled.

Fills the hook ``place_decode``, asked after a request's first token while some replica that is up
has the decode role. The answer is the source itself (``ctx.replica``; nothing is moved) or such a
replica (the KV cache is moved there), among equals the one with the lowest index. A fixed split of
a cluster into prefill, decode and mixed pools is written as the scenario's pools, not as a policy.
"""

from mltwin.models.serving.hooks import DECODE_ROLE, MIXED_ROLE

from .declare import policy
from .views import fewest_requests, fewest_tokens, fewest_tokens_of_role


@policy("place_decode")
def stay(_request, _replicas, ctx, _params, _memory):
    """Decode where it was prefilled."""
    return ctx.replica


@policy("place_decode")
def least_decode(_request, replicas, ctx, _params, _memory):
    """The fewest outstanding tokens; a source that has the decode role keeps the request."""
    if (replicas[ctx.replica].role & DECODE_ROLE) != 0:
        return ctx.replica
    best = fewest_tokens(replicas, DECODE_ROLE)
    return best if best >= 0 else ctx.replica


@policy("place_decode", default_for="serving")
def least_requests_decode(_request, replicas, ctx, _params, _memory):
    """The fewest outstanding requests; a source that has the decode role keeps the request."""
    if (replicas[ctx.replica].role & DECODE_ROLE) != 0:
        return ctx.replica
    best = fewest_requests(replicas, DECODE_ROLE)
    return best if best >= 0 else ctx.replica


@policy("place_decode", params={"ratio": 1.5, "slack_tokens": 20_000.0})
def local_first(_request, replicas, ctx, params, _memory):
    """The source, if it has the decode role and not more outstanding tokens than `ratio` times
    those of the least loaded replica, plus `slack_tokens`; else the least loaded. Trades balance
    for transfers that need not be made.
    """
    best = fewest_tokens(replicas, DECODE_ROLE)
    if best < 0:
        return ctx.replica
    limit = params[0] * replicas[best].outstanding_tokens + params[1]
    source = replicas[ctx.replica]
    if (source.role & DECODE_ROLE) != 0 and source.outstanding_tokens <= limit:
        return ctx.replica
    return best


@policy("place_decode", params={"limit_tokens": 100_000.0})
def splitwise_mixed(_request, replicas, ctx, params, _memory):
    """Splitwise's mixed pool, token side: the least loaded decode replica; when its outstanding
    tokens exceed `limit_tokens`, the least loaded mixed one; when that is full too, the source
    itself, which then works as a mixed one; when all are full, the least loaded (Patel et al.,
    "Splitwise", ISCA 2024, section IV-A). A mixed source keeps its request while it has room.
    """
    source = ctx.replica
    if replicas[source].role == MIXED_ROLE and replicas[source].outstanding_tokens <= params[0]:
        return source
    own = fewest_tokens_of_role(replicas, DECODE_ROLE)
    if own >= 0 and replicas[own].outstanding_tokens <= params[0]:
        return own
    mixed = fewest_tokens_of_role(replicas, MIXED_ROLE)
    if mixed >= 0 and replicas[mixed].outstanding_tokens <= params[0]:
        return mixed
    if replicas[source].outstanding_tokens <= params[0]:
        return source
    best = fewest_tokens(replicas, DECODE_ROLE)
    return best if best >= 0 else source
