"""How a model is spread over GPUs: tensor, pipeline, expert and attention-data parallelism."""

from dataclasses import dataclass

from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError


@dataclass(frozen=True)
class Plan:
    """A parallel plan.

    Attributes:
        tp: GPUs that share every matrix of attention (and of dense layers).
        pp: pipeline stages.
        ep: ranks over which whole experts are spread; the rest of a stage's GPUs split each
            expert's matrices.
        dp: attention-data-parallel ranks, each with requests and a KV cache of its own, that
            meet in the experts.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1

    def __post_init__(self) -> None:
        if min(self.tp, self.pp, self.ep, self.dp) < 1:
            raise InputError(f"{self}", mend="every part must be 1 or more")
        if self.group % self.ep:
            raise InputError(
                f"ep={self.ep} does not divide tp x dp = {self.group}",
                mend=f"use one of {[e for e in range(1, self.group + 1) if self.group % e == 0]}",
            )

    @property
    def group(self) -> int:
        """GPUs that hold one layer's experts together."""
        return self.tp * self.dp

    @property
    def expert_tp(self) -> int:
        """GPUs that split one expert."""
        return self.group // self.ep

    def check(self, model: Model) -> None:
        """Raises InputError unless the model can be spread so."""
        model.check_parallelism(self.tp, self.pp)
        if not model.moe:
            if self.ep > 1 or self.dp > 1:
                raise InputError(
                    f"ep={self.ep}, dp={self.dp} for a model without experts",
                    where=model.name,
                    mend="use replicas instead of dp, tp instead of ep",
                )
            return
        if model.moe.experts % self.ep:
            raise InputError(
                f"ep={self.ep} does not divide {model.moe.experts} experts", where=model.name
            )
