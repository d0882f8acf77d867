"""Running a plan, by the kernel or by the reference."""

from dataclasses import dataclass

import numpy as np

from .tables import Plan, make_world

LOG_ROWS = 1 << 16
COUNTS = (
    "hits",
    "late",
    "misses",
    "demand",
    "prefetch",
    "useful",
    "in_time",
    "wasted",
    "loaded",
    "evicted",
    "stalled",
    "end",
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run leaves.

    Attributes:
        totals: the `COUNTS` (activations, loads, ticks).
        in_flight: loads not ended when the last visit did.
        resident: experts in HBM at the end.
        unused: prefetched experts (in flight or resident) not activated by then.
        log: rows (time, kind, entity, value); None where none was kept.
        visits: by visit: begin, end, stall (ticks), hits, late.
        loads: int64[L E], loads begun of each key.
    """

    totals: dict[str, int]
    in_flight: int
    resident: int
    unused: int
    log: list[tuple[int, int, int, int]] | None
    visits: dict[str, np.ndarray]
    loads: np.ndarray


def run_plan(plan: Plan, *, reference: bool = False, log: bool = False) -> Outcome:
    """Run a plan to its end.

    Args:
        reference: by plain Python, which keeps a log in any case.
        log: keep every event.
    """
    return _by_reference(plan) if reference else _by_kernel(plan, log)


def _by_reference(plan: Plan) -> Outcome:
    from .reference import Reference

    run = Reference(plan).run()
    return Outcome(
        totals=run.totals,
        in_flight=len(run.loading),
        resident=len(run.resident),
        unused=len(run.unused),
        log=run.log,
        visits={name: np.array(column, np.int64) for name, column in run.columns.items()},
        loads=np.array([run.loads[key] for key in range(plan.keys)], np.int64),
    )


def _by_kernel(plan: Plan, keep: bool) -> Outcome:
    from .kernel import advance
    from .tables import DONE, RESIDENT

    world = make_world(plan, LOG_ROWS + 12 * plan.streams if keep else 0)
    log: list[tuple[int, int, int, int]] = []
    while True:
        advance(world)
        if keep:
            log += world.log[: world.log_count[0]].tolist()
            world.log_count[0] = 0
        if world.state[0].phase == DONE:
            break
    state = world.state[0]
    return Outcome(
        totals={name: int(state[name]) for name in COUNTS},
        in_flight=int((world.stream_key >= 0).sum()),
        resident=int((world.where == RESIDENT).sum()),
        unused=int(world.unused.sum()),
        log=log if keep else None,
        visits={
            "begin": world.visit_begin.copy(),
            "end": world.visit_end.copy(),
            "stall": world.visit_stall.copy(),
            "hits": world.visit_hits.copy(),
            "late": world.visit_late.copy(),
        },
        loads=world.loads.copy(),
    )
