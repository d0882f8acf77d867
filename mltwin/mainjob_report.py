"""What the main job found, as tables, a picture, and a folder of results."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .mainjob import GPUS, Cell, SloClass, Study, Traffic
from .text import Table, short, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENOUGH = 0.90
TIE = 0.005
FAILED = 0.5
LATENCIES = ("p50_ttft_ms", "p99_ttft_ms", "p50_tpot_ms", "p99_tpot_ms")
# Broken before "p50 ms" where a table is narrow, not within.
HEADS = tuple(f"{n} {s}\u00a0ms" for n in ("TTFT", "TPOT") for s in ("p50", "p99"))
Value = Callable[[Cell], float]


def title(study: Study) -> str:
    """What was asked."""
    return f"Llama-3.1-70B on {GPUS} H100, {study.traffic.trace}"


def load_table(study: Study) -> Table:
    """Set-ups by load: latencies, goodput, attainment of each class; the best of a load bold."""
    classes = study.traffic.classes
    middle_class = classes[len(classes) // 2]
    values: list[tuple[str, Value, bool]] = [  # column, value, whether more is better
        *((head, _metric(name), False) for head, name in zip(HEADS, LATENCIES, strict=True)),
        (f"{middle_class.name} goodput req/s", lambda c: c.goodput[middle_class.name], True),
        *((f"{slo.name} %", _percent(slo), True) for slo in classes),
    ]
    rows: list[list[Any]] = []
    best, breaks = set(), set()
    for rate in study.rates:
        top = len(rows)
        group = [
            [mean(study, s.family, rate, value) for _, value, _ in values] for s in study.chosen
        ]
        for set_up, numbers in zip(study.chosen, group, strict=True):
            rows.append([f"{rate:g}", set_up.family, *numbers])
        for j, (_, _, high) in enumerate(values):
            best |= {(top + i, 2 + j) for i in _leaders([row[j] for row in group], high)}
        breaks.add(len(rows) - 1)
    columns = ["req/s", "set-up", *(name for name, _, _ in values)]
    runs = len(study.traffic.seeds)
    caption = "; ".join(slo.text for slo in classes)
    caption += f"; means of {runs} seeds" if runs > 1 else ""
    formats = {2 + j: short for j in range(len(values))}
    return Table(columns, rows, caption=caption, best=best, breaks=breaks, formats=formats)


def winner_table(study: Study) -> Table:
    """For each load and class the set-up with the highest attainment, and by how much."""
    classes = study.traffic.classes
    rows: list[list[Any]] = [
        [f"{rate:g}", *(_winner(study, slo, rate) for slo in classes)] for rate in study.rates
    ]
    columns = ["requests/s", *(slo.name for slo in classes)]
    caption = "who has most requests within the SLO, and the lead over the second in points; a "
    caption += f"tie is less than {100 * TIE:g}; none where all keep less than {100 * FAILED:g} %"
    return Table(columns, rows, title="Who wins", caption=caption)


def capacity_table(study: Study) -> Table:
    """For each class the highest load at which 90 % of requests keep their SLO."""
    rows: list[list[Any]] = []
    best = set()
    for i, slo in enumerate(study.traffic.classes):
        found = [capacity(study, set_up.family, slo) for set_up in study.chosen]
        rows.append([slo.name, *(_capacity_text(study, value) for value in found)])
        if max(found) > 0 and len(set(found)) > 1:
            best.add((i, 1 + int(np.argmax(found))))
    columns = [
        f"requests/s at {100 * ENOUGH:g} % in SLO",
        *(set_up.family for set_up in study.chosen),
    ]
    return Table(columns, rows, caption="interpolated between the loads tested", best=best)


def tried_table(study: Study) -> Table:
    """All variants at the middle load, the chosen ones bold."""
    classes = study.traffic.classes
    rows: list[list[Any]] = []
    best = set()
    for i, cell in enumerate(study.tried):
        percents = [100 * cell.attainment[slo.name] for slo in classes]
        metrics = [cell.metrics[name] for name in LATENCIES]
        rows.append([cell.set_up.family, cell.set_up.variant, *metrics, *percents])
        if cell.set_up in study.chosen:
            best |= {(i, 0), (i, 1)}
    columns = ["set-up", "variant", *HEADS]
    columns += [f"{slo.name} %" for slo in classes]
    heading = f"Variants at {study.middle:g} requests/s"
    formats = {j: short for j in range(2, len(columns))}
    return Table(columns, rows, title=heading, best=best, formats=formats)


def capacity(study: Study, family: str, slo: SloClass) -> float:
    """The highest load with enough attainment, linear between loads; 0 if none, inf beyond."""
    shares = [mean(study, family, rate, lambda c: c.attainment[slo.name]) for rate in study.rates]
    if shares[0] < ENOUGH:
        return 0.0
    for i in range(1, len(shares)):
        if shares[i] < ENOUGH:
            (x0, x1), (y0, y1) = study.rates[i - 1 : i + 1], shares[i - 1 : i + 1]
            return x0 + (y0 - ENOUGH) / (y0 - y1) * (x1 - x0)
    return math.inf


def mean(study: Study, family: str, rate: float, value: Value) -> float:
    """The mean of a value over the seeds of a set-up at a load."""
    found = [value(c) for c in study.cells if c.set_up.family == family and c.rate == rate]
    return float(np.mean(found))


def plot_study(study: Study) -> "Figure":
    """Attainment of each class over load above, latency tails and goodput below."""
    from .plots import new_figure, number_axis, share_axis

    classes = study.traffic.classes
    middle = classes[len(classes) // 2]
    with new_figure(2, 3, (11.5, 6.6), title(study)) as (figure, axes):
        for panel, slo in zip(axes[0], classes, strict=True):
            _lines(panel, study, _attained(slo))
            panel.set_title(f"{slo.name}: TTFT {slo.ttft_ms:,g} ms, TPOT {slo.tpot_ms:g} ms")
            panel.set_ylim(0, 1.03)
            share_axis(panel)
        axes[0, 0].set_ylabel("requests within the SLO")
        for panel, metric, text in (
            (axes[1, 0], "p99_ttft_ms", "TTFT, 99th percentile"),
            (axes[1, 1], "p99_tpot_ms", "TPOT, 99th percentile"),
        ):
            _lines(panel, study, _metric(metric))
            panel.set_title(text)
            number_axis(panel, "y")
            panel.set_ylabel("ms")
        _lines(axes[1, 2], study, lambda c: c.goodput[middle.name])
        ends = [0, study.rates[-1]]
        axes[1, 2].plot(ends, ends, color="#AAAAAA", linewidth=1, linestyle=":", zorder=0)
        axes[1, 2].set_title(f"Goodput ({middle.name})")
        axes[1, 2].set_ylabel("requests/s")
        axes[1, 2].set_ylim(0, 1.05 * study.rates[-1])
        for panel in axes.flat:
            panel.set_xlim(0, 1.03 * study.rates[-1])
            panel.set_xlabel("load (requests/s)")
        handles, _ = axes[0, 0].get_legend_handles_labels()
        labels = [set_up.text for set_up in study.chosen]
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _lines(panel: "Axes", study: Study, value: Value) -> None:
    """A line for each set-up: the mean over seeds, with their range as a band."""
    from .plots import COLOURS

    for set_up, colour, marker in zip(study.chosen, COLOURS, "osD", strict=False):
        found = [
            [value(c) for c in study.cells if c.set_up == set_up and c.rate == rate]
            for rate in study.rates
        ]
        middle = [float(np.mean(v)) for v in found]
        panel.plot(study.rates, middle, marker=marker, ms=4, color=colour, label=set_up.family)
        if len(found[0]) > 1:
            low, high = [min(v) for v in found], [max(v) for v in found]
            panel.fill_between(study.rates, low, high, color=colour, alpha=0.18, linewidth=0)


def answer(study: Study) -> list[str]:
    """The findings in sentences."""
    lines = []
    for slo in study.traffic.classes:
        found = {s.family: capacity(study, s.family, slo) for s in study.chosen}
        if max(found.values()) == 0:
            lines.append(
                f"{slo.text}: no set-up keeps {100 * ENOUGH:g} % within it, even at "
                f"{study.rates[0]:g} requests/s."
            )
            continue
        ranked = sorted(found.items(), key=lambda item: -item[1])
        texts = [f"{family} {_capacity_text(study, value)}" for family, value in ranked]
        lines.append(f"{slo.text}: {', '.join(texts)} requests/s.")
    return lines


def write_study(study: Study, folder: Path) -> list[Path]:
    """`report.md`, `overview.png` and `.svg`, `run.json`, `runs.parquet`; the report's path first.

    Raises InputError where the folder cannot be written.
    """
    from mltwin.sim.errors import InputError
    from mltwin.sim.store import write_atomically

    from .exports import write_frame, write_json
    from .plots import save_figure

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(folder)) from None
    figure = plot_study(study)
    pictures = [folder / f"overview.{ending}" for ending in ("png", "svg")]
    for path in pictures:
        save_figure(figure, path)
    write_frame(folder / "runs.parquet", runs_frame(study))
    write_json(folder / "run.json", _manifest(study))
    report = report_text(study).encode()
    write_atomically(folder / "report.md", lambda file: file.write(report))
    return [folder / "report.md", *pictures, folder / "run.json", folder / "runs.parquet"]


def runs_frame(study: Study) -> Any:
    """One row a run: set-up, variant, load, seed, metrics, attainment and goodput by class."""
    import pandas as pd

    rows = []
    for cell in study.cells:
        row: dict[str, Any] = {
            "set_up": cell.set_up.family,
            "variant": cell.set_up.variant,
            "rate": cell.rate,
            "seed": cell.seed,
            **cell.metrics,
        }
        row |= {f"attainment_{name}": value for name, value in cell.attainment.items()}
        row |= {f"goodput_{name}": value for name, value in cell.goodput.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def report_text(study: Study) -> str:
    """The report in Markdown."""
    traffic = study.traffic
    parts = [
        f"# {title(study)}",
        "",
        *(f"- {line}" for line in answer(study)),
        "",
        "![Attainment, latency tails and goodput over load](overview.png)",
        "",
        "## By load",
        "",
        load_table(study).markdown(),
        winner_table(study).markdown(),
        "## Capacity",
        "",
        capacity_table(study).markdown(),
        "## How the set-ups were chosen",
        "",
        f"The knee of the plain colocated set-up (mean TTFT three times that of light load) is at "
        f"{show(study.knee, 3)} requests/s. At {study.middle:g} requests/s each set-up took the "
        "variant with the highest mean attainment over the classes (bold), and kept it at all "
        "loads:",
        "",
        tried_table(study).markdown(),
        f"Seeds: {', '.join(map(str, traffic.seeds))}. {_routing(traffic)} Output lengths are "
        "known to the policies that ask for them. KV moves at 400 Gbit/s a replica.",
        "",
        "Again: `mltwin run`",
        "",
    ]
    return "\n".join(parts)


def _routing(traffic: Traffic) -> str:
    if traffic.prefix_caching:
        return (
            "Prefixes are cached; requests go where their prefix is, save in the mixed pool, where "
            "Splitwise's policies do not look at it."
        )
    return "Requests go to the replica with the fewest; the mixed pool has Splitwise's policies."


def _manifest(study: Study) -> dict[str, Any]:
    from mltwin import __version__
    from mltwin.sim.cachedir import kernel_hash

    return {
        "format": "mltwin.mainjob",
        "mltwin": __version__,
        "kernel_hash": kernel_hash(),
        "trace": study.traffic.trace,
        "trace_sha256": study.results[0].trace_sha256,
        "seeds": list(study.traffic.seeds),
        "knee": study.knee,
        "rates": list(study.rates),
        "set_ups": [
            {"family": s.family, "variant": s.variant, "scenario": s.scenario.data()}
            for s in study.chosen
        ],
        "runs": [result.spec.hash for result in study.results],
        "digests": [c.digest for c in study.cells],
        "answer": answer(study),
    }


def _winner(study: Study, slo: SloClass, rate: float) -> str:
    shares = sorted(
        (
            (mean(study, s.family, rate, lambda c: c.attainment[slo.name]), s.family)
            for s in study.chosen
        ),
        reverse=True,
    )
    (first, name), (second, _) = shares[0], shares[1]
    if first < FAILED:
        return f"none (best {100 * first:.0f} %)"
    if first - second < TIE:
        return f"tie {100 * first:.0f} %"
    return f"{name} {100 * first:.0f} % (+{100 * (first - second):.0f})"


def _capacity_text(study: Study, value: float) -> str:
    if value == 0:
        return f"below {study.rates[0]:g}"
    return f"above {study.rates[-1]:g}" if math.isinf(value) else show(value, 3)


def _leaders(column: list[float], high: bool) -> list[int]:
    """Numbers of the best entries; none where all are equal as shown."""
    shown = [float(short(value).replace(",", "")) for value in column]
    target = max(shown) if high else min(shown)
    return [i for i, v in enumerate(shown) if v == target] if len(set(shown)) > 1 else []


def _metric(name: str) -> Value:
    return lambda cell: cell.metrics[name]


def _attained(slo: SloClass) -> Value:
    return lambda cell: cell.attainment[slo.name]


def _percent(slo: SloClass) -> Value:
    return lambda cell: 100 * cell.attainment[slo.name]
