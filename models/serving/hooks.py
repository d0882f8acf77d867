"""The decision points of the serving system: what each policy is given, and what it answers.

A policy is a plain function of a hook's arguments. It sees small public records, never the private
state, may write only its own `memory`, and is compiled once to a first-class function that the
kernel calls through a pointer. Arguments that recur:

========== ======================================================================================
request    one `REQUEST` record
replicas   array of `REPLICA` records, one per replica; as it was at the last snapshot when the
           scenario sets a stale view (`snapshot_s`)
tenants    array of `TENANT` records
hits       int32 per replica: leading KV blocks of this request that are resident there (live);
           with a prefix pool as many more: those in its reach, resident or in its stores
block      one `BLOCK` record
ctx        one `CONTEXT` record
params     float64 array, the policy's parameters in the order in which it declares them
memory     float64 array that the policy alone reads and writes, zero at the start
========== ======================================================================================

Stability says when a `priority` may change while requests wait; it decides what may be skipped:
STATIC (computed when queued), ON_EVENT (recomputed at the first plan after something was queued,
joined, finished or pre-empted at that replica; may read the request and counters that change at
events), EVERY_ITERATION (recomputed at each plan; may read anything; turns skipping off).
"""

from typing import Any

from mltwin.sim.hook import Hook, hook_signature
from mltwin.sim.records import record

STATIC, ON_EVENT, EVERY_ITERATION = 0, 1, 2
STABILITIES = {"static": STATIC, "on_event": ON_EVENT, "every_iteration": EVERY_ITERATION}

PREFILL_ROLE, DECODE_ROLE, MIXED_ROLE = 1, 2, 3
ROLES = {"prefill": PREFILL_ROLE, "decode": DECODE_ROLE, "mixed": MIXED_ROLE}

STOPPED, STARTING, UP, DRAINING, FAILED = range(5)

ENQUEUE, REKEY = 0, 1  # ctx.event of a priority call

# answers of a `scale` policy: action * ACTION + argument * ARGUMENT + replica; 0 ends the turn
ARGUMENT, ACTION = 2**20, 2**40
START, DRAIN, SET_ROLE = 1, 2, 3

REQUEST = record(
    "Request",
    [
        ("arrival", "i8"),  # ticks
        ("deadline", "i8"),  # ticks, absolute; NEVER without one
        ("key", "f8"),  # the priority key that it was queued with; smaller is served first
        ("prompt", "i4"),  # tokens
        ("predicted", "i4"),  # output tokens as the length predictor guesses
        ("generated", "i4"),  # output tokens made so far; exact wherever a policy sees it
        ("cached", "i4"),  # prompt tokens found in the prefix cache at the last admission
        ("tenant", "i4"),  # dense id
        ("session", "i4"),  # dense id, -1 without one
        ("priority", "i4"),  # class from the trace; larger is more urgent
        ("attempts", "i4"),  # pre-emptions and failures survived
    ],
)

REPLICA = record(
    "Replica",
    [
        ("outstanding_tokens", "i8"),  # prompt + predicted output of all requests assigned to it
        ("queued_tokens", "i8"),  # tokens that wait to be prefilled (need of the waiting queue)
        ("decode_context", "i8"),  # KV tokens of the decoding requests; live views only
        ("speed", "f8"),  # decode tokens per second at a fixed batch, relative to replica 0
        ("outstanding", "i4"),  # requests assigned to it
        ("waiting", "i4"),  # requests in its queue
        ("role", "i4"),  # PREFILL_ROLE | DECODE_ROLE
        ("state", "i4"),  # STOPPED, STARTING, UP, DRAINING, FAILED
        ("pool", "i4"),  # index of its pool in the scenario
        ("blocks", "i4"),  # KV blocks that it has
        ("free_blocks", "i4"),  # free and evictable; live views only
        ("incoming", "i4"),  # hand-overs and transfers on their way to it
    ],
)

TENANT = record(
    "Tenant",
    [
        ("weight", "f8"),  # share it is entitled to
        ("prompt_served", "i8"),  # prompt tokens of requests admitted for the first time
        ("output_served", "i8"),  # output tokens made; live, EVERY_ITERATION policies only
        ("arrived", "i8"),  # requests
        ("waiting", "i4"),  # requests in waiting queues
        ("running", "i4"),  # requests admitted and not yet finished
    ],
)

CONTEXT = record(
    "Context",
    [
        ("now", "i8"),  # ticks
        ("seed", "i8"),
        ("request", "i8"),  # id of the request in question, the entity of its random draws
        (
            "replica",
            "i8",
        ),  # the replica that asks (priority, preempt, evict), source (place_decode)
        ("event", "i8"),  # ENQUEUE or REKEY (priority); the turn within this instant (scale)
        ("block_tokens", "i8"),
    ],
)

BLOCK = record(
    "Block",
    [
        ("released", "i8"),  # ticks of its last release
        ("made", "i8"),  # ticks when it became resident
        ("score", "f8"),  # what the policy answered for it last, -inf before the first time
        ("last_evicted", "f8"),  # score of the block evicted last on its replica, 0 without one
        ("hits", "i4"),  # times it was found resident
        ("new_hits", "i4"),  # those since the policy was asked last
        ("depth", "i4"),  # its place in the prompt, 0 for the first block
        ("tokens_before", "i4"),  # context in front of it: depth times block_tokens
        ("tokens_after", "i4"),  # in blocks behind it that its last holder released with it
        ("wanted", "i4"),  # requests in the replica's queue whose prefix holds it; queue=True
    ],
)


RECORDS = {
    "request": REQUEST,
    "replicas": REPLICA,
    "tenants": TENANT,
    "ctx": CONTEXT,
    "block": BLOCK,
}
"""Arguments that are records, or arrays of them."""

HOOKS = {
    h.name: h
    for h in (
        Hook(
            "admit",
            ("request", "replicas", "tenants", "ctx", "params", "memory"),
            "int64",
            "1 to accept an arriving request, 0 to refuse it",
        ),
        Hook(
            "route",
            ("request", "replicas", "hits", "ctx", "params", "memory"),
            "int64",
            "the replica (up, with the prefill role) whose queue the request joins",
        ),
        Hook(
            "place_decode",
            ("request", "replicas", "ctx", "params", "memory"),
            "int64",
            "the replica that decodes a prefilled request: ctx.replica, or one that is up and has "
            "the decode role",
        ),
        Hook(
            "priority",
            ("request", "tenants", "ctx", "params", "memory"),
            "float64",
            "the key by which a waiting queue is served, smallest first",
        ),
        Hook(
            "preempt",
            ("request", "tenants", "ctx", "params", "memory"),
            "float64",
            "the score of a running request when blocks are short; the largest is pre-empted",
        ),
        Hook(
            "evict",
            ("block", "ctx", "params", "memory"),
            "float64",
            "the score of a cached block as it becomes evictable (with queue=True again when its "
            "`wanted` changes); the smallest is evicted first",
        ),
        Hook(
            "scale",
            ("replicas", "ctx", "params", "memory"),
            "int64",
            "one action, asked again until it answers 0, at most once per replica and instant",
        ),
    )
}


def signature(hook: str) -> Any:
    """The Numba signature of a hook's function (numba is imported here).

    Raises KeyError for an unknown hook.
    """
    from numba import from_dtype, types

    def array_of(item):
        return types.Array(item, 1, "C")

    argument = {
        "request": from_dtype(REQUEST),
        "replicas": array_of(from_dtype(REPLICA)),
        "tenants": array_of(from_dtype(TENANT)),
        "hits": array_of(types.int32),
        "ctx": from_dtype(CONTEXT),
        "block": from_dtype(BLOCK),
        "params": array_of(types.float64),
        "memory": array_of(types.float64),
    }
    return hook_signature(HOOKS[hook], argument)
