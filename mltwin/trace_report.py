"""`inspect_trace`: what a request trace is like, and what is odd about it.

Used by `mltwin traces inspect`, by the explorer's trace page, and from Python:

    from mltwin.trace_report import inspect_trace

    report = inspect_trace("azure-conv-synthetic")
    report.findings  # plain sentences with counts
    report.save("trace.html")
"""

import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError
from mltwin.workloads.quality import Finding, findings

from .text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mltwin.workloads.table import Trace

_REASONS = 6


@dataclass(frozen=True)
class TraceReport:
    """A trace and what was found.

    trace: as it can be run, odd lines left out and times sorted if need be.
    findings: worst first. refused: the one line with which the simulator would refuse the file as
    it stands, "" if it would not.
    """

    trace: "Trace"
    findings: list[Finding] = field(default_factory=list)
    refused: str = ""

    @property
    def valid(self) -> bool:
        """Whether the simulator takes the file as it stands."""
        return not self.refused

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """`Trace.describe`, sessions and prefixes, as nested data."""
        from mltwin.workloads.measures import prefixes, sessions

        found = self.trace.describe()
        for name, part in (("session", sessions(self.trace)), ("prefix", prefixes(self.trace))):
            if part is not None:
                found[name] = part
        return found

    @cached_property
    def pictures(self) -> dict[str, Any]:
        """Data of the charts: rate, gaps, prompt, output, joint, dispersion."""
        from mltwin.workloads import measures

        trace = self.trace
        gaps = measures.interarrival_s(trace)
        mean = float(gaps.mean()) if len(gaps) else None
        return {
            "rate": measures.rate_over_time(trace),
            "gaps": {**measures.distribution(gaps), "mean": mean},
            "prompt": measures.distribution(trace.prompt),
            "output": measures.distribution(trace.output),
            "joint": measures.joint_lengths(trace),
            "dispersion": measures.dispersion(trace),
        }

    def data(self) -> dict[str, Any]:
        """Everything as JSON data, of bounded size."""
        return {
            "name": self.trace.name,
            "source": self.trace.source,
            "valid": self.valid,
            "refused": self.refused,
            "findings": [finding.data() for finding in self.findings],
            "statistics": self.statistics,
            "pictures": self.pictures,
        }

    def statistics_table(self) -> Table:
        """The statistics, one row each."""
        from .shelf import cut, pairs

        rows = [[name, cut(value)] for name, value in pairs(self.statistics)]
        rows += [["source", cut(self.trace.source)]]
        return Table(["property", "value"], rows, title=self.trace.name)

    def findings_table(self) -> Table:
        """The findings, one row each."""
        rows: list[list[Any]] = [[f.level, f.about, f.count, f.text] for f in self.findings]
        rows = rows or [["-", "-", None, "Nothing is odd about this trace."]]
        return Table(["level", "about", "count", "finding"], rows, title="Findings")

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Rate, gaps, lengths, and burstiness on one page; saved if a path is given."""
        from .plots import save_figure
        from .trace_plots import plot_trace

        return save_figure(plot_trace(self.trace.name, self.pictures), path)

    def save(self, path: str | Path) -> Path:
        """Write a self-contained HTML page.

        Raises InputError where it cannot be written.
        """
        from .reports.html import HtmlReport

        page = HtmlReport(f"Trace {self.trace.name}")
        page.heading("Findings")
        if self.refused:
            page.paragraph(f"The simulator refuses this file as it stands: {self.refused}")
        page.table(self.findings_table())
        page.heading("Pictures")
        page.figure(self.plot(), "Arrivals, lengths and burstiness (1: as in a Poisson stream)")
        page.heading("Statistics")
        page.table(self.statistics_table())
        return page.save(path)


def inspect_trace(name_or_path: str | Path, *, seed: int = 0, **options: Any) -> TraceReport:
    """Read a trace and look at it, also one that the simulator would refuse.

    Where a file's times go back it is sorted, where lines cannot be read they are left out; both
    are findings. A name of the catalogue is opened as it is.

    Args:
        name_or_path: in the catalogue, or a file.
        seed: of a synthetic trace.
        options: of `mltwin.workloads.read_trace` (`format`, `columns`, ...).

    Raises InputError where nothing can be read: the reader's one line.
    """
    from mltwin.workloads.catalogue import list_traces, open_trace

    text = str(name_or_path)
    try:
        trace = open_trace(text, seed=seed, **options)
        return TraceReport(trace, findings(trace))
    except InputError as error:
        if text in list_traces() or not Path(text).is_file():
            raise
        refused = error
    with tempfile.TemporaryDirectory() as folder:
        rejects = Path(folder) / "rejects.jsonl"
        more = {**options, "sort": True, "on_error": "skip", "rejects": rejects}
        try:
            trace = open_trace(text, seed=seed, **more)
        except InputError:
            raise refused from None
        left_out = _rejected(rejects)
    if not len(trace):
        raise refused from None
    return TraceReport(trace, [*left_out, *findings(trace)], str(refused))


def _rejected(path: Path) -> list[Finding]:
    """Lines left out, by what was wrong with them."""
    reasons: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], tuple[int, str]] = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            note = json.loads(line)
            value = str(note["value"])
            why = "is 0: a request has at least one token" if _zero(note, value) else note["why"]
            key = (str(note.get("column") or ""), str(why))
            reasons[key] += 1
            number = next((v for k, v in note.items() if k in ("line", "row")), 0)
            example.setdefault(key, (int(number), value))
    found = []
    for (column, why), count in reasons.most_common(_REASONS):
        at, value = example[column, why]
        where = f"column {column!r}" if column else "the line"
        text = f"{count:,} line{'' if count == 1 else 's'} left out: {where} {why}"
        found.append(Finding("error", "rows", count, f"{text} (line {at}: {value})."))
    rest = sum(reasons.values()) - sum(f.count for f in found)
    if rest:
        found.append(Finding("error", "rows", rest, f"{rest:,} more lines left out."))
    return found


def _zero(note: dict[str, Any], value: str) -> bool:
    """Whether a length of no tokens is what was wrong with a line."""
    return value.strip("'") in ("0", "0.0") and str(note["why"]).startswith("is not in 1..")
