"""Record types and state of the serving system: how the tables are made and checked.

`ServingInput` is what a scenario is lowered to: plain columns, one row per request, replica kind,
replica, control event. Kernel and reference both start from it, so that they share no code but
this. `make_state` lays it out as the kernel's `World`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.records import record

from .hooks import MIXED_ROLE, REQUEST, STATIC

if TYPE_CHECKING:
    from .fabric import Fabric

# where a request is
(
    NEW,
    WAITING,
    PREFILL,
    DECODE,
    HANDOVER,
    REMOTE,
    TRANSFER,
    ARRIVED,
    SWAPPED,
    PARKED,
    DONE,
    REFUSED,
    CANCELLED,
    LOST,  # only while a failure is handled
    FETCHING,
) = range(15)
STATE_NAMES = (
    "new",
    "waiting",
    "prefill",
    "decode",
    "hand-over",
    "remote",
    "transfer",
    "arrived",
    "swapped",
    "parked",
    "done",
    "refused",
    "cancelled",
    "lost",
    "fetching",
)

# how many blocks a waiting request takes when it is admitted
CHUNK, PROMPT, FULL = range(3)
RESERVES = {"chunk": CHUNK, "prompt": PROMPT, "full": FULL}

RECOMPUTE, SWAP = range(2)
PREEMPTIONS = {"recompute": RECOMPUTE, "swap": SWAP}

# when a request fetches prefix blocks from the stores, when blocks are written to them, who goes
FETCH_NEVER, FETCH_ALWAYS, FETCH_CHEAPER = range(3)
FETCHES = {"never": FETCH_NEVER, "always": FETCH_ALWAYS, "cheaper": FETCH_CHEAPER}
WRITE_BACK, WRITE_THROUGH = range(2)
WRITES = {"eviction": WRITE_BACK, "completion": WRITE_THROUGH}
STORE_LRU, STORE_FIFO, STORE_LFU, STORE_COST = range(4)
STORE_POLICIES = {"lru": STORE_LRU, "fifo": STORE_FIFO, "lfu": STORE_LFU, "cost": STORE_COST}
MOST_STORE_ROWS = 2**27

# kinds of control event
FAIL, RECOVER, START_REPLICA, DRAIN_REPLICA, CHANGE_ROLE = range(5)

CONTROL = record(
    "Control",
    [("time", "i8"), ("kind", "i8"), ("replica", "i8"), ("argument", "i8")],
)

# One engine on one sort of hardware; replicas of a kind share it.
KIND = record(
    "Kind",
    [
        ("max_batch", "i8"),  # sequences
        ("max_tokens", "i8"),  # token budget of an iteration
        ("blocks", "i8"),  # KV blocks
        ("watermark", "i8"),  # blocks kept free at admission
        ("host_blocks", "i8"),  # room for swapped blocks on the host
        ("swap_ticks", "i8"),  # ticks to copy the KV of one token
        ("startup", "i8"),  # ticks from START to UP
        ("mixed", "i8"),  # 1: prefill and decode share an iteration
        ("chunked", "i8"),  # 1: prompts are cut to the token budget (mixed engines only)
        ("reserve", "i8"),  # CHUNK, PROMPT, FULL
        ("static", "i8"),  # 1: no admission while anything decodes (split engines only)
        ("wait_iterations", "i8"),  # LightLLM: decode iterations between prefills; 0: off
        ("peak", "i8"),  # 1: admit by the largest future token use
        ("preemption", "i8"),  # RECOMPUTE, SWAP
        ("whole_prompt", "i8"),  # 1: admit only where the blocks of all `need` tokens would fit
        ("refuse_over_budget", "i8"),  # 1: prompts longer than max_tokens are refused
        ("asynchronous", "i8"),  # 1: an iteration is planned when the one before it starts
        ("batch_wait_iterations", "i8"),  # TensorRT-LLM: most iterations that prompts wait; 0: off
        ("batch_wait_tokens", "i8"),  # and the tokens for which they wait
        ("keep_preempted", "i8"),  # 1: full blocks of a pre-empted request stay in the cache
        ("row_start", "i8"),  # where its part of `token_row` starts
        ("prefill_start", "i8"),  # the same, for iterations that hold prompt tokens
        ("row_last", "i8"),  # largest token count in it; larger ones use the last row
        ("knot_start", "i8"),
        ("columns", "i8"),  # context columns
        ("cell_start", "i8"),
        ("per_sequence", "i8"),  # e
        ("prefill_per_sequence", "i8"),  # e of iterations that hold prompt tokens
        ("per_work", "i8"),  # f
    ],
)

CELL = record("Cell", [("a", "i8"), ("b", "i8"), ("c", "i8"), ("d", "i8")])


@dataclass
class IterationCells:
    """Iteration time of one kind: t = a + b tok + (c + d tok) ctx + e nseq + f work, in ticks.

    token_row: int32, row of each token count 0..n; larger counts use the last entry.
    context_knots: int64, columns + 1 knots, the first 0, the last 2**60; column k holds contexts
        in [knot k, knot k+1).
    cells: int64 (rows * columns, 4), row-major.
    prefill_row, prefill_per_sequence: token_row (as long) and e of iterations that hold prompt
        tokens; None where they are timed as pure decode is.
    """

    token_row: np.ndarray
    context_knots: np.ndarray
    cells: np.ndarray
    per_sequence: int = 0
    per_work: int = 0
    prefill_row: np.ndarray | None = None
    prefill_per_sequence: int = 0

    def evaluate(self, tok: int, ctx: int, nseq: int, work: int) -> int:
        """Ticks of one iteration, as the kernel computes them; work > 0 says that it prefills."""
        rows, each = self.token_row, self.per_sequence
        if work > 0 and self.prefill_row is not None:
            rows, each = self.prefill_row, self.prefill_per_sequence
        row = int(rows[min(tok, len(rows) - 1)])
        column = int(np.searchsorted(self.context_knots, ctx, side="right")) - 1
        a, b, c, d = (int(v) for v in self.cells[row * (len(self.context_knots) - 1) + column])
        return a + b * tok + (c + d * tok) * ctx + each * nseq + self.per_work * work


@dataclass
class EngineKind:
    """An engine on a sort of hardware; the fields are those of `KIND`, in plain Python."""

    cells: IterationCells
    max_batch: int = 256
    max_tokens: int = 2048
    blocks: int = 10_000
    watermark: int = 0
    host_blocks: int = 0
    swap_ticks: int = 0
    startup: int = 0
    mixed: bool = True
    chunked: bool = True
    reserve: int = PROMPT
    static: bool = False
    wait_iterations: int = 0
    peak: bool = False
    preemption: int = RECOMPUTE
    whole_prompt: bool = False
    refuse_over_budget: bool = False
    asynchronous: bool = False
    batch_wait_iterations: int = 0
    batch_wait_tokens: int = 0
    keep_preempted: bool = False
    speed: float = 1.0


@dataclass
class PrefixStores:
    """Where prefix blocks live beyond the HBM: a host tier per replica, a pool that all share.

    host_blocks: of each replica's host tier, pool_blocks: of the pool; 0: there is none.
    host_bytes_per_s: from a host tier to its replica; pool_bytes_per_s: from the pool to all
    replicas together. host_latency, pool_latency: ticks of a fetch.
    fetch, write, policy: codes of FETCHES, WRITES, STORE_POLICIES. depth_cost: of STORE_COST, how
    much dearer a block is for each block before it, its own cost without any being 1.
    """

    host_blocks: int = 0
    pool_blocks: int = 0
    host_bytes_per_s: float = 25e9
    pool_bytes_per_s: float = 100e9
    host_latency: int = 0
    pool_latency: int = 0
    fetch: int = FETCH_ALWAYS
    write: int = WRITE_BACK
    policy: int = STORE_LRU
    depth_cost: float = 0.0


@dataclass
class ServingInput:
    """Everything a run of the serving system starts from.

    Requests (arrays of n, sorted by arrival): `arrival` int64 ticks, `prompt`, `output`,
    `predicted` (>= 1) int32; empty arrays stand for the default of `tenant` (0), `session` (-1),
    `priority` (0), `deadline` (NEVER, absolute), `after` (-1), `delay` (0), `timeout` (0 = none;
    the client cancels that many ticks after the request's own arrival). `after[i]` is the request
    whose end releases request i, `delay[i]` ticks later (at least one). `front[i]` ticks lie
    between the client's sending of request i (at `arrival[i]`, or when it is released) and its
    arrival; empty for none.
    Prefixes: `block_start` int64, `block_count` int32, flat `block_ids` int32 dense from 0; empty
    without prefix caching.
    Replicas: `kind_of`, `role_of`, `pool_of`, `nic_of` (which NIC it hangs on), `up` (1 up at the
    start, 0 stopped).
    `default_evict`: blocks go least recently released first, and `evict` is not asked;
    `count_wanted`: blocks know how many waiting requests want them (`BLOCK.wanted`).
    Network: `nic_bytes_per_s` per NIC (each has an egress and an ingress link), `latency` ticks of
    a hand-over, `kv_bytes_per_token`, `fabric`: links between the NICs, or None (a switch that
    never is the narrowest); the pool's NIC hangs on it behind the replicas'. `stores`: where prefix
    blocks live beyond the HBM, or None.
    Closed loop: `concurrency` > 0 ignores arrivals: so many requests arrive at 0 in id order, the
    next one `think` ticks (at least one) after one ends.
    """

    arrival: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    predicted: np.ndarray
    kinds: list[EngineKind]
    kind_of: np.ndarray
    role_of: np.ndarray | None = None
    pool_of: np.ndarray | None = None
    nic_of: np.ndarray | None = None
    up: np.ndarray | None = None
    tenant: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    session: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    priority: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    deadline: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    timeout: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    after: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    delay: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    front: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    tenant_weights: np.ndarray = field(default_factory=lambda: np.ones(1))
    block_tokens: int = 16
    prefix_caching: bool = False
    block_start: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    block_count: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    block_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    nic_bytes_per_s: np.ndarray = field(default_factory=lambda: np.full(1, 12.5e9))
    latency: int = 0
    fabric: "Fabric | None" = None
    kv_bytes_per_token: int = 131072
    concurrency: int = 0
    think: int = 0
    control: np.ndarray = field(default_factory=lambda: np.zeros(0, CONTROL))
    scale_every: int = 0
    snapshot_every: int = 0
    seed: int = 0
    skip: bool = True
    stability: int = STATIC
    live_view: bool = False
    default_evict: bool = True
    count_wanted: bool = False
    stores: PrefixStores | None = None
    params: dict[str, np.ndarray] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, r = len(self.arrival), len(self.kind_of)
        if self.role_of is None:
            self.role_of = np.full(r, MIXED_ROLE)
        if self.pool_of is None:
            self.pool_of = np.zeros(r, np.int64)
        if self.nic_of is None:
            self.nic_of = np.arange(r) if len(self.nic_bytes_per_s) == r else np.zeros(r, np.int64)
        if self.up is None:
            self.up = np.ones(r, np.int64)
        if not self.prefix_caching:
            self.stores = None
        for name in ("prompt", "output", "predicted"):
            if len(getattr(self, name)) != n:
                raise InputError(f"{name} has {len(getattr(self, name))} rows, arrival {n}")
        self._check(n, r)

    def _check(self, n: int, r: int) -> None:
        if r == 0:
            raise InputError("no replicas", mend="give at least one pool one replica")
        if n and (np.any(np.diff(self.arrival) < 0) or self.arrival[0] < 0):
            raise InputError("arrivals are negative or unsorted", mend="sort the trace")
        if n and (self.prompt.min() < 1 or self.output.min() < 1 or self.predicted.min() < 1):
            raise InputError("prompt, output and predicted tokens must be at least 1")
        if len(self.front) not in (0, n) or np.any(np.asarray(self.front) < 0):
            raise InputError(f"front has {len(self.front)} rows for {n} requests, or negative ones")
        if n >= 2**31 or r > 4096:
            raise InputError(f"{n} requests on {r} replicas; at most 2^31 - 1 on 4096")
        if len(self.control) and not (
            self.control["replica"].min() >= 0 and self.control["replica"].max() < r
        ):
            raise InputError(f"a control event names a replica out of 0..{r - 1}")
        ends = len(self.nic_bytes_per_s) + (self.stores is not None)
        if self.fabric is not None and self.fabric.ends != ends:
            raise InputError(
                f"a fabric of {self.fabric.ends} NICs for {ends}",
                mend="each NIC of the replicas needs an endpoint, and one for a pool behind them",
            )
        if self.stores is not None and (r + 1) * self.block_ids_below() > MOST_STORE_ROWS:
            raise InputError(
                f"{self.block_ids_below()} prefix blocks on {r} replicas are too many for a pool",
                mend="use fewer requests or replicas",
            )
        for k in self.kinds:
            if k.max_batch < 1 or k.blocks < 1:
                raise InputError("an engine needs max_batch >= 1 and blocks >= 1")
            if k.mixed and k.max_tokens < k.max_batch:
                raise InputError(
                    f"max_tokens {k.max_tokens} is below max_batch {k.max_batch}",
                    mend="a mixed engine needs a token for each decoding sequence",
                )
            rows = k.cells.prefill_row
            if rows is not None and len(rows) != len(k.cells.token_row):
                raise InputError(
                    f"prefill_row has {len(rows)} rows, token_row {len(k.cells.token_row)}"
                )
            if k.chunked and not k.mixed:
                raise InputError("a split engine cannot chunk prompts", mend="set chunked = false")

    def unit_shift(self) -> int:
        """Flow work is in bytes * 2**shift: the finest that cannot overflow, at most 27."""
        largest = int(self.prompt.max(initial=1)) * int(self.kv_bytes_per_token)
        return max(0, min(27, 61 - largest.bit_length()))

    def block_ids_below(self) -> int:
        """One more than the largest block id of the trace."""
        return int(self.block_ids.max(initial=-1)) + 1

    def link_units_per_tick(self) -> np.ndarray:
        """int64 capacity of each NIC's links in flow units per tick, at least 1.

        With stores the pool's NIC comes behind the replicas', then one per host tier.
        """
        rates = np.asarray(self.nic_bytes_per_s, np.float64)
        if self.stores is not None:
            host = np.full(len(self.kind_of), self.stores.host_bytes_per_s)
            rates = np.concatenate([rates, [self.stores.pool_bytes_per_s], host])
        return self._units_per_tick(rates)

    def fabric_units_per_tick(self) -> np.ndarray:
        """int64 capacity of the fabric's links, likewise; empty without a fabric."""
        return self._units_per_tick(self.fabric.bytes_per_s if self.fabric else np.zeros(0))

    def _units_per_tick(self, bytes_per_s: np.ndarray) -> np.ndarray:
        units = bytes_per_s / 1e12 * 2.0 ** self.unit_shift()
        return np.maximum(1, np.floor(units)).astype(np.int64)

    def hook_params(self, hook: str) -> np.ndarray:
        return np.ascontiguousarray(self.params.get(hook, np.zeros(1)), np.float64)

    def hook_memory(self, hook: str) -> np.ndarray:
        return np.zeros(max(1, self.memory.get(hook, 0)), np.float64)


def column(values: np.ndarray, n: int, default: int, dtype: type) -> np.ndarray:
    """values, or n times the default where it is empty."""
    return np.full(n, default, dtype) if len(values) == 0 else np.asarray(values, dtype)


__all__ = [
    "CELL",
    "CONTROL",
    "KIND",
    "REQUEST",
    "EngineKind",
    "IterationCells",
    "PrefixStores",
    "ServingInput",
]
