"""What a semantic cache is run on: queries, their neighbours, the rules of the categories."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mltwin.sim.errors import InputError

TICKS_PER_S = 10**9
"""Time is int64 ticks of 1 ns."""
NEVER = 2**62
"""A TTL that no entry outlives."""
ONE = 1_000_000
"""Similarity 1: similarities are integers, millionths."""

LRU, FIFO, LFU, TTL_FIRST, GDSF = range(5)
EVICTIONS = {"lru": LRU, "fifo": FIFO, "lfu": LFU, "ttl": TTL_FIRST, "gdsf": GDSF}
"""Names of the eviction policies."""

HIT, JOINED, MISS, UNCACHED = range(4)
OUTCOMES = ("hit", "joined", "miss", "uncached")
"""How a query is answered: from an entry, with another's call, by the LLM, past the cache."""

KEPT, EVICTED, EXPIRED, REFUSED = range(4)
"""What became of an answer: still an entry, evicted, found too old, or never one (no quota)."""

UNKNOWN = -1
"""Intent or version of a query that the workload does not tell."""


@dataclass(frozen=True, eq=False, repr=False)
class Queries:
    """A workload: one row a query, in order of arrival.

    Attributes:
        category: int32[n], index into `categories`.
        arrival: int64[n], ticks from the start, non-decreasing.
        intent: int32[n], what is asked for; queries of one intent have one right answer. -1:
            unknown.
        version: int32[n], of the intent's content at the arrival; it only grows. -1: unknown.
        embedding: float32[n, d], any length but 0.
        categories: their names.
        source: where it came from, for tables and errors.
    """

    category: np.ndarray
    arrival: np.ndarray
    intent: np.ndarray
    version: np.ndarray
    embedding: np.ndarray
    categories: tuple[str, ...]
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.category)
        for name, dtype in _COLUMNS.items():
            column = getattr(self, name)
            if column.dtype != dtype or len(column) != n:
                raise ValueError(f"{name} must be {np.dtype(dtype)}[{n}], not {column.dtype}")
        if self.embedding.ndim != 2 or self.embedding.shape[1] == 0:
            raise ValueError("embedding must have rows and columns")
        if n and (self.category.min() < 0 or self.category.max() >= len(self.categories)):
            raise ValueError("category is no index into categories")
        if n and (self.arrival[0] < 0 or np.any(np.diff(self.arrival) < 0)):
            raise ValueError("arrival must not be negative or fall")

    def __len__(self) -> int:
        return len(self.category)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return int(sum(getattr(self, name).nbytes for name in _COLUMNS))

    @cached_property
    def sha256(self) -> str:
        """Digest (hex) of the content."""
        from mltwin.sim.runspec import array_digest, content_hash

        columns = {name: array_digest(getattr(self, name)) for name in _COLUMNS}
        return content_hash({"columns": columns, "categories": list(self.categories)})


_COLUMNS = {
    "category": np.int32,
    "arrival": np.int64,
    "intent": np.int32,
    "version": np.int32,
    "embedding": np.float32,
}


@dataclass(frozen=True, eq=False, repr=False)
class Neighbours:
    """Earlier queries of the same category that are near, of each query, nearest first.

    Attributes:
        start: int64[n + 1]; the neighbours of query q stand from start[q] to start[q + 1].
        row: int32[m], the neighbours: numbers of earlier queries.
        near: int32[m], their cosine similarity in millionths, falling; equal ones by row.
        truncated: bool[n], whether more neighbours were above the floor than were kept.
        floor: int32, of each category, the least similarity in millionths down to which neighbours
            were looked for.
    """

    start: np.ndarray
    row: np.ndarray
    near: np.ndarray
    truncated: np.ndarray
    floor: np.ndarray

    @property
    def similarity(self) -> np.ndarray:
        """float64[m], the cosine similarities."""
        return self.near / ONE

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(a.nbytes for a in (self.start, self.row, self.near, self.truncated))


@dataclass(frozen=True, eq=False)
class Rules:
    """How the cache decides and what things cost; arrays have one row a category.

    Attributes:
        threshold, lowest: int32, millionths; `lowest` under full load.
        ttl, longest: int64 ticks; `longest` under full load. NEVER: no limit.
        quota: int32, entries at most.
        cached: bool, False: its queries go past the cache.
        eviction: one of EVICTIONS' values.
        coalesce: whether a query may wait for the call of one that is near enough.
        embed: ticks of embedding a query.
        search: int64[entries + 1], ticks of a search among so many entries of all categories; the
            last stands for more.
        fetch: ticks of fetching an answer.
        service: int64[n], ticks that the LLM takes for each query.
        servers: of the LLM; 0: no limit.
        adaptive: whether the load moves thresholds and TTLs.
        period: ticks between two looks at the load.
        low, high: load in thousandths of a call per server where the moving begins and ends.
        gain: of the smoothing, in 1/1024.
    """

    threshold: np.ndarray
    ttl: np.ndarray
    quota: np.ndarray
    cached: np.ndarray
    service: np.ndarray
    lowest: np.ndarray
    longest: np.ndarray
    eviction: int = LRU
    coalesce: bool = True
    embed: int = 0
    search: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    fetch: int = 0
    servers: int = 0
    adaptive: bool = False
    period: int = TICKS_PER_S
    low: int = 1000
    high: int = 2000
    gain: int = 1024


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of each query and each answer; columns have one row a query.

    Attributes:
        outcome: int8, one of HIT, JOINED, MISS, UNCACHED.
        entry: int32, the query whose answer was served; -1: its own.
        near: int32, similarity to it in millionths; 0: its own.
        done: int64 ticks, when the answer was there.
        ready: int64 ticks, when its lookup was done; its arrival where there was none.
        called: int64 ticks, when its call began at the LLM; -1: none.
        cut: bool, whether it missed with a truncated list of neighbours.
        left: int8, what became of its answer in the cache: KEPT, EVICTED, EXPIRED or REFUSED; -1
            where there was no call.
        left_at: int64 ticks, when it left; -1: it did not, or never was there.
        hits: int32, how often its answer was served from the cache.
        totals: name to count: `insertions`, `evictions`, `expirations`, `resident`, `refused`,
            `calls`, `answered`, `most_entries`, `most_waiting`, `busy_ticks`, `looks` (of the
            controller), `load_sum` (thousandths, over the looks), `moved_sum` (thousandths).
    """

    outcome: np.ndarray
    entry: np.ndarray
    near: np.ndarray
    done: np.ndarray
    ready: np.ndarray
    called: np.ndarray
    cut: np.ndarray
    left: np.ndarray
    left_at: np.ndarray
    hits: np.ndarray
    totals: dict[str, int]


TOTALS = (
    *("insertions", "evictions", "expirations", "resident", "refused", "calls", "answered"),
    *("most_entries", "most_waiting", "busy_ticks", "looks", "load_sum", "moved_sum"),
)
COLUMNS = ("outcome", "entry", "near", "done", "ready", "called", "cut", "left", "left_at", "hits")


LONGEST = 2**61
"""Ticks that a run may last: 73 years."""
MOST_LOOKS = 10**8


def check(queries: Queries, neighbours: Neighbours, rules: Rules) -> None:
    """Whether the three fit together.

    Raises InputError: neighbours were looked for above a threshold in use, a run of more than 73
    years, more than 10^8 looks at the load, costs too large to weigh; ValueError: lengths.
    """
    n, categories = len(queries), len(queries.categories)
    if len(neighbours.start) != n + 1 or len(rules.service) != n:
        raise ValueError("neighbours and service must have one row a query")
    for name in ("threshold", "lowest", "ttl", "longest", "quota", "cached"):
        if len(getattr(rules, name)) != categories:
            raise ValueError(f"{name} must have one row a category")
    used = rules.lowest if rules.adaptive else rules.threshold
    wrong = np.flatnonzero(rules.cached & (used < neighbours.floor))
    if len(wrong):
        name = queries.categories[wrong[0]]
        raise InputError(
            f"the threshold {used[wrong[0]] / ONE:g} of {name} lies below the floor"
            f" {neighbours.floor[wrong[0]] / ONE:g} down to which neighbours were looked for",
            where=f"categories.{name}.threshold",
            mend="lower neighbours.floor",
        )
    if n:
        _check_range(queries, rules)


def _check_range(queries: Queries, rules: Rules) -> None:
    """Whether ticks and eviction keys fit their integers."""
    calls = rules.service.astype(np.float64)
    end = float(queries.arrival[-1]) + rules.embed + float(rules.search.max()) + rules.fetch
    end += calls.sum() / max(rules.servers, 1) + calls.max()
    if end > LONGEST:
        raise InputError(
            f"the run may last {end / TICKS_PER_S:,.0f} s, more than 73 years",
            where="workload",
            mend="use fewer queries, a higher rate, or shorter calls",
        )
    if rules.adaptive and end / rules.period > MOST_LOOKS:
        raise InputError(
            f"{end / rules.period:,.0f} looks at the load are more than {MOST_LOOKS:,}",
            where="adaptive.period_s",
            mend="look less often",
        )
    if rules.eviction == GDSF and 4 * len(queries) * calls.max() / 1000 > LONGEST:
        raise InputError(
            "calls are too long to be weighed by uses times cost",
            where="cache.eviction",
            mend="use another policy, or shorter calls",
        )
