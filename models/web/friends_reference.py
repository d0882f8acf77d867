"""The same in plain Python: dictionaries, and one look at everything for each next event.

It shares with the kernel the plan, the codes and the keyed draws, and no other code.
"""

from collections import OrderedDict

from mltwin.sim.rng_arrays import SELECTION, integers

from .friends_tables import (
    ARRIVE,
    CUT,
    CUT_OFF,
    DRAWN,
    EVICT,
    FETCH,
    FRIEND,
    JOINED,
    LOCAL,
    OFFLINE,
    ONLINE,
    ORIGIN,
    UNIT_BITS,
    UPLOAD,
    VIEW,
    FriendsPlan,
)

FOREVER = 2**63


class FriendsReference:
    """One run; see `simulate.FriendsOutcome` for what it leaves."""

    def __init__(self, plan: FriendsPlan) -> None:
        self.plan = plan
        self.user = plan.pair_user.tolist()
        self.size = plan.pair_bytes.tolist()
        self.online = {u for u, there in enumerate(plan.online.tolist()) if there}
        self.cache: list[OrderedDict[int, int]] = [OrderedDict() for _ in range(plan.users)]
        # uploader -> slot -> [view, units left]; when they were last counted
        self.uploads: list[dict[int, list[int]]] = [{} for _ in range(plan.users)]
        self.counted = [0] * plan.users
        self.fetches: set[tuple[int, int]] = set()  # (end, view)
        self.fetching: dict[int, list[int]] = {}  # pair -> views that wait, the first first
        self.uploaded, self.wasted = [0] * plan.users, [0] * plan.users
        self.source, self.done = [0] * plan.views, [-1] * plan.views
        self.uploader = [-1] * plan.views
        self.kept = self.evicted = self.origin = self.end = 0
        self.log: list[tuple[int, int, int, int]] = []

    def run(self) -> "FriendsReference":
        """All events in order."""
        plan = self.plan
        views, toggles = iter(range(plan.views)), iter(range(len(plan.toggle_time)))
        view, toggle = next(views, None), next(toggles, None)
        while view is not None or self.fetches or any(self.uploads):
            moments = [
                min(((self._end(u), u) for u in range(plan.users)), default=(FOREVER, -1)),
                min(self.fetches, default=(FOREVER, -1)),
                (FOREVER if toggle is None else int(plan.toggle_time[toggle]), -1),
                (FOREVER if view is None else int(plan.view_time[view]), -1),
            ]
            rank = min(range(4), key=lambda r: (moments[r][0], r))
            now, entity = moments[rank]
            if rank == 0:
                self._end_uploads(now, entity)
            elif rank == 1:
                self.fetches.remove((now, entity))
                self._arrive(now, entity)
            elif rank == 2:
                assert toggle is not None
                self._toggle(now, int(plan.toggle_user[toggle]))
                toggle = next(toggles, None)
            else:
                assert view is not None
                self._view(now, view)
                view = next(views, None)
        return self

    def _rate(self, user: int) -> int:
        return int(self.plan.upload[user]) // len(self.uploads[user])

    def _end(self, user: int) -> int:
        """When the user's first upload ends."""
        if not self.uploads[user]:
            return FOREVER
        left = min(left for _, left in self.uploads[user].values())
        return self.counted[user] + -(-left // self._rate(user))

    def _count(self, now: int, user: int) -> None:
        for row in self.uploads[user].values():
            row[1] -= self._rate(user) * (now - self.counted[user])
        self.counted[user] = now

    def _view(self, now: int, view: int) -> None:
        plan, pair = self.plan, int(self.plan.view_pair[view])
        cache = self.cache[self.user[pair]]
        self._note(now, VIEW, view, pair)
        if plan.view_kind[view]:
            self.done[view] = now
            if plan.keep:
                self._keep(now, pair)
            return
        if pair in cache:
            cache.move_to_end(pair)
            self.source[view], self.done[view] = LOCAL, now
            return
        if pair in self.fetching:
            self.source[view] = JOINED
            self.fetching[pair].append(view)
            return
        self.fetching[pair] = [view]
        sender = self._choose(view)
        if sender is None:
            self.source[view] = ORIGIN
            self._fetch(now, view, self.size[pair])
            return
        self.source[view], self.uploader[view] = FRIEND, sender
        self._count(now, sender)
        slot = min(set(range(plan.slots)) - set(self.uploads[sender]))
        self.uploads[sender][slot] = [view, self.size[pair] << UNIT_BITS]
        self._note(now, UPLOAD, view, sender)

    def _choose(self, view: int) -> int | None:
        plan = self.plan
        own = plan.view_pair[view]
        a, b = plan.friend_start[own : own + 2]
        able = [
            self.user[pair]
            for pair in plan.friend_pair[a:b].tolist()
            if pair in self.cache[self.user[pair]]
            and self.user[pair] in self.online
            and len(self.uploads[self.user[pair]]) < plan.slots
        ]
        if not able or not plan.friends:
            return None
        if plan.choice == DRAWN:
            return able[int(integers(plan.seed, SELECTION, view, len(able)))]
        return min(able, key=lambda u: (len(self.uploads[u]), self.uploaded[u]))

    def _end_uploads(self, now: int, user: int) -> None:
        self._count(now, user)
        for slot in sorted(self.uploads[user]):
            view, left = self.uploads[user][slot]
            if left <= 0:
                del self.uploads[user][slot]
                self.uploaded[user] += self.size[self.plan.view_pair[view]]
                self._arrive(now, view)

    def _toggle(self, now: int, user: int) -> None:
        if user not in self.online:
            self.online.add(user)
            self._note(now, ONLINE, user, 0)
            return
        self.online.remove(user)
        self._note(now, OFFLINE, user, len(self.uploads[user]))
        self._count(now, user)
        for _, (view, left) in sorted(self.uploads[user].items()):
            size = self.size[self.plan.view_pair[view]]
            sent = ((size << UNIT_BITS) - left) >> UNIT_BITS
            self.uploaded[user] += sent
            self.source[view] = CUT
            self._note(now, CUT_OFF, view, sent)
            self.wasted[user] += 0 if self.plan.resume else sent
            self._fetch(now, view, size - sent if self.plan.resume else size)
        self.uploads[user] = {}

    def _fetch(self, now: int, view: int, size: int) -> None:
        self.origin += size
        self._note(now, FETCH, view, size)
        self.fetches.add((now + -(-(size << UNIT_BITS) // self.plan.download), view))

    def _arrive(self, now: int, view: int) -> None:
        pair = int(self.plan.view_pair[view])
        self.end = now
        self._note(now, ARRIVE, view, self.source[view])
        for each in self.fetching.pop(pair):
            self.done[each] = now
        self._keep(now, pair)

    def _keep(self, now: int, pair: int) -> None:
        user, size = self.user[pair], self.size[pair]
        cache, room = self.cache[user], int(self.plan.capacity[user])
        if pair in cache or size > room:
            return
        while sum(cache.values()) + size > room:
            victim, freed = cache.popitem(last=False)
            self.evicted += freed
            self._note(now, EVICT, victim, freed)
        cache[pair] = size
        self.kept += size

    def _note(self, now: int, kind: int, entity: int, value: int) -> None:
        self.log.append((now, kind, entity, int(value)))
