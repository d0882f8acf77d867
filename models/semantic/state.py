"""The kernel's state: one World of flat arrays, rows are queries or categories."""

from typing import Any

import numpy as np

from mltwin.sim.heap import PAIR, make_pairs
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

from .tables import Neighbours, Queries, Rules

ABSENT, PENDING, RESIDENT = range(3)
"""State of a query's own answer: none yet or gone, being made, an entry."""

NUMBERS = record(
    "NUMBERS",
    [
        ("n", "i8", "queries"),
        ("eviction", "i8", "code"),
        ("coalesce", "i8", "flag"),
        ("embed", "i8", "ticks"),
        ("fetch", "i8", "ticks"),
        ("servers", "i8", "of the LLM; 0: no limit"),
        ("adaptive", "i8", "flag"),
        ("period", "i8", "ticks"),
        ("low", "i8", "load, thousandths"),
        ("high", "i8", "load, thousandths"),
        ("gain", "i8", "of the smoothing, in 1/1024"),
        ("now", "i8", "ticks"),
        ("cursor", "i8", "next query to arrive"),
        ("look", "i8", "ticks: next look at the load"),
        ("order", "i8", "uses and insertions so far"),
        ("busy", "i8", "servers at work"),
        ("head", "i8", "of the waiting calls"),
        ("tail", "i8", "of the waiting calls"),
        ("load", "i8", "smoothed, thousandths of a call per server"),
        ("insertions", "i8", "entries made"),
        ("evictions", "i8", "entries evicted"),
        ("expirations", "i8", "entries found too old"),
        ("resident", "i8", "entries now"),
        ("refused", "i8", "answers without a quota"),
        ("calls", "i8", "begun at the LLM"),
        ("answered", "i8", "by the LLM"),
        ("most_entries", "i8", "entries at most"),
        ("most_waiting", "i8", "calls waiting at most"),
        ("busy_ticks", "i8", "ticks of calls"),
        ("looks", "i8", "of the controller"),
        ("load_sum", "i8", "thousandths, over the looks"),
        ("moved_sum", "i8", "thousandths, over the looks"),
    ],
)

_READ = {
    **{name: np.int64 for name in ("arrival", "start", "service", "search", "ttl", "longest")},
    **{name: np.int32 for name in ("category", "row", "near", "threshold", "lowest", "quota")},
    **{name: np.int8 for name in ("truncated", "cached")},
}
_PER_QUERY = {
    **{name: np.int64 for name in ("done", "ready", "called", "left_at")},
    **{name: np.int64 for name in ("born", "key", "tie")},
    **{name: np.int32 for name in ("entry", "served_near", "hits", "place", "older", "newer")},
    **{name: np.int32 for name in ("waiting",)},
    **{name: np.int8 for name in ("outcome", "left", "cut", "state")},
}
_PER_CATEGORY = {
    **{name: np.int64 for name in ("base", "ttl_now", "inflation")},
    **{name: np.int32 for name in ("tau", "filled", "oldest", "newest")},
}
DTYPES: dict[str, np.dtype] = {
    name: np.dtype(dtype) for name, dtype in (_READ | _PER_QUERY | _PER_CATEGORY).items()
}
DTYPES |= {"glob": NUMBERS, "slots": np.dtype(np.int32), "events": PAIR}
DTYPES |= {"events_count": np.dtype(np.int64)}
WORLD = world_type(DTYPES)
"""The Numba type of the state."""

_MINUS_ONE = ("done", "called", "left_at", "entry", "place", "older", "newer", "left")


def make_state(queries: Queries, neighbours: Neighbours, rules: Rules) -> Any:
    """The state before the first query; the inputs must have been checked (`tables.check`)."""
    n, categories = len(queries), len(queries.categories)
    counts = np.bincount(queries.category, minlength=categories)
    room = np.minimum(rules.quota, counts).astype(np.int64)
    given = {
        "arrival": queries.arrival,
        "category": queries.category,
        "start": neighbours.start,
        "row": neighbours.row,
        "near": neighbours.near,
        "truncated": neighbours.truncated,
        **{name: getattr(rules, name) for name in ("service", "search", "ttl", "longest")},
        **{name: getattr(rules, name) for name in ("threshold", "lowest", "quota", "cached")},
    }
    tables = {name: np.ascontiguousarray(v, _READ[name]) for name, v in given.items()}
    for name, dtype in _PER_QUERY.items():
        tables[name] = np.full(n, -1 if name in _MINUS_ONE else 0, dtype)
    for name, dtype in _PER_CATEGORY.items():
        tables[name] = np.zeros(categories, dtype)
    tables["base"][1:] = np.cumsum(room)[:-1]
    tables["tau"][:] = tables["threshold"]
    tables["ttl_now"][:] = tables["ttl"]
    tables["oldest"][:] = tables["newest"][:] = -1
    tables["slots"] = np.zeros(int(room.sum()), np.int32)
    tables |= make_pairs(n, "events")
    fixed = ("eviction", "coalesce", "embed", "fetch", "servers", "adaptive")
    fixed += ("period", "low", "high", "gain")
    tables["glob"] = table(
        1, NUMBERS, n=n, look=rules.period, **{name: int(getattr(rules, name)) for name in fixed}
    )
    return World(read_only=tuple(_READ), **tables)
