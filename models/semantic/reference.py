"""The plain-Python twin of the kernel: dicts, lists and sorting, the same outcome to the bit."""

import heapq
from dataclasses import dataclass, field

import numpy as np

from .tables import (
    COLUMNS,
    EVICTED,
    EXPIRED,
    FIFO,
    GDSF,
    HIT,
    JOINED,
    KEPT,
    LFU,
    MISS,
    REFUSED,
    TOTALS,
    TTL_FIRST,
    UNCACHED,
    Neighbours,
    Outcome,
    Queries,
    Rules,
)

ANSWERED, LOOK, CALL, ARRIVAL = range(4)


@dataclass
class Entry:
    """An answer in the cache."""

    query: int
    born: int
    inserted: int
    used: int
    key: int = 0
    hits: int = 0


@dataclass
class Category:
    """The entries of a category by the query that they answer, and its rules now."""

    threshold: int
    ttl: int
    entries: dict[int, Entry] = field(default_factory=dict)
    inflation: int = 0


class Twin:
    """The cache and the LLM while queries arrive."""

    def __init__(self, queries: Queries, neighbours: Neighbours, rules: Rules) -> None:
        n = len(queries)
        self.queries, self.neighbours, self.rules = queries, neighbours, rules
        self.categories = [
            Category(int(t), int(ttl)) for t, ttl in zip(rules.threshold, rules.ttl, strict=True)
        ]
        self.columns = {name: [0] * n for name in COLUMNS}
        for name in ("entry", "called", "left", "left_at", "done"):
            self.columns[name] = [-1] * n
        self.totals = dict.fromkeys(TOTALS, 0)
        self.events: list[tuple[int, int, int]] = []
        self.pending: set[int] = set()
        self.waiting: list[int] = []
        self.busy = self.load = self.order = 0

    def run(self) -> Outcome:
        """Take all events in order."""
        for q, arrival in enumerate(self.queries.arrival):
            heapq.heappush(self.events, (int(arrival), ARRIVAL, q))
        look = self.rules.period
        while self.events:
            if self.rules.adaptive and (look, LOOK) < self.events[0][:2]:
                look += self.rules.period
                self.look()
                continue
            now, rank, q = heapq.heappop(self.events)
            {ARRIVAL: self.arrive, CALL: self.call, ANSWERED: self.answered}[rank](q, now)
        for q, outcome in enumerate(self.columns["outcome"]):
            if outcome == JOINED:
                done = self.columns["done"]
                done[q] = max(done[q], done[self.columns["entry"][q]])
        return self.outcome()

    def arrive(self, q: int, now: int) -> None:
        """The cache decides."""
        rules, columns = self.rules, self.columns
        c = int(self.queries.category[q])
        if not rules.cached[c]:
            columns["outcome"][q], columns["ready"][q] = UNCACHED, now
            heapq.heappush(self.events, (now, CALL, q))
            return
        among = min(self.totals["resident"], len(rules.search) - 1)
        ready = now + rules.embed + int(rules.search[among])
        columns["ready"][q] = ready
        near = self.near_enough(q, c)
        for e, similarity in near:
            entry = self.categories[c].entries.get(e)
            if entry is None:
                continue
            if now - entry.born >= self.categories[c].ttl:
                self.remove(c, e, EXPIRED, now)
                continue
            entry.hits += 1
            columns["hits"][e] += 1
            self.touch(entry, c)
            columns["outcome"][q], columns["entry"][q], columns["near"][q] = HIT, e, similarity
            columns["done"][q] = ready + rules.fetch
            return
        if rules.coalesce:
            for e, similarity in near:
                if e in self.pending:
                    columns["outcome"][q], columns["entry"][q] = JOINED, e
                    columns["near"][q], columns["done"][q] = similarity, ready
                    return
        columns["outcome"][q] = MISS
        columns["cut"][q] = int(self.neighbours.truncated[q])
        self.pending.add(q)
        heapq.heappush(self.events, (ready, CALL, q))

    def near_enough(self, q: int, c: int) -> list[tuple[int, int]]:
        """Earlier queries within the threshold and their similarities, nearest first."""
        lists = self.neighbours
        part = slice(int(lists.start[q]), int(lists.start[q + 1]))
        found = zip(lists.row[part].tolist(), lists.near[part].tolist(), strict=True)
        return [(e, s) for e, s in found if s >= self.categories[c].threshold]

    def touch(self, entry: Entry, c: int) -> None:
        """An entry is used."""
        self.order += 1
        entry.used = self.order
        cost = int(self.rules.service[entry.query]) // 1000
        entry.key = self.categories[c].inflation + (entry.hits + 1) * cost

    def remove(self, c: int, e: int, why: int, now: int) -> None:
        """An entry leaves."""
        del self.categories[c].entries[e]
        self.columns["left"][e], self.columns["left_at"][e] = why, now
        self.totals["resident"] -= 1
        self.totals["expirations" if why == EXPIRED else "evictions"] += 1

    def call(self, q: int, now: int) -> None:
        """A call reaches the LLM."""
        if self.rules.servers and self.busy == self.rules.servers:
            self.waiting.append(q)
            self.totals["most_waiting"] = max(self.totals["most_waiting"], len(self.waiting))
        else:
            self.start(q, now)

    def start(self, q: int, now: int) -> None:
        """A server begins."""
        service = int(self.rules.service[q])
        self.busy += 1
        self.totals["calls"] += 1
        self.totals["busy_ticks"] += service
        self.columns["called"][q] = now
        heapq.heappush(self.events, (now + service, ANSWERED, q))

    def answered(self, q: int, now: int) -> None:
        """The LLM has answered."""
        self.busy -= 1
        self.totals["answered"] += 1
        self.columns["done"][q] = now
        if self.columns["outcome"][q] == MISS:
            self.pending.discard(q)
            self.insert(q, now)
        if self.waiting:
            self.start(self.waiting.pop(0), now)

    def insert(self, q: int, now: int) -> None:
        """An answer becomes an entry."""
        c = int(self.queries.category[q])
        category = self.categories[c]
        if self.rules.quota[c] <= 0:
            self.columns["left"][q] = REFUSED
            self.totals["refused"] += 1
            return
        if len(category.entries) >= self.rules.quota[c]:
            self.make_room(c, now)
        entry = Entry(q, now, self.order + 1, self.order + 1)
        self.touch(entry, c)
        category.entries[q] = entry
        self.columns["left"][q] = KEPT
        self.totals["insertions"] += 1
        self.totals["resident"] += 1
        self.totals["most_entries"] = max(self.totals["most_entries"], self.totals["resident"])

    def make_room(self, c: int, now: int) -> None:
        """The least worthy entry leaves."""
        category, rule = self.categories[c], self.rules.eviction
        entries = category.entries.values()
        if rule == TTL_FIRST:
            oldest = min(entries, key=lambda e: e.inserted)
            if now - oldest.born >= category.ttl:
                self.remove(c, oldest.query, EXPIRED, now)
                return
        if rule == FIFO:
            victim = min(entries, key=lambda e: e.inserted)
        elif rule == LFU:
            victim = min(entries, key=lambda e: (e.hits, e.used))
        elif rule == GDSF:
            victim = min(entries, key=lambda e: (e.key, e.used))
            category.inflation = victim.key
        else:
            victim = min(entries, key=lambda e: e.used)
        self.remove(c, victim.query, EVICTED, now)

    def look(self) -> None:
        """The controller moves thresholds and TTLs with the load."""
        rules = self.rules
        now = (self.busy + len(self.waiting)) * 1000 // rules.servers
        self.load += ((now - self.load) * rules.gain) >> 10
        moved = min(max((self.load - rules.low) * 1000 // (rules.high - rules.low), 0), 1000)
        self.totals["looks"] += 1
        self.totals["load_sum"] += self.load
        self.totals["moved_sum"] += moved
        for c, category in enumerate(self.categories):
            high, low = int(rules.threshold[c]), int(rules.lowest[c])
            short, long = int(rules.ttl[c]), int(rules.longest[c])
            category.threshold = high - (high - low) * moved // 1000
            category.ttl = long if moved == 1000 else short + (long - short) // 1000 * moved

    def outcome(self) -> Outcome:
        """The columns as arrays."""
        wide = ("done", "ready", "called", "left_at")
        types = {"outcome": np.int8, "left": np.int8, "cut": bool}
        types |= dict.fromkeys(wide, np.int64)
        arrays = {k: np.array(v, types.get(k, np.int32)) for k, v in self.columns.items()}
        return Outcome(**arrays, totals=self.totals)


def replay(queries: Queries, neighbours: Neighbours, rules: Rules) -> Outcome:
    """What becomes of each query, found the plain way."""
    return Twin(queries, neighbours, rules).run()
