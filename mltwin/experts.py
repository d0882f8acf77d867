"""`ExpertScenario`: a mixture-of-experts model whose experts do not all fit, as a page of TOML.

Sections: `model`, `routing` (which experts tokens activate), `memory` (how many experts HBM holds),
`link` (how they get there), `predictor`, `compute`. The model behind them: `mltwin.models.experts`.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section
from .result import Result
from .scenario import Scenario

Policy = Literal["lru", "lfu", "static", "belady", "layer", "random"]


class ExpertModel(Section):
    """The model: a shipped or own config.json, or its shape in numbers."""

    name: str = Field(
        "mixtral-8x7b", description="name from `mltwin models list`, or a config.json"
    )
    quantisation: str | None = Field(
        None, description="of linear layers and experts: fp8, int4, .."
    )
    layers: int | None = Field(
        None, ge=1, le=10_000, description="layers with experts; with the next three: no `name`"
    )
    experts: int | None = Field(None, ge=1, le=65_536, description="experts of a layer")
    experts_per_token: int | None = Field(None, ge=1, le=64, description="of a layer (top k)")
    expert_mb: float | None = Field(None, gt=0, le=1e6, description="bytes of one expert, in 10^6")
    other_gb: float = Field(
        0.0, ge=0, le=1e5, description="all other weights in 10^9 bytes, with a shape in numbers"
    )


class Routing(Section):
    """Which experts the tokens of a decode step activate: synthetic, or a trace."""

    trace: str | None = Field(
        None,
        description="Parquet or CSV: token, layer and expert columns; a step takes the next tokens",
    )
    steps: int = Field(200, ge=1, le=10_000_000, description="decode steps; of a trace: at most")
    batch: int = Field(1, ge=1, le=65_536, description="tokens of a step")
    skew: float = Field(0.8, ge=0, le=10, description="Zipf exponent of each layer's experts")
    token_correlation: float = Field(
        0.3, ge=0, le=1, description="probability to take the expert of the token before"
    )
    layer_correlation: float = Field(
        0.2, ge=0, le=1, description="probability to take the rank of the layer before"
    )
    topics: int = Field(4, ge=1, le=1000, description="each with favourite experts of its own")
    topic_strength: float = Field(
        0.5, ge=0, le=1, description="share of fresh draws by the topic's favourites"
    )
    output_tokens: int = Field(128, ge=1, le=10**9, description="of a request; then a new topic")

    @model_validator(mode="after")
    def _shares(self) -> "Routing":
        total = self.token_correlation + self.layer_correlation
        if total > 1:
            raise InputError(
                f"token_correlation + layer_correlation is {total:g}",
                where="routing",
                mend="they are probabilities of one draw: at most 1 together",
            )
        return self


class ExpertMemory(Section):
    """How many experts the GPU holds, and where the others live."""

    hbm_share: float = Field(
        0.5, gt=0, le=1, description="share of all experts that HBM holds, if nothing else is given"
    )
    hbm_experts: int | None = Field(None, ge=1, description="experts, over all layers")
    hbm_gb: float | None = Field(None, gt=0, description="for experts, in 10^9 bytes")
    dram_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the experts at home in DRAM, popular first; rest: SSD",
    )
    preload: bool | None = Field(
        None, description="begin with the most popular experts in HBM; else for `static` only"
    )

    @model_validator(mode="after")
    def _one(self) -> "ExpertMemory":
        if self.hbm_experts is not None and self.hbm_gb is not None:
            raise InputError("hbm_experts and hbm_gb are both given", mend="leave one out")
        return self


class ExpertLink(Section):
    """The way of an expert into HBM. Defaults: measured loads of ServerlessLLM on an H100."""

    dram_gb_per_s: float = Field(
        54.0, gt=0, le=1e5, description="DRAM to HBM; Qwen3-32B in 1.21 s: 54 GB/s"
    )
    dram_latency_us: float = Field(10.0, ge=0, le=1e6, description="of a copy; assumed")
    ssd_gb_per_s: float = Field(
        20.0, gt=0, le=1e5, description="SSD to HBM; Qwen3-32B in 3.23 s: 20 GB/s"
    )
    ssd_latency_us: float = Field(100.0, ge=0, le=1e6, description="of a read; assumed")
    streams: int = Field(1, ge=1, le=64, description="copies at a time; they share the bandwidth")


class Predictor(Section):
    """What is known of later layers, and when."""

    kind: Literal["none", "given", "previous"] = Field(
        "none",
        description="given: of this recall and precision; previous: the experts of the step before",
    )
    recall: float = Field(0.9, ge=0, le=1, description="share of activations that are predicted")
    precision: float = Field(0.9, gt=0, le=1, description="share of predictions that are right")
    lookahead: int | Literal["pass", "step"] = Field(
        "pass",
        description="layers ahead, or all layers of a pass or of a step's passes at its start",
    )
    time_us: float = Field(0.0, ge=0, le=1e9, description="of the predictor, before each pass")

    @model_validator(mode="after")
    def _ahead(self) -> "Predictor":
        if isinstance(self.lookahead, int) and not 0 <= self.lookahead <= 100_000:
            raise InputError(
                f"lookahead is {self.lookahead}", where="predictor", mend="give 0 layers or more"
            )
        return self


class ExpertCompute(Section):
    """Times of the GPU: a roofline of its data sheet, or given."""

    gpu: str = Field("h100-sxm-80gb", description="name from `mltwin gpus list`, or a profile.json")
    memory_efficiency: float = Field(0.8, gt=0, le=1, description="of the peak bandwidth; assumed")
    compute_efficiency: float = Field(0.6, gt=0, le=1, description="of the peak FLOP/s; assumed")
    overhead_us: float = Field(5.0, ge=0, le=1e6, description="of a layer, of an expert; assumed")
    context_tokens: int = Field(
        1024, ge=0, le=10**8, description="of each sequence: its KV is read"
    )
    layer_us: float | None = Field(
        None, ge=0, le=1e9, description="of a layer without its experts, instead of the roofline"
    )
    expert_us: float | None = Field(
        None, ge=0, le=1e9, description="of one expert, instead of the roofline"
    )


class ExpertScenario(Scenario):
    """Decoding with a cache of experts: hits, stalls and tokens per second."""

    system: Literal["expert-cache"] = "expert-cache"
    model: ExpertModel = Field(ExpertModel(), description="which model")
    routing: Routing = Field(Routing(), description="which experts are activated")
    memory: ExpertMemory = Field(ExpertMemory(), description="how many experts HBM holds")
    link: ExpertLink = Field(ExpertLink(), description="how experts are loaded")
    predictor: Predictor = Field(Predictor(), description="what is prefetched")
    compute: ExpertCompute = Field(ExpertCompute(), description="how long the GPU computes")
    policy: Policy = Field("lru", description="which expert is evicted")
    micro_batches: int = Field(
        1, ge=1, le=65_536, description="a step's tokens run in so many passes, one after another"
    )
    regroup: bool = Field(
        False, description="put tokens with similar (predicted) routes into one micro-batch"
    )

    result_class: ClassVar[str] = "mltwin.experts_result:ExpertResult"

    def simulate(self, seed: int, *, reference: bool = False, **others: Any) -> Result:
        """One run.

        Args:
            seed: of routing, predictions and random eviction.
            reference: by the plain-Python twin (slow); same result.
            others: options of other systems; ignored.
        """
        from .experts_run import run_experts

        del others
        return run_experts(self, seed, reference=reference)

    def check(self) -> None:
        """Look up model, GPU and trace by their names.

        Raises InputError for the first that is not there.
        """
        from .experts_run import check_names

        check_names(self)
