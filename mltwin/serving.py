"""`ServingScenario`: LLM serving as a page of TOML.

Sections: `workload` (what comes), `model`, `cluster` (pools of replicas by name), `network`,
`policy` (one per decision), `control` (failures, scaling, stale views), `slo`, `prefix_pool` (KV
beyond the HBM). The model behind them: `mltwin.models.serving`.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .engines import make_engine
from .fields import Section, Spec, close_to
from .prefix_pool import PrefixPool
from .result import Result
from .scenario import Scenario

# A duration is added to a time of at most 100 days; int64 ticks have 6 days beyond (`sim.ticks`).
MAX_WAIT_S = 5 * 86_400.0
MAX_TIME_S = 100 * 86_400.0


class Workload(Section):
    """What arrives, and how the clients behave."""

    trace: Spec = Field(
        "azure-conv-synthetic",
        description="name from `mltwin traces list`, a file, or a table for a synthetic trace",
    )
    format: str = Field("auto", description="of the file; auto looks at its content")
    columns: dict[str, str] | None = Field(
        None, description="column map for a plain CSV, JSONL or Parquet file"
    )
    options: dict[str, Any] = Field({}, description="further options of the trace's reader")
    sort: bool = Field(False, description="sort a file whose times go back instead of refusing it")
    on_error: Literal["fail", "skip"] = Field("fail", description="what to do with bad lines")
    window_s: list[float] | None = Field(
        None, min_length=2, max_length=2, description="[from, to) in seconds of the trace"
    )
    requests: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="how many: the first ones, or the trace repeated up to them",
    )
    rate: float | None = Field(None, gt=0, description="requests per second, else the trace's own")
    rate_scale: float | None = Field(None, gt=0, description="factor on the trace's own rate")
    arrivals: Literal["trace", "poisson", "gamma", "deterministic"] = Field(
        "trace", description="trace keeps the pattern and scales time; the others draw anew"
    )
    burstiness: float = Field(
        1.0, gt=0, description="shape of gamma arrivals: 1 is Poisson, less is burstier"
    )
    concurrency: int | None = Field(
        None, ge=1, description="closed loop: so many requests at a time, arrivals ignored"
    )
    think_s: float = Field(
        0.0, ge=0, le=MAX_WAIT_S, description="closed loop: pause before the next request"
    )
    timeout_s: float | None = Field(
        None, gt=0, le=MAX_WAIT_S, description="clients give up after so long"
    )
    frontend_s: float = Field(
        0.0, ge=0, le=3600, description="from a client's sending to the engine's queue"
    )
    frontend_token_s: float = Field(
        0.0, ge=0, le=1, description="the same, more for each prompt token"
    )
    return_s: float = Field(0.0, ge=0, le=3600, description="from a token's making to its client")
    deadline_s: float | None = Field(
        None,
        gt=0,
        le=MAX_WAIT_S,
        description="for deadline policies, after arrival; else slo.ttft_ms",
    )
    prediction: Literal["oracle", "noisy", "mean"] = Field(
        "oracle", description="what policies know of output lengths"
    )
    prediction_sigma: float = Field(
        0.5, ge=0, le=5, description="noisy: standard deviation of the log of the error"
    )
    tenants: dict[str, float] = Field({}, description="weights of tenants by name, else 1")


class LanguageModel(Section):
    """The model that is served."""

    name: str = Field(
        "llama-3.1-70b", description="name from `mltwin models list`, or a config.json"
    )
    dtype: str | None = Field(None, description="of weights and activations, else the config's")
    quantisation: str | None = Field(
        None, description="of linear layers and experts: fp8, int4, .."
    )
    kv_dtype: str | None = Field(None, description="of the KV cache, else the model's dtype")


class Pool(Section):
    """Replicas of one kind: an engine on one sort of GPU."""

    role: Literal["mixed", "prefill", "decode"] | None = Field(
        None, description="what its replicas do, else by the pool's name, else mixed"
    )
    replicas: int = Field(8, ge=0, le=4096, description="how many")
    gpu: str = Field("h100-sxm-80gb", description="name from `mltwin gpus list`, or a profile.json")
    timing: Spec | None = Field(
        None,
        description="iteration times of your own (a JSON file or a table, format "
        "mltwin-user-timing-1) instead of the GPU profile's; set kv_blocks too",
    )
    tp: int = Field(1, ge=1, le=64, description="tensor parallel GPUs of a replica")
    pp: int = Field(1, ge=1, le=64, description="pipeline stages of a replica")
    dp: int = Field(
        1, ge=1, le=64, description="attention ranks of a replica, of tp x pp GPUs and a queue each"
    )
    ep: int = Field(1, ge=1, le=1024, description="GPUs over which the experts are spread")
    dtype: str | None = Field(None, description="of linear weights, else the model's")
    kv_dtype: str | None = Field(None, description="of the KV cache, else model.kv_dtype")
    graphs: Literal["full", "decode", "none"] | None = Field(
        None, description="which iterations replay CUDA graphs, else all"
    )
    engine: Spec = Field(
        "vllm_v1", description="preset by name, or a table with `name` and flags to change"
    )
    max_batch: int | None = Field(None, ge=1, description="sequences, else the engine's")
    max_tokens: int | None = Field(None, ge=1, description="of an iteration, else the engine's")
    preemption: Literal["recompute", "swap"] | None = Field(None, description="else the engine's")
    watermark: float | None = Field(None, ge=0, lt=1, description="else the engine's")
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="share of GPU memory the engine may use"
    )
    kv_blocks: int | None = Field(None, ge=1, description="of a replica, else by memory")
    host_memory_gb: float = Field(0.0, ge=0, le=1e6, description="for swapped KV, per replica")
    host_overhead_ms: float | None = Field(
        None, ge=0, le=1e6, description="scheduler time of an iteration, else the profile's"
    )
    time_scale: float = Field(
        1.0,
        ge=0.01,
        le=100,
        description="the GPU's part of an iteration lasts this many times the profile's",
    )
    dollars_per_gpu_hour: float | None = Field(None, ge=0, description="for the cost metrics")
    startup_s: float = Field(
        0.0, ge=0, le=MAX_WAIT_S, description="from start to up, for scaling and recovery"
    )
    initially_up: int | None = Field(None, ge=0, description="replicas up at the start, else all")


class Network(Section):
    """Links between replicas, for KV hand-over."""

    bandwidth_gbps: float = Field(
        400.0, ge=0.1, le=1e6, description="of each NIC, each way, in Gbit/s"
    )
    replicas_per_nic: int = Field(1, ge=1, description="neighbours in a pool that share one NIC")
    latency_us: float = Field(10.0, ge=0, le=1e9, description="of a hand-over message")
    topology: Spec | None = Field(
        None,
        description="links between the NICs that transfers share: a topology's name, a table with "
        "its parameters, or { file = ... }; none: a switch that never is the narrowest",
    )
    endpoints: list[int] | None = Field(
        None,
        description="of the topology, one for each NIC, a KV pool's last; none: 0, 1, 2, ...",
    )
    routing: Literal["ecmp", "shortest"] = Field(
        "ecmp", description="which of the shortest paths a pair of NICs has, by a hash or the first"
    )


class Policies(Section):
    """The policy at each decision: a name, `file.py:function`, or a table with parameters."""

    admit: Spec = Field("always", description="accept or refuse an arriving request")
    route: Spec = Field("least_requests", description="which replica it joins")
    place_decode: Spec = Field(
        "least_requests_decode", description="where a prefilled request decodes"
    )
    priority: Spec = Field("fcfs", description="order of the waiting queue")
    preempt: Spec = Field("lowest_priority", description="who yields when KV blocks are short")
    evict: Spec = Field("lru", description="which cached prefix block goes first")
    scale: Spec = Field("none", description="start and drain replicas, change their roles")


class Failure(Section):
    """One replica that fails, and perhaps returns."""

    pool: str = Field(description="its pool")
    index: int = Field(0, ge=0, description="its number in the pool, from 0")
    at_s: float = Field(ge=0, le=MAX_TIME_S, description="when it fails")
    until_s: float | None = Field(
        None, ge=0, le=MAX_TIME_S, description="when it is up again, else never"
    )


class Control(Section):
    """What happens to the cluster, and how fresh the policies' view of it is."""

    failures: list[Failure] = Field([], description="replicas that fail")
    scale_interval_s: float = Field(
        10.0, ge=1e-6, le=MAX_WAIT_S, description="how often `policy.scale` is asked"
    )
    snapshot_s: float = Field(
        0.0,
        ge=0,
        le=MAX_WAIT_S,
        description="policies see the replicas as they were at each such tick; 0: live",
    )


class Slo(Section):
    """Limits a request must keep to count as good; none given, all do."""

    ttft_ms: float | None = Field(None, gt=0, le=4e8, description="time to first token")
    tpot_ms: float | None = Field(
        None, gt=0, le=4e8, description="time per output token after the first"
    )
    e2e_ms: float | None = Field(None, gt=0, le=4e8, description="whole request")


class ServingScenario(Scenario):
    """LLM serving on pools of replicas."""

    system: Literal["serving"] = "serving"
    workload: Workload = Workload()
    model: LanguageModel = LanguageModel()
    cluster: dict[str, Pool] = Field(
        default={"mixed": Pool(tp=4)}, description="pools of replicas by name"
    )
    network: Network = Network()
    policy: Policies = Policies()
    control: Control = Control()
    slo: Slo = Slo()
    prefix_pool: PrefixPool | None = Field(
        None, description="prefix KV in host memory or a shared pool too; with prefix_caching"
    )
    prefix_caching: bool = Field(False, description="reuse KV blocks of equal prompt prefixes")
    block_tokens: int | None = Field(
        None, ge=1, le=2**16, description="of a KV block; else 16, or the trace's with caching"
    )

    result_class: ClassVar[str] = "mltwin.serving_result:ServingResult"

    @model_validator(mode="before")
    @classmethod
    def _pools_by_name(cls, data: Any) -> Any:
        """Accept `[[pools]]` rows with a `name` in place of `[cluster.<name>]` tables."""
        if not isinstance(data, Mapping) or "pools" not in data:
            return data
        rows = data["pools"]
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise InputError("is not a list of tables", where="pools", mend="write [[pools]]")
        cluster = dict(data.get("cluster") or {})
        for i, row in enumerate(rows):
            fields = dict(row)
            name = fields.pop("name", None)
            if not isinstance(name, str) or name in cluster:
                raise InputError(
                    f"name {name!r} is missing or taken",
                    where=f"pools.{i}",
                    mend="give each pool a name of its own",
                )
            cluster[name] = fields
        return {**{k: v for k, v in data.items() if k != "pools"}, "cluster": cluster}

    @model_validator(mode="after")
    def _whole(self) -> "ServingScenario":
        _check_pools(self)
        _check_failures(self)
        _check_workload(self.workload)
        return self

    def role(self, pool: str) -> str:
        """The role of a pool: prefill, decode or mixed."""
        return self.cluster[pool].role or (pool if pool in ("prefill", "decode") else "mixed")

    @property
    def replicas(self) -> int:
        """Replicas of all pools."""
        return sum(pool.replicas for pool in self.cluster.values())

    @property
    def gpus(self) -> int:
        """GPUs of all pools."""
        return sum(pool.replicas * pool.dp * pool.tp * pool.pp for pool in self.cluster.values())

    def simulate(
        self,
        seed: int,
        *,
        log: bool = False,
        batches: bool = False,
        check: bool = False,
        reference: bool = False,
        until_s: float | None = None,
        progress: Callable[[float, float], None] | None = None,
        **unknown: Any,
    ) -> Result:
        """Run once.

        Args:
            seed: of all draws.
            log: keep the event log (`result.events`).
            batches: keep what ran when, for timelines.
            check: look for broken invariants at every event (slow).
            reference: run the readable SimPy twin instead of the kernel (very slow).
            until_s: stop at this simulated time.
            progress: called with the share of requests done and the simulated seconds.
        """
        if unknown:
            raise TypeError(f"unknown options: {', '.join(unknown)}")
        from .serving_run import run_serving

        return run_serving(
            self,
            seed,
            log=log,
            batches=batches,
            check=check,
            reference=reference,
            until_s=until_s,
            progress=progress,
        )

    def check(self) -> None:
        """Look up policies, model, GPUs and trace by their names.

        Raises InputError for the first that is not there, or a policy's parameter that it has not.
        """
        from .serving_run import check_names

        check_names(self)

    def redraw(
        self,
        result: Result,
        index: int,
        *,
        until_s: float | None = None,
        reference: bool = False,
        **others: Any,
    ) -> Result:
        """The run once more on GPUs drawn from the error of their profiles: same requests, same
        seed. Of the options of `simulate` only those that change metrics count.

        Raises InputError where a pool's profile states no error.
        """
        from .serving_result import ServingResult
        from .serving_run import run_serving

        del others
        assert isinstance(result, ServingResult)
        return run_serving(
            self, result.seed, until_s=until_s, reference=reference, trace=result.trace, draw=index
        )


def _check_pools(scenario: ServingScenario) -> None:
    pools = scenario.cluster
    if scenario.replicas == 0:
        raise InputError(
            "there are no replicas", where="cluster", mend="give at least one pool a replica"
        )
    roles = {scenario.role(name) for name, pool in pools.items() if pool.replicas}
    for phase in ("prefill", "decode"):
        if not roles & {phase, "mixed"}:
            raise InputError(
                f"no pool does {phase}",
                where="cluster",
                mend=f"add a pool with role = '{phase}' or 'mixed'",
            )
    _check_up_at_start(scenario)
    for name, pool in pools.items():
        where = f"cluster.{name}"
        if (pool.initially_up or 0) > pool.replicas:
            raise InputError(
                f"{pool.initially_up} is more than its {pool.replicas} replicas",
                where=f"{where}.initially_up",
            )
        try:
            make_engine(
                pool.engine,
                max_batch=pool.max_batch,
                max_tokens=pool.max_tokens,
                preemption=pool.preemption,
                watermark=pool.watermark,
            )
        except InputError as error:
            flag = f"{where}.engine.{error.where}" if error.where else f"{where}.engine"
            raise InputError(error.message, where=flag, mend=error.mend) from None


def _check_up_at_start(scenario: ServingScenario) -> None:
    """Without a scale policy nothing would ever start the replicas that are down at the start."""
    if scenario.policy.scale != "none":
        return
    up = {
        scenario.role(name)
        for name, pool in scenario.cluster.items()
        if (pool.replicas if pool.initially_up is None else pool.initially_up)
    }
    for phase in ("prefill", "decode"):
        if not up & {phase, "mixed"}:
            raise InputError(
                f"no replica that does {phase} is up at the start, and no policy starts one",
                where="cluster",
                mend="raise initially_up, or choose a policy.scale",
            )


def _check_failures(scenario: ServingScenario) -> None:
    for i, failure in enumerate(scenario.control.failures):
        where = f"control.failures.{i}"
        if failure.pool not in scenario.cluster:
            raise InputError(
                f"no pool {failure.pool!r}",
                where=f"{where}.pool",
                mend=close_to(failure.pool, scenario.cluster),
            )
        if failure.index >= scenario.cluster[failure.pool].replicas:
            count = scenario.cluster[failure.pool].replicas
            raise InputError(
                f"{failure.index} is not one of the {count} replicas, counted from 0",
                where=f"{where}.index",
            )
        if failure.until_s is not None and failure.until_s <= failure.at_s:
            raise InputError(
                f"{failure.until_s} is not after at_s = {failure.at_s}", where=f"{where}.until_s"
            )
    _check_survivors(scenario)


def _check_survivors(scenario: ServingScenario) -> None:
    """Requests that no replica is left for would wait for ever, unless their clients give up."""
    if scenario.policy.scale != "none" or scenario.workload.timeout_s is not None:
        return
    lost = {(f.pool, f.index) for f in scenario.control.failures if f.until_s is None}
    for phase in ("prefill", "decode"):
        able = {
            (name, i)
            for name, pool in scenario.cluster.items()
            if scenario.role(name) in (phase, "mixed")
            for i in range(pool.replicas)
        }
        if able <= lost:
            raise InputError(
                f"every replica that does {phase} fails for good: requests would wait for ever",
                where="control.failures",
                mend="give one an until_s, or clients a workload.timeout_s",
            )


def _check_workload(workload: Workload) -> None:
    if workload.rate is not None and workload.rate_scale is not None:
        raise InputError(
            "rate and rate_scale are both given", where="workload", mend="give one of them"
        )
    if workload.concurrency is not None and (workload.rate or workload.rate_scale):
        raise InputError(
            "a closed loop (concurrency) has no arrival rate",
            where="workload",
            mend="give concurrency or a rate",
        )
    if workload.arrivals != "trace" and workload.rate_scale is not None:
        raise InputError(
            f"{workload.arrivals} arrivals are drawn at a rate, not scaled",
            where="workload.rate_scale",
            mend="give workload.rate",
        )
    window = workload.window_s
    if window is not None and not 0 <= window[0] < window[1] <= MAX_TIME_S:
        raise InputError(
            f"{window} is not an interval [from, to) within {MAX_TIME_S:,.0f} s",
            where="workload.window_s",
        )
    for name, weight in workload.tenants.items():
        if not weight > 0:
            raise InputError(f"weight {weight} is not above 0", where=f"workload.tenants.{name}")
