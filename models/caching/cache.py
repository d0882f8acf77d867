"""A cache to replay a trace through, or to step: the compiled kernels behind one Python object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.records import table

from .driver import FILL, FIND, PIN, REMOVE, REQUEST, UNPIN
from .registry import SCORED, Eviction, eviction
from .sketch import sketch_length
from .tables import ADMISSIONS, FIRST, MAX_OBJECTS, PER_OBJECT, TINY_LFU, make_world

MAX_CAPACITY = 2**60
GROWING = PER_OBJECT | {"heap"}


@dataclass(frozen=True, eq=False)
class Score:
    """An eviction policy by a function that scores objects (`hooks`, `eviction.scored`).

    function: compiled for the hook `evict_object` (plain under ``NUMBA_DISABLE_JIT=1``).
    params: its parameters, float64.
    memory: floats of memory that it needs for so many distinct objects.
    name: for messages.
    """

    function: Any
    params: NDArray[np.float64]
    memory: Callable[[int], int] = lambda objects: 0
    name: str = "score"


class Cache:
    """A cache of `objects` possible ids.

    Args:
        policy: name of an eviction policy, or a `Score`.
        capacity: objects, or bytes if requests have sizes in bytes; >= 1.
        objects: distinct ids, so that ids are 0 ... objects - 1.
        params: parameters of the policy.
        admission: a name in `tables.ADMISSIONS`, with its parameters in `settings` (SETTINGS).
        max_objects: resident at once, beside the capacity.
        full: keep sizes, expiry, pins and counters; without it only `replay` works, at full speed.
        next_use: per request, the number of the next request of the same object (`next_uses`);
            only policies that know the future need it.
        costs: of a miss, per id; for policies that weigh it.
        stream: whether more ids may come than `objects` (`grow`).
        seed: of random policies and admission.

    Raises:
        InputError: unknown policy or parameter, a capacity below 1.
    """

    def __init__(
        self,
        policy: "str | Score",
        capacity: int,
        objects: int,
        *,
        params: Mapping[str, float] | None = None,
        admission: str = "always",
        settings: Mapping[str, float] | None = None,
        max_objects: int | None = None,
        full: bool = True,
        next_use: NDArray[np.int64] | None = None,
        costs: ArrayLike | None = None,
        stream: bool = False,
        seed: int = 0,
    ) -> None:
        score = self._score = policy if isinstance(policy, Score) else None
        self.eviction: Eviction = SCORED if isinstance(policy, Score) else eviction(policy)
        self._name = policy.name if isinstance(policy, Score) else policy
        self.objects = _checked(objects, "objects", MAX_OBJECTS)
        self.capacity = _checked(capacity, "capacity", MAX_CAPACITY)
        self.full = full
        self._by_capacity = max_objects is None
        if admission not in ADMISSIONS:
            known = ", ".join(ADMISSIONS)
            raise InputError(
                f"no admission policy {admission!r}", where="admission", mend=f"there are {known}"
            )
        self._module = self.eviction.load()
        if ADMISSIONS[admission] == TINY_LFU:
            self._check_tiny_lfu()
        if self.eviction.future and next_use is None:
            raise InputError(
                f"eviction policy {self.eviction.name!r} must know the future",
                where="eviction",
                mend="give next_use, or choose another policy",
            )
        fits = self._fits(max_objects, stream)
        self.world = make_world(
            objects=self.objects,
            capacity=self.capacity,
            needs=tuple(self._module.NEEDS),
            full=full,
            lengths={
                "heap": self.objects + 1 if self.eviction.heap else 1,
                "ring": int(self.eviction.ring * fits) + 1,
                "sketch": sketch_length(fits)
                if self.eviction.sketch or ADMISSIONS[admission] == TINY_LFU
                else 1,
            },
            knobs=self.eviction.knobs(params) if score is None else score.params,
            settings={
                **(settings or {}),
                "admission": ADMISSIONS[admission],
                "seed": seed,
                "max_objects": max_objects or (self.capacity if stream else fits),
            },
        )
        if next_use is not None:
            self.world.replace(next_use=np.ascontiguousarray(next_use, np.int64))
        if costs is not None:
            if self.eviction.sized and not self.eviction.scored and not full:
                raise InputError(
                    f"the fast form of {self._name!r} does not weigh costs",
                    where="costs",
                    mend="ask for full=True",
                )
            rows = np.zeros(self.objects + FIRST)
            rows[FIRST:] = costs
            self.world.replace(cost=rows)
        if score is not None:
            self.world.rebind(evict_object=score.function)
            self.world.replace(memory=np.zeros(max(1, score.memory(self.objects))))
        prepare = getattr(self._module, "prepare", None)
        if prepare is not None:
            prepare(self.world)

    @property
    def access(self) -> Any:
        """The compiled `access` of its policy, a first-class function (`tables.ACCESS`)."""
        return self._module.access

    def replay(self, ids: NDArray[np.uint32]) -> int:
        """Hits of a stream of unit objects, at full speed: no sizes, expiry, pins or admission.

        Goes on where the last call ended. ids: uint32, each below `objects` (not checked).
        """
        hits = int(self._module.replay(self.world, _read_only(ids, np.uint32)))
        self._check_scores()
        return hits

    def replay_full(
        self,
        ids: NDArray[np.uint32],
        sizes: ArrayLike | None = None,
        times: ArrayLike | None = None,
        lives: ArrayLike | None = None,
    ) -> NDArray[np.uint8]:
        """The outcome of each request (MISS, HIT, REFUSED).

        Args:
            ids: uint32, each below `objects` (not checked).
            sizes: int64 per request, >= 0; 1 if not given.
            times: int64 ticks, not decreasing; 0 if not given.
            lives: int64 ticks after which an object that enters now is stale; 0 for ever.
        """
        n = len(ids)
        outcome = np.empty(n, np.uint8)
        self._module.replay_full(
            self.world,
            _read_only(ids, np.uint32),
            _column(sizes, n, 1),
            _column(times, n, 0),
            _column(lives, n, 0),
            outcome,
        )
        self._check_scores()
        return outcome

    def _check_tiny_lfu(self) -> None:
        """TinyLFU compares an object with the one that would leave for it."""
        if self.eviction.sketch:
            why = "counts requests itself, as TinyLFU does"
        elif not self._module.STEPS.peeks:
            why = "does not say whom it would evict"
        else:
            return
        raise InputError(
            f"eviction policy {self._name!r} {why}",
            where="admission",
            mend="choose another admission or eviction policy",
        )

    def _fits(self, max_objects: int | None, stream: bool) -> int:
        """How many objects the cache may ever hold."""
        fits = self.capacity if stream else min(self.capacity, self.objects)
        fits = min(fits, max_objects or fits)
        rings = self.eviction.ring > 0 or self.eviction.sketch
        if rings and fits > MAX_OBJECTS // 8:
            raise InputError(
                f"{self.eviction.name!r} keeps a table for the {fits:,} objects that may fit",
                where="max_objects",
                mend="say how many objects there are at most (max_objects)",
            )
        return fits

    def grow(self, objects: int) -> None:
        """Make room for more distinct ids (of a stream whose end is not known yet)."""
        if objects <= self.objects:
            return
        rows = max(_checked(objects, "objects", MAX_OBJECTS), self.objects * 3 // 2) + FIRST
        old = self.objects + FIRST
        longer = {}
        for name, column in self.world.tables().items():
            if name in GROWING and len(column) in (old, self.objects + 1):
                record = column.dtype.names
                grown = table(rows, column.dtype) if record else np.zeros(rows, column.dtype)
                grown[: len(column)] = column
                if name == "place":
                    grown[len(column) :] = -1
                longer[name] = grown
        self.objects = rows - FIRST
        if self._score is not None:
            old_memory = self.world.memory
            wanted = self._score.memory(self.objects)
            longer["memory"] = np.zeros(max(len(old_memory), wanted))
            longer["memory"][: len(old_memory)] = old_memory
        self.world.replace(**longer)
        regrow = getattr(self._module, "regrow", None)
        if regrow is not None:
            regrow(self.world)
        self.world.par.objects = self.objects
        if self._by_capacity:
            self.world.par.max_objects = self.capacity

    def request(self, id: int, size: int = 1, now: int = 0, ttl: int = 0) -> int:
        """One request: MISS, HIT or REFUSED."""
        return self._step(REQUEST, id, size, now, ttl)

    def store(self, id: int, size: int = 1, now: int = 0, ttl: int = 0) -> int:
        """Write it: MISS (taken in), HIT (was there; its time to live begins anew) or REFUSED."""
        return self._step(REQUEST, id, size, now, ~ttl)

    def find(self, id: int, size: int = 1, now: int = 0) -> bool:
        """Look it up and touch it; a miss takes nothing in."""
        return bool(self._step(FIND, id, size, now, 0))

    def fill(self, id: int, size: int = 1, now: int = 0, ttl: int = 0) -> int:
        """Take in an object that is absent: MISS (taken in) or REFUSED."""
        return self._step(FILL, id, size, now, ttl)

    def remove(self, id: int) -> bool:
        """Take an object out; False if it is not there or pinned."""
        return bool(self._step(REMOVE, id, 0, 0, 0))

    def pin(self, id: int) -> None:
        """Hold a resident object against eviction; once more for each holder."""
        if not self.holds(id):
            raise InputError(f"object {id} is not resident", where="pin")
        self._step(PIN, id, 0, 0, 0)

    def unpin(self, id: int) -> None:
        """Let a pinned object go."""
        if self.world.pins[id + FIRST] == 0:
            raise InputError(f"object {id} is not pinned", where="unpin")
        self._step(UNPIN, id, 0, 0, 0)

    def holds(self, id: int) -> bool:
        """Whether an object is resident, fresh or not."""
        return bool(self.world.queue[id + FIRST])

    def resident(self) -> NDArray[np.int64]:
        """Ids of the resident objects, ascending."""
        return np.flatnonzero(self.world.queue[FIRST : FIRST + self.objects])

    def victims(self) -> list[int]:
        """Ids that the last request (or fill) evicted, in order."""
        return [int(row) - FIRST for row in self.world.victims[: self.world.tot[0].victims]]

    def totals(self) -> dict[str, int]:
        """The counters by name (`tables.TOTALS`)."""
        row = self.world.tot[0]
        return {name: int(row[name]) for name in row.dtype.names}

    def _step(self, what: int, id: int, size: int, now: int, ttl: int) -> int:
        if not 0 <= id < self.objects:
            raise InputError(f"id {id} is not within 0 ... {self.objects - 1}", where="id")
        done = int(self._module.step(self.world, what, np.uint64(id + FIRST), size, now, ttl))
        self._check_scores()
        return done

    def _check_scores(self) -> None:
        if self.eviction.scored and self.world.own[0]:
            raise InputError(
                f"its score is no number at request {int(self.world.own[0])}",
                where=f"eviction {self._name!r}",
                mend="mind divisions by zero and logarithms",
            )


def next_uses(ids: NDArray[np.uint32], objects: int) -> NDArray[np.int64]:
    """For each request the number of the next one of the same object; NEVER where none follows."""
    from .future import next_uses_of

    return next_uses_of(_read_only(ids, np.uint32), objects)


def _checked(value: Any, name: str, most: int) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 1 <= int(value) <= most:
        raise InputError(f"{value!r} is no whole number from 1 to {most:,}", where=name)
    return int(value)


def _read_only(values: Any, dtype: Any) -> np.ndarray:
    """A view that the kernels take: contiguous, of this type, read-only (one type, one compile)."""
    array = np.ascontiguousarray(values, dtype).view()
    array.flags.writeable = False
    return array


def _column(values: ArrayLike | None, n: int, default: int) -> np.ndarray:
    if values is None:
        return _read_only(np.full(n, default, np.int64), np.int64)
    column = _read_only(values, np.int64)
    if len(column) != n:
        raise InputError(f"{len(column)} values for {n} requests", where="replay")
    return column
