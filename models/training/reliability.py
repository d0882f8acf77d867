"""A training job of days to months: stragglers, failures, checkpoints, spare and missing nodes.

A synchronous job does `steps` steps on `nodes` of a `pool` of nodes. Time is int64 ticks of 1 ns.

- A step lasts as long as its slowest node: the step time of so many nodes, times the largest of
  the nodes' factors (`laws`; one draw for the largest of n). Slow nodes have a factor of their own
  until they are known and replaced.
- Each node fails after times of a law (exponential, Weibull), a rack fails as a whole, or a trace
  says which nodes come and go. A failure takes the node (it comes back after its repair) or, a
  *crash*, only the process.
- After `interval` ticks of steps a checkpoint is begun at the end of a step. It stops training for
  `block`; then a copy of `snapshot` ticks runs beside the next step, whose update (the last
  `update_share` of it) waits for the copy to end; then, each `storage_every`-th time, the copy is
  flushed to storage in the background. A checkpoint waits until an earlier copy is done, and one
  for storage until an earlier flush is. See `checkpoints` for the strategies made of these.
- A node or process of the job that is lost interrupts it: the step under way, and a copy or flush,
  are off. The job goes on from, in this order: the state that survives in memory at the last step
  (elastic = live: each group of `copies` nodes has one left), the checkpoint in the group's memory
  (if so), the one in storage, the start; after `detect` and `reshard`, or `detect`, `restart` and
  the load. A failure on the way begins it anew.
- A rigid job waits until all its nodes are there. An elastic one goes on with multiples of `unit`
  nodes, `least` at least, and takes more at the end of a step, `regrow` after its last change:
  live, or (restart) after a planned write, restart and load.

Ranks at one tick: end of copy, end of flush, end of the job's phase, nodes that fail or are back
(by number), nodes that turn slow or are known to be, racks, the trace. At the end of a step:
replace slow nodes, else grow, else a checkpoint if due.

Every tick of a run is one of `PARTS`: useful (undisturbed step time on all nodes), straggling,
shrunk (longer steps on fewer nodes), stall (of checkpoints), lost (steps done again, and begun in
vain), restarting, resharding, waiting; they add up to the end exactly. A stall of a step that is
lost stays a stall.

Not modelled: notice of a pre-emption, failures that nobody notices, failures that depend on load,
silent data corruption, partial restarts, the traffic of copies against that of training.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.eventlog import LOG

from .reliability_tables import (
    COUNTS,
    DONE,
    EVENT_NAMES,
    PARTS,
    SOURCES,
    TICKS_PER_S,
    RunPlan,
)

__all__ = ["EVENT_NAMES", "PARTS", "SOURCES", "TICKS_PER_S", "RunOutcome", "RunPlan", "run_plan"]

LOG_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class RunOutcome:
    """What a run leaves.

    Attributes:
        end: ticks.
        parts: ticks of each of `PARTS`.
        counts: checkpoints, failures, recoveries and so on: `COUNTS`.
        finished: whether all steps were done.
        up_s: node seconds that nodes of the pool were up.
        log: int64[n, 4], rows of time, kind (number in `EVENT_NAMES`), entity, value.
    """

    end: int
    parts: dict[str, int]
    counts: dict[str, int]
    finished: bool
    up_s: float
    log: np.ndarray


def run_plan(plan: RunPlan, *, reference: bool = False, log_steps: bool = False) -> RunOutcome:
    """Run a plan.

    Args:
        plan: what to run.
        reference: by the SimPy twin (slow); the same outcome.
        log_steps: put each step into the log.
    """
    if reference:
        from .reliability_reference import RunReference

        return RunReference(plan, log_steps=log_steps).run()
    from .reliability_kernel import advance
    from .reliability_tables import make_world

    world = make_world(plan, LOG_ROWS + 4 * plan.pool, log_steps=log_steps)
    rows: list[np.ndarray] = []
    while True:
        advance(world)
        count = int(world.log_count[0])
        drained = world.log[:count]
        rows.append(np.stack([drained[name] for name in LOG.names or ()], axis=1, dtype=np.int64))
        world.log_count[0] = 0
        if world.state[0].phase == DONE:
            break
    return _outcome(world.state[0], plan, np.concatenate(rows))


def _outcome(state: Any, plan: RunPlan, rows: np.ndarray) -> RunOutcome:
    return RunOutcome(
        end=int(state["end"]),
        parts={name: int(state[name]) for name in PARTS},
        counts={name: int(state[name]) for name in COUNTS},
        finished=int(state["steps"]) >= plan.steps,
        up_s=float(state["up_s"]),
        log=rows,
    )
