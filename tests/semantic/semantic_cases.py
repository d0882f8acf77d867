"""Small semantic caches for tests: random ones, and ones laid out by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from mltwin.models.semantic.tables import (
    EVICTIONS,
    NEVER,
    ONE,
    Neighbours,
    Queries,
    Rules,
)


def queries_of(
    category: Sequence[int], arrival: Sequence[int], intent: Sequence[int] | None = None
) -> Queries:
    """Queries whose embeddings play no part."""
    n = len(category)
    intents = np.arange(n) if intent is None else np.asarray(intent)
    return Queries(
        np.asarray(category, np.int32),
        np.asarray(arrival, np.int64),
        intents.astype(np.int32),
        np.zeros(n, np.int32),
        np.ones((n, 1), np.float32),
        tuple(f"c{i}" for i in range(max(category, default=0) + 1)),
    )


def neighbours_of(similarity: np.ndarray, category: np.ndarray, floor: int = 0) -> Neighbours:
    """Every earlier query of the category, nearest first, from a matrix in millionths."""
    rows, near, start = [], [], [0]
    for q in range(len(category)):
        mine = [e for e in range(q) if category[e] == category[q] and similarity[q, e] >= floor]
        mine.sort(key=lambda e: (-similarity[q, e], e))
        rows += mine
        near += [similarity[q, e] for e in mine]
        start.append(len(rows))
    return Neighbours(
        np.array(start, np.int64),
        np.array(rows, np.int32),
        np.array(near, np.int32),
        np.zeros(len(category), bool),
        np.full(int(category.max(initial=0)) + 1, floor, np.int32),
    )


def plain_rules(n: int, categories: int = 1, **changes: object) -> Rules:
    """Threshold 0.8, no TTL, room for all, nothing takes time; with changes."""
    rules = Rules(
        threshold=np.full(categories, 800_000, np.int32),
        lowest=np.full(categories, 800_000, np.int32),
        ttl=np.full(categories, NEVER),
        longest=np.full(categories, NEVER),
        quota=np.full(categories, n, np.int32),
        cached=np.ones(categories, bool),
        service=np.zeros(n, np.int64),
    )
    return replace(rules, **changes)  # type: ignore[arg-type]


def random_case(seed: int) -> tuple[Queries, Neighbours, Rules]:
    """Up to 120 queries with any similarities, every rule and policy, many events at one tick."""
    draw = np.random.default_rng(seed)
    n, categories = int(draw.integers(1, 121)), int(draw.integers(1, 4))
    category = draw.integers(0, categories, n)
    category[0] = categories - 1
    arrival = np.sort(draw.integers(0, draw.choice([20, 400, 5000]), n))
    queries = queries_of(category.tolist(), arrival.tolist(), draw.integers(0, 8, n).tolist())
    levels = draw.choice(np.array([200, 500, 700, 800, 900, 1000]) * 1000, (n, n))
    floor = int(draw.choice([0, 300_000]))
    neighbours = neighbours_of(levels, category, floor)
    rules = _random_rules(draw, n, categories, floor)
    return queries, neighbours, rules


def _random_rules(draw: Generator, n: int, categories: int, floor: int) -> Rules:
    threshold = draw.choice([500_000, 750_000, 900_000, ONE, ONE + 1], categories)
    ttl = draw.choice([1, 30, 300, NEVER], categories)
    longer = np.where(draw.random(categories) < 0.5, ttl, np.minimum(ttl * 4, NEVER))
    servers = int(draw.integers(0, 4))
    scale = int(draw.choice([1, 1, 10_000]))  # GreedyDual counts thousands of ticks
    return Rules(
        threshold=threshold.astype(np.int32),
        lowest=np.maximum(threshold - draw.choice([0, 300_000], categories), floor).astype(
            np.int32
        ),
        ttl=ttl,
        longest=longer.astype(np.int64),
        quota=draw.choice([0, 1, 3, 10, 200], categories).astype(np.int32),
        cached=draw.random(categories) < 0.85,
        service=draw.integers(0, 60, n) * scale,
        eviction=int(draw.choice(list(EVICTIONS.values()))),
        coalesce=bool(draw.random() < 0.7),
        embed=int(draw.integers(0, 4)),
        search=np.cumsum(draw.integers(0, 3, int(draw.integers(1, 12)))),
        fetch=int(draw.integers(0, 5)),
        servers=servers,
        adaptive=bool(servers and draw.random() < 0.7),
        period=int(draw.integers(1, 40)) * scale,
        low=int(draw.integers(0, 1500)),
        high=int(draw.integers(1501, 4000)),
        gain=int(draw.integers(1, 1025)),
    )
