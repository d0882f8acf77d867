"""Run a semantic cache: the compiled kernel or the plain reference, and what must hold after."""

from collections.abc import Callable

import numpy as np

from .kernel import advance
from .reference import replay
from .state import make_state
from .tables import (
    COLUMNS,
    HIT,
    JOINED,
    MISS,
    NEVER,
    TOTALS,
    UNCACHED,
    Neighbours,
    Outcome,
    Queries,
    Rules,
    check,
)

Progress = Callable[[float, int], None]
_EPOCHS = 50


def simulate(
    queries: Queries,
    neighbours: Neighbours,
    rules: Rules,
    *,
    reference: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """What becomes of each query.

    Args:
        queries, neighbours, rules: the workload, its neighbours, the cache and its costs.
        reference: run the plain-Python twin instead of the kernel (slow; the same outcome).
        progress: called with the share of queries that have arrived and the simulated ticks.

    Raises InputError where neighbours were looked for above a threshold in use.
    """
    check(queries, neighbours, rules)
    if reference:
        return replay(queries, neighbours, rules)
    S = make_state(queries, neighbours, rules)
    n = len(queries)
    if progress and n:
        for share in range(1, _EPOCHS):
            advance(S, queries.arrival[n * share // _EPOCHS])
            progress(share / _EPOCHS, int(S.glob[0].now))
    advance(S, NEVER - 1)
    if progress:
        progress(1.0, int(S.glob[0].now))
    columns = {name: getattr(S, name) for name in COLUMNS if name not in ("near", "cut", "done")}
    return Outcome(
        **columns,
        near=S.served_near,
        cut=S.cut.astype(bool),
        done=_with_joined(S.done, S.outcome, S.entry),
        totals={name: int(getattr(S.glob[0], name)) for name in TOTALS},
    )


def _with_joined(done: np.ndarray, outcome: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """A query that joined a call has its answer when it is ready and the call is answered."""
    joined = np.flatnonzero(outcome == JOINED)
    done[joined] = np.maximum(done[joined], done[entry[joined]])
    return done


def violations(queries: Queries, rules: Rules, found: Outcome) -> list[str]:
    """Conservation laws that an outcome breaks, one sentence each; none for a sound one."""
    total, n = found.totals, len(queries)
    counts = np.bincount(found.outcome, minlength=4)
    calls = int(counts[MISS] + counts[UNCACHED])
    gone = total["evictions"] + total["expirations"]
    filled = np.bincount(queries.category[found.left == 0], minlength=len(queries.categories))
    laws = {
        "every query is answered": bool(np.all(found.done >= queries.arrival)),
        "hits, joined, misses and uncached make all queries": int(counts.sum()) == n,
        "every miss is one call, begun and answered": total["calls"] == total["answered"] == calls,
        "insertions are resident, evicted or expired": total["insertions"]
        == total["resident"] + gone,
        "every answer of a miss is kept or refused": total["insertions"] + total["refused"]
        == counts[MISS],
        "hits of entries are hits of queries": int(found.hits.sum()) == counts[HIT],
        "no category holds more than its quota": bool(np.all(filled <= rules.quota)),
        "the resident entries are those that have not left": int(filled.sum()) == total["resident"],
        "the LLM's servers were busy while they answered": total["busy_ticks"]
        == int(rules.service[found.called >= 0].sum()),
    }
    return [f"broken: {law}" for law, holds in laws.items() if not holds]
