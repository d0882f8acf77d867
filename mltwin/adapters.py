"""`AdapterScenario`: LoRA adapters (and what shares their memory) as a system of the house.

`mode` says which question is asked:

- `serving`: adapters are paged while requests wait for them.
- `routing`: a router learns which adapter helps which request (POLAR).
- `agents`: agents that share a base model share its KV (LRAgent).
- `memory`: KV blocks, adapters and experts share one budget of bytes.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section
from .scenario import Scenario

if TYPE_CHECKING:
    from mltwin.models.gpu.profile import GpuProfile
    from mltwin.models.llm import Model

    from .result import Result

Mode = Literal["serving", "routing", "agents", "memory"]
MAX_REQUESTS = 2_000_000


class Library(Section):
    """The adapters, and how popular they are."""

    count: int = Field(100, ge=1, le=100_000, description="adapters in the library")
    ranks: list[int] = Field(
        [8, 16, 32, 64],
        min_length=1,
        description="ranks, handed out in turn: adapter i has the i-th, then again from the first",
    )
    targets: list[str] = Field(
        ["q", "k", "v", "o", "gate", "up", "down"],
        description="projections that an adapter changes: q, k, v, o, gate, up, down",
    )
    dtype: str | None = Field(None, description="of the adapters' weights, else the model's")
    popularity: Literal["zipf", "contextual", "tenants"] = Field(
        "zipf",
        description="zipf: by rank of popularity; contextual: the adapter that fits each request's "
        "context best (fields of routing); tenants: the trace's tenants, one adapter each in turn",
    )
    zipf: float = Field(1.0, ge=0, le=10, description="exponent of Zipf's law, 0 is uniform")
    persistence: float = Field(
        0.0, ge=0, lt=1, description="probability that a request takes the adapter before it again"
    )


class Store(Section):
    """Where adapters lie that are not in the GPU's memory, and the link to it."""

    tier: Literal["dram", "ssd", "remote"] = Field("dram", description="where they lie")
    gb_per_s: float | None = Field(
        None, gt=0, le=10_000, description="bandwidth in 1e9 bytes a second, else the tier's"
    )
    latency_ms: float | None = Field(
        None, ge=0, le=1e6, description="before the first byte of a load, else the tier's"
    )


class Requests(Section):
    """What arrives."""

    trace: str | dict[str, Any] = Field(
        "azure-conv-synthetic",
        description="name from `mltwin traces list`, a file, or a table for a synthetic trace",
    )
    columns: dict[str, str] | None = Field(None, description="column map for a plain file")
    window_s: list[float] | None = Field(
        None, min_length=2, max_length=2, description="[from, to) in seconds of the trace"
    )
    requests: int = Field(
        3000, ge=0, le=MAX_REQUESTS, description="how many; 0: as many as the trace has"
    )
    rate: float = Field(8.0, ge=0, description="requests a second; 0: the trace's own rate")
    arrivals: Literal["trace", "poisson", "gamma", "deterministic"] = Field(
        "poisson", description="trace keeps the pattern and scales time; the others draw anew"
    )
    burstiness: float = Field(1.0, gt=0, description="shape of gamma arrivals, less is burstier")


class Serving(Section):
    """One replica that runs so many requests at a time, each at its own pace."""

    policy: Literal["lru", "lfu", "static", "gdsf", "oracle", "random"] = Field(
        "lru", description="which adapter goes when room is needed"
    )
    resident: int | None = Field(None, ge=1, description="adapters in memory at most, if limited")
    memory_gb: float = Field(
        4.0, gt=0, le=10_000, description="1e9 bytes of GPU memory for adapters"
    )
    warm: bool = Field(False, description="begin with the most popular adapters in memory")
    slots: int = Field(32, ge=1, le=100_000, description="requests that run at a time")
    efficiency: float = Field(
        0.6, gt=0, le=1, description="of the GPU's peak arithmetic (prefill) and bandwidth (decode)"
    )
    prefill_us_per_token: float | None = Field(
        None, gt=0, description="of a request's service, else from model, GPU and efficiency"
    )
    decode_ms_per_token: float | None = Field(None, gt=0, description="likewise, of output tokens")
    slowdown: float = Field(
        0.0, ge=0, le=10, description="share by which an adapter makes a request's service longer"
    )


class Routing(Section):
    """A learned router over a small library, in a synthetic world or a user's matrix."""

    controller: Literal["polar", "polar_plus", "lru", "lfu", "static", "popular", "oracle"] = Field(
        "polar_plus", description="what decides which adapters are resident"
    )
    rewards: str | None = Field(
        None,
        description="Parquet file with a row a request: columns x0, x1, .. (context) and r0, r1, "
        ".. (reward of each adapter); else a synthetic world",
    )
    requests: int = Field(20_000, ge=1, le=MAX_REQUESTS, description="requests routed at most")
    adapters: int = Field(15, ge=1, le=1000, description="adapters in the library (synthetic)")
    resident: int = Field(4, ge=1, le=1000, description="adapters in memory")
    price: float = Field(
        0.3,
        ge=0,
        le=100,
        description="of paging the mean adapter, in units of reward; others in proportion to the "
        "time of their load",
    )
    aware: bool = Field(True, description="the router counts the price of paging")
    bonus: float = Field(1.0, ge=0, le=100, description="factor on the confidence bound's width")
    ridge: float = Field(1.0, gt=0, le=1e6, description="regularisation of each adapter's estimate")
    epoch: int = Field(256, ge=1, description="requests of an epoch (polar_plus: of the first)")
    exploration: float = Field(
        1.0, ge=0, le=1000, description="polar_plus: forced rounds of an epoch over its root"
    )
    window: int = Field(2048, ge=1, le=100_000, description="requests a controller looks back on")
    dimension: int = Field(8, ge=1, le=64, description="numbers of a context (synthetic)")
    topics: int = Field(15, ge=1, le=10_000, description="kinds of requests (synthetic)")
    zipf: float = Field(1.0, ge=0, le=10, description="of the topics' popularity")
    spread: float = Field(0.5, ge=0, le=100, description="of contexts around their topic")
    persistence: float = Field(
        0.0, ge=0, lt=1, description="probability of staying with the topic before"
    )
    fit: float = Field(0.7, ge=0, le=1, description="how well adapters fit a topic")
    noise: float = Field(0.3, ge=0, le=100, description="standard deviation of observed rewards")


class Agents(Section):
    """Agents of several roles that take turns in common conversations."""

    scheme: Literal["separate", "full_shared", "base_shared", "base_lr_shared"] = Field(
        "base_lr_shared", description="how KV is kept across agents"
    )
    agents: int = Field(3, ge=1, le=1000, description="roles, each with an adapter of its own")
    rank: int = Field(8, ge=1, le=4096, description="of their adapters")
    targets: list[str] = Field(["q", "v"], description="projections that an adapter changes")
    split: list[str] = Field(
        ["v"], description="of k and v: kept as base and low-rank part where adapted"
    )
    kv_dtype: str | None = Field(None, description="of the KV cache, else the model's")
    memory_gb: float = Field(
        8.0, gt=0, le=10_000, description="1e9 bytes of GPU memory for KV and these adapters"
    )
    context_tokens: int = Field(
        8192, ge=1, le=10_000_000, description="for the capacity figures: a common context"
    )
    conversations: int = Field(200, ge=1, le=100_000, description="replayed")
    together: int = Field(16, ge=1, le=100_000, description="conversations under way at a time")
    turns: int = Field(9, ge=1, le=10_000, description="of a conversation; roles in turn")
    turn_tokens: int = Field(400, ge=1, le=1_000_000, description="mean new tokens of a turn")
    shared_tokens: int = Field(
        512, ge=0, le=1_000_000, description="common start of all conversations"
    )
    block_tokens: int = Field(16, ge=1, le=4096, description="tokens of a KV block")


class Memory(Section):
    """Three kinds of things in one budget: adapters, KV blocks of prefixes, experts."""

    sharing: Literal["static", "marginal", "pool"] = Field(
        "pool",
        description="static: fixed shares; marginal: shares follow what more bytes would have "
        "saved (ghost lists); pool: one order for all by cost per byte",
    )
    shares: list[float] = Field(
        [1.0, 1.0, 1.0],
        min_length=3,
        max_length=3,
        description="of adapters, KV blocks, experts; static, and where marginal begins",
    )
    memory_gb: float = Field(12.0, gt=0, le=10_000, description="1e9 bytes for all of them")
    requests: int = Field(20_000, ge=1, le=MAX_REQUESTS, description="replayed")
    step: float = Field(
        0.02, gt=0, le=0.5, description="marginal: share of the budget moved at a time"
    )
    every: int = Field(500, ge=1, description="marginal: requests between two moves")
    prefixes: int = Field(2000, ge=1, le=1_000_000, description="different prompts' beginnings")
    prefix_zipf: float = Field(0.9, ge=0, le=10, description="of their popularity")
    prefix_tokens: int = Field(1024, ge=0, le=1_000_000, description="tokens of each")
    block_tokens: int = Field(64, ge=1, le=4096, description="tokens of a KV block")
    experts: int = Field(64, ge=0, le=100_000, description="experts that are paged; 0: none")
    expert_zipf: float = Field(0.6, ge=0, le=10, description="of their popularity")
    expert_mb: float = Field(100.0, gt=0, le=1e6, description="1e6 bytes of an expert")
    experts_per_request: int = Field(4, ge=0, le=1000, description="experts a request asks for")


class AdapterScenario(Scenario):
    """Adapters in the memory of a GPU; `mode` says which part of the question is asked."""

    system: Literal["adapter-cache"] = "adapter-cache"
    result_class: ClassVar[str] = "mltwin.adapters_result:AdapterResult"

    mode: Mode = Field("serving", description="serving, routing, agents or memory")
    model: str = Field("llama-3.1-8b", description="name from `mltwin models list`, or config.json")
    gpu: str = Field("h100-sxm-80gb", description="name from `mltwin gpus list`, or profile.json")
    adapters: Library = Field(Library(), description="the library of adapters")
    store: Store = Field(Store(), description="where they are paged from")
    workload: Requests = Field(Requests(), description="mode serving: what arrives")
    serving: Serving = Field(Serving(), description="mode serving: paging on demand")
    routing: Routing = Field(Routing(), description="mode routing: POLAR and its rivals")
    agents: Agents = Field(Agents(), description="mode agents: KV shared across adapters")
    memory: Memory = Field(Memory(), description="mode memory: one budget for several kinds")

    @model_validator(mode="after")
    def _fits(self) -> "AdapterScenario":
        if min(self.adapters.ranks) < 1:
            raise InputError("ranks must be 1 or more", where="adapters.ranks")
        if sum(self.memory.shares) <= 0 or min(self.memory.shares) < 0:
            raise InputError("shares must be 0 or more, and not all 0", where="memory.shares")
        if self.routing.rewards is None and self.routing.resident > self.routing.adapters:
            raise InputError(
                f"{self.routing.resident} of {self.routing.adapters} adapters resident",
                where="routing.resident",
                mend=f"give at most {self.routing.adapters}",
            )
        return self

    def check(self) -> None:
        """Look up model, GPU, trace and projections.

        Raises InputError for the first that is not there.
        """
        from .adapters_serving import adapter_sizes, check_workload

        if self.mode == "serving":
            self.loaded_gpu()
            check_workload(self)
        if self.mode == "routing" and self.routing.rewards is not None:
            from .adapters_routing import rewards_file

            rewards_file(self)
        if self.mode == "agents":
            from .adapters_agents import split_of

            split_of(self)
        else:
            adapter_sizes(self, 1)

    def loaded_model(self) -> "Model":
        """The base model.

        Raises InputError for an unknown name.
        """
        from mltwin.models.llm import load_model

        from .fields import placed

        path = self.resolve_path(self.model)
        try:
            return load_model(path if path.is_file() else self.model)
        except InputError as error:
            raise placed(error, "model") from None

    def loaded_gpu(self) -> "GpuProfile":
        """The GPU's profile.

        Raises InputError for an unknown name.
        """
        from mltwin.models.gpu.profile import load_profile

        from .fields import placed

        path = self.resolve_path(self.gpu)
        try:
            return load_profile(path if path.is_file() else self.gpu)
        except InputError as error:
            raise placed(error, "gpu") from None

    def simulate(self, seed: int, **options: Any) -> "Result":
        """Run the part that `mode` names.

        Options: `reference` (bool) runs the plain-Python twin instead of the kernel; `log` (bool)
        keeps the events of mode serving; `check` and `progress` are taken and change nothing, as
        conservation is checked in every run.
        """
        reference = bool(options.get("reference", False))
        if self.mode == "serving":
            from .adapters_serving import run_serving

            return run_serving(self, seed, reference=reference, log=bool(options.get("log")))
        if self.mode == "routing":
            from .adapters_routing import run_routing

            return run_routing(self, seed, reference=reference)
        if self.mode == "agents":
            from .adapters_agents import run_agents

            return run_agents(self, seed, reference=reference)
        from .adapters_memory import run_memory

        return run_memory(self, seed, reference=reference)


__all__ = ["AdapterScenario", "Agents", "Library", "Memory", "Requests", "Routing", "Serving"]
