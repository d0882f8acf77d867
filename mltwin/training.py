"""`TrainingScenario`: a training step of a model and a parallel plan, or a task graph from a file.

Sections: `batch`, `plan` (how the step is spread), `cluster` (nodes and network), `noise` (kernels
that vary, GPUs that are slow). The model behind them: `mltwin.models.training`.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section, Spec
from .result import Result
from .scenario import Scenario


class Batch(Section):
    """One micro-batch of one data-parallel rank."""

    sequences: int = Field(1, ge=1, le=1_000_000, description="in a micro-batch")
    tokens: int = Field(8192, ge=1, le=10_000_000, description="of one sequence")


class Plan(Section):
    """How the step is spread over dp x cp x tp x pp GPUs."""

    dp: int = Field(8, ge=1, le=1_000_000, description="replicas with batches of their own")
    tp: int = Field(1, ge=1, le=4096, description="GPUs that share every matrix")
    pp: int = Field(1, ge=1, le=4096, description="pipeline stages")
    cp: int = Field(1, ge=1, le=4096, description="GPUs that share every sequence")
    ep: int = Field(1, ge=1, le=4096, description="ranks of dp x cp that experts are spread over")
    zero: Literal[0, 1, 2, 3] = Field(
        3, description="0: all have all; 1 splits optimizer states, 2 gradients too, 3 weights too"
    )
    shard: int = Field(0, ge=0, description="ranks that states are split over; 0: all of dp x cp")
    schedule: Literal["gpipe", "1f1b", "interleaved", "zb-h1"] = Field(
        "1f1b", description="of the pipeline"
    )
    microbatches: int = Field(1, ge=1, le=100_000, description="of a step and replica")
    interleave: int = Field(1, ge=1, le=256, description="interleaved: model chunks of a stage")
    recompute: Literal["none", "selective", "operators", "full"] = Field(
        "none", description="what the backward pass makes again"
    )
    sequence_parallel: bool = Field(True, description="norms and residuals are split over tp")
    async_tp: bool = Field(False, description="exchanges of tp run under the matrix products")
    precision: Literal["bf16", "fp8"] = Field("bf16", description="of the matrix products")
    prefetch: int = Field(1, ge=1, le=64, description="units whose weights are gathered ahead")
    bucket_mb: float = Field(
        26.2144, gt=0, le=1e6, description="gradients all-reduced together, 10^6 bytes (zero 0)"
    )
    overlap: bool = Field(True, description="gradients and weights travel under computation")
    reduce_every: bool = Field(False, description="gradients are reduced each micro-batch")
    gradient_bytes: Literal[2, 4] = Field(4, description="of one gradient on the wire")


class TrainingCluster(Section):
    """Nodes, and what joins them."""

    gpus_per_node: int | None = Field(None, ge=1, le=4096, description="default: the GPU's own")
    nic_gbit_per_s: float = Field(400.0, gt=0, le=1e6, description="of each GPU, to other nodes")
    topology: Spec | None = Field(
        None, description="messages cross this network (a builder or {file = ...})"
    )
    messages: Literal["pipeline", "all"] = Field(
        "pipeline",
        description="which do: those between stages, or weights and gradients too (ranks = 'all')",
    )
    routing: Literal["ecmp", "shortest", "spray"] = Field("ecmp", description="of those messages")
    fidelity: Literal["alphabeta", "maxmin"] = Field(
        "maxmin", description="whether those messages share links"
    )


class Noise(Section):
    """Kernels that take longer or shorter than predicted, and GPUs that are slow for good."""

    sigma: float = Field(0.0, ge=0, le=2, description="of the logarithm of a kernel's time")
    slow_share: float = Field(0.0, ge=0, le=1, description="of the GPUs that are slow")
    slow_factor: float = Field(1.2, ge=1, le=100, description="how many times longer they take")


class TrainingScenario(Scenario):
    """One training step: time, MFU, memory, bubbles, and what the critical path is made of."""

    system: Literal["training"] = "training"
    model: str = Field("llama-3.1-8b", description="a shipped name, or a config.json")
    gpu: str = Field("h100-sxm-80gb", description="a shipped profile, or its file")
    batch: Batch = Field(Batch(), description="one micro-batch")
    plan: Plan = Field(Plan(), description="how the step is spread")
    recipe: Literal[
        "fused", "llm-foundry", "llm-foundry-triton", "torchtitan", "torchtitan-compile"
    ] = Field("fused", description="what the framework does between the matrix products")
    cluster: TrainingCluster = Field(TrainingCluster(), description="nodes and network")
    noise: Noise = Field(Noise(), description="kernels that vary, GPUs that are slow")
    ranks: Literal["one", "all"] = Field(
        "one", description="one GPU of each stage stands for all like it, or every GPU is there"
    )
    order: Literal["issue", "ready"] = Field(
        "issue", description="streams run tasks as issued, or the ready one of highest priority"
    )
    overlap_slowdown: float | None = Field(
        None, ge=1, le=10, description="of compute beside communication; default: the model's own"
    )
    fit: bool = Field(True, description="refuse a plan that does not fit into memory")
    graph: str | None = Field(
        None, description="a task graph in place of model and plan: JSON, Chakra, PyTorch trace"
    )
    dollars_per_gpu_hour: float = Field(2.0, ge=0, le=1e6, description="for the cost")

    result_class: ClassVar[str] = "mltwin.training_result:TrainingResult"

    @model_validator(mode="after")
    def _whole(self) -> "TrainingScenario":
        varied = self.noise.sigma > 0 or self.noise.slow_share > 0
        if varied and self.graph is None and self.ranks == "one" and self.plan.dp > 1:
            raise InputError(
                "GPUs that differ cannot stand for each other",
                where="ranks",
                mend="ranks = 'all', or no noise",
            )
        if self.cluster.messages == "all" and (
            self.cluster.topology is None or self.ranks == "one"
        ):
            raise InputError(
                "messages of weights and gradients need a network and all GPUs",
                where="cluster.messages",
                mend="give cluster.topology and ranks = 'all'",
            )
        return self

    def simulate(self, seed: int, *, reference: bool = False, **others: Any) -> Result:
        """One run.

        Args:
            seed: of the noise.
            reference: by the plain-Python twin (slow); same result.
            others: options of other systems; ignored.

        Raises InputError: sizes that do not divide, a plan that does not fit into memory, a graph
            with a cycle or a missing task, a bad file.
        """
        from .training_run import run_training

        del others
        return run_training(self, seed, reference=reference)

    def check(self) -> None:
        """Look up model, GPU, plan, topology and files.

        Raises InputError for the first that is wrong.
        """
        from .training_run import check_training

        check_training(self)
