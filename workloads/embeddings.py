"""Queries to a semantic cache, drawn: clustered embeddings, repetition, content that goes stale.

A category has intents (things that are asked for, each with one right answer), in families of
`siblings` that are easily confused. With g, h and u random unit vectors of the category, the family
and the intent, and e one of the query, an intent's centre and a query are

    centre = sqrt(base) g + sqrt(sibling - base) h + sqrt(1 - sibling) u
    query  = sqrt(p) centre + sqrt(1 - p) e,   p uniform on 2 paraphrase - 1 ... 1

so that the mean cosine similarity of two queries is about `paraphrase` within an intent,
`paraphrase x sibling` within a family and `paraphrase x base` within a category; single ones
scatter by about 1 / sqrt(dimensions). A share `verbatim` of the queries repeats the canonical
wording (p = 1).

Intents are drawn by a power law of their rank or uniformly. The content behind an intent changes at
the times of a Poisson process with mean life `life_s`: an older answer is stale from then on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mltwin.models.semantic.tables import LONGEST, TICKS_PER_S, Queries
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import (
    ARRIVALS,
    CONTENT,
    EMBEDDINGS,
    SELECTION,
    TENANTS,
    exponentials,
    normals,
    uniforms,
)

_ROWS = 1 << 12
"""Embeddings are made so many rows at a time."""
_KIND = 1 << 20
"""Counters of the random draws: kind x this + dimension."""
_CATEGORY, _FAMILY, _INTENT, _QUERY, _SPREAD, _VERBATIM = range(6)
MAX_CHANGES = 10_000


@dataclass(frozen=True)
class Cluster:
    """How the queries of one category are drawn.

    Attributes:
        name: of the category.
        share: of the traffic, relative to the others'.
        intents: how many different things are asked for.
        exponent: of the power law by which intents are drawn; 0: uniform.
        paraphrase, sibling, base: mean cosine similarities, see the module; 0 <= base <= sibling
            <= 1 and 0.5 <= paraphrase <= 1.
        siblings: intents of a family.
        verbatim: share of the queries in the canonical wording.
        life_s: mean life of an intent's content; None: it never changes.
    """

    name: str
    share: float = 1.0
    intents: int = 1000
    exponent: float = 0.0
    paraphrase: float = 0.8
    sibling: float = 0.6
    base: float = 0.3
    siblings: int = 4
    verbatim: float = 0.0
    life_s: float | None = None


def draw_queries(
    clusters: Sequence[Cluster],
    queries: int,
    *,
    rate: float,
    dimensions: int = 64,
    seed: int = 0,
) -> Queries:
    """Queries of these categories, Poisson arrivals at `rate` a second, embeddings of length 1.

    Raises InputError: similarities out of order, content that changes more than 10,000 times, or
    more than 73 years.
    """
    for cluster in clusters:
        _check(cluster)
    rows = np.arange(queries)
    shares = np.cumsum([cluster.share for cluster in clusters])
    at = uniforms(seed, TENANTS, rows) * shares[-1]
    category = np.minimum(np.searchsorted(shares, at, side="right"), len(clusters) - 1)
    gaps = exponentials(seed, ARRIVALS, rows) * (TICKS_PER_S / rate)
    if gaps.sum() > LONGEST:
        raise InputError(
            f"{queries:,} queries at {rate:g} a second take more than 73 years",
            where="workload.rate",
            mend="raise it",
        )
    arrival = np.rint(np.cumsum(gaps)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum([cluster.intents for cluster in clusters])])
    intent = np.zeros(queries, np.int32)
    version = np.zeros(queries, np.int32)
    embedding = np.zeros((queries, dimensions), np.float32)
    for c, cluster in enumerate(clusters):
        mine = np.flatnonzero(category == c)
        intent[mine] = first[c] + _ranks(cluster, uniforms(seed, SELECTION, mine))
        version[mine] = _versions(cluster, intent[mine], arrival[mine], seed)
        _embed(embedding, mine, intent, cluster, (c, int(first[c])), seed)
    names = tuple(cluster.name for cluster in clusters)
    return Queries(
        category.astype(np.int32), arrival, intent, version, embedding, names, "synthetic"
    )


def _check(cluster: Cluster) -> None:
    where = f"categories.{cluster.name}.traffic"
    if not 0 <= cluster.base <= cluster.sibling <= 1:
        raise InputError(
            f"base {cluster.base:g} and sibling {cluster.sibling:g} are not in order",
            where=where,
            mend="use 0 <= base <= sibling <= 1",
        )
    if not 0.5 <= cluster.paraphrase <= 1:
        raise InputError(
            f"{cluster.paraphrase:g} is not within 0.5 and 1", where=f"{where}.paraphrase"
        )


def _ranks(cluster: Cluster, uniform: np.ndarray) -> np.ndarray:
    """The rank of each query's intent within its category, by the law of repetition."""
    if cluster.exponent == 0:
        return (uniform * cluster.intents).astype(np.int64)
    weights = np.arange(1, cluster.intents + 1, dtype=np.float64) ** -cluster.exponent
    total = np.cumsum(weights)
    found = np.searchsorted(total, uniform * total[-1], side="right")
    return np.minimum(found, cluster.intents - 1)


def _versions(
    cluster: Cluster, intent: np.ndarray, arrival: np.ndarray, seed: int
) -> np.ndarray | int:
    """How often the content of each query's intent has changed before the query."""
    if cluster.life_s is None or not len(intent):
        return 0
    life = cluster.life_s * TICKS_PER_S
    if arrival[-1] / life > MAX_CHANGES:
        raise InputError(
            f"content that lives {cluster.life_s:g} s changes more than {MAX_CHANGES:,} times in"
            f" {arrival[-1] / TICKS_PER_S:,.0f} s",
            where=f"categories.{cluster.name}.traffic.life_s",
            mend="give it a longer life, or fewer queries",
        )
    ids, place = np.unique(intent, return_inverse=True)
    changed = np.zeros(len(ids))
    version = np.zeros(len(intent), np.int32)
    for change in range(20 * MAX_CHANGES):
        changed = changed + life * exponentials(seed, CONTENT, ids, change)
        behind = arrival >= changed[place]
        if not behind.any():
            break
        version += behind
    return version


def _embed(
    embedding: np.ndarray,
    mine: np.ndarray,
    intent: np.ndarray,
    cluster: Cluster,
    place: tuple[int, int],
    seed: int,
) -> None:
    """Fill the rows `mine`; `place`: number of the category and of its first intent."""
    c, first = place
    dimensions = embedding.shape[1]
    ids = np.unique(intent[mine])
    families = first + (ids - first) // cluster.siblings
    centre = np.sqrt(cluster.base) * _units(seed, np.array([c]), _CATEGORY, dimensions)
    centre = centre + np.sqrt(cluster.sibling - cluster.base) * _units(
        seed, families, _FAMILY, dimensions
    )
    centre += np.sqrt(1 - cluster.sibling) * _units(seed, ids, _INTENT, dimensions)
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    for begin in range(0, len(mine), _ROWS):
        rows = mine[begin : begin + _ROWS]
        spread = 2 * (1 - cluster.paraphrase) * uniforms(seed, EMBEDDINGS, rows, _SPREAD * _KIND)
        exact = uniforms(seed, EMBEDDINGS, rows, _VERBATIM * _KIND) < cluster.verbatim
        spread = np.where(exact, 0.0, spread)[:, None]
        around = _units(seed, rows, _QUERY, dimensions)
        found = np.sqrt(1 - spread) * centre[np.searchsorted(ids, intent[rows])]
        found += np.sqrt(spread) * around
        embedding[rows] = found / np.linalg.norm(found, axis=1, keepdims=True)


def _units(seed: int, ids: np.ndarray, kind: int, dimensions: int) -> np.ndarray:
    """Random unit vectors, one row an id."""
    counters = kind * _KIND + np.arange(dimensions)
    drawn = normals(seed, EMBEDDINGS, ids[:, None], counters)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
