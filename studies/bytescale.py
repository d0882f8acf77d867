"""What does a static split of long contexts cost when most sequences are short?

Paper: Ge et al., "ByteScale: Efficient Scaling of LLM Training with a 2048K Context Length on More
Than 12,000 GPUs", arXiv 2502.21231 (February 2025): abstract.

Theirs: hybrid data parallelism. A sequence is spread over as many GPUs as it needs instead of over
a group that is sized for the longest one; short ones are not spread, so that their keys and values
travel nowhere, and a scheduler evens out the work. The claim: "up to 7.89x" over static groups, 7
to 141 billion parameters, contexts of 256K to 2048K. Ours: Llama-3.1-8B on 128 H100s, 16,384 tokens
to a GPU (full recomputation and sharded states: they fit into 80 GB), sequences of lognormal length
(median 1,500, cut at the context), 16.8 million tokens a step, ring attention under which its
exchange is hidden as far as it goes, and a scheduler of our own (longest first).

What we find:
- The gain grows with the context that groups are sized for, not with that of the sequences: 1.2 at
  128K, 1.5 at 256K, 2.1, 3.2 and 5.9 at 2,048K, where each doubling brings another 1.8. So 7.89
  is in the range of what follows from the mechanism, on other models and lengths.
- Up to 128K a static group stays inside a node, its rings are hidden, and it loses by waiting
  alone, 12 to 22 %: evening out the packs of static groups gains as much there as hybrid
  parallelism does.
- Beyond a node the rings take over: 25 % of the GPUs' time at 256K, 68 % at 1,024K and 83 % at
  2,048K. Short sequences bring too little attention to hide their keys and values under.
- Hybrid parallelism without a scheduler is no gain, as equal tokens are not equal work: it waits
  36 % at 256K and 42 % from 512K, and loses to static groups from 32K to 128K (0.86 at worst).
  Evened out it waits 2 to 9 %. Of the 5.9 at 2,048K the scheduler makes 1.6, the rest 3.6.
- It is the short sequences that pay. Where all are short (spread 0.5) the gain at 1,024K is 6.0;
  where 89 % of the tokens stand in long sequences it is 1.45, and static groups evened out get
  1.17.
- Our pieces agree with the model of a whole step to 1.2 % (four cases, in the figures).

Limits: the weights' and gradients' exchanges are those of a step without context parallelism, at
its end, the same for all. Their selective offloading, which gives a long sequence fewer GPUs, and
pipelines are left out. Length and cost of every sequence are known beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm.config import load_model
from mltwin.models.training.executor import GraphRun, execute
from mltwin.models.training.graph import GraphBuilder
from mltwin.models.training.plan import TrainingBatch, TrainingPlan
from mltwin.models.training.step import training_step
from mltwin.models.training.step_comm import Cluster, Exchange
from mltwin.plots import COLOURS, FAINT, new_figure
from mltwin.sim.rng_arrays import LENGTHS, normals
from mltwin.sim.ticks import ticks
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL, GPU, GPUS, NODE = "llama-3.1-8b", "h100-sxm-80gb", 128, 8
CAPACITY = 16_384  # tokens of a GPU
STEP_TOKENS = 8 * GPUS * CAPACITY
MEDIAN, SPREAD = 1_500, 1.7  # tokens of a sequence; standard deviation of their logarithm
SPREADS = [0.5, 1.0, 1.7, 2.4]
CONTEXTS = [2**k for k in range(14, 22)]
PASSES = 4  # over a ring: forward, forward again, backward (keys and values, their gradients)
CLAIMED = 7.89
WAYS = {
    "static": "static groups",
    "static_even": "static groups, evened out",
    "hybrid": "hybrid, as they come",
    "hybrid_even": "hybrid, evened out",
}
MEMO: dict[object, object] = {}
EXCHANGE = Exchange(load_profile(GPU), Cluster())


def microbatch_s(sequences: int, tokens: int, split: int) -> float:
    """Seconds by which one micro-batch more lengthens a step, each sequence over `split` GPUs."""
    batch = TrainingBatch(sequences, tokens)
    one, two = (
        training_step(
            MODEL, TrainingPlan(cp=split, zero=1, recompute="full", microbatches=n), batch, GPU,
            memo=MEMO, fit=False,
        ).seconds
        for n in (1, 2)
    )  # fmt: skip
    return two - one


@cache
def update_s() -> float:
    """Seconds of a step that no micro-batch takes: gradients, update, weights."""
    batch = TrainingBatch(1, CAPACITY)
    one, two = (
        training_step(
            MODEL, TrainingPlan(dp=GPUS, zero=1, recompute="full", microbatches=n), batch, GPU,
            memo=MEMO,
        ).seconds
        for n in (1, 2)
    )  # fmt: skip
    return 2 * one - two


@cache
def costs() -> tuple[float, np.ndarray, np.ndarray]:
    """Seconds a token beside attention; lengths and seconds of the attention of one sequence."""
    plain = microbatch_s(CAPACITY // 256, 256, 1) / CAPACITY
    lengths = 2.0 ** np.arange(9, 22)
    whole = np.array([microbatch_s(1, int(s), 1) for s in lengths[2:]])
    # Shorter sequences travel together: alone they would not fill a GPU.
    packed = [microbatch_s(int(CAPACITY // s), int(s), 1) * s / CAPACITY for s in lengths[:6]]
    total = np.concatenate([packed, whole[4:]])
    return plain, lengths, np.maximum(total - plain * lengths, 0.0)


def attention_s(tokens: np.ndarray) -> np.ndarray:
    """Seconds of attention of sequences, forward and backward, on one GPU: straight in the
    logarithms between the lengths that were timed, quadratic below."""
    _, lengths, seconds = costs()
    inside = np.exp(np.interp(np.log(tokens), np.log(lengths), np.log(np.maximum(seconds, 1e-9))))
    short = seconds[0] * (tokens / lengths[0]) ** 2
    return np.where(tokens < lengths[0], short, inside)


@cache
def ring_s(tokens: int, split: int) -> float:
    """Seconds in which the keys and values of so many tokens go round `split` GPUs."""
    if split == 1:
        return 0.0
    model = load_model(MODEL)
    size = 2 * 2.0 * model.kv_heads * model.head_dim * tokens / split
    hop = EXCHANGE.seconds("send", size, 2, 1 if split <= NODE else NODE)
    return PASSES * model.layers * (split - 1) * hop


@dataclass(frozen=True)
class Piece:
    """Sequences that run together on `split` GPUs."""

    tokens: int
    split: int
    seconds: float
    exposed: float

    @classmethod
    def of(cls, lengths: np.ndarray, split: int) -> "Piece":
        """The ring is hidden under the attention of all its sequences, as far as that goes."""
        tokens = int(lengths.sum())
        core = float(attention_s(lengths).sum()) / split
        exposed = max(0.0, ring_s(tokens, split) - core)
        return cls(tokens, split, costs()[0] * tokens / split + core + exposed, exposed)


def sequences(context: int, spread: float, seed: int) -> np.ndarray:
    """Lengths of a step's sequences."""
    drawn = np.exp(np.log(MEDIAN) + spread * normals(seed, LENGTHS, np.arange(STEP_TOKENS // 64)))
    lengths = np.clip(np.rint(drawn), 64, context)
    return lengths[: int(np.searchsorted(np.cumsum(lengths), STEP_TOKENS)) + 1]


def packed(lengths: np.ndarray, room: int) -> list[np.ndarray]:
    """Sequences together as they come, each in the fullest of the open packs that has room."""
    packs: list[list[float]] = []
    left: list[float] = []
    open_packs: list[int] = []
    for length in lengths.tolist():
        fitting = [i for i in open_packs if left[i] >= length]
        if fitting:
            chosen = min(fitting, key=lambda i: left[i])
        else:
            chosen = len(packs)
            packs.append([])
            left.append(float(room))
            open_packs = [*open_packs[-31:], chosen]
        packs[chosen].append(length)
        left[chosen] -= length
    return [np.array(pack) for pack in packs]


def placed(pieces: Sequence[Piece], places: int, even: bool) -> list[tuple[int, Piece]]:
    """(first place, piece) in the order of issue: in turn, or the longest first where the fullest
    of the places that it takes is least full."""
    load, cursor, found = np.zeros(places), 0, []
    for piece in sorted(pieces, key=lambda p: -p.seconds) if even else pieces:
        if even:
            width = piece.split
            fullest = [load[i : i + width].max() for i in range(places - width + 1)]
            first = int(np.argmin(fullest))
            load[first : first + width] = fullest[first] + piece.seconds
        else:
            first = cursor if cursor + piece.split <= places else 0
            cursor = (first + piece.split) % places
        found.append((first, piece))
    return found


def executed(order: Sequence[tuple[int, Piece]]) -> GraphRun:
    """Every GPU of a piece works on it, from the moment at which the last of them is free."""
    graph = GraphBuilder()
    for first, piece in order:
        graph.add(
            device=np.arange(first, first + piece.split),
            duration=ticks(piece.seconds),
            group=graph.new_groups(1)[0] if piece.split > 1 else -1,
        )
    return execute(graph.build())


def one_step(lengths: np.ndarray, context: int, way: str) -> dict[str, float]:
    """Seconds of a step, and where GPU time goes."""
    even = way.endswith("even")
    if way.startswith("static"):
        split = max(1, context // CAPACITY)
        pieces = [Piece.of(pack, split) for pack in packed(lengths, context)]
        groups = [Piece(p.tokens, 1, p.seconds, p.exposed) for p in pieces]
        run = executed(placed(groups, GPUS // split, even))
    else:
        long = lengths[lengths > CAPACITY]
        pieces = [Piece.of(np.array([s]), int(-(-s // CAPACITY))) for s in long]
        pieces += [Piece.of(pack, 1) for pack in packed(lengths[lengths <= CAPACITY], CAPACITY)]
        run = executed(placed(pieces, GPUS, even))
    whole = run.makespan_s + update_s()
    work = costs()[0] * lengths.sum() + attention_s(lengths).sum()
    busy = sum(p.seconds * p.split for p in pieces)
    exposed = sum(p.exposed * p.split for p in pieces)
    return {
        "seconds": whole,
        "tokens_per_s_per_gpu": float(lengths.sum()) / whole / GPUS,
        "useful": float(work) / GPUS / whole,
        "exposed": exposed / GPUS / whole,
        "waiting": max(0.0, 1 - (busy / GPUS + update_s()) / whole),
        "update": update_s() / whole,
    }


def all_ways(context: int, spread: float, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Each way, the mean of steps with different sequences."""
    drawn = [sequences(context, spread, seed) for seed in seeds]
    found = {}
    for way in WAYS:
        steps = [one_step(lengths, context, way) for lengths in drawn]
        found[way] = {name: float(np.mean([s[name] for s in steps])) for name in steps[0]}
    return found


def checks() -> list[dict[str, float]]:
    """Micro-batches of equal sequences: by the pieces above and by the model of a step."""
    found = []
    for count, tokens, split in ((1, 32768, 2), (1, 131072, 8), (1, 262144, 16), (64, 4096, 16)):
        mine = Piece.of(np.full(count, tokens), split).seconds
        model = microbatch_s(count, tokens, split)
        found.append(
            {"sequences": count, "tokens": tokens, "split": split, "off": mine / model - 1}
        )
    return found


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    contexts = CONTEXTS[::3] + CONTEXTS[-1:] if options.quick else CONTEXTS
    spreads = SPREADS[::3] if options.quick else SPREADS
    seeds = range(1 if options.quick else 4)
    figures: dict[str, Any] = {
        "contexts": contexts,
        "by_context": [all_ways(context, SPREAD, seeds) for context in contexts],
        "spreads": spreads,
        "by_spread": [all_ways(CONTEXTS[-2], spread, seeds) for spread in spreads],
        "long_tokens": [long_share(CONTEXTS[-2], spread, seeds) for spread in spreads],
        "checks": checks(),
        "update_s": update_s(),
    }
    tables = {"contexts": context_table(figures), "spreads": spread_table(figures)}
    publish(options, "bytescale", picture(figures), tables, figures)
    return figures


def long_share(context: int, spread: float, seeds: Sequence[int]) -> float:
    """Share of the tokens that stand in sequences longer than a GPU takes."""
    drawn = np.concatenate([sequences(context, spread, seed) for seed in seeds])
    return float(drawn[drawn > CAPACITY].sum() / drawn.sum())


def speed(ways: Mapping[str, Mapping[str, float]], way: str) -> float:
    """Tokens a second over those of static groups."""
    return ways[way]["tokens_per_s_per_gpu"] / ways["static"]["tokens_per_s_per_gpu"]


def context_table(figures: Mapping[str, Any]) -> Table:
    """By context."""
    rows: list[list[Any]] = []
    for context, ways in zip(figures["contexts"], figures["by_context"], strict=True):
        for way, one in ways.items():
            rows.append(
                [
                    context, max(1, context // CAPACITY), WAYS[way], one["tokens_per_s_per_gpu"],
                    f"{speed(ways, way):.2f}", f"{one['useful']:.0%}", f"{one['exposed']:.0%}",
                    f"{one['waiting']:.0%}",
                ]
            )  # fmt: skip
    heads = ["context", "group", "way", "tokens/s a GPU", "over static", "work", "rings", "waiting"]
    caption = (
        f"{MODEL} on {GPUS} H100s, sequences of median {MEDIAN:,} tokens (spread {SPREAD:g}). "
        "Group: GPUs of a static group. Work, rings, waiting: shares of the GPUs' time that go "
        "into the sequences, into rings that no attention hides, and into waiting for other GPUs."
    )
    return Table(heads, rows, caption=caption)


def spread_table(figures: Mapping[str, Any]) -> Table:
    """By the spread of lengths."""
    rows: list[list[Any]] = [
        [f"{spread:g}", f"{share:.0%}", *(f"{speed(ways, way):.2f}" for way in list(WAYS)[1:])]
        for spread, share, ways in zip(
            figures["spreads"], figures["long_tokens"], figures["by_spread"], strict=True
        )
    ]
    heads = ["spread", "tokens of long sequences", *list(WAYS.values())[1:]]
    caption = (
        f"Tokens a second over those of static groups, at a context of {CONTEXTS[-2]:,}; long: "
        "more than a GPU takes."
    )
    return Table(heads, rows, caption=caption)


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Tokens a second, speed over static groups, and where static groups lose time."""
    look = dict(zip(WAYS, (COLOURS[1], COLOURS[4], COLOURS[5], COLOURS[0]), strict=True))
    with new_figure(1, 3, (11.5, 3.8), "Long contexts among short sequences") as (figure, axes):
        left, middle, right = axes[0]
        x = figures["contexts"]
        for way, label in WAYS.items():
            rate = [ways[way]["tokens_per_s_per_gpu"] for ways in figures["by_context"]]
            left.plot(x, rate, "o-", ms=3, color=look[way], label=label)
            gain = [speed(ways, way) for ways in figures["by_context"]]
            middle.plot(x, gain, "o-", ms=3, color=look[way])
        middle.axhline(CLAIMED, color=FAINT, linestyle=":", label=f"ByteScale, at most {CLAIMED}")
        bottom = np.zeros(len(x))
        parts = {"useful": "work", "update": "update", "exposed": "rings", "waiting": "waiting"}
        for (part, label), colour in zip(parts.items(), COLOURS, strict=False):
            share = np.array([ways["static"][part] for ways in figures["by_context"]])
            right.fill_between(x, bottom, bottom + share, color=colour, alpha=0.7, label=label)
            bottom += share
        for panel in axes[0]:
            panel.set_xscale("log", base=2)
            panel.set_xticks(x[::2], [f"{v // 1024:,}K" for v in x[::2]])
            panel.set_xlabel("context, tokens")
            panel.set_ylim(0)
        left.set_ylabel("tokens/s a GPU")
        left.set_title("Throughput")
        left.legend(fontsize=7)
        middle.set_ylabel("over static groups")
        middle.set_title("Speed")
        middle.legend(fontsize=7)
        right.set_ylabel("share of the GPUs' time")
        right.set_title("Static groups: where time goes")
        right.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main(study, __doc__)
