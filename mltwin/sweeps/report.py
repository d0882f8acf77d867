"""A sweep as one self-contained HTML page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mltwin.reports.html import HtmlReport, code_html, table_html
from mltwin.tomlfile import write_toml

from .plots import plot_sweep

if TYPE_CHECKING:
    from .sweep import Sweep

_MOST_ROWS = 500


def write_report(sweep: "Sweep", path: str | Path, metrics: Sequence[str]) -> Path:
    """Write the page: the answer in numbers and pictures, what failed, what was run.

    Raises InputError where it cannot be written.
    """
    page = HtmlReport(sweep.record.name or "Sweep")
    seeds = f"{len(sweep.seeds)} seeds each" if len(sweep.seeds) > 1 else f"seed {sweep.seeds[0]}"
    page.paragraph(
        f"{len(sweep.points)} points, {seeds}: {sweep.done} of {sweep.total} runs made, "
        f"{len(sweep.failures)} failed. Varied: {', '.join(sweep.fields)}."
    )
    if sweep.notices:
        page.bullets(sweep.notices)
    if metrics and sweep.done > len(sweep.failures):
        page.heading("Pictures")
        page.figure(plot_sweep(sweep, metrics), "Means over the seeds; bands and bars: 95 %")
    page.heading("Table")
    page.table(sweep.table(metrics, most=_MOST_ROWS))
    if sweep.failures:
        page.heading("Failures")
        page.table(sweep.failure_table(most=_MOST_ROWS))
    page.heading("What was run")
    page.details("The scenario that is varied", code_html(write_toml(sweep.record.base), "toml"))
    every = sweep.metrics()
    if len(every) > len(metrics):
        page.details("All metrics", table_html(sweep.table(every, most=_MOST_ROWS)))
    page.paragraph(f"Digest of the sweep: {sweep.digest}")
    return page.save(path)
