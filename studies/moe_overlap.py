"""How much of a mixture-of-experts layer's communication can be hidden, and by which schedule?

Paper: Zhang et al., "Comet: Fine-grained Computation-communication Overlapping for
Mixture-of-Experts", MLSys 2025, arXiv 2502.19811 (abstract). Beside it Hwang et al., "Tutel:
Adaptive Mixture-of-Experts at Scale", MLSys 2023, arXiv 2206.03382, and Pan et al., "FSMoE",
ASPLOS 2025, arXiv 2501.10714 (abstracts).

Theirs: the schedules, as we understand them, and the claims. Tutel cuts the tokens into chunks
whose all-to-alls run beside the experts of other chunks; adaptive pipelining alone is "up to
2.00x" of a layer (Microsoft's page of the paper). FSMoE gives exchanges between nodes and within
a node a stream each: 1.18-1.22x over DeepSpeed-MoE and Tutel on 1,458 layers. COMET fuses the
dispatch with the first expert product and the second with the combine, tile by tile: 1.96x for a
layer, 1.71x end to end on average; communication takes up to 47 % of a model's time. Ours: layers
of four known models on H100 nodes (forward pass), measured times of matrix products and of NCCL
at the size of each chunk, the bandwidth by multiprocessors measured with DeepEP, 400 Gb/s a GPU.

What we find:
- What can be had follows from one ratio, seconds of exchanges over seconds of experts: the longer
  of the two stays, so at most 2, where they are equal. Chunks reach 1.60 at best, at a ratio of
  1.5, and 1.03 to 1.32 on the NVLink of an H100, where exchanges take 7 to 56 % of the experts'
  time: little is left to hide inside such a node.
- The number of chunks must follow the load, which is Tutel's point: DeepSeek-V3's layer is fastest
  in 2 chunks at 1,024 tokens and in 16 from 8,192, and 16 chunks of the 1,024 tokens take six
  times as long as 2. Small all-to-alls start slowly, and experts that get few tokens compute
  padding.
- Two fused kernels lose neither. They beat chunks wherever exchanges matter (1.40 against 1.29 on
  half of the NVLink, the mean of all cases; 1.71 at best), and chunks catch up with many tokens.
  They cannot reach 1.96 by overlap, though: the dispatch can hide under the first product only,
  two thirds of the work, and the combine under the second, so that 1.75 is the most (ratio 1.33).
  COMET's mean of 1.96 has to include time that its baselines lose otherwise.
- End to end 1.71 is plausible: with 47 % of communication all of it hidden makes 1.89, and 1.71
  asks for 88 % of that.
- Over four nodes, with experts sharded inside, a second stream of exchanges gains 1.17-1.20 for
  Mixtral, which is what FSMoE claims, and 1.3-1.7 where experts are finer, as the exchanges
  outlast them: most of what is hidden there is one exchange under the other.
- Uneven loads take a part of every gain, as exchanges wait for the GPU that computes longest:
  from 1.54 (chunks) and 1.60 (fused) to 1.35 and 1.45 where it has 1.7 times the mean.

Limits: one layer, forward, one GPU stands for all but in the table of uneven experts. Gate,
permutation and launches cost nothing, so that only overlap is compared. A grouped product is timed
as one whose rows are padded to 128 for each expert, and a chunk never takes less than its part of
the whole. NCCL is taken to need 24 multiprocessors. Uneven loads lengthen the products, not the
exchanges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.gpu.profile import load_profile
from mltwin.models.network.collectives_experts import load_exchange
from mltwin.models.training.executor import execute
from mltwin.models.training.graph import COLLECTIVE, COMPUTE, GraphBuilder
from mltwin.models.training.operators_rates import training_rates
from mltwin.models.training.step_comm import Cluster, Exchange
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis
from mltwin.sim.rng_arrays import SERVICE, normals
from mltwin.sim.ticks import ticks
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GPUS, NODES = 8, 4  # of a node; nodes of the layout with sharded experts
TOKENS = [1024, 2048, 4096, 8192, 16384, 32768]  # of one GPU
CHUNKS = [1, 2, 4, 8, 16]
LINKS = [1.0, 0.5, 0.25, 0.125]  # of an H100's NVLink; an H800 has 400 of 900 GB/s
UNEVEN = [0.0, 0.1, 0.2, 0.4]  # standard deviation of the logarithm of a GPU's tokens
TILES = 32  # pieces of a fused kernel
FUSED_SMS = [4, 8, 12, 16, 20, 24, 32, 40]  # that a fused kernel may give to communication
CLAIMED = {"layer": 1.96, "end to end": 1.71, "share": 0.47, "fsmoe": (1.18, 1.22), "tutel": 2.0}
BYTES = 2  # of a number, BF16
PROFILE = load_profile("h100-sxm-80gb")
EXCHANGE = Exchange(PROFILE, Cluster())
NCCL_SMS = 24


@dataclass(frozen=True)
class Experts:
    """Width of a model and of its experts, how many there are and how many a token takes."""

    hidden: int
    inner: int
    count: int
    chosen: int


MODELS = {  # from the models' published configurations
    "Mixtral 8x7B": Experts(4096, 14336, 8, 2),
    "Phi-3.5-MoE": Experts(4096, 6400, 16, 2),
    "Qwen2-57B-A14B": Experts(3584, 2560, 64, 8),
    "DeepSeek-V3": Experts(7168, 2048, 256, 8),
}


@cache
def product(rows: float, columns: int, inner: int) -> float:
    """Seconds of a matrix product in a run that goes on."""
    seconds = PROFILE.operators.gemm["bfloat16"].seconds(rows, columns, inner)
    return float(seconds) * training_rates(PROFILE).gemm_time


def halves(
    model: Experts, rows: float, groups: int, shards: int = 1, chunks: int = 1
) -> tuple[float, float]:
    """Seconds of the first (gate and up) and second expert product of one chunk of `rows` token
    copies; never less than the chunk's part of the whole."""
    inner = model.inner // shards
    shapes = [(2 * inner, model.hidden), (model.hidden, inner)]
    one, all_ = (groups * 128 * np.ceil(n / groups / 128) for n in (rows / chunks, rows))
    first, second = (max(product(one, *s), product(all_, *s) / chunks) for s in shapes)
    return first, second


@dataclass(frozen=True)
class Layer:
    """Seconds of the parts of a layer when its tokens are cut into so many chunks.

    Attributes:
        steps: parts in order, (stream, seconds of one chunk); stream 0 computes.
    """

    steps: tuple[tuple[int, float], ...]


def exchange(size: float, links: float) -> float:
    """Seconds of an all-to-all in a node whose links have this share of the bandwidth."""
    start = EXCHANGE.seconds("all_to_all", 1.0, GPUS)
    return start + (EXCHANGE.seconds("all_to_all", size, GPUS) - start) / links


def in_node(model: Experts, tokens: int, chunks: int, links: float = 1.0) -> Layer:
    """Experts spread over a node's GPUs: dispatch, experts, combine."""
    rows = tokens * model.chosen / chunks
    sent = exchange(rows * model.hidden * BYTES, links)
    work = sum(halves(model, rows * chunks, model.count // GPUS, chunks=chunks))
    return Layer(((1, sent), (0, work), (1, sent)))


def over_nodes(model: Experts, tokens: int, chunks: int, streams: int) -> Layer:
    """Experts spread over nodes, each sharded over its node's GPUs: all-to-all between nodes,
    all-gather inside, experts, reduce-scatter inside, all-to-all back."""
    rows = tokens * model.chosen / chunks
    size = rows * model.hidden * BYTES
    between = EXCHANGE.seconds("all_to_all", size, NODES, GPUS)
    gather = EXCHANGE.seconds("all_gather", size * GPUS, GPUS)
    reduce = EXCHANGE.seconds("reduce_scatter", size * GPUS, GPUS)
    work = sum(halves(model, rows * chunks * GPUS, model.count // NODES, GPUS, chunks))
    inside = streams  # 1: all exchanges on one stream, 2: those inside a node on their own
    return Layer(((1, between), (inside, gather), (0, work), (inside, reduce), (1, between)))


def pipelined(layer: Layer, chunks: int, speed: np.ndarray | None = None) -> float:
    """Seconds of a layer in chunks; `speed` of each GPU's experts (all GPUs alike without it).

    A stream takes the first part that is ready, earlier parts of the layer first; computation
    takes longer while NCCL holds multiprocessors.
    """
    work = np.ones(1) if speed is None else speed
    graph = GraphBuilder()
    devices = np.arange(len(work))
    before: list[Any] = [None] * chunks
    for place, (stream, seconds) in enumerate(layer.steps):
        for chunk in range(chunks):
            group = -1 if stream == 0 or len(work) == 1 else graph.new_groups(1)[0]
            before[chunk] = graph.add(
                kind=COLLECTIVE if stream else COMPUTE,
                device=devices,
                stream=stream,
                group=group,
                priority=-place,
                duration=ticks(seconds * (work if stream == 0 else np.ones(len(work)))),
                after=before[chunk],
                name=f"part {place}",
            )
    sms = PROFILE.facts.sms
    slowdown = sms / (sms - NCCL_SMS) if chunks > 1 else 1.0
    return execute(graph.build(), order="ready", overlap_slowdown=slowdown).makespan_s


def by_chunks(layer: Callable[[int], Layer], speed: np.ndarray | None = None) -> list[float]:
    """Seconds with each of `CHUNKS`."""
    return [pipelined(layer(r), r, speed) for r in CHUNKS]


@cache
def slower(sms: int) -> float:
    """Time of an exchange with so many multiprocessors over that with NCCL's, as DeepEP's."""
    law = load_exchange("h100-sxm").laws["dispatch.normal"]
    given = law.seconds(8192, 4096, 8, 64, sms=np.array([sms, NCCL_SMS]))
    return float(given[0] / given[1])


def fused(
    model: Experts, tokens: int, links: float = 1.0, speed: np.ndarray | None = None
) -> tuple[float, int]:
    """Seconds of the two fused kernels, and the multiprocessors given to communication."""
    rows = tokens * model.chosen
    start = exchange(1.0, 1.0)
    sent = exchange(rows * model.hidden * BYTES, 1.0) - start
    first, second = halves(model, rows, model.count // GPUS)
    work = np.ones(1) if speed is None else speed
    return min(
        # The links and the multiprocessors that drive them each set a pace; the slower counts.
        (_fused(start, sent * max(1 / links, slower(c)), first, second, c, work), c)
        for c in FUSED_SMS
    )


def _fused(
    start: float, sent: float, first: float, second: float, sms: int, work: np.ndarray
) -> float:
    """Tiles of the dispatch feed the first product; those of the second feed the combine."""
    share = PROFILE.facts.sms / (PROFILE.facts.sms - sms)
    graph, devices = GraphBuilder(), np.arange(len(work))
    here = TILES // GPUS  # tiles of tokens that need not travel are computed first
    arrived: list[Any] = [None] * here
    opened = graph.add(kind=COLLECTIVE, device=devices, stream=1, duration=ticks(start))
    for _ in range(TILES - here):
        group = graph.new_groups(1)[0] if len(work) > 1 else -1
        took = ticks(sent / (TILES - here))
        opened = graph.add(
            kind=COLLECTIVE, device=devices, stream=1, group=group, duration=took, after=opened
        )
        arrived.append(opened)
    for tile in arrived:
        graph.add(device=devices, duration=ticks(first * share / TILES * work), after=tile)
    for _ in range(TILES):
        done = graph.add(device=devices, duration=ticks(second * share / TILES * work))
        group = graph.new_groups(1)[0] if len(work) > 1 else -1
        graph.add(
            kind=COLLECTIVE, device=devices, stream=1, group=group, after=done,
            duration=ticks(sent / TILES),
        )  # fmt: skip
    return execute(graph.build()).makespan_s


def in_nodes(options: Options) -> list[dict[str, Any]]:
    """Each model, link and number of tokens inside a node."""
    found = []
    for name, model in MODELS.items():
        for links in LINKS[::2] if options.quick else LINKS:
            for tokens in TOKENS[::4] if options.quick else TOKENS:
                (_, sent), (_, work), _ = in_node(model, tokens, 1, links).steps
                times = by_chunks(lambda r, m=model, t=tokens, k=links: in_node(m, t, r, k))
                seconds, sms = fused(model, tokens, links)
                ratio = 2 * sent / work
                found.append(
                    {
                        "model": name, "links": links, "tokens": tokens, "ratio": ratio,
                        "milliseconds": 1e3 * times[0], "bound": (1 + ratio) / max(1, ratio),
                        "by_chunks": [times[0] / t for t in times],
                        "chunks": times[0] / min(times),
                        "best_chunks": CHUNKS[int(np.argmin(times))],
                        "fused": times[0] / seconds, "fused_sms": sms,
                    }
                )  # fmt: skip
    return found


def over_all_nodes(options: Options) -> list[dict[str, Any]]:
    """Each model and number of tokens with experts over nodes, sharded inside them."""
    found = []
    for name, model in MODELS.items():
        for tokens in TOKENS[::2] if options.quick else TOKENS:
            one, two = (
                by_chunks(lambda r, m=model, t=tokens, s=s: over_nodes(m, t, r, s)) for s in (1, 2)
            )
            found.append(
                {
                    "model": name, "tokens": tokens, "milliseconds": 1e3 * one[0],
                    "one": one[0] / min(one), "two": one[0] / min(two),
                    "gain": min(one) / min(two),
                }
            )  # fmt: skip
    return found


def uneven(options: Options) -> dict[str, dict[str, float]]:
    """Speed over the serial schedule where GPUs have different numbers of tokens."""
    model, tokens, links = MODELS["DeepSeek-V3"], 8192, 0.5
    found: dict[str, dict[str, float]] = {}
    for spread in UNEVEN[::3] if options.quick else UNEVEN:
        speed = np.exp(spread * normals(0, SERVICE, np.arange(GPUS)))
        speed /= speed.mean()
        times = by_chunks(lambda r: in_node(model, tokens, r, links), speed)
        seconds, _ = fused(model, tokens, links, speed)
        found[f"{spread:g}"] = {
            "longest": float(speed.max()),
            "serial_ms": 1e3 * times[0],
            "chunks": times[0] / min(times),
            "fused": times[0] / seconds,
        }
    return found


def fused_bound(ratio: float) -> float:
    """What two fused kernels reach at best: each hides one exchange under its own product, the
    first of which is two thirds of the work."""
    return (1 + ratio) / (max(ratio / 2, 2 / 3) + max(ratio / 2, 1 / 3))


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    figures: dict[str, Any] = {
        "chunks": CHUNKS,
        "in_node": in_nodes(options),
        "over_nodes": over_all_nodes(options),
        "uneven": uneven(options),
        "sms": {str(c): slower(c) for c in FUSED_SMS},
        "most_fused": max(fused_bound(r) for r in np.linspace(0.1, 4, 391)),
    }
    tables = {
        "in-node": node_table(figures),
        "over-nodes": nodes_table(figures),
        "uneven": uneven_table(figures),
    }
    publish(options, "moe_overlap", picture(figures), tables, figures)
    return figures


def node_table(figures: Mapping[str, Any]) -> Table:
    """Inside a node."""
    rows: list[list[Any]] = [
        [
            one["model"], f"{one['links']:g}", one["tokens"], one["milliseconds"],
            f"{one['ratio']:.2f}", f"{one['bound']:.2f}", f"{one['chunks']:.2f}",
            one["best_chunks"], f"{one['fused']:.2f}", one["fused_sms"],
        ]
        for one in figures["in_node"]
        if one["tokens"] in TOKENS[::2] and one["links"] in LINKS[::2]
    ]  # fmt: skip
    heads = ["model", "NVLink", "tokens", "serial, ms", "exchanges / experts", "at most"]
    heads += ["in chunks", "best chunks", "fused", "SMs for exchanges"]
    caption = (
        f"{GPUS} GPUs, whole experts; speeds over the serial schedule. NVLink: share of an H100's. "
        "At most: the longer of exchanges and experts alone."
    )
    return Table(heads, rows, caption=caption)


def nodes_table(figures: Mapping[str, Any]) -> Table:
    """Over nodes."""
    rows: list[list[Any]] = [
        [
            one["model"], one["tokens"], one["milliseconds"], f"{one['one']:.2f}",
            f"{one['two']:.2f}", f"{one['gain']:.2f}",
        ]
        for one in figures["over_nodes"]
        if one["tokens"] in TOKENS[::2]
    ]  # fmt: skip
    heads = ["model", "tokens", "serial, ms", "one stream of exchanges", "two", "two over one"]
    caption = (
        f"{NODES} nodes of {GPUS} GPUs: experts over nodes, each sharded inside its node; speeds "
        "over the serial schedule, each with its best number of chunks."
    )
    return Table(heads, rows, caption=caption)


def uneven_table(figures: Mapping[str, Any]) -> Table:
    """GPUs with different numbers of tokens."""
    rows: list[list[Any]] = [
        [
            s,
            f"{one['longest']:.2f}",
            one["serial_ms"],
            f"{one['chunks']:.2f}",
            f"{one['fused']:.2f}",
        ]
        for s, one in figures["uneven"].items()
    ]
    heads = ["spread", "longest over mean", "serial, ms", "in chunks", "fused"]
    caption = (
        "DeepSeek-V3, 8,192 tokens, half of an H100's NVLink; the experts of the GPUs have "
        "lognormal loads, exchanges wait for all."
    )
    return Table(heads, rows, caption=caption)


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Speed by the weight of communication, by chunks, and by streams."""
    with new_figure(1, 3, (11.5, 3.8), "Hiding a mixture of experts' exchanges") as (figure, axes):
        left, middle, right = axes[0]
        draw_ratio(left, figures["in_node"])
        shown = [o for o in figures["in_node"] if o["model"] == "DeepSeek-V3" and o["links"] == 1]
        for colour, one in zip(COLOURS, shown, strict=False):
            label = f"{one['tokens']:,} tokens"
            middle.plot(CHUNKS, one["by_chunks"], "o-", color=colour, label=label)
        number_axis(middle)
        middle.set_xlabel("chunks")
        middle.set_ylabel("speed over the serial schedule")
        middle.set_title("DeepSeek-V3's layer on 8 H100s")
        middle.legend(fontsize=7)
        for colour, name in zip(COLOURS, MODELS, strict=False):
            mine = [o for o in figures["over_nodes"] if o["model"] == name]
            right.plot(
                [o["tokens"] for o in mine], [o["gain"] for o in mine], color=colour, label=name
            )
        right.axhspan(*CLAIMED["fsmoe"], color=FAINT, alpha=0.3, label="FSMoE, claimed")
        number_axis(right)
        right.set_xlabel("tokens of a GPU")
        right.set_ylabel("two streams of exchanges over one")
        right.set_title(f"Exchanges between and in {NODES} nodes")
        right.legend(fontsize=7)
    return figure


def draw_ratio(panel: Any, found: Sequence[Mapping[str, Any]]) -> None:
    """Speeds by exchanges over experts, with what can be had at most."""
    ratio = [one["ratio"] for one in found]
    x = np.geomspace(min(ratio), max(ratio), 100)
    panel.plot(x, (1 + x) / np.maximum(1, x), color=FAINT, label="all hidden under all")
    panel.plot(x, [fused_bound(v) for v in x], "--", color=FAINT, label="two fused kernels at best")
    panel.plot(ratio, [o["chunks"] for o in found], "o", color=COLOURS[0], ms=3, label="in chunks")
    panel.plot(ratio, [o["fused"] for o in found], "^", color=COLOURS[1], ms=3, label="fused")
    panel.axhline(CLAIMED["layer"], color=COLOURS[1], linestyle=":", label="COMET, claimed")
    number_axis(panel)
    panel.set_xlabel("exchanges over experts, seconds")
    panel.set_ylabel("speed over the serial schedule")
    panel.set_title("One node, all models and links")
    panel.legend(fontsize=7)


if __name__ == "__main__":
    main(study, __doc__)
