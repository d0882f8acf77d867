"""The same cluster of KV caches in plain Python: sets, dicts and one loop. Same events, to the row.

It shares with the kernel the plan, the codes of events and the keyed draws, and no other code.
"""

from collections import Counter
from typing import Any

import numpy as np

from mltwin.sim.rng_arrays import ROUTING, integers

from .prefix_nodes import Outcome
from .prefix_tables import (
    ARRIVE,
    COPY,
    END,
    EVICT,
    FROM_NODE,
    FROM_POOL,
    SERVED,
    SOURCES,
    START,
    TOTALS,
    WAIT,
    Plan,
    parents,
)

Row = tuple[int, int]  # (holder, block); the pool is the holder after the last node


class Reference:
    """One run; `outcome` tells the same as the kernel."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.set: Any = dict(plan.settings)
        self.pool = plan.nodes
        self.tiers = len(plan.tiers)
        self.capacity = list(plan.tiers) * plan.nodes + [plan.pool_blocks] * (plan.pool_blocks > 0)
        self.inside: list[set[Row]] = [set() for _ in self.capacity]
        self.age = [0.0] * len(self.capacity)
        self.home: dict[Row, int] = {}
        self.score: dict[Row, float] = {}
        self.stamp: dict[Row, int] = {}
        self.pins: dict[Row, int] = {}
        self.load = [0.0] * plan.nodes
        self.parent = parents(plan).tolist()
        self.queues: list[list[int]] = [[] for _ in range(plan.nodes)]
        self.serving: list[tuple[int, int] | None] = [None] * plan.nodes  # (end, request)
        self.blocked = [False] * plan.nodes
        self.in_flight: dict[int, int] = {}
        self.hot: dict[int, tuple[int, int]] = {}  # block -> (window, hits)
        self.totals = dict.fromkeys(TOTALS.names or (), 0)
        self.served: list[dict[str, int]] = [
            dict.fromkeys(SERVED.names or (), 0) for _ in range(plan.requests)
        ]
        self.sources = [[0] * SOURCES for _ in range(plan.requests)]
        self.log: list[tuple[int, ...]] = []

    def run(self) -> "Reference":
        """All requests: one after another, or in time."""
        for r in range(self.plan.requests):
            if not self.plan.timed:
                n = self.route(r)
                self.find(r, n)
                self.use(r, n, r)
            else:
                while min(self.ends(), default=(2**63, 0))[0] <= self.plan.arrival[r]:
                    self.finish(*min(self.ends()))
                self.arrive(r, int(self.plan.arrival[r]))
            self.totals["cursor"] += 1
        while self.ends():
            self.finish(*min(self.ends()))
        return self

    def outcome(self) -> Outcome:
        """What the kernel gives too."""
        self.totals["log"] = 0
        return Outcome(
            served={
                name: np.array([row[name] for row in self.served], np.int64)
                for name in SERVED.names or ()
            },
            sources=np.array(self.sources, np.int64).reshape(-1, SOURCES),
            totals=self.totals,
            used=np.array([len(rows) for rows in self.inside]),
            log=self.log,
        )

    def prompt(self, r: int) -> list[int]:
        """Blocks of a request."""
        return self.plan.blocks[self.plan.start[r] : self.plan.start[r + 1]].tolist()

    # Routing

    def prefix(self, r: int, n: int) -> int:
        """Blocks of the longest prefix that node n can read."""
        blocks = self.prompt(r)
        for i, block in enumerate(blocks):
            if (n, block) not in self.home and (self.pool, block) not in self.home:
                return i
        return len(blocks)

    def route(self, r: int) -> int:
        """Choose a node."""
        nodes, seed = self.plan.nodes, self.set["seed"]
        if not self.set["queued_load"]:
            self.load = [load * self.set["decay"] for load in self.load]
        session = int(self.plan.session[r])
        width = len(self.prompt(r))
        routing = self.plan.routing
        if routing == "round_robin":
            n = r % nodes
        elif routing == "random" or (routing == "session_hash" and session < 0):
            n = int(integers(seed, ROUTING, r, nodes))
        elif routing == "session_hash":
            n = int(integers(seed, ROUTING, session, nodes, 1))
        else:

            def key(n: int) -> tuple[float, float, int]:
                if routing == "least_loaded":
                    return self.load[n], self.load[n], n
                if routing == "affinity":
                    return -float(self.prefix(r, n)), self.load[n], n
                missed = float(width - self.prefix(r, n))
                return missed + self.set["load_weight"] * self.load[n], self.load[n], n

            n = min(range(nodes), key=key)
        missed = width - self.prefix(r, n)
        self.served[r].update(node=n, expected=missed)
        self.load[n] += missed
        return n

    # A request's life

    def find(self, r: int, n: int) -> None:
        """The prefix that is there, by source."""
        self.sources[r] = [0] * SOURCES
        self.served[r]["hits"] = self.prefix(r, n)
        for block in self.prompt(r)[: self.served[r]["hits"]]:
            c = self.home.get((n, block))
            if c is None:
                source = FROM_POOL
            else:
                source = c - n * self.tiers if c // self.tiers == n else FROM_NODE
            self.sources[r][source] += 1

    def ends(self) -> list[tuple[int, int]]:
        """(tick, node) of each running prefill."""
        return [(s[0], n) for n, s in enumerate(self.serving) if s is not None]

    def arrive(self, r: int, now: int) -> None:
        """Into a node's queue."""
        n = self.route(r)
        self.log.append((now, ARRIVE, r, n))
        self.queues[n].append(r)
        self.start(n, now)

    def start(self, n: int, now: int) -> None:
        """The first waiting request of an idle node."""
        if self.serving[n] is not None or not self.queues[n]:
            return
        r = self.queues[n][0]
        self.find(r, n)
        hits = self.served[r]["hits"]
        missing = self.prompt(r)[hits:]
        if self.set["wait_in_flight"] and missing and self.in_flight.get(missing[0], 0):
            if not self.blocked[n]:
                self.blocked[n] = True
                self.totals["waited"] += 1
                self.log.append((now, WAIT, r, n))
            return
        self.blocked[n] = False
        self.queues[n].pop(0)
        self.hold(r, n, 1)
        fetch, compute = self.fetch(r, now), self.compute(r)
        self.served[r].update(start=now, fetched=fetch)
        self.serving[n] = (
            now + (max(fetch, compute) if self.set["overlap"] else fetch + compute),
            r,
        )
        self.log.append((now, START, r, hits))

    def finish(self, now: int, n: int) -> None:
        """A prefill ends."""
        running = self.serving[n]
        assert running is not None
        r = running[1]
        self.serving[n] = None
        self.hold(r, n, -1)
        self.use(r, n, now)
        self.served[r]["end"] = now
        if self.set["queued_load"]:
            self.load[n] -= self.served[r]["expected"]
        self.log.append((now, END, r, n))
        for other in range(self.plan.nodes) if self.set["wait_in_flight"] else [n]:
            self.start(other, now)

    def hold(self, r: int, n: int, change: int) -> None:
        """Pin the found prefix, count the rest as in flight; or undo both."""
        hits = self.served[r]["hits"]
        for block in self.prompt(r)[:hits]:
            for holder in (n, self.pool):
                self.pins[holder, block] = self.pins.get((holder, block), 0) + change
        for block in self.prompt(r)[hits:]:
            self.in_flight[block] = self.in_flight.get(block, 0) + change

    def fetch(self, r: int, now: int) -> int:
        """Ticks of reading the found blocks."""
        ticks = 0
        for t in range(1, self.tiers):
            hits = self.sources[r][t]
            if hits:
                ticks += int(self.plan.tier_latency[t]) + int(hits * self.plan.tier_ns[t] + 0.5)
        hits = self.sources[r][FROM_NODE] + self.sources[r][FROM_POOL]
        if not hits:
            return ticks
        own = int(hits * self.set["network_ns"] + 0.5)
        if self.set["shared_ns"] > 0:
            begin = max(self.totals["link_until"], now)
            self.totals["link_until"] = begin + int(hits * self.set["shared_ns"] + 0.5)
            own = max(own, self.totals["link_until"] - now)
        return int(ticks + self.set["network_latency"] + own)

    def compute(self, r: int) -> int:
        """Ticks of the prefill."""
        tokens = int(self.plan.prompt[r])
        h = min(self.served[r]["hits"] * int(self.set["block_tokens"]), tokens - 1)
        m = tokens - h
        pairs = float(m) * float(h) + 0.5 * float(m) * float(m)
        ns = self.set["base_ns"] + self.set["token_ns"] * float(m) + self.set["pair_ns"] * pairs
        return int(ns + 0.5)

    def use(self, r: int, n: int, now: int) -> None:
        """Touch all blocks once."""
        blocks = self.prompt(r)
        for block in reversed(blocks) if self.set["tail_first"] else blocks:
            if self.plan.tiers[0]:
                self.touch((n, block), now)
            if self.plan.pool_blocks:
                self.touch((self.pool, block), now)
        if self.set["hot_hits"]:
            for block in blocks[: self.served[r]["hits"]]:
                self.heat(block, n, now)
        held = Counter(block for holder, block in self.home if holder != self.pool)
        self.totals["resident"] = held.total()
        self.totals["duplicates"] = held.total() - len(held)
        self.totals["done"] += 1
        self.totals["duplicates_sum"] += self.totals["duplicates"]
        self.totals["resident_sum"] += self.totals["resident"]

    def heat(self, block: int, n: int, now: int) -> None:
        """Copy what has become hot."""
        window = self.totals["done"] // int(self.set["hot_window"])
        since, hits = self.hot.get(block, (0, 0))
        hits = hits + 1 if since == window else 1
        self.hot[block] = (window, hits)
        if hits != self.set["hot_hits"]:
            return
        made = 0
        for step in range(1, self.plan.nodes):
            other = (n + step) % self.plan.nodes
            if made == self.set["hot_copies"]:
                return
            if (other, block) not in self.home and self.touch((other, block), now):
                made += 1
                self.totals["copied"] += 1
                self.log.append((now, COPY, other, block))

    # Blocks

    def touch(self, row: Row, now: int) -> bool:
        """Come, or gain rank."""
        holder, block = row
        first = holder * self.tiers
        policy = self.plan.policy
        new = row not in self.home
        if new or policy != "fifo":
            self.totals["stamp"] += 1
            self.stamp[row] = self.totals["stamp"]
        if policy == "lfu":
            self.score[row] = 1.0 if new else self.score[row] + 1
        elif policy == "cost":
            self.score[row] = self.age[first] + float(self.plan.cost[block])
        else:
            self.score[row] = 0.0
        in_pool = holder == self.pool
        if new:
            came = self.place(row, now)
            if came:
                self.totals["pool_inserted" if in_pool else "inserted"] += 1
            else:
                self.totals["pool_refused" if in_pool else "refused"] += 1
            return came
        c = self.home[row]
        if c > first and self.owner(c) == holder:
            self.leave(row)
            self.totals["promoted"] += 1
            if not self.place(row, now):
                self.totals["refused"] += 1
                self.evicted(row, c, now)
        return False

    def owner(self, c: int) -> int:
        """The holder whose memory a cache is."""
        return min(c // self.tiers, self.pool)

    def leave(self, row: Row) -> None:
        """Out of its cache."""
        self.inside[self.home.pop(row)].remove(row)

    def enter(self, row: Row, c: int) -> None:
        """Into a cache."""
        self.home[row] = c
        self.inside[c].add(row)

    def place(self, row: Row, now: int) -> bool:
        """Into the first tier, victims further down."""
        holder = row[0]
        c = holder * self.tiers
        last = c if holder == self.pool else c + self.tiers - 1
        moving, came_from = row, -1
        while True:
            if len(self.inside[c]) < self.capacity[c]:
                self.enter(moving, c)
                return True
            if self.set["borrow"] and holder < self.pool:
                free = [
                    (len(self.inside[n]) - self.capacity[n], n)
                    for n in range(self.plan.nodes)
                    if n != holder and len(self.inside[n]) < self.capacity[n]
                ]
                if free:
                    self.totals["lent"] += 1
                    self.enter(moving, min(free)[1])
                    return True
                stale = self.debt(holder)
                if stale is not None:
                    other = self.home[stale]
                    self.totals["lent"] += 1
                    self.leave(stale)
                    self.enter(moving, other)
                    self.evicted(stale, other, now)
                    return True
            victim = self.victim(c)
            if victim is None:
                if came_from < 0:
                    return False
                self.evicted(moving, came_from, now)
                return True
            self.leave(victim)
            self.enter(moving, c)
            if c == last:
                self.evicted(victim, c, now)
                return True
            self.totals["demoted"] += 1
            moving, came_from, c = victim, c, c + 1

    def debt(self, holder: int) -> Row | None:
        """The lent block of a node that goes before all its own, if one does."""
        own = self.victim(holder)
        if own is not None and own[0] != holder:
            return None
        firsts = [self.victim(n) for n in range(self.plan.nodes) if n != holder]
        lent = [x for x in firsts if x is not None and x[0] == holder]
        among = [own, *lent] if own is not None else lent
        first = min(among, key=lambda row: (self.score[row], self.stamp[row]), default=None)
        return None if first == own else first

    def victim(self, c: int) -> Row | None:
        """Who goes first."""
        waiting: set[Row] = set()
        if self.set["queue_informed"]:
            waiting = {(n, b) for n, q in enumerate(self.queues) for r in q for b in self.prompt(r)}
        heads: set[Row] = set()
        if self.set["leaf_only"]:
            heads = {(holder, self.parent[block]) for holder, block in self.home}

        def rank(row: Row) -> tuple[int, float, int]:
            kind = 2 if row in waiting else 1
            return 0 if self.owner(c) != row[0] else kind, self.score[row], self.stamp[row]

        free = [r for r in self.inside[c] if not self.pins.get(r, 0) and r not in heads]
        return min(free, key=rank, default=None)

    def evicted(self, row: Row, c: int, now: int) -> None:
        """Gone for good."""
        self.age[c] = self.score[row]
        in_pool = row[0] == self.pool
        self.log.append((now, EVICT, row[0] * self.plan.distinct + row[1], c))
        self.totals["pool_evicted" if in_pool else "evicted"] += 1
