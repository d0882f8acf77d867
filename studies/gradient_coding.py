"""Does it pay to code gradients against stragglers, and over one round or over several?

Paper: Krishnan, Ebrahimi and Khisti, "Sequential Gradient Coding for Straggler Mitigation", ICLR
2023, arXiv 2211.13802: loads of SR-SGC and M-SGC (section 3), 256 workers on AWS Lambda that train
several networks at once (section 4), "16 % improvement in runtime over the baseline GC scheme".

Theirs: the codes, the rule by which a round ends (twice the fastest worker, or all where the code
does not bear the pattern), a delay that grows linearly with the load, and the run times in the
authors' result files (repository mamaj/Sequential-Gradient-Coding-2), of delays that are not
published in full. Ours: the delays. Stragglers are two-state chains (Gilbert and Elliott) with the
median and the 99th percentile of one profile that is published (0.64 s, 1.45 s; ours 1.49 s). A
code's parameters are chosen on one draw and its time is taken from others.

What we find:
- The loads are the paper's: to bear 27 of 256 stragglers GC makes each worker compute 28 times its
  share, SR-SGC over two rounds 15 times, M-SGC less than twice.
- M-SGC wins where the run is long: at 80 gradients it takes 11 % less than the best GC (the paper
  says 16 %, the authors' files 5 % at 80 and 21 % at 30), at 10 it takes 3 % more, as its gradients
  come a round late or more and each run ends with such rounds.
- What decides is the cost of computing. Where a worker's share of the gradient takes 0.5 % of a
  round, GC's sixteenfold load is nearly free and GC is fastest; at 4 % M-SGC takes a quarter less
  than GC.
- SR-SGC is at best as fast as GC here (at the dearest share), where the authors' files have it 3 to
  11 % faster. In our chains the number of stragglers is much the same in each round: what SR-SGC is
  made for, a round with many after rounds with few, hardly happens. GC gains twice as much over no
  coding here as there (24 % against 11 %), which says the same: their rounds differed more.
- Longer bursts turn it round: where a straggler stays one for one and a half rounds or more, its
  second round breaks the model of M-SGC, the master waits for all, and GC is as fast or faster.
- For the mini-batches of training jobs (Alibaba's, ten workers) nothing pays: a step is nearly all
  computing, so that twice the load is twice the time, and the slowest worker is rarely that late.

Limits: communication takes no time, the master decodes in none, workers restart at once in each
round. Delays of different workers are independent; in a cloud they share machines. Waiting only
until a pattern is borne, in place of for all, helps all three codes by 4 to 5 %.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.training.coding import (
    Code,
    best_code,
    codes_to_try,
    drawn_delays,
    gc,
    gilbert_elliott,
    m_sgc,
    run_code,
    sr_sgc,
    uncoded,
)
from mltwin.models.training.noise import MEASURED, PROBABILITIES
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.sim.rng_arrays import SERVICE, uniforms
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORKERS, JOBS = 256, 80
USUAL_S, SIGMA, FACTOR = 0.644, 0.12, 2.2  # of a round; stragglers take 2.2 times as long
SHARE, BURST = 0.03, 1.05  # of workers that straggle; mean rounds that they stay so
PART_S = 0.013  # computing 1 / n of a gradient
MU = 1.0  # a round ends at (1 + MU) times the fastest worker
MOST, LATE = 40, 4  # stragglers that a code may bear, and rounds that it may be late
JOBS_TRIED = [10, 20, 40, 80, 160]
PARTS_TRIED = [0.001, 0.003, 0.0065, 0.013, 0.026]
BURSTS_TRIED = [1.05, 1.25, 1.5, 2.0, 4.0]
SEEDS = 5

# Seconds in the authors' result files: gradients -> uncoded, GC, SR-SGC, M-SGC.
AUTHORS = {80: (122.6, 109.4, 105.9, 103.7), 30: (59.6, 53.1, 47.4, 42.1)}
KINDS = {"gc": ("GC", COLOURS[0]), "sr_sgc": ("SR-SGC", COLOURS[4]), "m_sgc": ("M-SGC", COLOURS[1])}

Row = dict[str, Any]
Profile = Callable[[int], np.ndarray]


def chains(rounds: int, workers: int, *, burst: float = BURST) -> Profile:
    """Delays of a seed: lognormal, and longer while a worker straggles."""
    leave = 1 / burst
    enter = SHARE * leave / (1 - SHARE)

    def delays(seed: int) -> np.ndarray:
        straggling = gilbert_elliott(seed, rounds, workers, enter=enter, leave=leave)
        return drawn_delays(seed, straggling, usual_s=USUAL_S, sigma=SIGMA, factor=FACTOR)

    return delays


def minibatches(rounds: int, workers: int) -> Profile:
    """Delays of a seed: quantiles of measured mini-batch times, median 1."""

    def delays(seed: int) -> np.ndarray:
        drawn = uniforms(seed, SERVICE, np.arange(rounds * workers))
        factors = np.interp(drawn, PROBABILITIES, MEASURED["minibatch"])
        return np.asarray(factors.reshape(rounds, workers))

    return delays


def compared(
    delays: Profile, workers: int, jobs: int, seeds: Sequence[int], *, part_s: float = PART_S,
    most: int = MOST, mus: Sequence[float] = (MU,), wait: str = "all",
) -> Row:  # fmt: skip
    """Seconds of each kind's best code, chosen on seed 0 and timed on the others."""

    def total(code: Code, seed: int, mu: float) -> float:
        run = run_code(
            code, profiles[seed], jobs, mu=mu, gradient_s=part_s * workers,
            measured_load=1 / workers, wait=wait, check=False,
        )  # fmt: skip
        return run.total_s

    profiles = {seed: delays(seed) for seed in (0, *seeds)}
    row: Row = {"uncoded": float(np.mean([total(uncoded(workers), s, MU) for s in seeds]))}
    for mu in mus:
        best = best_code(codes_to_try(workers, LATE, most), lambda code, mu=mu: total(code, 0, mu))
        for kind, (code, first) in best.items():
            if first < row.get(kind, {}).get("first_s", np.inf):
                seconds = float(np.mean([total(code, s, mu) for s in seeds]))
                row[kind] = {
                    "code": code.label, "load": code.load * workers, "first_s": first,
                    "seconds": seconds, "mu": mu,
                }  # fmt: skip
    return row


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    workers, most = (64, 14) if options.quick else (WORKERS, MOST)
    seeds = range(1, 3 if options.quick else SEEDS + 1)
    part = PART_S * WORKERS / workers if options.quick else PART_S
    tried = JOBS_TRIED[::2] if options.quick else JOBS_TRIED
    parts = [p * part / PART_S for p in (PARTS_TRIED[::2] if options.quick else PARTS_TRIED)]
    bursts = BURSTS_TRIED[::2] if options.quick else BURSTS_TRIED
    rounds = JOBS + LATE

    def at(jobs: int = JOBS, part_s: float = part, burst: float = BURST, wait: str = "all") -> Row:
        delays = chains(jobs + LATE, workers, burst=burst)
        return compared(delays, workers, jobs, seeds, part_s=part_s, most=most, wait=wait)

    figures: dict[str, Any] = {
        "workers": workers,
        "loads": loads(workers, most),
        "by_jobs": {jobs: at(jobs=jobs) for jobs in tried},
        "by_part": {f"{p / USUAL_S:.2%}": at(part_s=p) for p in parts},
        "by_burst": {burst: at(burst=burst) for burst in bursts},
        "waiting_enough": at(wait="enough"),
        "minibatch": compared(
            minibatches(rounds, 10), 10, JOBS, seeds, part_s=1.0, most=5, mus=(0.1, 0.25, MU)
        ),
        "authors": {jobs: dict(zip(("uncoded", *KINDS), row, strict=True))
                    for jobs, row in AUTHORS.items()},
    }  # fmt: skip
    publish(options, "gradient_coding", draw(figures), tables(figures), figures)
    return figures


def loads(workers: int, most: int) -> dict[str, list[float]]:
    """Load of each code over lambda, in shares of a worker without coding."""
    spread = range(1, most + 1)
    return {
        "lambda": list(spread),
        "GC": [gc(workers, s).load * workers for s in spread],
        "SR-SGC, B = 1, W = 2": [sr_sgc(workers, 1, 2, s).load * workers for s in spread],
        "M-SGC, B = 1, W = 2": [m_sgc(workers, 1, 2, s).load * workers for s in spread],
        "M-SGC, B = 1, W = 4": [m_sgc(workers, 1, 4, s).load * workers for s in spread],
    }


def relative(row: Row, kind: str) -> float:
    """Time against no coding."""
    return float(row[kind]["seconds"] / row["uncoded"])


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """One table an axis, and the authors' times beside ours."""
    made = {}
    for name, head in (
        ("by_jobs", "gradients"), ("by_part", "cost of a share"), ("by_burst", "burst, rounds"),
    ):  # fmt: skip
        rows = [
            [str(point), row["uncoded"], *(cell for kind in KINDS for cell in _cells(row, kind))]
            for point, row in figures[name].items()
        ]
        made[name] = Table([head, "uncoded s", *_heads()], rows)
    others = {
        "chains, wait for all": figures["by_jobs"].get(JOBS) or figures["by_burst"][BURST],
        "chains, wait for enough": figures["waiting_enough"],
        "mini-batches, 10 workers": figures["minibatch"],
    }
    rows = [[name, row["uncoded"], *(c for kind in KINDS for c in _cells(row, kind))]
            for name, row in others.items()]  # fmt: skip
    made["others"] = Table(["delays", "uncoded s", *_heads()], rows)
    authors = [
        [f"authors' files, {jobs} gradients", row["uncoded"],
         *(f"{row[kind]:.1f} ({row[kind] / row['uncoded'] - 1:+.0%})" for kind in KINDS)]
        for jobs, row in figures["authors"].items()
    ]  # fmt: skip
    made["authors"] = Table(["", "uncoded s", *(KINDS[kind][0] for kind in KINDS)], authors)
    return made


def _heads() -> list[str]:
    return [text for kind in KINDS for text in (f"{KINDS[kind][0]} s", "code")]


def _cells(row: Row, kind: str) -> list[str]:
    mine = row[kind]
    return [f"{mine['seconds']:.1f} ({relative(row, kind) - 1:+.0%})", mine["code"]]


def draw(figures: Mapping[str, Any]) -> "Figure":
    """Loads; time against no coding by length of run, cost of computing and length of bursts."""
    title = f"Gradient codes of {figures['workers']} workers"
    with new_figure(2, 2, (10.5, 7.0), title) as (figure, axes):
        (top, jobs), (part, burst) = axes
        for (name, mine), colour in zip(
            list(figures["loads"].items())[1:],
            (COLOURS[0], COLOURS[4], COLOURS[1], COLOURS[3]),
            strict=True,
        ):
            top.plot(figures["loads"]["lambda"], mine, color=colour, label=name)
        top.set_ylim(bottom=0)
        top.set_title("Load, in shares of a worker without coding")
        top.set_xlabel("stragglers that are borne (lambda; GC: s)")
        top.legend()
        _relative(jobs, figures["by_jobs"], "gradients in a run")
        for count, row in figures["authors"].items():
            for kind, (_, colour) in KINDS.items():
                jobs.plot(
                    count, row[kind] / row["uncoded"], "x", color=colour, markersize=7,
                    label="authors' files" if (count, kind) == (80, "gc") else None,
                )  # fmt: skip
        jobs.set_xscale("log")
        jobs.set_xticks(list(figures["by_jobs"]), [str(n) for n in figures["by_jobs"]])
        jobs.minorticks_off()
        jobs.legend(ncols=2)
        _relative(part, figures["by_part"], "cost of computing a share, of a round")
        _relative(burst, figures["by_burst"], "mean rounds that a straggler stays one")
    return figure


def _relative(axes: "Axes", rows: Mapping[Any, Row], text: str) -> None:
    numbers = [isinstance(point, str) for point in rows]
    x = list(range(len(rows))) if any(numbers) else list(rows)
    for kind, (name, colour) in KINDS.items():
        y = [relative(row, kind) for row in rows.values()]
        axes.plot(x, y, marker="o", markersize=4, color=colour, label=name)
    if any(numbers):
        axes.set_xticks(x, list(rows))
    axes.axhline(1, color=COLOURS[6], linewidth=0.8, linestyle="--")
    axes.set_ylim(0, None)
    share_axis(axes)
    axes.set_title("Time against no coding")
    axes.set_xlabel(text)
    axes.legend()


if __name__ == "__main__":
    main(study, __doc__)
