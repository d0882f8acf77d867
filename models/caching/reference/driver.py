"""The driver in plain Python: what happens at a request, whatever the policy."""

from typing import Any, Protocol

from mltwin.models.caching.tables import HIT, MISS, NEVER, REFUSED


class Policy(Protocol):
    """The parts of a policy; keys are any hashable objects."""

    def hit(self, key: int) -> None:
        """Resident key was asked for."""

    def miss(self, key: int) -> None:
        """Absent key is about to enter."""

    def make_room(self, key: int) -> int | None:
        """Take out one object for key; None where there is none."""

    def insert(self, key: int) -> None:
        """Key enters."""

    def drop(self, key: int) -> None:
        """Key leaves, but not by eviction."""


class ReferenceCache:
    """A cache; `sizes` and `expiry` as in the compiled one.

    admission: None admits everything, else an object of `admission`. Policies that weigh sizes find
    them in `cache.sizes` (their attribute `cache` is set here).
    """

    def __init__(
        self,
        policy: Any,
        capacity: int,
        max_objects: int | None = None,
        admission: Any = None,
    ) -> None:
        self.policy = policy
        self.admission = admission
        policy.cache = self
        self.capacity = capacity
        self.max_objects = max_objects
        self.sizes: dict[int, int] = {}
        self.expiry: dict[int, int] = {}
        self.pins: dict[int, int] = {}
        self.incoming = 0
        self.clock = 0  # requests
        self.now = 0
        self.victims: list[int] = []

    @property
    def used(self) -> int:
        """Size of all residents."""
        return sum(self.sizes.values())

    def request(self, key: int, size: int = 1, now: int = 0, ttl: int = 0) -> int:
        """HIT, MISS (taken in) or REFUSED."""
        return HIT if self.find(key, size, now) else self.fill(key, size, now, ttl)

    def store(self, key: int, size: int = 1, now: int = 0, ttl: int = 0) -> int:
        """Write it: its time to live begins anew, also where it is there."""
        if not self.find(key, size, now):
            return self.fill(key, size, now, ttl)
        if key in self.sizes:
            self.expiry[key] = now + ttl if ttl > 0 else NEVER
        return HIT

    def find(self, key: int, size: int = 1, now: int = 0) -> bool:
        """Look up and touch; stale objects leave."""
        self.victims = []
        self.clock += 1
        self.now = now
        if self.admission:
            self.admission.note(self, key)
        if key not in self.sizes:
            return False
        if key not in self.pins:
            if self.expiry[key] <= now:
                self._leave(key)
                return False
            self.sizes[key] = size
            self.policy.hit(key)
        while self.used > self.capacity and self._evict(key):
            pass
        return True

    def fill(self, key: int, size: int = 1, now: int = 0, ttl: int = 0) -> int:
        """Take in an absent key."""
        self.now = now
        self.victims = []
        if size > self.capacity:
            return REFUSED
        if self.admission and not self.admission.admits(self, key, size):
            return REFUSED
        self.incoming = size
        self.policy.miss(key)
        while self.used + size > self.capacity or len(self.sizes) >= (self.max_objects or 2**62):
            if not self._evict(key):
                return REFUSED
        self.sizes[key] = size
        self.expiry[key] = now + ttl if ttl > 0 else NEVER
        self.policy.insert(key)
        return MISS

    def remove(self, key: int) -> bool:
        """Take out, unless absent or pinned."""
        if key not in self.sizes or key in self.pins:
            return False
        self._leave(key)
        return True

    def pin(self, key: int) -> None:
        """Hold a resident key."""
        if key not in self.pins:
            self.policy.drop(key)
            self.pins[key] = 0
        self.pins[key] += 1

    def unpin(self, key: int) -> None:
        """Let it go."""
        self.pins[key] -= 1
        if not self.pins[key]:
            del self.pins[key]
            self.victims = []
            self.policy.insert(key)

    def expel(self, key: int) -> None:
        """A policy evicts a key, which it has taken out, outside `make_room`."""
        del self.sizes[key]
        self.victims.append(key)

    def _leave(self, key: int) -> None:
        self.policy.drop(key)
        del self.sizes[key]

    def _evict(self, key: int) -> bool:
        victim = self.policy.make_room(key)
        if victim is None:
            return False
        self.expel(victim)
        return True
