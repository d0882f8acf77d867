"""A training step of a model, batch and plan: its task graph, its time, its MFU.

    plan = TrainingPlan(dp=8, zero=3)
    step = training_step("llama-3.1-8b", plan, TrainingBatch(2, 8192), "h100-sxm-80gb")
    step.seconds, step.tokens_per_s_per_gpu, step.mfu, step.memory.describe()
    run = execute(step.graph())

Ranks stand as (stage, data-parallel, context-parallel, tensor-parallel), the last the fastest, so
that tensor-parallel groups share a node.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import Model
from mltwin.sim.ticks import TICKS_PER_S

from .memory import TrainingMemory, check_memory, memory_bytes
from .mfu import hardware_flops, model_flops
from .plan import TrainingBatch, TrainingPlan
from .step_closed import step_ticks
from .step_comm import Cluster
from .step_graph import build_graph
from .step_recipe import Recipe, recipe_of
from .step_work import StepWork, step_work
from .tables import Graph


@dataclass(frozen=True)
class TrainingStep:
    """One step: what has to be done, and what follows from it.

    Attributes:
        model, plan, batch, profile, recipe: what it is a step of.
        work: tasks of each stage.
        memory: of the fullest GPU.
        peak_flops: of one GPU in the plan's precision, by which MFU is counted.
    """

    model: Model
    plan: TrainingPlan
    batch: TrainingBatch
    profile: Any
    recipe: Recipe
    work: StepWork
    memory: TrainingMemory
    peak_flops: float

    @cached_property
    def ticks(self) -> int:
        """Ticks of the step, by the closed form."""
        return step_ticks(self.work)

    @property
    def seconds(self) -> float:
        """Seconds of the step, by the closed form."""
        return self.ticks / TICKS_PER_S

    @property
    def tokens(self) -> int:
        """Tokens of the step."""
        return self.plan.step_tokens(self.batch)

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Tokens per second and GPU."""
        return self.tokens / self.seconds / self.plan.world

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation (see `mltwin.models.training.mfu.model_flops`)."""
        flops = model_flops(self.model, self.batch.tokens)
        return flops * self.tokens_per_s_per_gpu / self.peak_flops

    @property
    def hfu(self) -> float:
        """Hardware FLOPs utilisation: what is made again counts too."""
        flops = hardware_flops(self.model, self.batch.tokens, self.plan.recompute)
        return flops * self.tokens_per_s_per_gpu / self.peak_flops

    def graph(self, *, ranks: str = "one", network: bool | str = False) -> Graph:
        """Its task graph; see `mltwin.models.training.step_graph.build_graph`."""
        return build_graph(self.work, ranks=ranks, network=network)


def training_step(
    model: Model | str,
    plan: TrainingPlan,
    batch: TrainingBatch,
    gpu: Any,
    *,
    recipe: Recipe | str = "fused",
    cluster: Cluster | None = None,
    compute_speed: float = 1.0,
    memory_speed: float = 1.0,
    slowdown: float | None = None,
    fit: bool = True,
    usable_bytes: float | None = None,
    memo: dict[object, object] | None = None,
) -> TrainingStep:
    """A step of a model.

    Args:
        model: a Model, a config.json or a shipped name.
        gpu: a GPU profile, its file or a shipped name.
        recipe: what the framework does around the matrix products.
        cluster: nodes and NICs (default: the profile's nodes, 400 Gb/s a GPU).
        compute_speed, memory_speed: clock and memory bandwidth over the profile's.
        slowdown: of computation while gradients or weights travel beside it (default: the
            multiprocessors that NCCL takes).
        fit: refuse a plan that does not fit into memory.
        usable_bytes: of one GPU (default: the profile's).
        memo: times of kernels, kept between steps that differ in batch and plan only.

    Raises:
        InputError: sizes that do not divide, or a plan that does not fit.
    """
    model = load_model(model) if isinstance(model, str) else model
    profile = load_profile(gpu) if isinstance(gpu, str) else gpu
    chosen = recipe_of(recipe)
    plan.check(model, batch)
    loss_bytes = loss_bytes_of(chosen)
    if fit:
        memory = check_memory(
            model, plan, batch, profile, loss_bytes=loss_bytes, usable_bytes=usable_bytes
        )
    else:
        memory = memory_bytes(model, plan, batch, loss_bytes=loss_bytes)
    work = step_work(
        model,
        plan,
        batch,
        profile,
        chosen,
        cluster or Cluster(),
        compute_speed=compute_speed,
        memory_speed=memory_speed,
        slowdown=slowdown,
        memo=memo,
    )
    peak = profile.facts.peak_flops["fp8" if plan.precision == "fp8" else "bfloat16"]
    return TrainingStep(model, plan, batch, profile, chosen, work, memory, peak)


def loss_bytes_of(recipe: Recipe) -> float:
    """Bytes kept of one logit: itself and its gradient, and more if the loss is in float32."""
    return 10.0 if recipe.loss[0] > 6 else 4.0


def training_graph(
    model: Model | str,
    plan: TrainingPlan,
    batch: TrainingBatch,
    gpu: Any,
    *,
    ranks: str = "one",
    network: bool | str = False,
    **options: Any,
) -> Graph:
    """The task graph of a step, for `mltwin.models.training.executor.execute`.

    Args:
        ranks: "one" GPU of each stage stands for all like it, or "all" of them.
        network: pipeline messages get their time from the topology that ``execute`` is given;
            "all": weights and gradients too.
        options: of `training_step`.
    """
    step = training_step(model, plan, batch, gpu, **options)
    return step.graph(ranks=ranks, network=network)


def step_seconds(
    model: Model | str, plan: TrainingPlan, batch: TrainingBatch, gpu: Any, **options: Any
) -> float:
    """Seconds of a step by the closed form; ``options`` of `training_step`."""
    return training_step(model, plan, batch, gpu, **options).seconds
