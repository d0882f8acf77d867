"""Do sparse weight updates cut the traffic of reinforcement learning by a hundred?

Paper: Hu, Zhao et al., "SparseRL-Sync: Lossless Weight Synchronization with ~100x Less
Communication", arXiv 2605.07330 (May 2026): abstract.

Theirs: from one update to the next the trainer sends rollout workers only the weights that changed,
indices and values. "Often 99%+ sparsity", which under "a simplified cost model" makes S / X, "about
100x". Ours: what indices cost in six codes; a reason for the 99 % (an update by Adam is smaller
than the step between two BF16 numbers, so that most weights round back to what they were); weights
of standard deviation 0.02, noise for gradients; and a 70-billion-parameter model sent by 8 trainer
hosts over one shared line, with a scan of old and new weights before.

What we find:
- With 1 % of the weights changed S / X = 100 holds for indices that cost nothing. Values of 16 bits
  with int64 indices are 20 times less than all weights, int32 33, 16 bits in blocks 50, gaps as
  varints 61, gaps in Rice's code 67, and no code of independent positions exceeds 67. A bitmap ends
  at 16; it passes int32 near 3 % and Rice's gaps nowhere.
- Where all changes stand in a tenth or a fiftieth of the blocks these codes gain little (varints
  67), and one that knows the blocks could not exceed 77 and 88: the values weigh most by then.
- A hundred and more is in reach by coding the values: of the weights that changed 90 % moved to the
  next BF16 number, so that a value costs 2.4 bits, not 16. With Rice's gaps that is 156 at a
  learning rate of 1e-6.
- The 99 % follow from rounding: an update by Adam moves a weight by a quarter of the learning rate,
  and a BF16 number near 0.02 is 1e-4 from the next. At 1e-6 0.98 % change; at 1e-5 6.5 %.
- So it is a property of small learning rates and of frequent synchronization: after 4 updates at
  1e-6 3 % have changed, after 16 7.8 %, and int32 indices leave 11 and 4 of the hundred.
- What that buys depends on the line alone: 70 billion weights take 112 s over 10 Gb/s, and 3.3 s,
  1.7 s or 0.7 s as int32, Rice and Rice with steps; over eight NICs of 400 Gb/s they take 0.35 s
  whole. The scan takes 1 ms.

Limits: gradients are noise, so that a direction which persists (more changes) or vanishes (fewer)
is not seen; the positions of changes are as good as independent, which is the worst case for every
code but the bitmap. Coding and decoding cost no more than the scan and the write.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import mltwin as mt
from mltwin.models.gpu.profile import load_profile
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis
from mltwin.sim.rng_arrays import OBJECTS, SELECTION, SERVICE, normals, uniforms
from mltwin.text import Table
from studies._common import Options, main, publish, run_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEIGHTS = 2**21  # drawn
WIDTH = 16  # bits of a weight
SIGMA = 0.02  # standard deviation of the weights
MOMENTUM = 0.9  # Adam's first; the second is constant for noise that stays the same
RATES = [1e-7, 3e-7, 1e-6, 3e-6, 1e-5]  # of learning
UPDATES = [1, 4, 16]  # of the optimizer between two synchronizations
DENSITIES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
CLAIMED_DENSITY, CLAIMED = 0.01, 100.0
BLOCK = 65_536  # weights whose positions 16 bits tell apart
PARAMETERS, HOSTS = 70e9, 8
LINES_GBIT_PER_S = [1, 10, 100, 400, 1600, 3200]
GPU = load_profile("h100-sxm-80gb")
Longs = NDArray[np.int64]


def varint_bits(gaps: Longs) -> float:
    """Gaps in groups of seven bits (LEB128)."""
    groups = 1 + sum((gaps >= 128**k).astype(np.int64) for k in range(1, 5))
    return float(8 * groups.sum())


def rice_bits(gaps: Longs) -> float:
    """Gaps by Golomb and Rice: a quotient in unary, then k bits of remainder; the best k."""
    near = int(np.log2(max(0.7 * float(gaps.mean()), 1.0)))
    return min(float(((gaps >> k) + 1 + k).sum()) for k in range(max(near - 1, 0), near + 3))


def entropy_bits(density: float) -> float:
    """Bits a weight of changes that are independent: no code of their positions takes less."""
    p = density
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


CODES: dict[str, Callable[[Longs, int], float]] = {
    "int64": lambda gaps, n: 64.0 * len(gaps),
    "int32": lambda gaps, n: 32.0 * len(gaps),
    "int16 in blocks": lambda gaps, n: 16.0 * len(gaps) + 32 * -(-n // BLOCK),
    "bitmap": lambda gaps, n: float(n),
    "varint gaps": lambda gaps, n: varint_bits(gaps),
    "Rice gaps": lambda gaps, n: rice_bits(gaps),
}
"""Bits of all indices, from the gaps between changed weights and the number of weights."""


def gaps_of(changed: NDArray[np.bool_]) -> Longs:
    """Unchanged weights before each changed one."""
    return np.diff(np.flatnonzero(changed), prepend=-1) - 1


def reductions(changed: NDArray[np.bool_], value_bits: float = WIDTH) -> dict[str, float]:
    """Bits of all weights over those of indices and values, by code."""
    gaps, n = gaps_of(changed), len(changed)
    whole, values = float(WIDTH * n), value_bits * len(gaps)
    found = {name: whole / (bits(gaps, n) + values) for name, bits in CODES.items()}
    share = len(gaps) / n
    found["no code is shorter"] = WIDTH / (entropy_bits(share) + value_bits * share)
    found["indices for nothing"] = whole / values
    return found


def rounded(weights: NDArray[np.float32]) -> Longs:
    """BF16 numbers, nearest and ties to even, as integers in the order of the numbers."""
    raw = weights.view(np.uint32).astype(np.int64)
    bits = (raw + 0x7FFF + ((raw >> 16) & 1)) >> 16
    return np.where(bits & 0x8000, -(bits & 0x7FFF), bits)


def travelled(n: int) -> dict[int, NDArray[np.float64]]:
    """How far Adam has moved each weight after so many updates, in learning rates."""
    entity = np.arange(n)
    spread = np.sqrt((1 - MOMENTUM) / (1 + MOMENTUM))  # of the momentum of noise of variance 1
    momentum = spread * normals(0, SERVICE, entity)
    way, found = np.zeros(n), {}
    for update in range(1, max(UPDATES) + 1):
        way = way - momentum
        if update in UPDATES:
            found[update] = way
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * normals(0, SERVICE, entity, update)
    return found


def by_rate(n: int) -> list[dict[str, Any]]:
    """What changes, by learning rate and updates between two synchronizations."""
    weights = (SIGMA * normals(0, OBJECTS, np.arange(n))).astype(np.float32)
    before, ways, found = rounded(weights), travelled(n), []
    for rate in RATES:
        for updates, way in ways.items():
            steps = rounded((weights + rate * way).astype(np.float32)) - before
            size = np.abs(steps[steps != 0])
            # A sign, and the size by Elias's gamma: two bits for a change by one step.
            value_bits = float(2 + 2 * np.floor(np.log2(size)).mean())
            found.append(
                {
                    "rate": rate, "updates": updates, "density": float((steps != 0).mean()),
                    "one_step": float((size == 1).mean()), "value_bits": value_bits,
                    "plain": reductions(steps != 0),
                    "coded": reductions(steps != 0, value_bits)["Rice gaps"],
                }
            )  # fmt: skip
    return found


def by_density(n: int) -> dict[str, list[float]]:
    """Reduction by density, of each code, for changes that are independent."""
    place = uniforms(0, SELECTION, np.arange(n))
    rows = [reductions(place < density) for density in DENSITIES]
    return {name: [row[name] for row in rows] for name in rows[0]}


def crowded(n: int, share: float) -> dict[str, float]:
    """Reduction at the claimed density where the changes stand in so much of the blocks."""
    entity = np.arange(n)
    place = uniforms(0, SELECTION, entity)
    open_blocks = entity // 4096 % round(1 / share) == 0
    inside = CLAIMED_DENSITY / open_blocks.mean()
    found = reductions(open_blocks & (place < inside))
    bits = entropy_bits(inside) * open_blocks.mean()  # of a code that knows which blocks these are
    found["no code is shorter"] = WIDTH / (bits + WIDTH * CLAIMED_DENSITY)
    return found


def scenario(gbit_per_s: float, size_bytes: float) -> mt.Scenario:
    """Each trainer host sends its part to a rollout host; the parts share a line. (The pattern
    fills the way back as well, which takes nothing from the way there.)"""
    return mt.NetworkScenario.parse(
        {
            "system": "network",
            "topology": {
                "name": "dumbbell", "left": HOSTS, "right": HOSTS,
                "bottleneck_bytes_per_s": gbit_per_s * 1e9 / 8,
            },
            "traffic": {
                "kind": "pattern", "pattern": "shift", "shift": HOSTS,
                "size_mb": size_bytes / HOSTS / 1e6,
            },
        }
    )  # fmt: skip


def scan_s() -> float:
    """Seconds in which 8 GPUs of each host read old and new weights, or write them."""
    return 2 * PARAMETERS * WIDTH / 8 / (GPU.facts.hbm_bandwidth * 8 * HOSTS)


def by_line(options: Options, factors: Mapping[str, float]) -> dict[str, list[float]]:
    """Seconds of a synchronization over lines of different speed, by what is sent."""
    whole = PARAMETERS * WIDTH / 8
    found = {}
    for name, factor in factors.items():
        given = [scenario(line, whole / factor) for line in LINES_GBIT_PER_S]
        runs = run_all(given, options)
        scan = scan_s() if factor > 1 else 0.0
        found[name] = [run.metrics["makespan_ms"] / 1e3 + scan for (run,) in runs]
    return found


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    n = WEIGHTS // 8 if options.quick else WEIGHTS
    rates = by_rate(n)
    density = by_density(n)
    at = DENSITIES.index(CLAIMED_DENSITY)
    one_percent = {name: values[at] for name, values in density.items()}
    usual = next(one for one in rates if one["rate"] == 1e-6 and one["updates"] == 1)
    sent = {
        "all weights": 1.0,
        "int32 and values": usual["plain"]["int32"],
        "Rice and values": usual["plain"]["Rice gaps"],
        "Rice and steps": usual["coded"],
    }
    figures: dict[str, Any] = {
        "densities": DENSITIES,
        "by_density": density,
        "one_percent": one_percent,
        "by_rate": rates,
        "crowded": {f"{share:g}": crowded(n, share) for share in (1.0, 0.1, 0.02)},
        "lines_gbit_per_s": LINES_GBIT_PER_S,
        "sent": sent,
        "by_line": by_line(options, sent),
        "scan_s": scan_s(),
    }
    tables = {
        "codes": code_table(figures),
        "rates": rate_table(figures),
        "lines": line_table(figures),
    }
    publish(options, "sparse_sync", picture(figures), tables, figures)
    return figures


def code_table(figures: Mapping[str, Any]) -> Table:
    """Reduction by code and density."""
    shown = [DENSITIES.index(d) for d in (0.001, 0.003, 0.01, 0.03, 0.1)]
    rows: list[list[Any]] = [
        [
            name,
            *(f"{values[i]:.1f}" for i in shown),
            *(f"{one[name]:.1f}" for one in list(figures["crowded"].values())[1:]),
        ]
        for name, values in figures["by_density"].items()
    ]
    heads = ["index", *(f"{DENSITIES[i]:.1%}" for i in shown), "1 % in 10 %", "1 % in 2 %"]
    caption = (
        "Times less than all weights, by the share that changed; values of 16 bits. The last two: "
        "the changes stand in a tenth or a fiftieth of the blocks of 4,096 weights."
    )
    return Table(heads, rows, caption=caption)


def rate_table(figures: Mapping[str, Any]) -> Table:
    """Density by learning rate, and what follows."""
    rows: list[list[Any]] = [
        [
            f"{one['rate']:g}", one["updates"], f"{one['density']:.2%}", f"{one['one_step']:.1%}",
            f"{one['plain']['indices for nothing']:.0f}", f"{one['plain']['int32']:.0f}",
            f"{one['plain']['Rice gaps']:.0f}", f"{one['coded']:.0f}",
        ]
        for one in figures["by_rate"]
    ]  # fmt: skip
    heads = ["learning rate", "updates", "changed", "by one step", "no indices", "int32", "Rice"]
    caption = (
        "Weights of standard deviation 0.02 in BF16 after so many updates by Adam. Times less than "
        "all weights; the last column codes a value as how many BF16 steps it moved, and which way."
    )
    return Table([*heads, "Rice and steps"], rows, caption=caption)


def line_table(figures: Mapping[str, Any]) -> Table:
    """Seconds of a synchronization."""
    rows: list[list[Any]] = [
        [name, f"{figures['sent'][name]:.0f}", *seconds]
        for name, seconds in figures["by_line"].items()
    ]
    heads = ["sent", "times less", *(f"{line:,} Gb/s" for line in LINES_GBIT_PER_S)]
    caption = (
        f"Seconds of one synchronization of {PARAMETERS / 1e9:.0f} billion weights from {HOSTS} "
        "hosts to as many over a shared line, at a learning rate of 1e-6 and one update; the scan "
        f"of old and new weights takes {1e3 * figures['scan_s']:.1f} ms of it."
    )
    return Table(heads, rows, caption=caption)


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Reduction by density and code, density by learning rate, seconds by line."""
    with new_figure(1, 3, (11.5, 3.8), "Sending only the weights that changed") as (figure, axes):
        left, middle, right = axes[0]
        for colour, name in zip(COLOURS, CODES, strict=False):
            left.plot(DENSITIES, figures["by_density"][name], color=colour, label=name)
        for name, line in (("no code is shorter", "--"), ("indices for nothing", ":")):
            left.plot(DENSITIES, figures["by_density"][name], line, color=FAINT, label=name)
        left.plot(
            [CLAIMED_DENSITY],
            [CLAIMED],
            "*",
            color="black",
            ms=9,
            linestyle="none",
            label="SparseRL-Sync, claimed",
        )
        left.set_xlabel("share of the weights that changed")
        left.set_ylabel("times less than all weights")
        left.set_title("Values of 16 bits, by index")
        for colour, updates in zip(COLOURS, UPDATES, strict=False):
            mine = [one for one in figures["by_rate"] if one["updates"] == updates]
            label = f"{updates} update{'s' if updates > 1 else ''}"
            density = [one["density"] for one in mine]
            middle.plot(RATES, density, "o-", ms=3, color=colour, label=label)
        middle.axhline(CLAIMED_DENSITY, color=FAINT, linestyle=":", label="1 %")
        middle.set_xlabel("learning rate of Adam")
        middle.set_ylabel("share of the weights that changed")
        middle.set_title("Why most BF16 weights stay")
        looks = (COLOURS[6], COLOURS[1], COLOURS[0], COLOURS[2])
        for colour, (name, seconds) in zip(looks, figures["by_line"].items(), strict=True):
            right.plot(LINES_GBIT_PER_S, seconds, "o-", ms=3, color=colour, label=name)
        right.set_xlabel("line between trainer and rollout, Gb/s")
        right.set_ylabel("seconds")
        right.set_title(f"One synchronization, {PARAMETERS / 1e9:.0f} billion weights")
        for panel in axes[0]:
            number_axis(panel)
            number_axis(panel, "y")
            panel.legend(fontsize=7, ncols=2 if panel is left else 1, loc="lower left")
        left.set_ylim(0.05)
        middle.legend(fontsize=7, loc="upper left")
    return figure


if __name__ == "__main__":
    main(study, __doc__)
