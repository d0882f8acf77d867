"""`replay_cache`: a trace of objects through one cache, at full speed, in windows or in chunks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.models.caching import TICKS_PER_S
from mltwin.models.caching.cache import Cache, next_uses
from mltwin.models.caching.tables import HIT, REFUSED, SETTINGS
from mltwin.policies import Policy
from mltwin.sim.errors import InputError
from mltwin.workloads.objects.table import DELETE, GET, SET, ObjectTrace

from .cache_policies import ChosenEviction, choose_eviction, name_and_params
from .cache_shelf import open_objects, size_of
from .fields import close_to

Spec = str | Mapping[str, Any]
UNITS = ("objects", "bytes")
MAX_TIME_S = 1e9
# What a scenario calls a parameter of an admission policy -> the field of SETTINGS, its default.
ADMISSION_KNOBS: dict[str, dict[str, tuple[str, float]]] = {
    "always": {},
    "size": {"max_size": ("max_size", 2**20)},
    "probability": {"chance": ("chance", 0.5), "scale": ("scale", 0.0)},
    "second_hit": {"window": ("window", 100_000)},
    "tinylfu": {},
}


@dataclass(frozen=True)
class CacheRun:
    """What a replay did.

    Attributes:
        policy, capacity, unit: what was replayed; capacity in objects or bytes.
        requests, hits, refused, expired, evicted: counts; refused are misses not taken in. Only
            GETs are requests; a SET takes its object in and begins its time to live anew, a DELETE
            takes it out.
        asked, hit: the same in the unit of the capacity's sizes (requests if objects).
        windows: (requests, hits, asked, hit) a window, int64[windows, 4].
        totals: the cache's own counters, summed over partitions; without those of the fast form.
    """

    policy: str
    capacity: int
    unit: str
    requests: int
    hits: int
    refused: int
    expired: int
    evicted: int
    asked: int
    hit: int
    windows: NDArray[np.int64] = field(repr=False)
    totals: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def hit_ratio(self) -> float:
        """Hits over requests."""
        return self.hits / max(1, self.requests)

    @property
    def miss_ratio(self) -> float:
        """Misses over requests."""
        return 1 - self.hits / max(1, self.requests)

    @property
    def byte_hit_ratio(self) -> float:
        """Hit size over size asked for; the hit ratio where objects are counted."""
        return self.hit / max(1, self.asked)


def replay_cache(
    trace: "ObjectTrace | Iterable[ObjectTrace] | str | Path",
    policy: "Spec | Policy | ChosenEviction" = "lru",
    capacity: int | str = 0,
    *,
    unit: str = "objects",
    admission: Spec = "always",
    ttl_s: float | None = None,
    max_objects: int | None = None,
    windows: int = 1,
    seed: int = 0,
) -> CacheRun:
    """Replay a trace through one cache.

    Args:
        trace: an object trace, a catalogue name or a file, or chunks of one dense numbering
            (`stream_objects`), which are replayed one by one in bounded memory.
        policy: name of an eviction policy or score, ``file.py:function`` with a score of your own
            (hook `evict_object`), the decorated function itself, or a mapping with `name` and
            parameters.
        capacity: objects or bytes, >= 1; of a whole trace also as text: "10%" of its footprint,
            "64MiB".
        unit: what capacity counts; "objects" ignores the trace's sizes.
        admission: name, or a mapping with `name` and its parameters.
        ttl_s: objects are stale so long after they came in (> 0); needs the trace's times.
        max_objects: resident at once, >= 1.
        windows: parts of equal length to count apart (1 for chunks: a window each).
        seed: of random policies.

    Raises:
        InputError: unknown names, a capacity below 1, bytes without sizes, a time to live without
            times, or an oracle policy for a stream of chunks.
    """
    setup = _Setup.of(policy, unit, admission, ttl_s, max_objects, seed)
    if isinstance(trace, str | Path):
        trace = open_objects(trace)
    if isinstance(trace, ObjectTrace):
        room = size_of(capacity, trace, unit) if isinstance(capacity, str) else capacity
        return replace(setup, capacity=room).whole(trace, windows)
    if isinstance(capacity, str):
        raise InputError(
            f"{capacity!r} cannot be told from chunks", where="capacity", mend="give a number"
        )
    if not isinstance(trace, Iterable):
        raise _no_trace(trace)
    return replace(setup, capacity=capacity).chunks(trace)


def _no_trace(given: Any) -> InputError:
    return InputError(
        f"{given!r:.60} is no object trace",
        where="trace",
        mend="number your keys with ids, _, keys = mt.objects.densify(keys), then take "
        "mt.objects.ObjectTrace.make(ids, keys=keys); or give a file",
    )


@dataclass(frozen=True)
class _Setup:
    """Everything about a cache but its trace."""

    policy: ChosenEviction
    capacity: int
    unit: str
    admission: str
    settings: dict[str, float]
    ttl: int
    max_objects: int | None
    seed: int

    @classmethod
    def of(
        cls,
        policy: "Spec | Policy | ChosenEviction",
        unit: str,
        admission: Spec,
        ttl_s: float | None,
        max_objects: int | None,
        seed: int,
    ) -> "_Setup":
        found = choose_eviction(policy)
        if unit not in UNITS:
            raise InputError(f"unit {unit!r}", where="unit", mend=close_to(unit, UNITS))
        if ttl_s is not None and not 0 < ttl_s <= MAX_TIME_S:
            raise InputError(
                f"{ttl_s!r} is no time above 0", where="ttl_s", mend="give seconds, or leave it out"
            )
        if max_objects is not None and max_objects < 1:
            raise InputError(f"{max_objects!r} is less than 1", where="max_objects")
        ttl = 0 if ttl_s is None else max(1, round(ttl_s * TICKS_PER_S))
        admitted, settings = admission_settings(admission)
        return cls(found, 0, unit, admitted, settings, ttl, max_objects, seed)

    @property
    def fast(self) -> bool:
        """Whether the fast form may say all: unit objects, all admitted, nothing expires."""
        plain = self.unit == "objects" and self.admission == "always" and not self.ttl
        return plain and self.max_objects is None

    def watches(self, trace: ObjectTrace) -> bool:
        """Whether the policy may look at a clock or at costs, which the fast form has not."""
        timed = self.policy.eviction.scored and trace.arrival is not None
        return timed or (self.policy.eviction.sized and trace.cost is not None)

    def cache(self, objects: int, trace: ObjectTrace | None) -> Cache:
        future, costs = None, None
        if self.policy.eviction.future:
            if trace is None:
                raise InputError(
                    f"{self.policy.name!r} must know the whole trace",
                    where="eviction",
                    mend="read the trace as a whole, or choose another policy",
                )
            future = next_uses(trace.ids, trace.objects)
        if trace is not None and trace.cost is not None:
            costs = np.zeros(objects)
            costs[trace.ids] = trace.cost
        return Cache(
            self.policy.for_cache(trace.requests if trace is not None else 0),
            self.capacity,
            max(1, objects),
            params=self.policy.params,
            admission=self.admission,
            settings=self.settings,
            max_objects=self.max_objects,
            full=not self.fast or trace is None or trace.op is not None or self.watches(trace),
            next_use=future,
            costs=costs,
            stream=trace is None,
            seed=self.seed,
        )

    def whole(self, trace: ObjectTrace, windows: int) -> CacheRun:
        cache = self.cache(trace.objects, trace)
        edges = np.linspace(0, trace.requests, max(1, windows) + 1).astype(np.int64)
        counts = [self.part(cache, trace, int(a), int(b)) for a, b in pairwise(edges)]
        return self.told(cache, np.array(counts, np.int64))

    def chunks(self, chunks: Iterable[ObjectTrace]) -> CacheRun:
        cache: Cache | None = None
        counts = []
        for chunk in chunks:
            if not isinstance(chunk, ObjectTrace):
                raise _no_trace(chunk)
            if cache is None:
                cache = self.cache(chunk.objects, None)
            cache.grow(max(1, chunk.objects))
            counts.append(self.part(cache, chunk, 0, chunk.requests))
        if cache is None:
            raise InputError("there are no requests", where="trace")
        return self.told(cache, np.array(counts, np.int64))

    def part(
        self, cache: Cache, trace: ObjectTrace, start: int, stop: int
    ) -> tuple[int, int, int, int]:
        """Replay requests start to stop: requests, hits, size asked for, size hit."""
        ids = trace.ids[start:stop]
        if self.fast and trace.op is None and not self.watches(trace):
            hits = cache.replay(ids)
            return len(ids), hits, len(ids), hits
        sizes = self.sizes(trace, start, stop)
        ops = None if trace.op is None else trace.op[start:stop]
        asked = np.ones(len(ids), np.int64) if sizes is None else sizes
        given = asked if ops is None else np.where(ops == DELETE, -1, asked)
        times, lives = self.times(trace, start, stop)
        if lives is not None and ops is not None:
            lives = np.where(ops == SET, ~lives, lives)
        outcome = cache.replay_full(ids, given, times, lives)
        counted = slice(None) if ops is None else ops == GET
        hit = (outcome == HIT)[counted]
        asked = asked[counted]
        return len(asked), int(hit.sum()), int(asked.sum()), int(asked[hit].sum())

    def sizes(self, trace: ObjectTrace, start: int, stop: int) -> NDArray[np.int64] | None:
        if self.unit == "objects":
            return None
        if trace.size_bytes is None:
            raise InputError(
                "the trace has no sizes",
                where="unit",
                mend='count objects (unit = "objects"), or give a trace with sizes',
            )
        return trace.size_bytes[start:stop]

    def times(
        self, trace: ObjectTrace, start: int, stop: int
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        own = trace.ttl_ns
        if not self.ttl and own is None:
            seen = trace.arrival if self.policy.eviction.scored else None
            return (None if seen is None else seen[start:stop]), None
        if trace.arrival is None:
            raise InputError(
                "the trace has no times, so nothing can expire",
                where="ttl_s",
                mend="leave ttl_s out, or give a trace with times or a rate",
            )
        times = trace.arrival[start:stop]
        if own is None:
            return times, np.full(stop - start, self.ttl, np.int64)
        lives = own[start:stop]
        return times, np.where(lives > 0, lives, self.ttl) if self.ttl else lives

    def told(self, cache: Cache, windows: NDArray[np.int64]) -> CacheRun:
        requests, hits, asked, hit = (int(v) for v in windows.sum(axis=0))
        totals = cache.totals()
        if not totals["asked_size"]:  # the fast form counts nothing else
            totals = {"evicted": requests - hits - totals["resident"]}
        return CacheRun(
            self.policy.name,
            self.capacity,
            self.unit,
            requests,
            hits,
            totals.get("refused", 0),
            totals.get("expired", 0),
            totals["evicted"],
            asked,
            hit,
            windows,
            totals,
        )


def admission_settings(spec: Spec) -> tuple[str, dict[str, float]]:
    """An admission policy's name and its fields of the cache's settings.

    Raises InputError for an unknown name or parameter, or a value that is no number.
    """
    name, given = name_and_params(spec, "admission")
    if name not in ADMISSION_KNOBS:
        raise InputError(
            f"no admission policy {name!r}",
            where="admission",
            mend=close_to(name, ADMISSION_KNOBS),
        )
    knobs = ADMISSION_KNOBS[name]
    settings: dict[str, float] = dict(knobs.values())
    for knob, value in given.items():
        if knob not in knobs:
            known = ", ".join(knobs) or "none"
            raise InputError(
                f"admission policy {name!r} has no parameter {knob!r}",
                where="admission",
                mend=f"it has: {known}",
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise InputError(f"{value!r} is no number >= 0", where=f"admission.{knob}")
        settings[knobs[knob][0]] = value
    if settings.get("scale"):
        settings["by_size"] = 1
    assert set(settings) <= set(SETTINGS.names or ())
    return name, settings


__all__ = ["HIT", "REFUSED", "CacheRun", "admission_settings", "replay_cache"]
