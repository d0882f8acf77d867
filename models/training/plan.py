"""How a training job is spread over GPUs: `TrainingPlan`, and the micro-batch of one step."""

from dataclasses import dataclass

from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

SCHEDULES = ("gpipe", "1f1b", "interleaved", "zb-h1")
RECOMPUTE = ("none", "selective", "operators", "full")
PRECISIONS = ("bf16", "fp8")


@dataclass(frozen=True)
class TrainingBatch:
    """One micro-batch of one data-parallel rank.

    Attributes:
        sequences: sequences in it (the context-parallel ranks of a group share them).
        tokens: tokens of one sequence.
    """

    sequences: int
    tokens: int

    def __post_init__(self) -> None:
        if self.sequences < 1 or self.tokens < 1:
            raise InputError(f"{self}", mend="give 1 sequence of 1 token or more")


@dataclass(frozen=True)
class TrainingPlan:
    """A parallel plan of dp x cp x tp x pp GPUs.

    Attributes:
        dp: replicas with batches of their own.
        tp: GPUs that share every matrix (Megatron-LM, arXiv 1909.08053, section 3).
        pp: pipeline stages.
        cp: GPUs that share every sequence (ring attention, arXiv 2310.01889).
        ep: ranks of dp x cp over which whole experts are spread.
        zero: 0 all-reduces gradients; 1 splits optimizer states; 2 gradients too, gathering the
            weights in the forward pass and keeping them (FSDP's SHARD_GRAD_OP); 3 weights too
            (FSDP's FULL_SHARD; ZeRO, arXiv 1910.02054, section 5). In a pipeline weights are
            gathered once a step and gradients reduced once, as torchtitan does it.
        shard: over how many of the dp x cp ranks states are split (0: all of them); fewer is
            hybrid sharding (HSDP): the shards' gradients are all-reduced between the groups.
        schedule: ``gpipe`` (arXiv 1811.06965), ``1f1b`` (PipeDream-flush, arXiv 2006.09503),
            ``interleaved`` (arXiv 2104.04473, section 2.2), ``zb-h1`` (zero-bubble with the
            memory of 1F1B, arXiv 2401.10241, section 2.3).
        microbatches: of one step and one data-parallel rank; without a pipeline this is gradient
            accumulation.
        interleave: model chunks of one stage (virtual stages), more than 1 for ``interleaved``.
        recompute: what the backward pass makes again: ``none``; ``selective``, the attention's
            core (arXiv 2205.05198, section 5); ``operators``, every second matrix product and
            everything that is not one (torchtitan's per-operator policy); ``full``, each block
            from its input.
        sequence_parallel: norms and residuals are split over tp (arXiv 2205.05198, section 4.2).
        async_tp: tensor-parallel exchanges run under the matrix products, in tp pieces.
        precision: of the blocks' matrix products; everything else is bf16, states are fp32.
        prefetch: units whose weights are gathered ahead of the one that computes.
        bucket_bytes: gradients all-reduced together (zero 0; PyTorch's default is 25 MiB).
        overlap: gradients and weights travel under computation.
        reduce_every: gradients are reduced after every micro-batch (FSDP without ``no_sync``),
            not once a step.
        gradient_bytes: of one gradient on the wire (2 or 4).
    """

    dp: int = 1
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    zero: int = 0
    shard: int = 0
    schedule: str = "1f1b"
    microbatches: int = 1
    interleave: int = 1
    recompute: str = "none"
    sequence_parallel: bool = True
    async_tp: bool = False
    precision: str = "bf16"
    prefetch: int = 1
    bucket_bytes: float = 25 * 2**20
    overlap: bool = True
    reduce_every: bool = False
    gradient_bytes: int = 4

    def __post_init__(self) -> None:
        sizes = (self.dp, self.tp, self.pp, self.cp, self.ep, self.microbatches, self.interleave)
        if min(*sizes, self.prefetch) < 1 or self.bucket_bytes <= 0 or self.shard < 0:
            raise InputError(f"{self}", mend="every size must be 1 or more")
        for name, value, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("recompute", self.recompute, RECOMPUTE),
            ("precision", self.precision, PRECISIONS),
            ("zero", self.zero, (0, 1, 2, 3)),
            ("gradient_bytes", self.gradient_bytes, (2, 4)),
        ):
            if value not in known:
                raise InputError(f"{name} {value!r}", mend=f"use one of {known}")
        if self.sharding and self.data_ranks % self.sharding:
            raise InputError(
                f"shard={self.shard} does not divide dp x cp = {self.data_ranks}",
                mend=f"use one of {_divisors(self.data_ranks)}",
            )
        if self.data_ranks % self.ep:
            raise InputError(
                f"ep={self.ep} does not divide dp x cp = {self.data_ranks}",
                mend=f"use one of {_divisors(self.data_ranks)}",
            )
        if self.interleave > 1 and (self.schedule != "interleaved" or self.pp == 1):
            raise InputError(
                f"interleave={self.interleave} with schedule {self.schedule!r} and pp={self.pp}",
                mend="use schedule 'interleaved' and pp of 2 or more",
            )

    @property
    def world(self) -> int:
        """GPUs of the job."""
        return self.dp * self.cp * self.tp * self.pp

    @property
    def data_ranks(self) -> int:
        """Ranks whose gradients are summed: dp x cp."""
        return self.dp * self.cp

    @property
    def sharding(self) -> int:
        """Ranks over which states are split."""
        return self.shard or self.data_ranks

    @property
    def chunks(self) -> int:
        """Pieces that the layers are cut into."""
        return self.pp * self.interleave

    def sequences(self, batch: TrainingBatch) -> int:
        """Sequences of one step, all replicas together."""
        return batch.sequences * self.microbatches * self.dp

    def step_tokens(self, batch: TrainingBatch) -> int:
        """Tokens of one step."""
        return self.sequences(batch) * batch.tokens

    def check(self, model: Model, batch: TrainingBatch, gpus: int | None = None) -> None:
        """Raises InputError, with a mend, unless the model and batch can be spread so."""
        if gpus is not None and self.world != gpus:
            raise InputError(
                f"dp {self.dp} x cp {self.cp} x tp {self.tp} x pp {self.pp} = {self.world} ranks "
                f"for {gpus} GPUs",
                mend="make the product equal",
            )
        model.check_parallelism(self.tp, self.pp)
        self._check_layers(model)
        if batch.tokens % (self.cp * self.tp if self.sequence_parallel else self.cp):
            raise InputError(
                f"sequences of {batch.tokens} tokens over cp {self.cp}, tp {self.tp}",
                mend="use a length that both divide, or sequence_parallel=False",
            )
        if self.ep > 1 and (not model.moe or model.moe.experts % self.ep):
            experts = model.moe.experts if model.moe else 0
            raise InputError(
                f"ep={self.ep} for {experts} experts",
                where=model.name,
                mend="ep must divide the experts" if experts else "it has none: ep = 1",
            )

    def _check_layers(self, model: Model) -> None:
        if self.chunks > model.layers:
            raise InputError(
                f"pp={self.pp} x interleave={self.interleave} for {model.layers} layers",
                where=model.name,
                mend=f"their product may be {model.layers} at most",
            )
        if self.schedule == "interleaved" and self.pp > 1 and self.microbatches % self.pp:
            raise InputError(
                f"{self.microbatches} micro-batches over {self.pp} interleaved stages",
                mend=f"use a multiple of {self.pp} (arXiv 2104.04473, section 2.2)",
            )

    def chunk_layers(self, model: Model) -> tuple[int, ...]:
        """Blocks of each of the pp x interleave chunks, in model order; chunk c is on stage
        c mod pp. The first chunks take what is left over."""
        each, left = divmod(model.layers, self.chunks)
        return tuple(each + (c < left) for c in range(self.chunks))

    def describe(self) -> str:
        """The plan in a few words, sizes of 1 left out."""
        sizes = [f"{n}{getattr(self, n)}" for n in ("dp", "tp", "pp", "cp", "ep")]
        words = [text for text in sizes if text[2:] != "1"] or ["1 GPU"]
        if self.zero:
            words.append(f"zero{self.zero}" + (f"/{self.shard}" if self.shard else ""))
        if self.pp > 1:
            chunks = f" v{self.interleave}" if self.interleave > 1 else ""
            words.append(f"{self.schedule}{chunks}")
        if self.recompute != "none":
            words.append(f"recompute {self.recompute}")
        return " ".join([*words, f"m{self.microbatches}"])


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]
