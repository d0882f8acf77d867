"""From a semantic scenario to queries, neighbours and rules, and to its result."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.semantic.tables import (
    EVICTIONS,
    NEVER,
    ONE,
    TICKS_PER_S,
    Neighbours,
    Queries,
    Rules,
)
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import LENGTHS, normals
from mltwin.sim.runspec import canonical_json

from .fields import close_to, placed
from .remembered import Remembered
from .scenario import Progress
from .semantic import Category, SemanticScenario

if TYPE_CHECKING:
    from .semantic_result import SemanticResult

_MOST_BYTES = 512 * 2**20
_FLOOR_STEP = 0.05
_AT_ENTRIES = 5000
_queries: Remembered[Queries] = Remembered(lambda q: q.nbytes, _MOST_BYTES)
_neighbours: Remembered[Neighbours] = Remembered(lambda n: n.nbytes, _MOST_BYTES)


def run(
    scenario: SemanticScenario, seed: int, *, reference: bool, progress: Progress | None
) -> "SemanticResult":
    """The result of a scenario; queries and neighbours are remembered for the next one.

    Raises InputError for whatever does not fit.
    """
    from mltwin.models.semantic.simulate import simulate, violations

    from .semantic_result import SemanticResult

    scenario.check()
    queries, key = make_queries(scenario, seed)
    found = categories_of(scenario, queries)
    rules, dollars = make_rules(scenario, queries, found, seed)
    near = make_neighbours(scenario, queries, rules, key)

    def tell(share: float, now: int) -> None:
        if progress is not None:
            progress(share, now / TICKS_PER_S)

    outcome = simulate(
        queries, near, rules, reference=reference, progress=tell if progress else None
    )
    return SemanticResult.of(
        scenario, queries, rules, dollars, outcome, violations(queries, rules, outcome)
    )


def make_queries(scenario: SemanticScenario, seed: int) -> tuple[Queries, str]:
    """The workload, and a key that is equal for equal ones."""
    from mltwin.workloads.embeddings import Cluster, draw_queries
    from mltwin.workloads.embeddings_parquet import read_embeddings

    workload = scenario.workload
    path = scenario.path()
    if path is not None:
        state = os.stat(path)
        about: dict[str, Any] = {"path": str(path.resolve()), "columns": workload.columns}
        about |= {"bytes": state.st_size, "changed": state.st_mtime_ns}
        about |= {"limit": workload.queries, "rate": workload.rate}
        key = canonical_json(about)

        def read() -> Queries:
            try:
                return read_embeddings(
                    path,
                    columns=workload.columns,
                    limit=workload.queries,
                    rate=workload.rate,
                )
            except InputError as error:
                raise placed(error, "workload.embeddings") from None

        return _queries.get(key, read), key
    clusters = [
        Cluster(name=name, share=category.share, **category.traffic.settings())
        for name, category in scenario.categories.items()
    ]
    drawn: dict[str, Any] = {
        "queries": workload.queries or 10_000,
        "rate": workload.rate,
        "dimensions": workload.dimensions,
        "seed": seed,
    }
    key = canonical_json({"clusters": [vars(cluster) for cluster in clusters], **drawn})
    return _queries.get(key, lambda: draw_queries(clusters, **drawn)), key


def categories_of(scenario: SemanticScenario, queries: Queries) -> list[Category]:
    """The category of each name of the workload; those of a file that are not listed get defaults.

    Raises InputError for a listed name that the file does not have.
    """
    listed = scenario.categories
    if scenario.workload.embeddings is not None:
        if listed == SemanticScenario().categories:
            return [Category()] * len(queries.categories)
        for name in listed:
            if name not in queries.categories:
                raise InputError(
                    "the file has no such category",
                    where=f"categories.{name}",
                    mend=close_to(name, queries.categories),
                )
    return [listed.get(name, Category()) for name in queries.categories]


def make_rules(
    scenario: SemanticScenario, queries: Queries, categories: list[Category], seed: int
) -> tuple[Rules, np.ndarray]:
    """The rules in ticks and millionths, and the price of each query's call in dollars."""
    cache, index, adaptive = scenario.cache, scenario.index, scenario.adaptive
    thresholds = [cache.threshold if c.threshold is None else c.threshold for c in categories]
    lowest = [
        t if c.lowest_threshold is None else c.lowest_threshold
        for c, t in zip(categories, thresholds, strict=True)
    ]
    ttl = [_ttl(cache.ttl_s if c.ttl_s is None else c.ttl_s) for c in categories]
    longest = [
        t if c.longest_ttl_s is None else _ttl(c.longest_ttl_s)
        for c, t in zip(categories, ttl, strict=True)
    ]
    service, dollars = _calls(categories, queries, seed)
    rules = Rules(
        threshold=_millionths(thresholds),
        lowest=_millionths(lowest),
        ttl=np.array(ttl, np.int64),
        longest=np.array(longest, np.int64),
        quota=_quotas(scenario, queries, categories),
        cached=np.array([c.cached for c in categories]),
        service=service,
        eviction=EVICTIONS[cache.eviction],
        coalesce=cache.coalesce,
        embed=_ticks(index.embed_ms),
        search=_search(scenario),
        fetch=_ticks(index.fetch_ms) if index.kind == "memory" else 0,
        servers=scenario.llm.servers or 0,
        adaptive=adaptive.on,
        period=max(1, round(adaptive.period_s * TICKS_PER_S)),
        low=round(adaptive.low * 1000),
        high=max(round(adaptive.high * 1000), round(adaptive.low * 1000) + 1),
        gain=max(1, round(adaptive.gain * 1024)),
    )
    return rules, dollars


def make_neighbours(
    scenario: SemanticScenario, queries: Queries, rules: Rules, key: str
) -> Neighbours:
    """The near queries of each, down to just below the lowest threshold in use."""
    from mltwin.workloads.embeddings_neighbours import find_neighbours

    asked = scenario.neighbours
    used = (rules.lowest if rules.adaptive else rules.threshold) / ONE
    if asked.floor is None:
        steps = np.floor(np.minimum(used, 1.0) / _FLOOR_STEP + 1e-9) * _FLOOR_STEP
        floor = np.where(rules.cached, np.clip(steps, -1.0, 1.0), 1.0)
    else:
        floor = np.full(len(used), asked.floor)
    whole = (key, asked.method, asked.most, tuple(np.rint(floor * ONE)))
    return _neighbours.get(
        whole,
        lambda: find_neighbours(
            queries, floor=floor.tolist(), most=asked.most, method=asked.method
        ),
    )


def _ticks(milliseconds: float) -> int:
    return round(milliseconds * (TICKS_PER_S / 1000))


def _ttl(seconds: float | None) -> int:
    return NEVER if seconds is None else max(1, round(seconds * TICKS_PER_S))


def _millionths(values: list[float]) -> np.ndarray:
    return np.rint(np.array(values) * ONE).astype(np.int32)


def _calls(
    categories: list[Category], queries: Queries, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and dollars of the LLM's call for each query: a mean of the category times a size.

    The size is log-normal with mean 1, keyed by query: equal whatever the cache does.
    """
    spread = np.array([c.llm_spread for c in categories])[queries.category]
    factor = np.ones(len(queries))
    if spread.any():
        drawn = normals(seed, LENGTHS, np.arange(len(queries)))
        factor = np.exp(spread * drawn - spread**2 / 2)
    took = np.array([c.llm_ms for c in categories])[queries.category]
    price = np.array([c.llm_dollars for c in categories])[queries.category]
    ticks = np.rint(took * factor * (TICKS_PER_S / 1000))
    return ticks.astype(np.int64), price * factor


def _quotas(scenario: SemanticScenario, queries: Queries, categories: list[Category]) -> np.ndarray:
    """int32 entries of each category: as given, the others by their share of what is left."""
    if scenario.workload.embeddings is None:
        weight = np.array([c.share for c in categories])
    else:
        weight = np.bincount(queries.category, minlength=len(categories)).astype(float)
    free = np.array([c.quota is None and c.cached for c in categories])
    left = scenario.cache.entries - sum(c.quota or 0 for c in categories)
    quota = np.array([c.quota or 0 for c in categories], np.float64)
    if free.any():
        quota[free] = np.floor(left * weight[free] / weight[free].sum() + 1e-9)
    return np.minimum(quota, 2**31 - 1).astype(np.int32)


def _search(scenario: SemanticScenario) -> np.ndarray:
    """int64 ticks of a search among 0, 1, ... entries, with the way to the index and back."""
    index = scenario.index
    entries = np.arange(min(scenario.cache.entries, 10**6) + 1)
    law = (entries / _AT_ENTRIES) ** index.search_exponent if index.search_exponent else 1.0
    way = _ticks(index.rtt_ms) if index.kind == "remote" else 0
    return np.rint(index.search_us * (TICKS_PER_S / 1e6) * law * np.ones(len(entries))).astype(
        np.int64
    ) + np.int64(way)
