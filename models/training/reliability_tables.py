"""The plan of a long run, and the kernel's state.

Time is int64 ticks of 1 ns (a run lasts months). Rules and order of events: `reliability`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import LOG
from mltwin.sim.heap import make_timers
from mltwin.sim.records import record, table
from mltwin.sim.ticks import NEVER
from mltwin.sim.world import World, world_type

from .laws import LAW_POINTS, constant_law, exponential_law

TICKS_PER_S = 10**9

RIGID, RESHARD_BY_RESTART, RESHARD_LIVE = range(3)
ELASTIC = ("rigid", "restart", "live")
FIXED, ADAPTIVE = range(2)

PHASES = ("waiting", "step", "checkpoint", "restart", "reshard", "done")
WAITING, STEP, BLOCK, RESTART, RESHARD, DONE = range(6)

# Where a run that stands goes on from.
SOURCES = ("running", "fresh", "start", "storage", "memory", "live", "swap", "grow")
RUNNING, FRESH, START, STORAGE, MEMORY, LIVE, SWAP, GROW = range(8)

# Rows of the table of versions.
VERSIONS = ("taken", "copying", "flushing", "memory", "storage")
V_TAKEN, V_COPYING, V_FLUSHING, V_MEMORY, V_STORAGE = range(5)

EVENT_NAMES = (
    "step", "checkpoint", "copied", "stored", "failed", "crashed", "up", "removed", "slow",
    "detected", "replaced", "lost", "waiting", "restarting", "resharding", "running", "done",
)  # fmt: skip
(
    E_STEP, E_CHECKPOINT, E_COPIED, E_STORED, E_FAILED, E_CRASHED, E_UP, E_REMOVED, E_SLOW,
    E_DETECTED, E_REPLACED, E_LOST, E_WAITING, E_RESTARTING, E_RESHARDING, E_RUNNING, E_DONE,
) = range(17)  # fmt: skip

# Ranks of timers at one tick; the trace of nodes comes last.
RANK_COPY, RANK_FLUSH, RANK_JOB, RANK_NODE, RANK_SLOW, RANK_RACK = range(6)

PARAMETERS = record(
    "RUN_PARAMETERS",
    [
        ("seed", "i8", ""),
        ("nodes", "i8", "that the job wants"),
        ("unit", "i8", "nodes of one model replica: the job runs on multiples of it"),
        ("least", "i8", "nodes, fewer do not run"),
        ("pool", "i8", "nodes there are, spares among them"),
        ("copies", "i8", "nodes of a group that hold each other's state in memory"),
        ("steps", "i8", "to do"),
        ("until", "i8", "ticks: the run is given up"),
        ("elastic", "i8", "number in ELASTIC"),
        ("memory", "i8", "1: checkpoints stay in the memory of the group"),
        ("storage_every", "i8", "so many checkpoints one goes to storage; 0: none"),
        ("block", "i8", "ticks that a checkpoint stops training"),
        ("snapshot", "i8", "ticks of the copy that runs beside the next step"),
        ("flush", "i8", "ticks from the copy to storage, in the background"),
        ("write", "i8", "ticks of a planned write before a restart on more nodes"),
        ("update_share", "f8", "of a step: the update, before which a copy must be done"),
        ("detect", "i8", "ticks to notice a failure"),
        ("restart", "i8", "ticks to start processes and communication anew"),
        ("load_memory", "i8", "ticks to fetch the state from the group"),
        ("load_storage", "i8", "ticks to fetch the state from storage"),
        ("reshard", "i8", "ticks to remap state and communication live"),
        ("swap", "i8", "ticks to replace a slow node"),
        ("regrow", "i8", "ticks between changes to more nodes, at least"),
        ("failing", "i8", "1: nodes fail by the law"),
        ("life_mean", "f8", "ticks"),
        ("soft_share", "f8", "of failures: the process dies, the node stays"),
        ("repair_mean", "f8", "ticks"),
        ("repair_drawn", "i8", "1: exponential, 0: always the mean"),
        ("rack_nodes", "i8", ""),
        ("racks", "i8", "that fail as a whole; 0: none"),
        ("rack_mean", "f8", "ticks between failures of one rack"),
        ("noisy", "i8", "1: step times vary by the law"),
        ("slow_mean", "f8", "ticks until a node turns slow; 0: never"),
        ("slow_factor", "f8", "by which a slow node's steps last longer"),
        ("slow_detect", "i8", "ticks until a slow node is known; NEVER: not"),
        ("interval", "i8", "ticks of work between checkpoints, at first"),
        ("interval_kind", "i8", "FIXED or ADAPTIVE"),
        ("interval_least", "i8", "ticks, adaptive"),
        ("cost", "f8", "ticks that a checkpoint is expected to stop training, adaptive"),
        ("prior", "f8", "ticks between interruptions to expect, adaptive"),
        ("log_steps", "i8", "1: each step is logged"),
    ],
)
STATE = record(
    "RUN_STATE",
    [
        ("begun", "i8", "1: the first timers are set"),
        ("phase", "i8", "number in PHASES"),
        ("phase_start", "i8", "ticks"),
        ("source", "i8", "number in SOURCES"),
        ("active", "i8", "nodes that the job has"),
        ("steps", "i8", "done and not lost"),
        ("attempt", "i8", "steps begun"),
        ("step_ticks", "i8", "of the step under way, without its stall"),
        ("step_stall", "i8", "ticks"),
        ("since", "i8", "ticks of steps since the last checkpoint was begun"),
        ("interval", "i8", "ticks"),
        ("useful", "i8", "ticks, of steps not lost"),
        ("shrunk", "i8", "ticks that steps not lost took longer as nodes were missing"),
        ("straggling", "i8", "ticks that they took longer by the slowest node"),
        ("stall", "i8", "ticks"),
        ("lost", "i8", "ticks"),
        ("restarting", "i8", "ticks"),
        ("resharding", "i8", "ticks"),
        ("waiting", "i8", "ticks"),
        ("copying", "i8", "1: a copy is under way"),
        ("copy_end", "i8", "ticks"),
        ("copy_flushes", "i8", "1: it goes on to storage"),
        ("flushing", "i8", "1"),
        ("flush_end", "i8", "ticks"),
        ("in_memory", "i8", "1: the group holds a checkpoint"),
        ("in_storage", "i8", "1: storage holds a checkpoint"),
        ("held_slots", "i8", "of the membership that holds state in memory"),
        ("up", "i8", "nodes"),
        ("up_since", "i8", "ticks of the last change"),
        ("up_s", "f8", "node seconds"),
        ("want_grow", "i8", "1: look for more nodes at the end of a step"),
        ("want_swap", "i8", "1: look for slow nodes to replace"),
        ("resized", "i8", "ticks of the last change of the number of nodes"),
        ("slow_count", "i8", "slow nodes that the job has"),
        ("trace_next", "i8", "row of the trace of nodes"),
        ("end", "i8", "ticks"),
        ("checkpoints", "i8", ""),
        ("failures", "i8", "of nodes"),
        ("crashes", "i8", "of processes"),
        ("interruptions", "i8", "of training"),
        ("replaced", "i8", "slow nodes"),
        ("resizes", "i8", ""),
        ("from_start", "i8", "recoveries"),
        ("from_storage", "i8", ""),
        ("from_memory", "i8", ""),
        ("from_live", "i8", ""),
    ],
)
VERSION = record(
    "RUN_VERSION",
    [("steps", "i8", ""), ("useful", "i8", "ticks"), ("shrunk", "i8", "ticks"),
     ("straggling", "i8", "ticks")],
)  # fmt: skip
COUNTS = (
    "checkpoints", "failures", "crashes", "interruptions", "replaced", "resizes", "from_start",
    "from_storage", "from_memory", "from_live", "steps", "attempt",
)  # fmt: skip
PARTS = (
    "useful", "straggling", "shrunk", "stall", "lost", "restarting", "resharding", "waiting",
)  # fmt: skip
"""The parts of a run's time; they add up to its end, tick for tick."""


@dataclass(frozen=True, eq=False)
class RunPlan:
    """All that a run is made of. Times are ticks of 1 ns; the fields are those of `PARAMETERS`.

    Attributes:
        step_of: int64[nodes + 1], ticks of an undisturbed step on so many nodes.
        noise: float64[LAW_POINTS], factor of a node's step time (`laws`).
        life: float64[LAW_POINTS], time between failures in units of its mean (`laws`).
        trace_time, trace_node, trace_up: nodes that come (1) and go (0); none: all nodes are
            there from the start.
    """

    step_of: np.ndarray
    nodes: int
    steps: int
    pool: int = 0
    unit: int = 1
    least: int = 1
    copies: int = 1
    seed: int = 0
    until: int = NEVER
    elastic: int = RIGID
    memory: bool = False
    storage_every: int = 1
    block: int = 0
    snapshot: int = 0
    flush: int = 0
    write: int = 0
    update_share: float = 0.0
    detect: int = 0
    restart: int = 0
    load_memory: int = 0
    load_storage: int = 0
    reshard: int = 0
    swap: int = 0
    regrow: int = 0
    life_mean: float = 0.0
    soft_share: float = 0.0
    repair_mean: float = 0.0
    repair_drawn: bool = False
    rack_nodes: int = 1
    rack_mean: float = 0.0
    slow_mean: float = 0.0
    slow_factor: float = 1.0
    slow_detect: int = NEVER
    interval: int = NEVER
    interval_kind: int = FIXED
    interval_least: int = 0
    cost: float = 0.0
    prior: float = 0.0
    noise: np.ndarray | None = None
    life: np.ndarray = field(default_factory=exponential_law)
    trace_time: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    trace_node: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    trace_up: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        for name in ("step_of", *TRACE):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.int64))
        if self.pool == 0:
            object.__setattr__(self, "pool", self.nodes)
        self._check()

    @property
    def traced(self) -> bool:
        """Whether nodes come and go by a trace."""
        return len(self.trace_time) > 0

    @property
    def racks(self) -> int:
        """That fail as a whole."""
        return -(-self.pool // self.rack_nodes) if self.rack_mean > 0 else 0

    def _check(self) -> None:
        if len(self.step_of) != self.nodes + 1 or self.step_of[1:].min() < 1:
            raise InputError("steps must last a tick at least, for each number of nodes")
        if self.nodes % self.unit or not 1 <= self.least <= self.nodes:
            raise InputError(
                f"{self.nodes} nodes in replicas of {self.unit}, at least {self.least}",
                where="job",
                mend="let the replica divide the nodes, and the least be among them",
            )
        if self.pool < self.nodes:
            raise InputError(f"{self.nodes} nodes of a pool of {self.pool}", where="job.nodes")
        if self.traced and (self.life_mean or self.rack_mean or self.slow_mean):
            raise InputError("nodes that come and go by a trace neither fail nor slow by a law")
        if np.any(np.diff(self.trace_time) < 0):
            raise InputError("the trace of nodes must be in the order of time")
        if min(self.block, self.snapshot, self.flush, self.detect, self.restart) < 0:
            raise InputError("times must not be negative")


TRACE = ("trace_time", "trace_node", "trace_up")
READ_ONLY = ("step_of", "noise", "life", *TRACE)
_DIRECT = frozenset(PARAMETERS.names or ()) - {
    "failing", "racks", "noisy", "log_steps",
}  # fmt: skip


def make_world(plan: RunPlan, log_rows: int, *, log_steps: bool = False) -> Any:
    """The kernel's state at time 0; `start` of the kernel sets the first timers."""
    pool, nodes = plan.pool, plan.nodes
    return World(
        read_only=READ_ONLY,
        par=table(
            1,
            PARAMETERS,
            failing=int(plan.life_mean > 0),
            racks=plan.racks,
            noisy=int(plan.noise is not None),
            log_steps=int(log_steps),
            **{name: _plain(getattr(plan, name)) for name in _DIRECT},
        ),
        state=table(
            1, STATE, phase=RESTART, source=FRESH, interval=plan.interval,
            up=0 if plan.traced else pool,
        ),
        version=table(len(VERSIONS), VERSION),
        step_of=plan.step_of,
        noise=constant_law() if plan.noise is None else plan.noise,
        life=plan.life,
        trace_time=plan.trace_time,
        trace_node=plan.trace_node,
        trace_up=plan.trace_up,
        is_up=np.full(pool, 0 if plan.traced else 1, np.int8),
        is_slow=np.zeros(pool, np.int8),
        marked=np.zeros(pool, np.int8),
        lives=np.zeros(pool + plan.racks, np.int64),
        node_slot=np.full(pool, -1, np.int32),
        slot_node=np.full(nodes, -1, np.int32),
        held_slot=np.full(pool, -1, np.int32),
        held=np.zeros(nodes, np.int8),
        slow_nodes=np.zeros(nodes, np.int32),
        **make_timers(2 * pool + plan.racks + 3),
        log=table(log_rows, LOG),
        log_count=np.zeros(1, np.int64),
    )  # fmt: skip


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _example() -> RunPlan:
    return RunPlan(step_of=np.ones(2, np.int64), nodes=1, steps=1, noise=np.ones(LAW_POINTS))


WORLD = world_type(
    {name: array.dtype for name, array in make_world(_example(), 0).tables().items()}
)
