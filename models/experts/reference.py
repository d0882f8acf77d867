"""The same run in plain Python: sets, lists and one loop, without Numba. Same log, to the row.

It shares with the kernel the plan, the codes of events and the keyed draws, and no other code.
"""

from itertools import pairwise
from typing import Any

from mltwin.sim.rng_arrays import POLICY, integers

from .tables import (
    COMPUTE,
    END,
    EVICT,
    GATE,
    LOAD,
    LOADED,
    POLICIES,
    STALL,
    VISIT,
    Plan,
)

Row = tuple[int, int, int, int]


class Reference:
    """One run; `log` and `totals` are what the kernel gives too."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        starts = plan.visit_start.tolist()
        entries = list(zip(plan.entry_key.tolist(), plan.entry_ticks.tolist(), strict=True))
        following = plan.entry_next.tolist()
        self.visits = [entries[a:b] for a, b in pairwise(starts)]
        self.following = [following[a:b] for a, b in pairwise(starts)]
        ends, keys = plan.pred_start.tolist(), plan.pred_key.tolist()
        self.predicted = [keys[a:b] for a, b in pairwise(ends)]
        self.policy = POLICIES[plan.policy]
        self.places: list[int | None] = [None] * plan.capacity
        self.places[: len(plan.preloaded)] = plan.preloaded.tolist()
        self.resident: set[int] = set(plan.preloaded.tolist())
        self.loading: dict[int, tuple[int, int]] = {}  # stream -> (end, key)
        self.queue: list[tuple[int, int]] = []  # (visit, key) predicted and not yet looked at
        self.open: list[tuple[int, int]] = []  # (visit, key) predicted, visit not yet gated
        self.unissued = 0
        self.todo: dict[int, int] = {}  # activations of the visit still to compute
        self.gated = False
        self.visit = 0
        self.clock = 0
        self.next_use = dict(enumerate(plan.first_use.tolist()))
        self.count = dict.fromkeys(range(plan.keys), 0)
        self.touched = dict.fromkeys(range(plan.keys), 0)
        self.unused: set[int] = set()
        self.log: list[Row] = []
        self.loads = dict.fromkeys(range(plan.keys), 0)
        columns = ("begin", "end", "stall", "hits", "late")
        self.columns: dict[str, list[int]] = {name: [0] * plan.visits for name in columns}
        names = "hits late misses demand prefetch useful in_time wasted loaded evicted stalled end"
        self.totals = dict.fromkeys(names.split(), 0)

    def run(self) -> "Reference":
        """All visits, one after another."""
        now = 0
        for visit in range(self.plan.visits):
            self.visit = visit
            self.columns["begin"][self.visit] = now
            now = self._visit(now)
            self.columns["end"][self.visit] = now
        self.totals["end"] = now
        self._note(now, END, self.visit, 0)
        return self

    def _visit(self, now: int) -> int:
        """One layer of one pass; the time at its end."""
        plan, visit = self.plan, self.visit
        self.gated = False
        self._note(now, VISIT, visit, 0)
        if plan.pre_ticks[visit]:
            now = self._busy(now, int(plan.pre_ticks[visit]))
        while self.unissued < plan.visits and plan.issue_at[self.unissued] <= visit:
            fresh = [(self.unissued, key) for key in self.predicted[self.unissued]]
            self.queue += fresh
            self.open += fresh
            self.unissued += 1
        self._load(now)
        now = self._busy(now, int(plan.dense_ticks[visit]))
        self._gate(now)
        while self.todo:
            ready = [key for key in sorted(self.todo) if key in self.resident]
            if ready:
                ticks = self.todo[ready[0]]
                self._note(now, COMPUTE, ready[0], ticks)
                now = self._busy(now, ticks)
                del self.todo[ready[0]]
                self._load(now)
                continue
            self._note(now, STALL, visit, len(self.todo))
            end = min(self.loading.values())[0]
            stream = min(s for s, (until, _) in self.loading.items() if until == end)
            self._arrive(stream)
            self.totals["stalled"] += end - now
            self.columns["stall"][visit] += end - now
            now = end
        return now

    def _busy(self, now: int, ticks: int) -> int:
        """The GPU works; loads that end meanwhile (at its last tick too) come before its end."""
        until = now + ticks
        while self.loading and min(self.loading.values())[0] <= until:
            end = min(self.loading.values())[0]
            self._arrive(min(s for s, (when, _) in self.loading.items() if when == end))
        return until

    def _arrive(self, stream: int) -> None:
        end, key = self.loading.pop(stream)
        self.resident.add(key)
        self.totals["loaded"] += 1
        self._note(end, LOADED, key, stream)
        self._load(end)

    def _gate(self, now: int) -> None:
        hits = late = 0
        open_keys = {key for _, key in self.open}
        in_flight = {key for _, key in self.loading.values()}
        visited = zip(self.visits[self.visit], self.following[self.visit], strict=True)
        for (key, ticks), following in visited:
            self.todo[key] = ticks
            self.count[key] += 1
            self._touch(key)
            self.next_use[key] = following
            hits += key in self.resident
            late += key not in self.resident and (key in in_flight or key in open_keys)
            if key in self.unused:
                self.totals["useful"] += 1
                self.totals["in_time"] += key in self.resident
                self.unused.discard(key)
        self.columns["hits"][self.visit] = hits
        self.columns["late"][self.visit] = late
        self.totals["hits"] += hits
        self.totals["late"] += late
        self.totals["misses"] += len(self.todo) - hits - late
        self.open = [(visit, key) for visit, key in self.open if visit != self.visit]
        self.queue = [(visit, key) for visit, key in self.queue if visit > self.visit]
        self._note(now, GATE, self.visit, hits)
        self.gated = True
        self._load(now)

    def _load(self, now: int) -> None:
        """Fill the idle streams."""
        for stream in range(self.plan.streams):
            if stream in self.loading:
                continue
            in_flight = {key for _, key in self.loading.values()}
            there = self.resident | in_flight
            demand = [key for key in sorted(self.todo) if key not in there] if self.gated else []
            if not demand:
                while self.queue and self.queue[0][1] in there:
                    self.queue.pop(0)
                if not self.queue:
                    return
            key = demand[0] if demand else self.queue[0][1]
            place = self._place(now, prefetch=not demand)
            if place is None:
                return
            if demand:
                self.totals["demand"] += 1
                self.unused.discard(key)
            else:
                self.queue.pop(0)
                self.totals["prefetch"] += 1
                self._touch(key)
                self.unused.add(key)
            self.loads[key] += 1
            self.places[place] = key
            self.loading[stream] = (now + int(self.plan.load_ticks[key]), key)
            self._note(now, LOAD, key, 2 * stream + (not demand))

    def _place(self, now: int, prefetch: bool) -> int | None:
        if None in self.places:
            return self.places.index(None)
        wanted = {key for _, key in self.open}
        able = [
            ((key in wanted, *self._score(key)), place)
            for place, key in enumerate(self.places)
            if key is not None
            and key in self.resident
            and not (self.gated and key in self.todo)
            and not (prefetch and key in wanted)
        ]
        if not able:
            return None
        place = min(able)[1]
        if self.policy == "random":
            number = self.totals["demand"] + self.totals["prefetch"]
            start = integers(self.plan.seed, POLICY, number, self.plan.capacity)
            best = min(wanted for (wanted, *_), _ in able)
            places = [place for (wanted, *_), place in able if wanted == best]
            place = min(places, key=lambda p: (p - start) % self.plan.capacity)
        victim = self.places[place]
        assert victim is not None
        self.resident.discard(victim)
        self.totals["evicted"] += 1
        self.totals["wasted"] += victim in self.unused
        self.unused.discard(victim)
        self._note(now, EVICT, victim, place)
        return place

    def _score(self, key: int) -> tuple[int, int]:
        plan, touched = self.plan, self.touched[key]
        if self.policy == "lfu":
            return self.count[key], touched
        if self.policy == "static":
            return int(plan.uses[key]), touched
        if self.policy == "belady":
            return -self.next_use[key], touched
        if self.policy == "layer":
            ahead = key // plan.experts - self.visit % plan.layers - self.gated
            return -(ahead % plan.layers), touched
        return 0, touched

    def _touch(self, key: int) -> None:
        self.clock += 1
        self.touched[key] = self.clock

    def _note(self, now: int, kind: int, entity: int, value: Any) -> None:
        self.log.append((now, kind, entity, int(value)))
