"""What one GPU of each stage has to do in a training step, in ticks: `StepWork`.

Both the executed graph (:mod:`mltwin.models.training.step`) and the closed form
(:mod:`mltwin.models.training.step_closed`) are made of it, so that they can only differ in who
waits for whom.
"""

from dataclasses import dataclass, replace
from typing import Any

from mltwin.models.llm.model import Model
from mltwin.sim.ticks import TICKS_PER_S

from .memory import block_parameters, end_parameters
from .operators import Half, OperatorTimes
from .plan import TrainingBatch, TrainingPlan
from .step_comm import Cluster, Exchange
from .step_recipe import Recipe


@dataclass(frozen=True)
class Piece:
    """A span of computation, or of an exchange that computation waits for.

    Attributes:
        category: of the task (``mltwin.models.training.tables.CATEGORIES``).
        ticks: its length.
        beside: ticks of an exchange along with it (ring attention); what follows waits for both.
    """

    category: str
    ticks: int
    beside: int = 0

    @property
    def computes(self) -> bool:
        """Whether it is computation."""
        return self.category not in ("tp", "ep", "cp", "dp", "pp")


Pieces = tuple[Piece, ...]


@dataclass(frozen=True)
class Unit:
    """What is gathered and reduced together: the embedding, a block, or the head.

    Attributes:
        forward, backward, weights: pieces of one micro-batch; ``weights`` is empty where
            ``backward`` holds the gradients of weights too.
        gather, reduce: ticks of gathering its weights and of reducing its gradients.
        gather_bytes, reduce_bytes: sizes of these collectives (an all-reduce counts twice).
        parameters: on one GPU, before they are split over data-parallel ranks.
    """

    name: str
    forward: Pieces
    backward: Pieces
    weights: Pieces
    gather: int
    reduce: int
    parameters: float
    gather_bytes: float = 0.0
    reduce_bytes: float = 0.0


@dataclass(frozen=True)
class StepWork:
    """One step.

    Attributes:
        chunks: units of each model chunk, in model order.
        send: ticks from one stage to the next; ``send_bytes`` of one message.
        optimizer: ticks of each stage's update; ``regather`` of gathering weights after it (zero
            1).
        host: ticks between two steps.
        slowdown: of computation while gradients or weights travel beside it.
        together: data-parallel ranks of one group on one node.
    """

    plan: TrainingPlan
    chunks: tuple[tuple[Unit, ...], ...]
    send: int
    send_bytes: float
    optimizer: tuple[int, ...]
    regather: tuple[int, ...]
    host: int
    slowdown: float
    together: int = 1


def span(pieces: Pieces) -> int:
    """Ticks of pieces one after another."""
    return sum(max(p.ticks, p.beside) for p in pieces)


def stretched(pieces: Pieces, factor: float) -> Pieces:
    """The same pieces with computation ``factor`` times as long."""
    if factor == 1:
        return pieces
    return tuple(replace(p, ticks=round(p.ticks * factor)) if p.computes else p for p in pieces)


def step_work(
    model: Model,
    plan: TrainingPlan,
    batch: TrainingBatch,
    profile: Any,
    recipe: Recipe,
    cluster: Cluster,
    *,
    compute_speed: float = 1.0,
    memory_speed: float = 1.0,
    slowdown: float | None = None,
    memo: dict[object, object] | None = None,
) -> StepWork:
    """The work of a step; see `mltwin.models.training.step.training_step` for the arguments."""
    times = OperatorTimes(
        model,
        profile,
        plan,
        recipe,
        compute_speed=compute_speed,
        memory_speed=memory_speed,
        memo=memo,
    )
    return _Maker(model, plan, batch, times, Exchange(profile, cluster, memo)).work(slowdown)


class _Maker:
    def __init__(
        self,
        model: Model,
        plan: TrainingPlan,
        batch: TrainingBatch,
        times: OperatorTimes,
        exchange: Exchange,
    ) -> None:
        self.model, self.plan, self.batch = model, plan, batch
        self.times, self.exchange = times, exchange
        tokens = batch.sequences * batch.tokens / plan.cp
        self.hidden_bytes = tokens * model.hidden_size * 2.0
        self.split = plan.schedule == "zb-h1" and plan.pp > 1

    def work(self, slowdown: float | None) -> StepWork:
        model, plan = self.model, self.plan
        blocks = {}
        if model.dense_layers:
            blocks[False] = self._block(False)
        if model.moe:
            blocks[True] = self._block(True)
        embedding, head = self._ends()
        chunks: list[tuple[Unit, ...]] = []
        layer = 0
        for count in plan.chunk_layers(model):
            dense = min(count, max(0, model.dense_layers - layer))
            layer += count
            units = (blocks[False],) * dense if dense else ()
            chunks.append(units + ((blocks[True],) * (count - dense) if count > dense else ()))
        chunks[0] = (embedding, *chunks[0])
        chunks[-1] = (*chunks[-1], head)
        parameters = [
            sum(u.parameters for c in range(s, plan.chunks, plan.pp) for u in chunks[c])
            for s in range(plan.pp)
        ]
        held = plan.sharding if plan.zero else 1
        rows = self.hidden_bytes / (plan.tp if plan.sequence_parallel else 1)
        stride = plan.data_ranks * plan.tp
        return StepWork(
            plan=plan,
            chunks=tuple(chunks),
            send=_ticks(self.exchange.seconds("send", rows, 2, stride)) if plan.pp > 1 else 0,
            send_bytes=rows,
            optimizer=tuple(_ticks(self.times.optimizer(n / held)) for n in parameters),
            regather=tuple(self._gather(n, 0.0) if plan.zero == 1 else 0 for n in parameters),
            host=_ticks(self.times.recipe.step_s),
            slowdown=self.exchange.slowdown if slowdown is None else slowdown,
            together=self.exchange.spread(plan.data_ranks, plan.tp)[1],
        )

    def _block(self, experts: bool) -> Unit:
        attention = self.times.attention(self.batch)
        feed = self.times.feed_forward(self.batch, experts=experts)
        dense, routed = block_parameters(self.model, self.plan, experts=experts)
        flat = self.times.flatten(dense + routed)
        around = self._expert_exchange() if experts else 0.0
        forward = (
            *self._attention(attention.forward, attention.core_forward, "forward", attention, 1),
            *self._feed(feed.forward, around, "forward", feed, 1),
        )
        again: Pieces = ()
        if self.plan.recompute == "full":
            again = tuple(replace(p, category="recompute") if p.computes else p for p in forward)
        elif attention.recompute + feed.recompute > 0:
            again = (Piece("recompute", _ticks(attention.recompute + feed.recompute)),)
        rest = 0.0 if self.split else feed.wgrad + flat
        other = 0.0 if self.split else attention.wgrad
        backward = (
            *again,
            *self._feed(feed.dgrad + rest, around, "backward", feed, 2),
            *self._attention(
                attention.dgrad + other, attention.core_backward, "backward", attention, 2
            ),
        )
        last = Piece("backward", _ticks(feed.wgrad + attention.wgrad + flat))
        return Unit(
            name="expert block" if experts else "block",
            forward=forward,
            backward=backward,
            weights=(last,) if self.split else (),
            gather=self._gather(dense, routed),
            reduce=self._reduce(dense, routed),
            parameters=dense + routed,
            **self._sizes(dense + routed),
        )

    def _attention(
        self, seconds: float, core: float, category: str, half: Half, passes: int
    ) -> Pieces:
        before, after = self._exposed(half.products * passes)
        ring = self._ring_s() * passes
        if ring:
            rest = Piece(category, _ticks(seconds - core))
            middle: Pieces = (rest, Piece(category, _ticks(core), _ticks(ring)))
        else:
            middle = (Piece(category, _ticks(seconds)),)
        return (*_exchange("tp", before), *middle, *_exchange("tp", after))

    def _feed(
        self, seconds: float, around: float, category: str, half: Half, passes: int
    ) -> Pieces:
        before, after = self._exposed(half.products * passes)
        return (
            *_exchange("tp", before),
            *_exchange("ep", around),
            Piece(category, _ticks(seconds)),
            *_exchange("ep", around),
            *_exchange("tp", after),
        )

    def _exposed(self, products_s: float) -> tuple[float, float]:
        """Seconds of the tensor-parallel exchanges before and after half a block.

        Asynchronously they run in tp pieces beside the products; the first piece is waited for, and
        what is longer than the products (Wang et al., "Overlap communication with dependent
        computation via decomposition", ASPLOS 2023, section 4).
        """
        plan, size = self.plan, self.hidden_bytes
        if plan.tp == 1:
            return 0.0, 0.0
        if not plan.sequence_parallel:
            return 0.0, self.exchange.seconds("all_reduce", size, plan.tp)
        before = self.exchange.seconds("all_gather", size, plan.tp)
        after = self.exchange.seconds("reduce_scatter", size, plan.tp)
        if not plan.async_tp:
            return before, after
        both = before + after
        hidden = min(both * (plan.tp - 1) / plan.tp, products_s)
        return before * (1 - hidden / both), after * (1 - hidden / both)

    def _ring_s(self) -> float:
        """Keys and values of one rank going round the others."""
        plan, model = self.plan, self.model
        if plan.cp == 1:
            return 0.0
        kv = max(1, model.kv_heads // plan.tp) * model.head_dim
        size = 2.0 * 2.0 * kv * self.batch.sequences * self.batch.tokens / plan.cp
        nodes, _ = self.exchange.spread(plan.cp, plan.tp)
        stride = plan.tp if nodes == 1 else self.exchange.node
        return (plan.cp - 1) * self.exchange.seconds("send", size, 2, stride)

    def _expert_exchange(self) -> float:
        plan, moe = self.plan, self.model.moe
        assert moe is not None
        size = self.hidden_bytes * moe.experts_per_token
        size /= plan.tp if plan.sequence_parallel else 1
        return self.exchange.seconds("all_to_all", size, plan.ep, plan.tp)

    def _ends(self) -> tuple[Unit, Unit]:
        ends = self.times.ends(self.batch)
        first, last = end_parameters(self.model, self.plan)
        before, after = self._exposed(0.0)
        head = ends.head_dgrad + self.times.flatten(last)
        whole = head + (0.0 if self.split else ends.head_wgrad)
        spread = ends.embedding_backward + self.times.flatten(first)
        embedding = Unit(
            name="embedding",
            forward=(Piece("forward", _ticks(ends.embedding_forward)), *_exchange("tp", after)),
            backward=(*_exchange("tp", before), Piece("backward", _ticks(spread))),
            weights=(),
            gather=self._gather(first, 0.0),
            reduce=self._reduce(first, 0.0),
            parameters=first,
            **self._sizes(first),
        )
        return embedding, Unit(
            name="head",
            forward=(*_exchange("tp", before), Piece("loss", _ticks(ends.head_forward))),
            backward=(Piece("backward", _ticks(whole)), *_exchange("tp", after)),
            weights=(Piece("backward", _ticks(ends.head_wgrad)),) if self.split else (),
            gather=self._gather(last, 0.0),
            reduce=self._reduce(last, 0.0),
            parameters=last,
            **self._sizes(last),
        )

    def _sizes(self, parameters: float) -> dict[str, float]:
        rounds = 2 if self.plan.zero == 0 else 1
        return {
            "gather_bytes": 2 * parameters,
            "reduce_bytes": rounds * self.plan.gradient_bytes * parameters,
        }

    def _gather(self, dense: float, routed: float) -> int:
        plan = self.plan
        if plan.zero == 0:
            return 0
        total = self.exchange.seconds("all_gather", 2 * dense, plan.sharding, plan.tp)
        if routed:
            n, stride = max(1, plan.sharding // plan.ep), plan.tp * plan.ep
            total += self.exchange.seconds("all_gather", 2 * routed, n, stride)
        return _ticks(total)

    def _reduce(self, dense: float, routed: float) -> int:
        plan = self.plan
        total = self._reduced(dense, plan.sharding, plan.tp)
        if routed:
            total += self._reduced(routed, max(1, plan.sharding // plan.ep), plan.tp * plan.ep)
        return _ticks(total)

    def _reduced(self, parameters: float, n: int, stride: int) -> float:
        """Gradients of one unit: all-reduced in buckets, or scattered (and all-reduced between the
        groups of hybrid sharding)."""
        plan, size = self.plan, parameters * self.plan.gradient_bytes
        if plan.zero == 0:
            buckets = max(1, round(size / plan.bucket_bytes))
            return buckets * self.exchange.seconds("all_reduce", size / buckets, n, stride)
        groups = plan.data_ranks // plan.sharding
        own = size / max(n, 1)
        return self.exchange.seconds("reduce_scatter", size, n, stride) + self.exchange.seconds(
            "all_reduce", own, groups, stride * n
        )


def _ticks(seconds: float) -> int:
    """One duration as ticks; `mltwin.sim.ticks.ticks` is made for arrays."""
    return round(seconds * TICKS_PER_S)


def _exchange(category: str, seconds: float) -> Pieces:
    return (Piece(category, _ticks(seconds)),) if seconds > 0 else ()
