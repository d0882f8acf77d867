"""A check's outcome for people: tables, Markdown for pull requests, plain text."""

import re
from collections import Counter
from typing import Any

from mltwin.text import Table, show

from .outcome import CheckReport, Line, Part

_MARKS = {"regression": "❌", "missing": "❌", "inconclusive": "❔", "improved": "✅", "same": "✅"}
_COLUMNS = ["scenario", "metric", "baseline", "now", "change", "interval", "tol", "verdict"]
# Underscores within words are left alone: Markdown leaves them too.
_SPECIAL = re.compile(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))")


def summary(report: CheckReport) -> str:
    """`passed: 4 scenarios, 30 metrics: 29 same, 1 improved`."""
    counts: Counter[str] = Counter(line.verdict for _, line in report.lines)
    order = ("regression", "missing", "inconclusive", "improved", "same")
    told = [f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]]
    other = Counter(part.status for part in report.parts if part.status != "compared")
    told += [f"{n} {status}" for status, n in other.items()]
    changed = sum(1 for part in report.parts if part.changed)
    if changed:
        told.append(f"behaviour changed in {changed}")
    state = "passed" if report.passed else f"FAILED (exit {report.exit_code})"
    size = f"{_many(len(report.parts), 'scenario')}, {_many(len(report.lines), 'metric')}"
    return f"{state}: {size}" + (f": {', '.join(told)}" if told else "")


def parts_table(report: CheckReport) -> Table:
    """One row a scenario: what ran and whether anything is another than it was."""
    rows: list[list[Any]] = [
        [p.name, p.seeds, p.behaviour, "FAILED" if report.fails(p) else "passed"]
        for p in report.parts
    ]
    return Table(["scenario", "seeds", "behaviour", "gate"], rows)


def lines_table(report: CheckReport, *, full: bool = False) -> Table:
    """One row a metric; without `full` those that are the same are only counted."""
    chosen = [(p, line) for p, line in report.lines if full or line.verdict != "same"]
    rows: list[list[Any]] = [[p.name, *line_cells(line)] for p, line in chosen]
    good = {(i, 7) for i, (_, line) in enumerate(chosen) if line.verdict in ("improved", "same")}
    hidden = len(report.lines) - len(chosen)
    caption = (
        f"interval: family-wise {100 * report.confidence:g} % over {len(report.lines)} metrics"
    )
    if hidden:
        caption += f"; {hidden} {'other is' if hidden == 1 else 'others are'} the same"
    return Table(list(_COLUMNS), rows, caption=caption, best=good)


def line_cells(line: Line) -> list[Any]:
    """The cells of a metric after the scenario's name."""
    return [
        line.metric,
        show(line.base),
        show(line.now),
        amount(line, line.change),
        interval(line),
        line.tolerance.text,
        line.verdict,
    ]


def amount(line: Line, change: float | None) -> str:
    """A change with its sign, in per cent where it is relative."""
    if change is None:
        return "-"
    if line.relative:
        return f"{100 * change:+.2f} %"
    return "0" if change == 0 else f"{'+' if change > 0 else ''}{show(change)}"


def interval(line: Line) -> str:
    """`+1.90..+2.10 %`, one number where both are the same, `-` for none."""
    if line.low is None or line.high is None:
        return "-"
    if line.relative:
        low, high = f"{100 * line.low:+.2f}", f"{100 * line.high:+.2f}"
        return f"{low} %" if low == high else f"{low}..{high} %"
    low, high = show(line.low), show(line.high)
    return low if low == high else f"{low}..{high}"


def sentence(part: Part, line: Line) -> str:
    """A metric's verdict in one line."""
    told = f"{part.name} {line.metric}: {line.verdict}"
    if line.change is not None:
        told += f" {amount(line, line.change)} ({interval(line)}), tolerance {line.tolerance.text}"
        pairs = "seeds" if line.paired else "seeds, not paired"
        told += f", {show(line.base)} -> {show(line.now)} over {line.seeds} {pairs}"
    return f"{told}; {line.why}" if line.why else told


def findings(report: CheckReport) -> list[tuple[str, tuple[str, ...]]]:
    """What does not pass: a sentence each, and the commands to see it again."""
    found = []
    for part in report.parts:
        told = []
        if part.status != "compared" or (part.changed and (report.exact or part.streams)):
            told.append(f"{part.name}: {part.behaviour}")
        told += [sentence(part, line) for line in part.lines if report.line_fails(line)]
        # The check again for each; the run that moved the most once for a scenario.
        found += [(text, part.commands[: None if i == 0 else 1]) for i, text in enumerate(told)]
    return found


def hints(report: CheckReport) -> list[str]:
    """What a reader may want to know besides."""
    found = list(report.notes)
    left = sum(part.count("inconclusive") for part in report.parts)
    if left:
        found.append(
            "inconclusive: neither surely beyond the tolerance nor surely within it; "
            "a baseline that holds more seeds (--hold) tells more"
        )
    return found


def plain_text(report: CheckReport) -> str:
    """The report as plain text, such as a failed assertion shows."""
    parts = [str(parts_table(report))]
    table = lines_table(report)
    if table.rows:
        parts.append(f"{table}\n{table.caption}")
    for told, commands in findings(report):
        parts.append("\n".join([told, *(f"  again: {command}" for command in commands)]))
    return "\n\n".join([*parts, *hints(report), summary(report)])


def markdown(report: CheckReport) -> str:
    """The report for a pull request or a step summary."""
    lines = [f"### mltwin check: {escaped(summary(report))}", ""]
    lines += _rows(parts_table(report))
    shown = lines_table(report)
    if shown.rows:
        lines += ["", *_rows(shown, marked=True), "", escaped(shown.caption)]
    for told, commands in findings(report):
        lines += ["", f"- {escaped(told)}"]
        if commands:
            lines += ["", *_code(commands)]
    lines += [line for note in hints(report) for line in ("", escaped(note))]
    everything = lines_table(report, full=True)
    if len(everything.rows) > len(shown.rows):
        lines += ["", "<details><summary>all metrics</summary>", ""]
        lines += [*_rows(everything, marked=True), "", "</details>"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link, picture or mention.

    >>> print(escaped("a|b <i> [x](y) @you p99_ms"))
    a\\|b &lt;i&gt; \\[x\\](y) &#64;you p99_ms
    """
    one_line = " ".join(text.split())
    one_line = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A colon before slashes makes a link by itself.
    one_line = one_line.replace("@", "&#64;").replace("://", "&#58;//")
    return _SPECIAL.sub(r"\\\1", one_line)


def _rows(table: Table, *, marked: bool = False) -> list[str]:
    """A Markdown table, all cells escaped; verdicts with a mark that shows from afar."""
    heads = [escaped(column) for column in table.columns]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in table.rows:
        cells = [escaped(show(cell)) for cell in row]
        if marked:
            cells[-1] = f"{_MARKS.get(str(row[-1]), '')} {cells[-1]}".strip()
        lines.append(_line(cells))
    return lines


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _code(commands: tuple[str, ...]) -> list[str]:
    """A fenced block whose fence is longer than any run of backticks within."""
    runs = re.findall(r"`+", "\n".join(commands))
    fence = "`" * max(3, 1 + max((len(run) for run in runs), default=0))
    inner = [f"  {' '.join(command.splitlines())}" for command in commands]
    return [f"  {fence}sh", *inner, f"  {fence}"]


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
