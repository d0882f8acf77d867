"""Plans of a model on a cluster, ranked by speed: `search_plans`.

found = search_plans("llama-3.1-70b", 64, "h100-sxm-80gb", tokens=8192, sequences=256)
found.best.plan.describe(), found.best.tokens_per_s, found.refused["memory"]
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

from .memory import GIB, TrainingMemory, memory_bytes
from .plan import TrainingBatch, TrainingPlan
from .step import TrainingStep, loss_bytes_of, training_step
from .step_comm import Cluster
from .step_recipe import Recipe, recipe_of

Sizes = Sequence[int] | None


@dataclass(frozen=True)
class Found:
    """A plan that fits, with its step."""

    step: TrainingStep

    @property
    def plan(self) -> TrainingPlan:
        """The plan."""
        return self.step.plan

    @property
    def batch(self) -> TrainingBatch:
        """Its micro-batch."""
        return self.step.batch

    @property
    def seconds(self) -> float:
        """Seconds of a step."""
        return self.step.seconds

    @cached_property
    def tokens_per_s(self) -> float:
        """Tokens per second of the whole job."""
        return self.step.tokens / self.step.seconds

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation, as a fraction."""
        return self.step.mfu

    @property
    def memory(self) -> TrainingMemory:
        """Of the fullest GPU."""
        return self.step.memory


@dataclass(frozen=True)
class Refused:
    """A plan that was refused.

    Attributes:
        changes: its fields, those of the template apart.
        reason: ``memory`` or ``sizes``; ``why`` says it in words.
    """

    changes: Mapping[str, Any]
    batch: TrainingBatch
    reason: str
    why: str


@dataclass(frozen=True)
class PlanSearch:
    """All plans of a search.

    Attributes:
        found: those that fit, the fastest first (equal ones: the fewer bytes first).
        rejected: the others, in the order they were looked at.
        refused: how many of them by reason.
    """

    found: tuple[Found, ...]
    rejected: tuple[Refused, ...]
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def best(self) -> Found:
        """The fastest plan.

        Raises:
            InputError: none fits; what the last one lacked is told.
        """
        if self.found:
            return self.found[0]
        if not self.rejected:
            raise InputError(
                "no plan fits these GPUs and sequences",
                mend="tp x pp x cp must divide the GPUs, and dp (what is left) the sequences",
            )
        raise InputError(
            f"no plan fits; the last one looked at: {self.rejected[-1].why}",
            mend="more GPUs, shorter sequences, or a larger tp or pp",
        )


def search_plans(
    model: Model | str,
    gpus: int,
    gpu: Any,
    *,
    tokens: int,
    sequences: int,
    recipe: Recipe | str = "fused",
    cluster: Cluster | None = None,
    tp: Sizes = None,
    pp: Sizes = None,
    cp: Sizes = (1,),
    ep: Sizes = None,
    zero: Sizes = (1, 3),
    schedules: Sequence[str] = ("1f1b", "interleaved", "zb-h1"),
    interleave: Sizes = (2, 4),
    recompute: Sequence[str] = ("none", "full"),
    microbatch: Sizes = (1, 2, 4, 8),
    template: TrainingPlan | None = None,
    usable_bytes: float | None = None,
) -> PlanSearch:
    """Every plan of the given sizes on ``gpus`` GPUs.

    Args:
        tokens: of a sequence; ``sequences`` of a step, all replicas together.
        recipe, cluster, usable_bytes: as in `mltwin.models.training.step.training_step`.
        tp, pp: by default powers of two up to a node, and divisors of the GPUs up to the layers.
        cp, ep, zero, schedules, interleave, recompute, microbatch: values tried; ep by default the
            powers of two that divide the experts.
        template: plan whose other fields (precision, buckets, ...) all have.

    Raises:
        InputError: an unknown name, or less than one GPU, token or sequence. Plans that cannot be
            are in ``rejected``.
    """
    for name, given in (("gpus", gpus), ("tokens", tokens), ("sequences", sequences)):
        if given < 1:
            raise InputError(f"{name} is {given}", where=name, mend="give 1 or more")
    model = load_model(model) if isinstance(model, str) else model
    profile = load_profile(gpu) if isinstance(gpu, str) else gpu
    cluster = cluster or Cluster()
    base = template or TrainingPlan()
    node = cluster.gpus_per_node or profile.facts.gpus_per_node
    widths = _powers(min(node, gpus)) if tp is None else list(tp)
    depths = _depths(model, gpus) if pp is None else list(pp)
    spreads = _spreads(model) if ep is None else list(ep)
    memo: dict[object, object] = {}
    found: list[Found] = []
    rejected: list[Refused] = []
    shapes = _shapes(gpus, widths, depths, list(cp or (1,)), spreads)
    have = profile.facts.usable_bytes if usable_bytes is None else usable_bytes
    loss_bytes = loss_bytes_of(recipe_of(recipe))
    for sizes in shapes:
        tried = _variants(
            base, sizes, tokens, sequences, zero, schedules, interleave, recompute, microbatch
        )
        for changes, batch in tried:
            try:
                plan = replace(base, **changes)
                plan.check(model, batch, gpus)
            except InputError as error:
                rejected.append(Refused(changes, batch, "sizes", str(error)))
                continue
            need = memory_bytes(model, plan, batch, loss_bytes=loss_bytes)
            if need.total > have:
                why = f"{need.total / GIB:.1f} of {have / GIB:.1f} GiB: {need.describe()}"
                rejected.append(Refused(changes, batch, "memory", why))
                continue
            step = training_step(
                model, plan, batch, profile, recipe=recipe, cluster=cluster, fit=False, memo=memo
            )
            found.append(Found(step))
    found.sort(key=lambda f: (-f.tokens_per_s, f.memory.total))
    return PlanSearch(tuple(found), tuple(rejected), Counter(r.reason for r in rejected))


def _powers(most: int) -> list[int]:
    return [2**i for i in range(most.bit_length()) if 2**i <= most]


def _depths(model: Model, gpus: int) -> list[int]:
    return [p for p in range(1, min(gpus, model.layers) + 1) if gpus % p == 0]


def _spreads(model: Model) -> list[int]:
    if not model.moe:
        return [1]
    return [e for e in _powers(model.moe.experts) if model.moe.experts % e == 0]


def _shapes(
    gpus: int, widths: list[int], depths: list[int], contexts: list[int], spreads: list[int]
) -> Iterator[dict[str, int]]:
    for tp in widths:
        for pp in depths:
            for cp in contexts:
                if gpus % (tp * pp * cp):
                    continue
                dp = gpus // (tp * pp * cp)
                for ep in spreads:
                    if (dp * cp) % ep == 0:
                        yield {"tp": tp, "pp": pp, "cp": cp, "dp": dp, "ep": ep}


def _variants(
    base: TrainingPlan,
    sizes: dict[str, int],
    tokens: int,
    sequences: int,
    zero: Sizes,
    schedules: Sequence[str],
    interleave: Sizes,
    recompute: Sequence[str],
    microbatch: Sizes,
) -> Iterator[tuple[dict[str, Any], TrainingBatch]]:
    """Schedules, sharding, recomputation and micro-batches of one division of the GPUs."""
    if sequences % sizes["dp"]:
        return
    each = sequences // sizes["dp"]
    orders: list[tuple[str, int]] = [(base.schedule, 1)] if sizes["pp"] == 1 else []
    if base.schedule == "interleaved" and sizes["pp"] == 1:
        orders = [("1f1b", 1)]
    for schedule in schedules if sizes["pp"] > 1 else ():
        chunks = list(interleave or (1,)) if schedule == "interleaved" else [1]
        orders += [(schedule, v) for v in chunks]
    for size in microbatch or (1,):
        if each % size:
            continue
        for schedule, v in orders:
            for level in zero or (base.zero,):
                for again in recompute:
                    yield (
                        {
                            **sizes,
                            "schedule": schedule,
                            "interleave": v,
                            "zero": level,
                            "recompute": again,
                            "microbatches": each // size,
                        },
                        TrainingBatch(size, tokens),
                    )
