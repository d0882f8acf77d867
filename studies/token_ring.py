"""Does attention over many GPUs go faster when queries travel one way and results the other?

Paper: Wang et al., "TokenRing: An Efficient Parallelism Framework for Infinite-Context LLMs via
Bidirectional Communication", arXiv 2412.20501 (abstract, and README of ACA-Lab-SJTU/token-ring):
ring attention passes keys and values on to the next GPU; TokenRing keeps them, passes queries on,
and sends each result back to its owner, so that both directions of a mesh of links are used.

Theirs: the mechanism and three times (README): LLaMA2-7B, 24,000 tokens on 4 A10 over PCIe; a
round of ring attention takes 7.6 ms, TokenRing's first two 3.5 ms, the third, with queries and
results, 4.6 ms. Ours: all else. The A10's links are set so that ring attention's round takes 7.6 ms
(12.9 GB/s), its speed so that a step's attention takes 3.5 ms; one cable a pair of GPUs, or one
port each. Others: 8 H100 on NVSwitch (450 GB/s a GPU), 8 MI300X in a full mesh (64 GB/s a pair), 8
chips in a ring (64 GB/s a cable); causal attention in zigzag order at half of the peak, forward
only, bf16. Beside them two plainer ideas: ring attention with half of the keys and values sent each
way, and all of them sent straight to all.

What we find:
- Their times fit a cable between each two GPUs: set by ring attention's round alone, TokenRing's
  first come out at 3.8 ms (theirs 3.5) and the third at 3.9 (theirs 4.6: they name the longer PCIe
  path). With one port a GPU the third would take 7.7 ms, as queries and results leave by it both.
- So the gain is the mesh's. There TokenRing is up to 1.6 times as fast over 8 GPUs, not twice: the
  last results travel when nothing is left to compute. Over NVSwitch, where one port has all of a
  GPU's bandwidth, it gains 5 % at 8,192 tokens and loses up to 5 % beyond; on a physical ring
  results cross several cables, and it is 0.73 times as fast as ring attention.
- Ring attention with half of the keys and values sent each way uses the same cables and sends no
  results: 2.0 times as fast in the mesh, never slower, on a physical ring as well. Sent straight to
  all, over all seven cables, it is 5.2 times at 8,192 tokens, but needs room for all of them.
- Queries are not small any more. With 8 heads of keys and values for 32 of queries (Llama 3) ring
  attention sends a quarter, TokenRing as much as before: 0.4 times as fast in the mesh, 0.25 over
  NVSwitch. Break-even is at about 21 of 32 heads in the mesh.
- From 262,144 tokens on (H100: 32,768) attention hides all that ring attention sends, and TokenRing
  is 0.2 to 4 % slower, by its last results.

Limits: forward only; the backward pass returns gradients of keys and values too. Merging of results
is free, transfers slow no kernel down, and a GPU ends a round when its step and its transfers have.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.models.network.topology import GPU, SWITCH, Topology
from mltwin.models.training.executor import GraphRun, execute
from mltwin.models.training.graph import TRANSFER, GraphBuilder
from mltwin.plots import COLOURS, new_figure, number_axis
from mltwin.sim.ticks import seconds, ticks
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADS, KV_HEADS, WIDTH = 32, 32, 128  # LLaMA2-7B
THEIRS = {"ring": 7.6, "TokenRing, first": 3.5, "TokenRing, third": 4.6}  # ms, README
A10_TOKENS, A10_GPUS, A10_STEP_MS = 24_000, 4, 3.5
TOKENS = [8192, 16384, 32768, 65536, 131072, 262144, 524288]
SHARED_KV = [1, 2, 4, 8, 16, 32]
METHODS = {"TokenRing": COLOURS[0], "ring, both ways": COLOURS[2], "straight to all": COLOURS[3]}
LATENCY_S = 2e-6


def mesh(gpus: int, bytes_per_s: float) -> Topology:
    """A cable between each two GPUs, so fast each way."""
    source, target = zip(*permutations(range(gpus), 2), strict=True)
    return Topology.make(
        name=f"mesh of {gpus}", nodes=[f"gpu{g}" for g in range(gpus)], kinds=GPU, source=source,
        target=target, bytes_per_s=bytes_per_s, latency_s=LATENCY_S, endpoints=range(gpus),
    )  # fmt: skip


def ports(gpus: int, bytes_per_s: float) -> Topology:
    """One port a GPU, so fast each way, into a switch."""
    gpu, switch = np.arange(gpus), np.full(gpus, gpus)
    return Topology.make(
        name=f"switch of {gpus}", nodes=[*(f"gpu{g}" for g in gpu), "switch"],
        kinds=[*[GPU] * gpus, SWITCH], source=np.concatenate([gpu, switch]),
        target=np.concatenate([switch, gpu]), bytes_per_s=bytes_per_s, latency_s=LATENCY_S / 2,
        endpoints=gpu,
    )  # fmt: skip


def machines() -> dict[str, tuple[Topology, float]]:
    """Nodes of eight, and the FLOP/s of one of their GPUs: half of the data sheet's dense bf16."""
    return {
        "NVSwitch, 8 H100": (mt.topology("nvswitch_node"), 0.5 * 989e12),
        "mesh, 8 MI300X": (mesh(8, 64e9), 0.5 * 1307e12),
        "ring, 8 chips": (mt.topology("torus", shape=(8,), link_bytes_per_s=64e9), 0.5 * 989e12),
    }


def sizes(tokens: int, gpus: int, kv_heads: int) -> dict[str, float]:
    """Bytes of one GPU's queries, keys and values, and results (with the logarithms of sums)."""
    rows = tokens / gpus
    query = rows * HEADS * WIDTH * 2
    return {
        "query": query,
        "kv": 2 * rows * kv_heads * WIDTH * 2,
        "result": query + rows * HEADS * 4,
    }


def step_s(tokens: int, gpus: int, flop_per_s: float) -> float:
    """One GPU's queries against another's keys, half of them masked: 4 l^2 h d / 2 operations."""
    return 2 * (tokens / gpus) ** 2 * HEADS * WIDTH / flop_per_s


def attention(method: str, topology: Topology, tokens: int, compute_s: float,
              kv_heads: int = KV_HEADS) -> tuple[GraphRun, list[float]]:  # fmt: skip
    """One layer's attention, and the seconds of each round (until all GPUs have ended it)."""
    n = topology.ranks
    size = sizes(tokens, n, kv_heads)
    rank = np.arange(n)
    graph = GraphBuilder()
    rounds: list[np.ndarray] = []
    ready = np.full((n, 1), -1)  # of each GPU, what its next round waits for

    def send(target: np.ndarray, nbytes: float, after: np.ndarray, name: str) -> np.ndarray:
        return graph.add(kind=TRANSFER, source=rank, target=target % n, bytes=nbytes, after=after,
                         name=name, category="cp")  # fmt: skip

    straight = []
    if method == "straight to all":
        straight = [send(rank + hop, size["kv"], ready, "kv") for hop in range(1, n)]
    for number in range(n):
        step = graph.add(device=rank, duration=ticks(compute_s), after=ready, name="attention",
                         category="forward")  # fmt: skip
        waits, last = [step], number == n - 1
        if method == "straight to all" and not last:
            waits.append(np.roll(straight[number], number + 1))
        shifts: list[tuple[int, str, float]] = {
            "ring": [(1, "kv", 1.0)],
            "ring, both ways": [(1, "kv", 0.5), (-1, "kv", 0.5)],
            "TokenRing": [(1, "query", 1.0)],
            "straight to all": [],
        }[method]
        for hop, what, share in shifts if not last else []:
            sent = send(rank + hop, share * size[what], ready, what)
            waits += [sent, np.roll(sent, hop)]
        if method == "TokenRing" and number > 1:  # of the round before
            hop = -(number - 1)
            sent = send(rank + hop, size["result"], ready, "result")
            waits += [sent, np.roll(sent, hop)]
        ready = np.stack(waits, axis=1)
        rounds.append(ready)
    if method == "TokenRing":
        rounds.append(send(rank - (n - 1), size["result"], ready, "result")[:, None])
    run = execute(graph.build(), topology=topology, fidelity="maxmin")
    ends = [float(seconds(int(run.end[tasks].max()))) for tasks in rounds]
    return run, np.diff([0.0, *ends]).tolist()


def their_case() -> dict[str, Any]:
    """The README's case: rounds in ms, with a cable a pair and with a port a GPU."""
    speed = sizes(A10_TOKENS, A10_GPUS, KV_HEADS)["kv"] / (THEIRS["ring"] / 1e3)
    found: dict[str, Any] = {"gb_per_s": speed / 1e9, "theirs": THEIRS}
    for text, topology in (("pair", mesh(A10_GPUS, speed)), ("port", ports(A10_GPUS, speed))):
        found[text] = {}
        for method in ("ring", *METHODS):
            run, rounds = attention(method, topology, A10_TOKENS, A10_STEP_MS / 1e3)
            found[text][method] = {"ms": 1e3 * run.makespan_s, "rounds": [1e3 * r for r in rounds]}
    return found


def by_tokens(tokens: Sequence[int]) -> dict[str, Any]:
    """Times of each method on each machine, and how much faster than ring attention."""
    found: dict[str, Any] = {}
    for machine, (topology, speed) in machines().items():
        rows: dict[str, list[float]] = {"attention_ms": []}
        for length in tokens:
            compute = step_s(length, topology.ranks, speed)
            rows["attention_ms"].append(1e3 * compute * topology.ranks)
            for method in ("ring", *METHODS):
                run, _ = attention(method, topology, length, compute)
                rows.setdefault(method, []).append(1e3 * run.makespan_s)
        found[machine] = rows
    return found


def by_kv_heads(tokens: int, heads: Sequence[int]) -> dict[str, Any]:
    """Times on each machine by heads of keys and values, where communication is all that counts."""
    return {
        machine: {
            method: [
                1e3 * attention(method, topology, tokens, 0.0, kv_heads=kv)[0].makespan_s
                for kv in heads
            ]
            for method in ("ring", *METHODS)
        }
        for machine, (topology, _) in machines().items()
    }


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    tokens = TOKENS[::3] if options.quick else TOKENS
    figures = {
        "a10": their_case(),
        "tokens": tokens,
        "by_tokens": by_tokens(tokens),
        "kv_heads": SHARED_KV,
        "by_kv_heads": by_kv_heads(16384, SHARED_KV),
    }
    tables = {
        "a10": a10_table(figures),
        "tokens": token_table(figures),
        "heads": head_table(figures),
    }
    publish(options, "token_ring", picture(figures), tables, figures)
    return figures


def a10_table(figures: Mapping[str, Any]) -> Table:
    """The README's rounds beside ours."""
    mine = figures["a10"]
    rows: list[list[Any]] = []
    for text, method, place in (("ring", "ring", 0), ("TokenRing, first", "TokenRing", 0),
                                ("TokenRing, third", "TokenRing", 2)):  # fmt: skip
        rows.append(
            [
                f"{text} round, ms",
                THEIRS[text],
                *(mine[kind][method]["rounds"][place] for kind in ("pair", "port")),
            ]
        )
    for method in ("ring", *METHODS):
        rows.append(
            [f"{method}, all, ms", None, *(mine[k][method]["ms"] for k in ("pair", "port"))]
        )
    caption = "4 A10, 24,000 tokens. Ring attention's round is what the links were set by."
    return Table(
        ["", "theirs", "a cable a pair", "a port a GPU"], rows, caption=caption, breaks={2}
    )


def token_table(figures: Mapping[str, Any]) -> Table:
    """Speed-up over ring attention by tokens."""
    rows: list[list[Any]] = [
        [machine, f"{n:,}", mine["attention_ms"][i], mine["ring"][i],
         *(mine["ring"][i] / mine[m][i] for m in METHODS)]
        for machine, mine in figures["by_tokens"].items()
        for i, n in enumerate(figures["tokens"])
    ]  # fmt: skip
    n = len(figures["tokens"])
    heads = ["node", "tokens", "attention alone ms", "ring ms", *(f"{m}, x" for m in METHODS)]
    return Table(
        heads, rows, caption="x: times as fast as ring attention.", breaks={n - 1, 2 * n - 1}
    )


def head_table(figures: Mapping[str, Any]) -> Table:
    """Speed-up over ring attention by heads of keys and values."""
    rows: list[list[Any]] = [
        [machine, kv, *(mine["ring"][i] / mine[m][i] for m in METHODS)]
        for machine, mine in figures["by_kv_heads"].items()
        for i, kv in enumerate(figures["kv_heads"])
    ]
    caption = f"Communication alone, times as fast as ring attention; {HEADS} heads of queries."
    return Table(["node", "KV heads", *METHODS], rows, caption=caption)


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Rounds beside theirs, speed-up by tokens and by heads of keys and values."""
    title = "TokenRing: queries one way, results the other"
    with new_figure(1, 3, (12.5, 4.1), title) as (figure, axes):
        left, middle, right = axes[0]
        _bars(left, figures)
        styles = dict(zip(figures["by_tokens"], ("--", "-", ":"), strict=True))
        for axis, x, table in ((middle, figures["tokens"], figures["by_tokens"]),
                               (right, figures["kv_heads"], figures["by_kv_heads"])):  # fmt: skip
            for machine, mine in table.items():
                for method, colour in METHODS.items():
                    gain = np.divide(mine["ring"], mine[method])
                    solid = styles[machine] == "-"
                    text = f"{method}, mesh" if solid else None
                    if method == "TokenRing" and not solid:
                        text = f"{method}, {machine.split(',')[0]}"
                    if method == "TokenRing" or solid:
                        axis.plot(x, gain, styles[machine], marker="o", markersize=3.5,
                                  color=colour, label=text)  # fmt: skip
            axis.axhline(1, color=COLOURS[6], linewidth=0.8)
            axis.set_ylim(bottom=0)
        number_axis(middle)
        middle.set_title("Times as fast as ring attention")
        middle.set_xlabel("tokens, over 8 GPUs")
        middle.legend(fontsize=7, handlelength=3)
        right.set_xscale("log", base=2)
        right.set_xticks(figures["kv_heads"], [str(k) for k in figures["kv_heads"]])
        right.minorticks_off()
        right.set_title("The same, communication alone")
        right.set_xlabel(f"KV heads, of {HEADS}")
    return figure


def _bars(axis: Any, figures: Mapping[str, Any]) -> None:
    names = list(THEIRS)
    places = {"ring": ("ring", 0), "TokenRing, first": ("TokenRing", 0),
              "TokenRing, third": ("TokenRing", 2)}  # fmt: skip
    for i, (text, colour) in enumerate((("theirs", COLOURS[6]), ("pair", COLOURS[0]),
                                        ("port", COLOURS[1]))):  # fmt: skip
        if text == "theirs":
            y = [THEIRS[name] for name in names]
        else:
            y = [figures["a10"][text][places[n][0]]["rounds"][places[n][1]] for n in names]
        shown = {"theirs": "measured (README)", "pair": "ours, a cable a pair",
                 "port": "ours, a port a GPU"}[text]  # fmt: skip
        bars = axis.bar(np.arange(3) + 0.27 * (i - 1), y, 0.25, color=colour, label=shown)
        axis.bar_label(bars, fmt="%.1f", fontsize=8)
    axis.set_xticks(np.arange(3), names)
    axis.grid(visible=False, axis="x")
    axis.set_ylim(0, 11)
    axis.set_title("A round on 4 A10, 24,000 tokens, ms")
    axis.legend()


if __name__ == "__main__":
    main(study, __doc__)
