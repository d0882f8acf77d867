"""`SemanticScenario`: a cache of LLM answers that finds them again by similarity.

    scenario = mt.Scenario.parse({"system": "semantic-cache", "cache": {"threshold": 0.9}})
    print(scenario.run().metrics["hit_ratio"])

What is simulated stands in `mltwin.models.semantic`; this file holds the fields alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from mltwin.sim.errors import InputError

from .fields import Section
from .scenario import Progress, Scenario

if TYPE_CHECKING:
    from .result import Result

Share = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(ge=-1, le=2)]

KINDS: dict[str, dict[str, Any]] = {
    "dense": {
        "intents": 2000,
        "exponent": 1.0,
        "paraphrase": 0.93,
        "sibling": 0.93,
        "base": 0.6,
        "siblings": 4,
        "verbatim": 0.15,
    },
    "sparse": {
        "intents": 5000,
        "exponent": 0.0,
        "paraphrase": 0.8,
        "sibling": 0.6,
        "base": 0.1,
        "siblings": 4,
        "verbatim": 0.0,
    },
}
"""What `traffic` means by name: queries about code are near to each other and repeat by a power
law, chat is wide and repeats evenly (as arXiv 2510.26835 describes them; the numbers are ours)."""


def _named(given: Any) -> Any:
    return {"name": given} if isinstance(given, str) else given


class Traffic(Section):
    """How the queries of a category are drawn; a name alone will do: `traffic = "dense"`."""

    name: Literal["dense", "sparse"] = Field(
        "sparse", description="dense (code) or sparse (chat); the fields below change a part of it"
    )
    intents: int | None = Field(
        None, ge=1, le=10**7, description="different things that are asked for"
    )
    exponent: float | None = Field(
        None, ge=0, le=10, description="of the power law by which they repeat; 0: evenly"
    )
    paraphrase: float | None = Field(
        None, ge=0.5, le=1, description="mean cosine similarity of queries of one intent"
    )
    sibling: Share | None = Field(
        None, description="mean cosine similarity of intents that are easily confused"
    )
    base: Share | None = Field(
        None, description="mean cosine similarity of any two intents of the category"
    )
    siblings: int | None = Field(None, ge=1, description="intents that are easily confused")
    verbatim: Share | None = Field(None, description="share of queries in the very same words")
    life_s: float | None = Field(
        None, gt=0, description="mean time until an answer is stale, s; none: never"
    )

    def settings(self) -> dict[str, Any]:
        """All parameters: those of the name, with the fields that are given."""
        given = self.model_dump(exclude={"name"}, exclude_none=True)
        return {"life_s": None, **KINDS[self.name], **given}


class Category(Section):
    """Queries of one kind: how many, how they cluster, how they are cached, what the LLM costs."""

    share: float = Field(1.0, gt=0, description="of the traffic, relative to the others'")
    traffic: Annotated[Traffic, BeforeValidator(_named)] = Field(
        Traffic(), description="how its queries are drawn"
    )
    cached: bool = Field(True, description="off: its queries go straight to the LLM")
    threshold: Threshold | None = Field(
        None, description="least similarity of a hit; none: cache.threshold"
    )
    lowest_threshold: Threshold | None = Field(
        None, description="threshold under full load (adaptive); none: it does not move"
    )
    ttl_s: float | None = Field(
        None, gt=0, le=1e9, description="an entry as old as this is not served; none: cache.ttl_s"
    )
    longest_ttl_s: float | None = Field(
        None, gt=0, le=1e9, description="TTL under full load (adaptive); none: it does not move"
    )
    quota: int | None = Field(
        None, ge=0, description="entries; none: its share of the traffic, of what others leave"
    )
    llm_ms: float = Field(500.0, ge=0, le=1e9, description="mean time of a call, ms")
    llm_dollars: float = Field(0.002, ge=0, description="mean price of a call")
    llm_spread: float = Field(
        0.5, ge=0, le=3, description="sigma of the log-normal size of a call (time and price)"
    )


def _categories() -> dict[str, Category]:
    dense, sparse = Traffic(name="dense"), Traffic(name="sparse")
    return {
        "code": Category(share=0.35, traffic=dense, threshold=0.92, llm_ms=800.0),
        "docs": Category(
            share=0.2,
            traffic=dense.model_copy(update={"paraphrase": 0.9, "sibling": 0.8, "base": 0.4}),
            threshold=0.82,
        ),
        "chat": Category(share=0.35, traffic=sparse, threshold=0.68),
        "news": Category(
            share=0.1,
            traffic=sparse.model_copy(update={"intents": 300, "life_s": 60.0}),
            threshold=0.7,
            ttl_s=30.0,
        ),
    }


class Workload(Section):
    """The queries: drawn, or a file of embeddings."""

    embeddings: str | None = Field(
        None, description="a Parquet file with an embedding a row; none: drawn by the categories"
    )
    columns: dict[str, str] = Field(
        {}, description="names in the file: embedding, time, category, intent, version"
    )
    queries: int | None = Field(
        None, ge=1, le=10**7, description="how many; none: 10,000, or all of the file"
    )
    rate: float = Field(
        50.0, gt=0, le=1e9, description="queries a second (of a file: if it has no time)"
    )
    dimensions: int = Field(64, ge=2, le=16384, description="of drawn embeddings")


class Cache(Section):
    """What holds for all categories."""

    entries: int = Field(2000, ge=0, le=10**8, description="answers at most, of all categories")
    threshold: Threshold = Field(0.85, description="of categories that have none of their own")
    ttl_s: float | None = Field(
        None, gt=0, le=1e9, description="of categories that have none of their own; none: no limit"
    )
    eviction: Literal["lru", "fifo", "lfu", "ttl", "gdsf"] = Field(
        "lru",
        description="which entry of a full category goes; ttl: expired ones, then LRU; gdsf: by "
        "uses times the cost of the call",
    )
    coalesce: bool = Field(
        True, description="a query waits for the call of a similar one that is under way"
    )


class Index(Section):
    """What a lookup costs."""

    kind: Literal["memory", "remote"] = Field(
        "memory", description="index in memory and answers in a store, or a remote vector database"
    )
    embed_ms: float = Field(2.0, ge=0, le=1e6, description="of embedding a query, ms")
    embed_dollars: float = Field(2e-6, ge=0, description="of embedding a query")
    search_us: float = Field(47.0, ge=0, le=1e9, description="of a search among 5,000 entries, us")
    search_exponent: float = Field(
        0.28, ge=0, le=2, description="by which the search grows with entries (HNSW: about 0.28)"
    )
    rtt_ms: float = Field(28.0, ge=0, le=1e6, description="to a remote index and back, ms")
    fetch_ms: float = Field(
        5.0,
        ge=0,
        le=1e6,
        description="of fetching an answer from the store, ms (a remote index sends it along)",
    )


class Llm(Section):
    """What answers where the cache does not."""

    servers: int | None = Field(
        None, ge=1, le=10**6, description="calls at one time, others wait; none: no limit"
    )


class Adaptive(Section):
    """Thresholds and TTLs that move with the load of the LLM."""

    on: bool = Field(False, description="needs llm.servers")
    period_s: float = Field(1.0, gt=0, le=1e6, description="between two looks at the load, s")
    low: float = Field(
        1.0, ge=0, le=1e6, description="calls per server, running and waiting, where moving begins"
    )
    high: float = Field(2.0, gt=0, le=1e6, description="calls per server under full load")
    gain: float = Field(0.25, gt=0, le=1, description="weight of the newest look; 1: no memory")


class Neighbours(Section):
    """How the queries near to each other are found, once for a workload."""

    method: Literal["exact", "hnsw"] = Field(
        "exact", description="all pairs, or a graph search (needs mltwin[semantic])"
    )
    floor: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="least similarity looked for; none: just below each category's threshold",
    )
    most: int = Field(4096, ge=1, le=10**6, description="neighbours kept of a query, the nearest")


class SemanticScenario(Scenario):
    """A semantic cache before an LLM: who is served from it, rightly or not, how fast, and what is
    saved."""

    system: Literal["semantic-cache"] = Field(
        "semantic-cache", description="which system is simulated"
    )
    workload: Workload = Field(Workload(), description="the queries")
    categories: dict[str, Category] = Field(
        default_factory=_categories, min_length=1, description="kinds of queries, by name"
    )
    cache: Cache = Field(Cache(), description="what holds for all categories")
    index: Index = Field(Index(), description="what a lookup costs")
    llm: Llm = Field(Llm(), description="what answers where the cache does not")
    adaptive: Adaptive = Field(Adaptive(), description="thresholds and TTLs that move with load")
    neighbours: Neighbours = Field(Neighbours(), description="how near queries are found")

    result_class: ClassVar[str] = "mltwin.semantic_result:SemanticResult"

    def check(self) -> None:
        """Look up the file of embeddings, and whether the parts fit together.

        Raises InputError for the first thing that is wrong.
        """
        path = self.workload.embeddings
        if path is not None and not self.resolve_path(path).is_file():
            raise InputError(
                f"there is no file {path!r}", where="workload.embeddings", mend="give its path"
            )
        if path is None and self.workload.columns:
            raise InputError(
                "there is no file to read columns from",
                where="workload.columns",
                mend="give workload.embeddings",
            )
        self._check_bounds()
        given = sum(c.quota for c in self.categories.values() if c.quota is not None)
        if given > self.cache.entries:
            raise InputError(
                f"the quotas add up to {given:,}, the cache holds {self.cache.entries:,}",
                where="cache.entries",
                mend=f"raise it to {given}, or lower a quota",
            )
        if self.adaptive.on and self.llm.servers is None:
            raise InputError(
                "there is no load without a limit",
                where="llm.servers",
                mend="give the LLM a number of servers, or leave adaptive off",
            )
        if self.adaptive.high <= self.adaptive.low:
            raise InputError(
                f"{self.adaptive.high:g} is not above adaptive.low",
                where="adaptive.high",
                mend=f"raise it above {self.adaptive.low:g}",
            )

    def _check_bounds(self) -> None:
        for name, category in self.categories.items():
            threshold = category.threshold
            threshold = self.cache.threshold if threshold is None else threshold
            lowest = category.lowest_threshold
            if lowest is not None and lowest > threshold:
                raise InputError(
                    f"{lowest:g} is above the threshold {threshold:g}",
                    where=f"categories.{name}.lowest_threshold",
                    mend="load lowers thresholds: give less",
                )
            ttl = self.cache.ttl_s if category.ttl_s is None else category.ttl_s
            longest = category.longest_ttl_s
            if longest is not None and (ttl is None or longest < ttl):
                raise InputError(
                    f"{longest:g} is below the TTL",
                    where=f"categories.{name}.longest_ttl_s",
                    mend="load lengthens TTLs: give more",
                )

    def simulate(
        self,
        seed: int,
        *,
        reference: bool = False,
        progress: Progress | None = None,
        check: bool = False,
        **options: Any,
    ) -> "Result":
        """Run once.

        Args:
            seed: of all random draws.
            reference: by the plain-Python twin (slow; the same result).
            progress: called with the share done and the simulated seconds.
            check: accepted; what must hold is always checked.
        """
        from .semantic_run import run

        del check, options
        return run(self, seed, reference=reference, progress=progress)

    def path(self) -> Path | None:
        """The file of embeddings, where there is one."""
        given = self.workload.embeddings
        return None if given is None else self.resolve_path(given)
