"""The same in plain Python: a dictionary and a list for each cache, the standard library's heap."""

import heapq
from collections import defaultdict

from .cdn_tables import (
    ASK_ORIGIN,
    ASK_PARENT,
    AT_PARENT,
    EDGE_HIT,
    EDGE_JOINED,
    EVICT,
    FILL_EDGE,
    FILL_PARENT,
    FROM_ORIGIN,
    PARENT_HIT,
    PARENT_JOINED,
    POLICIES,
    REQUEST,
    CdnPlan,
)


class Node:
    """A cache of bytes; `order` runs from the oldest to the newest."""

    def __init__(self, room: int, policy: str) -> None:
        self.room, self.policy = room, policy
        self.order: list[int] = []
        self.size: dict[int, int] = {}
        self.seen: set[int] = set()
        self.hand: int | None = None

    def use(self, item: int) -> None:
        """A hit."""
        self.seen.add(item)
        if self.policy == "lru":
            self.order.remove(item)
            self.order.append(item)

    def keep(self, item: int, size: int) -> list[tuple[int, int]]:
        """Take an object in; what was evicted, and its bytes."""
        gone: list[tuple[int, int]] = []
        if item in self.size or size > self.room:
            return gone
        while sum(self.size.values()) + size > self.room:
            victim = self._sift() if self.policy == "sieve" else self.order[0]
            self.order.remove(victim)
            gone.append((victim, self.size.pop(victim)))
        self.seen.discard(item)
        self.order.append(item)
        self.size[item] = size
        return gone

    def _sift(self) -> int:
        at = 0 if self.hand is None else self.order.index(self.hand)
        while self.order[at] in self.seen:
            self.seen.discard(self.order[at])
            at = (at + 1) % len(self.order)
        self.hand = self.order[at + 1] if at + 1 < len(self.order) else None
        return self.order[at]


class CdnReference:
    """One run; see `simulate.CdnOutcome` for what it leaves."""

    def __init__(self, plan: CdnPlan) -> None:
        self.plan = plan
        policy = POLICIES[plan.policy]
        self.nodes = [Node(int(room), policy) for room in plan.capacity]
        self.heap: list[tuple[int, int, int]] = []
        self.on_way: dict[tuple[int, int], int] = {}  # (node, item) -> request that fetches
        self.joined: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        n = len(plan.time)
        self.source, self.done = [-1] * n, [-1] * n
        self.parent_bytes = self.origin_bytes = self.origin_requests = 0
        self.kept = self.evicted = 0
        self.log: list[tuple[int, int, int, int]] = []

    def run(self) -> "CdnReference":
        """All events in order; clients have the last rank."""
        clients = [(int(time), 3, request) for request, time in enumerate(self.plan.time)]
        self.heap = clients  # sorted, and so a heap
        handlers = (self._fill_parent, self._fill_edge, self._at_parent, self._at_edge)
        while self.heap:
            now, rank, request = heapq.heappop(self.heap)
            handlers[rank](now, request)
        return self

    def _row(self, node: int, request: int) -> int:
        return node * len(self.plan.item_bytes) + int(self.plan.item[request])

    def _at_edge(self, now: int, request: int) -> None:
        edge, item = int(self.plan.edge[request]), int(self.plan.item[request])
        self._note(now, REQUEST, request, self._row(edge, request))
        if item in self.nodes[edge].size:
            self.nodes[edge].use(item)
            self.source[request], self.done[request] = EDGE_HIT, now
        elif self.plan.collapse and (edge, item) in self.on_way:
            self.source[request] = EDGE_JOINED
            self.joined[edge, self.on_way[edge, item]].append(request)
        else:
            self.on_way[edge, item] = request
            self._note(now, ASK_PARENT, request, self._row(edge, request))
            heapq.heappush(self.heap, (now + self.plan.parent_latency, 2, request))

    def _at_parent(self, now: int, request: int) -> None:
        plan, node, item = self.plan, self.plan.edges, int(self.plan.item[request])
        self._note(now, AT_PARENT, request, self._row(node, request))
        if plan.parent and item in self.nodes[node].size:
            self.nodes[node].use(item)
            self.source[request] = PARENT_HIT
            self._to_edge(now, request)
        elif plan.parent and plan.collapse and (node, item) in self.on_way:
            self.source[request] = PARENT_JOINED
            self.joined[node, self.on_way[node, item]].append(request)
        else:
            self.on_way[node, item] = request
            self.source[request] = FROM_ORIGIN
            self.origin_requests += 1
            self.origin_bytes += int(plan.item_bytes[item])
            self._note(now, ASK_ORIGIN, request, self._row(node, request))
            back = now + 2 * plan.origin_latency + int(plan.origin_ticks[item])
            heapq.heappush(self.heap, (back, 0, request))

    def _fill_parent(self, now: int, request: int) -> None:
        node = self.plan.edges
        self._arrived(now, node, request, FILL_PARENT, keep=self.plan.parent)
        for each in [request, *self.joined.pop((node, request), [])]:
            self._to_edge(now, each)

    def _to_edge(self, now: int, request: int) -> None:
        item = int(self.plan.item[request])
        self.parent_bytes += int(self.plan.item_bytes[item])
        end = now + self.plan.parent_latency + int(self.plan.parent_ticks[item])
        heapq.heappush(self.heap, (end, 1, request))

    def _fill_edge(self, now: int, request: int) -> None:
        edge = int(self.plan.edge[request])
        self._arrived(now, edge, request, FILL_EDGE, keep=True)
        for each in [request, *self.joined.pop((edge, request), [])]:
            self.done[each] = now

    def _arrived(self, now: int, node: int, request: int, kind: int, *, keep: bool) -> None:
        item = int(self.plan.item[request])
        if self.on_way.get((node, item)) == request:
            del self.on_way[node, item]
        self._note(now, kind, request, self._row(node, request))
        size = int(self.plan.item_bytes[item])
        before = item in self.nodes[node].size
        gone = self.nodes[node].keep(item, size) if keep else []
        for victim, freed in gone:
            self.evicted += freed
            self._note(now, EVICT, node * len(self.plan.item_bytes) + victim, freed)
        self.kept += size * (item in self.nodes[node].size and not before)

    def _note(self, now: int, kind: int, entity: int, value: int) -> None:
        self.log.append((now, kind, entity, int(value)))
