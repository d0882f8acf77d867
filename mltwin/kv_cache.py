"""`KvCacheScenario`: KV prefix caches of a cluster of prefill nodes, as a page of TOML.

Sections: `workload` (requests with prefix blocks), `model` (bytes and time of a token), `nodes`
(how many, and their tiers), `pool` (one that all read, over `network`), `routing`, `eviction`,
`copies` (hot blocks). The model behind them: `mltwin.models.caching.prefix_nodes`.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section
from .result import Result
from .scenario import Scenario


class KvWorkload(Section):
    """Requests whose prompts are cut into prefix blocks."""

    trace: str | dict[str, Any] = Field(
        "mooncake-conv-synthetic",
        description="name from `mltwin traces list`, a file, or a table for a synthetic trace",
    )
    format: str = Field("auto", description="of the file; auto looks at its content")
    options: dict[str, Any] = Field({}, description="further options of the trace's reader")
    window_s: list[float] | None = Field(
        None, min_length=2, max_length=2, description="[from, to) in seconds of the trace"
    )
    requests: int | None = Field(
        None, ge=1, le=2**31 - 1, description="the first ones, or the trace repeated up to them"
    )
    rate: float | None = Field(None, gt=0, description="requests per second, else the trace's own")
    rate_scale: float | None = Field(None, gt=0, description="factor on the trace's own rate")
    arrivals: Literal["trace", "poisson", "gamma", "deterministic"] = Field(
        "trace", description="trace keeps the pattern and scales time; the others draw anew"
    )
    burstiness: float = Field(1.0, gt=0, description="shape of gamma arrivals: 1 is Poisson")


class KvModel(Section):
    """Bytes of a token's KV, and the time of computing it anew."""

    name: str = Field(
        "llama-3.1-70b", description="name from `mltwin models list`, or a config.json"
    )
    kv_dtype: str | None = Field(None, description="of the KV cache, else the model's dtype")
    kv_bytes_per_token: float | None = Field(
        None, gt=0, le=1e9, description="instead of what the model's shape says"
    )
    gpu: str = Field("h100-sxm-80gb", description="name from `mltwin gpus list`, or a profile.json")
    gpus: int = Field(4, ge=1, le=4096, description="that a node prefills with")
    efficiency: float = Field(
        0.5, gt=0, le=1, description="share of the GPUs' dense peak that a prefill reaches; assumed"
    )
    overhead_ms: float = Field(5.0, ge=0, le=1e6, description="of each prefill; assumed")
    tokens_per_s: float | None = Field(
        None, gt=0, le=1e12, description="of a node's prefill, linear, instead of GPU and model"
    )


class KvNodes(Section):
    """The nodes, all alike: HBM, then DRAM and SSD where given; blocks move down and back up."""

    count: int = Field(4, ge=1, le=4096, description="how many")
    hbm_gb: float = Field(
        100.0, ge=0, le=1e7, description="for KV blocks, 10^9 bytes; 0 beside a pool"
    )
    hbm_blocks: int | None = Field(None, ge=0, description="instead of hbm_gb")
    dram_gb: float = Field(0.0, ge=0, le=1e7, description="of host memory for KV; 0: no such tier")
    dram_blocks: int | None = Field(None, ge=0, description="instead of dram_gb")
    ssd_gb: float = Field(0.0, ge=0, le=1e8, description="0: no such tier")
    ssd_blocks: int | None = Field(None, ge=0, description="instead of ssd_gb")
    dram_gb_per_s: float = Field(64.0, gt=0, le=1e6, description="to HBM; one PCIe 5 x16")
    dram_latency_us: float = Field(10.0, ge=0, le=1e9, description="of a read; assumed")
    ssd_gb_per_s: float = Field(6.0, gt=0, le=1e6, description="to HBM; assumed, one NVMe drive")
    ssd_latency_us: float = Field(100.0, ge=0, le=1e9, description="of a read; assumed")
    borrow: bool = Field(
        False, description="a full node uses free room of others (Infinite-LLM); one tier only"
    )


class KvPool(Section):
    """A pool of blocks that every node reads over the network (Mooncake, CloudMatrix384)."""

    gb: float = Field(0.0, ge=0, le=1e8, description="10^9 bytes in all; 0: no pool")
    blocks: int | None = Field(None, ge=0, description="instead of gb")
    wait_in_flight: bool = Field(
        False, description="wait for a missing block that another node is computing"
    )


class KvNetwork(Section):
    """Between the nodes, and between them and the pool."""

    gb_per_s: float = Field(25.0, gt=0, le=1e6, description="of a node's link; 200 Gbit/s")
    shared_gb_per_s: float | None = Field(
        None, gt=0, le=1e7, description="that all fetches share besides; none: no such limit"
    )
    latency_us: float = Field(20.0, ge=0, le=1e9, description="of a fetch; assumed")


class KvRouting(Section):
    """Which node serves a request."""

    policy: Literal["random", "round_robin", "least_loaded", "affinity", "cost", "session_hash"] = (
        Field("cost", description="affinity: longest prefix; cost: least missed blocks + load")
    )
    load: Literal["queued", "decayed"] | None = Field(
        None, description="missed blocks not yet done, or all, decayed; by default as timed says"
    )
    load_weight: float = Field(
        0.05, ge=0, le=1e6, description="cost: missed blocks that one block of load is worth"
    )
    half_life_requests: float = Field(
        100.0, gt=0, le=1e9, description="decayed: after which half of a load is left"
    )


class KvEviction(Section):
    """Which block goes."""

    policy: str = Field(
        "lru",
        description="lru, fifo, lfu, cost (of computing it anew); untimed also any of `caching`, "
        "and for one node belady_blocks, an oracle",
    )
    tail_first: bool = Field(
        False, description="touch a request's blocks from the last to the first, as vLLM frees them"
    )
    leaf_only: bool = Field(False, description="keep blocks with resident successors; one tier")
    queue_informed: bool = Field(False, description="blocks that waiting requests want go last")


class KvCopies(Section):
    """Hot blocks are copied to more nodes."""

    hits: int = Field(0, ge=0, description="in a window, after which a block is hot; 0: no copies")
    window_requests: int = Field(1000, ge=1, description="length of the window")
    nodes: int = Field(1, ge=1, description="that get a copy")


class KvCacheScenario(Scenario):
    """KV prefix caches, local or pooled, under any routing: hits, saved tokens, TTFT."""

    system: Literal["kv-cache"] = "kv-cache"
    timed: bool = Field(True, description="false: requests in trace order, without time")
    workload: KvWorkload = Field(KvWorkload(), description="what is asked for")
    model: KvModel = Field(KvModel(), description="what a token weighs and takes")
    nodes: KvNodes = Field(KvNodes(), description="who computes and keeps")
    pool: KvPool = Field(KvPool(), description="what all share")
    network: KvNetwork = Field(KvNetwork(), description="between them")
    routing: KvRouting = Field(KvRouting(), description="who serves a request")
    eviction: KvEviction = Field(KvEviction(), description="what is given up")
    copies: KvCopies = Field(KvCopies(), description="what is kept more than once")
    overlap: bool = Field(False, description="fetch and compute at once, layer by layer")

    result_class: ClassVar[str] = "mltwin.kv_cache_result:KvCacheResult"

    @model_validator(mode="after")
    def _fits(self) -> "KvCacheScenario":
        n = self.nodes
        lower = any((n.dram_gb, n.dram_blocks, n.ssd_gb, n.ssd_blocks))
        for field, given in (
            ("eviction.leaf_only", self.eviction.leaf_only),
            ("nodes.borrow", n.borrow),
        ):
            if given and lower:
                raise InputError(
                    "is for nodes with HBM only", where=field, mend="leave DRAM and SSD out"
                )
        if self.pool.wait_in_flight and not (self.pool.gb or self.pool.blocks):
            raise InputError("wants a pool", where="pool.wait_in_flight", mend="give pool.gb")
        return self

    def simulate(self, seed: int, *, reference: bool = False, **others: Any) -> Result:
        """One run.

        Args:
            seed: of drawn traces and random routing.
            reference: by the plain-Python twin (slow); same result.
            others: options of other systems; ignored.
        """
        from .kv_cache_run import run_kv_cache

        del others
        return run_kv_cache(self, seed, reference=reference)

    def check(self) -> None:
        """Look up trace, model, GPU and eviction policy by their names.

        Raises InputError for the first that is not there.
        """
        from .kv_cache_run import check_names

        check_names(self)
