"""Tiers of caches in plain Python: dictionaries, lists, the standard library's heap.

The rules are those of `tiers`; the caches are those of `reference`. Beside what the kernel does it
follows which write each copy comes from, so that nobody may be served what a later write replaced.
"""

import heapq
from collections import defaultdict
from typing import Any

from mltwin.sim.errors import InputError

from .cache import Cache
from .reference import admission as admissions
from .reference.driver import ReferenceCache
from .reference.policies import REFERENCES
from .sketch import ROWS
from .tables import ADMISSIONS, HIT, MISS, NEVER, REFUSED
from .tiers_tables import (
    ASK,
    DELETE,
    DONE,
    DROP,
    ENTER,
    GET,
    JOIN,
    JOINED,
    LEAVE,
    MOVE,
    REMOVING,
    SEND,
    SET,
    WRITE,
    TierPlan,
)

BACKGROUND = 2**40


def reference_of(cache: Cache, stream: Any = None) -> ReferenceCache:
    """The plain-Python cache of the same policy, capacity and admission; empty.

    Args:
        cache: its policy has its default parameters.
        stream: the requests, for policies that know the future.

    Raises InputError for a policy that has no plain-Python form here.
    """
    chosen, settings = cache.eviction, cache.world.par[0]
    plain = chosen.name in REFERENCES and (
        chosen.random or cache.world.knobs.tolist() == chosen.knobs().tolist()
    )
    if not plain:
        raise InputError(
            f"there is no reference of {chosen.name!r} with these parameters",
            where="reference",
            mend="use a built-in policy with its default parameters",
        )
    counters = len(cache.world.sketch) // ROWS
    given = [cache] if chosen.random else [stream] if chosen.future else []
    given += [counters] if chosen.sketch else []
    fits = int(settings.max_objects)
    name = {code: name for name, code in ADMISSIONS.items()}[int(settings.admission)]
    made = {
        "always": lambda: None,
        "size": lambda: admissions.BySize(int(settings.max_size)),
        "probability": lambda: admissions.ByChance(
            float(settings.chance),
            float(settings.scale) if settings.by_size else 0.0,
            int(settings.seed),
        ),
        "second_hit": lambda: admissions.SecondHit(int(settings.window)),
        "tinylfu": lambda: admissions.TinyLfu(counters),
    }[name]()
    return ReferenceCache(REFERENCES[chosen.name](*given), cache.capacity, fits, made)


class Tier:
    """A cache, which write each of its objects comes from, and which are dirty."""

    def __init__(self, cache: ReferenceCache) -> None:
        self.cache = cache
        self.version: dict[int, int] = {}
        self.dirty: set[int] = set()
        self.hits_here: defaultdict[int, int] = defaultdict(int)
        self.evicted = self.refused = self.expired = 0

    def holds(self, x: int) -> bool:
        """Fresh or not."""
        return x in self.cache.sizes

    def changed(self, what: str, x: int, *args: int) -> tuple[Any, list[tuple[int, int, int]]]:
        """Do something; what it gave, and victims with size and end."""
        cache = self.cache
        sizes = {**cache.sizes, x: args[0]}
        was_there = x in cache.sizes
        cache.victims = []
        done = getattr(cache, what)(x, *args)
        self.evicted += len(cache.victims)
        self.refused += what == "fill" and done == REFUSED
        self.expired += what == "find" and was_there and not done
        return done, [(v, sizes[v], cache.expiry[v]) for v in cache.victims]


class Link:
    """Bytes that share a rate equally: what is left of each transfer."""

    def __init__(self, rate: int, units: int) -> None:
        self.rate, self.units = rate, units
        self.left: list[list[int]] = []  # [units, id]
        self.since = self.busy = self.peak = 0

    def share(self) -> int:
        """Units a tick for each."""
        return max(1, self.rate // len(self.left))

    def pull(self, now: int) -> None:
        """Let what crosses move on."""
        if self.left:
            for transfer in self.left:
                transfer[0] -= self.share() * (now - self.since)
            self.busy += now - self.since
        self.since = now

    def join(self, now: int, amount: int, id: int) -> None:
        """One more."""
        self.pull(now)
        self.left.append([amount * self.units, id])
        self.peak = max(self.peak, len(self.left))

    def leave(self, now: int) -> int:
        """The one that is over."""
        self.pull(now)
        first = min(self.left)
        self.left.remove(first)
        return first[1]

    def ends(self) -> int:
        """When the next is over."""
        if not self.left:
            return NEVER
        return self.since + max(0, -(-min(self.left)[0] // self.share()))


class TiersReference:
    """One run; see `tiers_run.TiersOutcome` for what it leaves."""

    def __init__(self, plan: TierPlan, caches: list[ReferenceCache]) -> None:
        self.plan, self.tiers = plan, [Tier(cache) for cache in caches]
        self.origin = len(caches)
        speeds = plan.links + plan.links
        self.links = [Link(*speed) for speed in speeds]
        self.timers: list[tuple[int, int, int]] = []
        n = len(plan.time)
        self.done, self.served = [0] * n, [0] * n
        self.open: dict[int, int] = {}
        self.up: set[int] = set()  # GETs whose object moves up
        self.waiting: defaultdict[int, list[int]] = defaultdict(list)
        self.fetch: dict[int, int] = {}
        self.brought: dict[int, tuple[int, int]] = {}  # request: write, end
        self.homeless: set[int] = set()  # dirty objects that are being moved up
        self.written: defaultdict[int, int] = defaultdict(int)  # object: last write
        self.at_origin: defaultdict[int, int] = defaultdict(int)
        self.moving = [0] * (self.origin + 1)
        names = ("asked", "hits", "read_bytes", "write_bytes", "updated_bytes", "moved_in")
        self.levels = [dict.fromkeys(names, 0) for _ in range(self.origin + 1)]
        self.now = self.stale = 0
        self.log: list[tuple[int, int, int, int]] = []

    def run(self) -> "TiersReference":
        """All events in order."""
        handlers = {GET: self._get, SET: self._set, DELETE: self._delete}
        i = 0
        while True:
            found = [(link.ends(), 0, k) for k, link in enumerate(self.links)]
            found += [(time, 1, k) for k, (time, _, _) in enumerate(self.timers[:1])]
            if i < len(self.done):
                found.append((int(self.plan.time[i]), 2, i))
            now, rank, which = min(found)
            if now == NEVER:
                return self
            self.now = now
            if rank == 0:
                id = self.links[which].leave(now)
                if id != BACKGROUND:
                    self._ended(id)
            elif rank == 1:
                _, request, level = heapq.heappop(self.timers)
                self._cross(request, level)
            else:
                op = GET if self.plan.op is None else int(self.plan.op[i])
                handlers[op](i, int(self.plan.ids[i]))
                i += 1
            self._move()

    def _note(self, kind: int, entity: int, value: int) -> None:
        self.log.append((self.now, kind, entity, value))

    def _size(self, i: int) -> int:
        return int(self.plan.sizes[i])

    def _end(self, i: int) -> int:
        life = 0 if self.plan.life is None else int(self.plan.life[i])
        return self.now + life if life else NEVER

    def _life(self, k: int, until: int) -> int:
        return self.plan.levels[k].life if until == NEVER else until - self.now

    def _take_dirty(self, k: int, x: int) -> bool:
        was = x in self.tiers[k].dirty
        self.tiers[k].dirty.discard(x)
        return was

    def _settle(self, k: int, victims: list[tuple[int, int, int]]) -> None:
        """What becomes of the victims of tier k."""
        for x, size, until in victims:
            dirty = self._take_dirty(k, x)
            version = self.tiers[k].version[x]
            self._note(LEAVE, x, k)
            if self.plan.strict:
                for nearer in self.tiers[:k]:
                    nearer.cache.remove(x)
            if self.plan.exclusive or dirty:
                level = self._put(k + 1, x, size, until, dirty, version)
                self.levels[level]["moved_in"] += level < self.origin
                if level < self.origin or dirty:
                    self.moving[level] += size

    def _put(self, k: int, x: int, size: int, until: int, dirty: bool, version: int) -> int:
        """Into tier k, or below; where it is now."""
        while k < self.origin and until > self.now:
            done = self._enter(k, x, size, until, version, dirty)
            if done == MISS:
                return k
            if not (self.plan.exclusive or dirty):
                return self.origin
            k += 1
        for older in self.tiers[k:]:
            older.cache.remove(x)
        if dirty:
            self.at_origin[x] = version
        return self.origin

    def _enter(
        self, k: int, x: int, size: int, until: int, version: int, dirty: bool = False
    ) -> int:
        tier = self.tiers[k]
        tier.cache.remove(x)
        done, victims = tier.changed("fill", x, size, self.now, self._life(k, until))
        if done == MISS:
            self._note(ENTER, x, k)
            tier.hits_here[x] = 0
            tier.version[x] = version
        self._settle(k, victims)
        if done == MISS and dirty:
            tier.dirty.add(x)
        return int(done)

    def _look(self, k: int, x: int, size: int) -> bool:
        tier = self.tiers[k]
        was = tier.cache.sizes.get(x)
        found, victims = tier.changed("find", x, size, self.now)
        if was is not None and not found and self._take_dirty(k, x):
            self.moving[self.origin] += was
            self.at_origin[x] = tier.version[x]
            for older in self.tiers[k + 1 :]:
                older.cache.remove(x)
        self._settle(k, victims)
        return bool(found)

    def _get(self, i: int, x: int) -> None:
        level = self.origin
        version = None
        for k, tier in enumerate(self.tiers):
            self.levels[k]["asked"] += 1
            if self._look(k, x, self._size(i)):
                self.levels[k]["hits"] += 1
                level, version = k, tier.version[x]
                break
            if k == 0 and x in self.fetch:
                self.waiting[self.fetch[x]].insert(0, i)
                self._note(JOIN, i, self.fetch[x])
                return
        self.served[i] = level
        self._note(ASK, i, level)
        if level > 0:
            self.fetch[x] = i
            self.up.add(i)
            if level < self.origin:
                self._ask_up(i, level, x)
        version = self.at_origin[x] if version is None else version
        assert version == self.written[x], f"request {i} is served what was replaced"
        self.brought[i] = version, self.brought.get(i, (0, NEVER))[1]
        self._plan(i, level)

    def _ask_up(self, i: int, level: int, x: int) -> None:
        tier = self.tiers[level]
        tier.hits_here[x] += 1
        if tier.hits_here[x] < self.plan.promote_after:
            self.up.discard(i)
            return
        tier.hits_here[x] = 0
        self.brought[i] = tier.version[x], tier.cache.expiry[x]
        if self.plan.exclusive and tier.holds(x):
            if self._take_dirty(level, x):
                self.homeless.add(x)
            tier.cache.remove(x)

    def _plan(self, i: int, level: int) -> None:
        heapq.heappush(self.timers, (self.now + self.plan.levels[level].latency, i, level))

    def _cross(self, i: int, level: int) -> None:
        reads = self.plan.op is None or self.plan.op[i] == GET
        write_link = self.origin + 1 + level if self.plan.levels[level].duplex else level
        which = level if reads else write_link
        self.levels[level]["read_bytes" if reads else "write_bytes"] += self._size(i)
        self._note(SEND, i, which)
        if self.links[which].rate:
            self.links[which].join(self.now, self._size(i), i)
        else:
            self._ended(i)

    def _move(self) -> None:
        for level, amount in enumerate(self.moving):
            if amount:
                which = self.origin + 1 + level if self.plan.levels[level].duplex else level
                self.levels[level]["write_bytes"] += amount
                self._note(MOVE, which, amount)
                if self.links[which].rate:
                    self.links[which].join(self.now, amount, BACKGROUND)
                self.moving[level] = 0

    def _ended(self, i: int) -> None:
        if self.plan.op is None or self.plan.op[i] == GET:
            self._arrived(i)
            return
        self.open[i] -= 1
        if not self.open[i]:
            self._finish(i, self.served[i])

    def _arrived(self, i: int) -> None:
        level, x = self.served[i], int(self.plan.ids[i])
        if level > 0:
            if self.fetch.get(x) == i:
                del self.fetch[x]
                if i in self.up:
                    self._move_up(i, level, x)
            else:
                self.stale += 1
        self._finish(i, level)
        for each in self.waiting.pop(i, []):
            self.served[each] = level + JOINED
            self._finish(each, level)

    def _finish(self, i: int, level: int) -> None:
        self.done[i] = self.now
        self._note(DONE, i, level)

    def _move_up(self, i: int, level: int, x: int) -> None:
        size = self._size(i)
        version, until = self.brought[i]
        until = until if level < self.origin else self._end(i)
        if self.plan.exclusive:
            dirty = x in self.homeless
            self.homeless.discard(x)
            if any(tier.holds(x) for tier in self.tiers):
                return
            place = self._put(0, x, size, until, dirty, version)
            if place < self.origin or dirty:
                self.moving[place] += size
            return
        for k in reversed(range(self.origin if self.plan.strict else level)):
            if self.tiers[k].holds(x):
                continue
            if until <= self.now:
                return
            if self._enter(k, x, size, until, version) == MISS:
                self.moving[k] += size
            elif self.plan.strict:
                return

    def _set(self, i: int, x: int) -> None:
        self._forget(x)
        self.written[x] = i + 1
        if not self.plan.back:
            self.at_origin[x] = i + 1
        one = self.plan.exclusive or self.plan.back
        first = self._write_one(i, x) if one else self._write_all(i, x)
        self._note(WRITE, i, first)
        self.served[i] = first

    def _forget(self, x: int) -> None:
        """What is being fetched comes too late, what is dirty is replaced."""
        self.fetch.pop(x, None)
        self.homeless.discard(x)
        for tier in self.tiers:
            tier.dirty.discard(x)

    def _write_one(self, i: int, x: int) -> int:
        size, back, place = self._size(i), self.plan.back, 0
        if self._look(0, x, size) and self.tiers[0].holds(x):
            self.tiers[0].version[x] = i + 1
            self._renew(0, x, i)
            self.levels[0]["updated_bytes"] += size
            if back:
                self.tiers[0].dirty.add(x)
        else:
            if self.plan.exclusive:
                for tier in self.tiers[1:]:
                    tier.cache.remove(x)
            place = self._put(0, x, size, self._end(i), back, i + 1)
            if place == self.origin:
                for tier in self.tiers:
                    tier.cache.remove(x)
        self._acknowledge(i, place)
        if not back and place < self.origin:
            self._acknowledge(i, self.origin)
        return place

    def _renew(self, k: int, x: int, i: int) -> None:
        """Write i begins the time to live of x anew."""
        life = self._life(k, self._end(i))
        self.tiers[k].cache.expiry[x] = self.now + life if life > 0 else NEVER

    def _write_all(self, i: int, x: int) -> int:
        first, size = self.origin, self._size(i)
        self._acknowledge(i, self.origin)
        for k in reversed(range(self.origin)):
            tier = self.tiers[k]
            life = self._life(k, self._end(i))
            found, victims = tier.changed("find", x, size, self.now)
            done = HIT
            if found and tier.holds(x):
                self._renew(k, x, i)
            if not found:
                done, more = tier.changed("fill", x, size, self.now, life)
                victims = victims + more
            tier.version[x] = i + 1
            self._settle(k, victims)
            if done == HIT:
                self.levels[k]["updated_bytes"] += size
            if done == MISS:
                self._note(ENTER, x, k)
                tier.hits_here[x] = 0
            if done != REFUSED:
                self._acknowledge(i, k)
                first = k
            if self.plan.strict and not tier.holds(x):
                for nearer in self.tiers[:k]:
                    nearer.cache.remove(x)
                break
        return first

    def _acknowledge(self, i: int, level: int) -> None:
        self.open[i] = self.open.get(i, 0) + 1
        self._plan(i, level)

    def _delete(self, i: int, x: int) -> None:
        for tier in self.tiers:
            tier.cache.clock += 1
            tier.cache.remove(x)
        self._forget(x)
        self.written[x] = self.at_origin[x] = i + 1
        self.served[i] = REMOVING
        self.done[i] = self.now
        self._note(DROP, i, x)
