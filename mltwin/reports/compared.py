"""The report of a comparison: what differs, by how much, how sure, and how to run it again."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mltwin.comparison_plots import plot_cdfs, plot_forest, plot_over_time
from mltwin.differences import Differences
from mltwin.sim.errors import InputError
from mltwin.text import Cell, Table
from mltwin.tomlfile import write_toml

from .html import Html, HtmlReport, code_html, table_html

if TYPE_CHECKING:
    from mltwin.comparison import Comparison
    from mltwin.result import Result

MOST_SAMPLES = 8
MOST_DRAWN = 7  # scenarios in one picture: as many as there are colours
STATISTIC = "p99"
_MOST_NOTES = 12


def compared_report(
    compared: "Comparison", metrics: Sequence[str], *, least: float = 0.01, title: str = ""
) -> HtmlReport:
    """A page about a comparison; a comparison of one is a page about a run.

    Args:
        compared: what to show.
        metrics: of the tables.
        least: the smallest difference that matters, as a share.
        title: by default the scenarios' names.
    """
    report = HtmlReport(
        title or " against ".join(reversed(compared.names[:2])) + _and_more(compared)
    )
    several = len(compared.names) > 1
    if several:
        found = compared.differences(metrics, least=least)
        _say_summary(report, compared, found)
        _show_differences(report, found)
    if len(compared.names) != 2:
        report.heading("Means")
        report.table(compared.table(metrics))
    report.details("All metrics", table_html(compared.table(compared.metrics())))
    _show_samples(report, _first(compared))
    if several:
        _show_fields(report, compared)
    _show_origin(report, compared)
    return report


def result_report(result: "Result", *, title: str = "") -> HtmlReport:
    """A page about one run."""
    from mltwin.comparison import Comparison

    compared = Comparison([[result]])
    report = HtmlReport(title or result.label)
    report.heading("Metrics")
    for table in result.report():
        report.table(table)
    _show_samples(report, compared)
    _show_origin(report, compared)
    return report


def _say_summary(report: HtmlReport, compared: "Comparison", found: Differences) -> None:
    report.heading("In short")
    report.bullets([*found.in_words(), *_unequal(compared)])


def _unequal(compared: "Comparison") -> Iterable[str]:
    """What makes the pairs less alike than they seem, one sentence each."""
    base, *others = compared.names
    for name in others:
        mine = {run.seed for run in compared.runs[name]}
        theirs = {run.seed for run in compared.runs[base]}
        if mine != theirs:
            both, all_ = len(mine & theirs), len(mine | theirs)
            yield f"{name} and {base} have {both} of {all_} seeds in common."
    for name, group in compared.runs.items():
        broken = sum(bool(run.violations) for run in group)
        if broken:
            yield f"{name}: {broken} of {len(group)} runs broke a conservation law."
    if len(compared.names) > MOST_DRAWN:
        yield f"Pictures show the first {MOST_DRAWN} of {len(compared.names)} scenarios."
    codes = {run.spec.kernel_hash for group in compared.runs.values() for run in group}
    if len(codes) > 1:
        yield f"The runs were made by {len(codes)} versions of the kernel (see below)."


def _show_differences(report: HtmlReport, found: Differences) -> None:
    report.heading("Differences")
    report.table(found.table())
    drawn = list(dict.fromkeys(row.name for row in found.rows))[: MOST_DRAWN - 1]
    rows = tuple(row for row in found.rows if row.name in drawn)
    report.figure(
        plot_forest(replace(found, rows=rows)),
        "Difference to the base: the dot is the mean over seeds, the thick bar its 95 % interval "
        "alone, the thin one together with all others.",
    )


def _first(compared: "Comparison") -> "Comparison":
    """As many scenarios as a picture can tell apart, the base among them."""
    from mltwin.comparison import Comparison

    names = compared.names[:MOST_DRAWN]
    return Comparison([compared.runs[name] for name in names], names)


def _show_samples(report: HtmlReport, compared: "Comparison") -> None:
    """Distributions, and courses over time, of the quantities that all runs name."""
    every = [run.samples() for group in compared.runs.values() for run in group]
    names = [name for name in every[0] if all(name in one for one in every)][:MOST_SAMPLES]
    if not names:
        return
    seeds = ", all seeds; faint: each" if len(every) > len(compared.names) else ""
    report.heading("Distributions")
    for name in names:
        report.figure(plot_cdfs(compared, name), f"Share of values at or below; {name}{seeds}.")
    timed = [name for name in names if all(one[name].at_s is not None for one in every)]
    if timed:
        report.heading("Over time")
    for name in timed:
        report.figure(
            plot_over_time(compared, name, STATISTIC),
            f"{STATISTIC} of {name} in windows of simulated time"
            + ("; the band spans the seeds." if len(every) > len(compared.names) else "."),
        )


def _show_fields(report: HtmlReport, compared: "Comparison") -> None:
    report.heading("What differs between the scenarios")
    fields = compared.fields()
    if fields.rows:
        report.table(fields)
    else:
        report.paragraph("No field: the scenarios are the same.")


def _show_origin(report: HtmlReport, compared: "Comparison") -> None:
    """How to run it again, with what it was made, and each run's digest."""
    report.heading("How it was made")
    files = scenario_files(compared)
    command = reproduction(compared)
    if command:
        report.paragraph("The same again, from the scenarios below:")
        report.code(command, "bash")
    for name, (file, text) in files.items():
        report.details(f"{name}: {file}", code_html(text, "toml"))
    report.details("Runs: seeds, digests and versions", *_origin_tables(compared))
    notes = _notes(compared)
    if notes:
        report.heading("Notes", 3)
        report.bullets(notes)


def _origin_tables(compared: "Comparison") -> list[Html]:
    runs: list[list[Cell]] = [
        [name, run.seed, run.digest[:16], run.trace_sha256[:16] or "-", run.spec.kernel_hash[:16]]
        for name, group in compared.runs.items()
        for run in group
    ]
    columns = ["scenario", "seed", "digest", "workload", "kernel"]
    versions = {
        (name, package): number
        for name, group in compared.runs.items()
        for package, number in group[0].spec.versions.items()
    }
    packages = dict.fromkeys(package for _, package in versions)
    rows: list[list[Cell]] = [
        [p, *(versions.get((name, p), "-") for name in compared.names)] for p in packages
    ]
    return [
        table_html(Table(columns, runs, title="Runs (hashes begin so)")),
        table_html(Table(["version of", *compared.names], rows, title="Made with")),
    ]


def _notes(compared: "Comparison") -> list[str]:
    """Notes and violations of all runs, each once."""
    said = [
        f"{name}: {text}"
        for name, group in compared.runs.items()
        for run in group
        for text in (*run.violations, *run.notes)
    ]
    unique = list(dict.fromkeys(said))
    more = len(unique) - _MOST_NOTES
    return [*unique[:_MOST_NOTES], *([f"and {more} more"] if more > 0 else [])]


def scenario_files(compared: "Comparison") -> dict[str, tuple[str, str]]:
    """File name and TOML text of each scenario, by its name in the comparison."""
    files: dict[str, tuple[str, str]] = {}
    taken: set[str] = set()
    for number, (name, group) in enumerate(compared.runs.items(), start=1):
        scenario = group[0].scenario
        if scenario is None:
            continue
        stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or f"scenario-{number}"
        stem = stem if stem not in taken else f"{stem}-{number}"
        taken.add(stem)
        try:
            files[name] = (f"{stem}.toml", write_toml(scenario.data(full=False)))
        except (TypeError, ValueError) as error:
            raise InputError(f"cannot be written as TOML: {error}", where=name) from None
    return files


def reproduction(compared: "Comparison") -> str:
    """The command that makes the comparison from its scenarios' files; "" where there is none."""
    files = scenario_files(compared)
    seeds = sorted({run.seed for group in compared.runs.values() for run in group})
    if len(files) < len(compared.names):
        return ""
    names = " ".join(shlex.quote(file) for file, _ in files.values())
    if len(compared.names) == 1 and len(seeds) == 1:
        return f"mltwin run {names} --seed {seeds[0]}"
    return f"mltwin compare {names} --seeds {seeds_text(seeds)}"


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as `mltwin compare --seeds` reads them: a number from 0, a range or a list.

    >>> seeds_text([0, 1, 2]), seeds_text([5, 6, 7]), seeds_text([3, 9])
    ('3', '5-7', '3,9')
    """
    first, last = seeds[0], seeds[-1]
    if list(seeds) != list(range(first, last + 1)):
        return ",".join(str(seed) for seed in seeds)
    return str(last + 1) if first == 0 else f"{first}-{last}"


def _and_more(compared: "Comparison") -> str:
    more = len(compared.names) - 2
    return f" and {more} more" if more > 0 else ""
