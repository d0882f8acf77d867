"""`CacheStation`: a cache as a part of a plain SimPy program, with fills in flight.

    import simpy
    from mltwin.caching_station import CacheStation

    env = simpy.Environment()

    def fetch(key, size):
        yield env.timeout(0.05 + size / 1e9)

    station = CacheStation(env, "sieve", 10_000_000, fetch)

    def client(key, size):
        answer = yield station.get(key, size)
        print(env.now, key, answer.outcome)

    env.process(client("a", 4_000_000))
    env.process(client("a", 4_000_000))
    env.run()  # prints: 0.054 a miss, 0.054 a delayed

The cache is the compiled one of `mltwin.models.caching`, so every eviction policy works, but those
that must know the future.
"""

from collections.abc import Callable, Generator, Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mltwin.models.caching import TICKS_PER_S
from mltwin.models.caching.cache import Cache

if TYPE_CHECKING:
    import simpy

Fetch = Callable[[Any, int], Generator[Any, Any, Any]]


class Answer(NamedTuple):
    """What a request is told.

    outcome: "hit", "miss" (fetched for it), or "delayed" (it waited for another one's fetch).
    waited_s: simulated time from the request to the answer.
    """

    outcome: str
    waited_s: float


class CacheStation:
    """A cache in a SimPy environment whose time is in seconds.

    Args:
        env: the environment.
        policy: name of an eviction policy (`mltwin cache policies`).
        capacity: objects, or bytes if requests have sizes in bytes.
        fetch: a process function (key, size) that takes as long as fetching does.
        params: parameters of the policy.
        ttl_s: objects are stale so long after they came in; 0: never.
        seed: of random policies.

    Attributes:
        hits, misses, delayed: requests so far, by outcome.

    Raises InputError for an unknown policy or parameter, or a capacity below 1.
    """

    def __init__(
        self,
        env: "simpy.Environment",
        policy: str,
        capacity: int,
        fetch: Fetch,
        *,
        params: Mapping[str, float] | None = None,
        ttl_s: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.env, self.fetch = env, fetch
        self.hits = self.misses = self.delayed = 0
        self._cache = Cache(policy, capacity, 64, params=params, stream=True, seed=seed)
        self._ids: dict[Hashable, int] = {}
        self._keys: list[Any] = []
        self._ttl = round(ttl_s * TICKS_PER_S)
        self._in_flight: dict[int, Any] = {}

    def get(self, key: Hashable, size: int = 1) -> "simpy.Process":
        """Ask for an object: ``answer = yield station.get(key, size)``, an `Answer`.

        What fetch raises, it raises for all who wait.
        """
        return self.env.process(self._get(key, size))

    def remove(self, key: Hashable) -> bool:
        """Take an object out; False if it is not there. One on its way still enters."""
        return self._cache.remove(self._id(key))

    def holds(self, key: Hashable) -> bool:
        """Whether an object is resident, fresh or not."""
        return key in self._ids and self._cache.holds(self._ids[key])

    def resident(self) -> list[Any]:
        """Keys of the resident objects, in the order in which they were first asked for."""
        return [self._keys[id] for id in self._cache.resident()]

    @property
    def used(self) -> int:
        """Size of the resident objects."""
        return self._cache.totals()["used"]

    @property
    def hit_ratio(self) -> float:
        """Hits over requests; delayed ones are none."""
        return self.hits / max(1, self.hits + self.misses + self.delayed)

    def _get(self, key: Hashable, size: int) -> Generator[Any, Any, Answer]:
        start, id = self.env.now, self._id(key)
        if self._cache.find(id, size, self._now()):
            self.hits += 1
            return Answer("hit", 0.0)
        if id in self._in_flight:
            self.delayed += 1
            yield self._in_flight[id]
            return Answer("delayed", self.env.now - start)
        self.misses += 1
        there = self._in_flight[id] = self.env.event()
        try:
            yield self.env.process(self.fetch(key, size))
        except Exception as error:
            del self._in_flight[id]
            there.fail(error)
            there.defused = True  # nobody may be waiting
            raise
        del self._in_flight[id]
        self._cache.fill(id, size, self._now(), self._ttl)
        there.succeed()
        return Answer("miss", self.env.now - start)

    def _now(self) -> int:
        return round(self.env.now * TICKS_PER_S)

    def _id(self, key: Hashable) -> int:
        id = self._ids.get(key)
        if id is None:
            id = self._ids[key] = len(self._keys)
            self._keys.append(key)
            self._cache.grow(id + 1)
        return id
