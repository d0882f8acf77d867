"""What a check found: a line for each metric, a part for each scenario, one exit code."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .tolerances import Direction, Tolerance

if TYPE_CHECKING:
    from pathlib import Path

    from mltwin.text import Table

LineVerdict = Literal["regression", "improved", "same", "inconclusive", "missing"]
Status = Literal["compared", "stale", "no baseline", "failed", "wrong input"]

PASS, REGRESSION, WRONG_INPUT, INCONCLUSIVE, STALE = 0, 1, 2, 3, 4
_SEVERITY = (WRONG_INPUT, REGRESSION, STALE, INCONCLUSIVE, PASS)


@dataclass(frozen=True)
class Line:
    """One metric of one scenario.

    base, now: means over the seeds that were compared, None where there is no value.
    change: the estimated change, as a share of base where `relative`, else in the metric's unit.
    low, high: its interval, at the level at which Holm's procedure tested it.
    seeds: how many were compared; `paired` by seed or not.
    why: what else is to be said, one sentence or "".
    """

    metric: str
    verdict: LineVerdict
    direction: Direction
    tolerance: Tolerance
    base: float | None = None
    now: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    relative: bool = True
    seeds: int = 0
    paired: bool = True
    why: str = ""

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "metric": self.metric,
            "verdict": self.verdict,
            "direction": self.direction,
            "tol": self.tolerance.data(),
            "base": self.base,
            "now": self.now,
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "relative": self.relative,
            "seeds": self.seeds,
            "paired": self.paired,
            "why": self.why,
        }


@dataclass(frozen=True)
class Part:
    """One scenario.

    status: `compared`, or why it was not (then `why` says more).
    changed: seeds whose run is another than the baseline's; `seeds`: how many were run.
    streams: whether the same seed draws another workload now, so that pairs are lost.
    code: what of the code is another than the baseline's.
    commands: to see it again, the check first.
    """

    name: str
    status: Status
    path: "Path | None" = None
    why: str = ""
    lines: tuple[Line, ...] = ()
    seeds: int = 0
    changed: tuple[int, ...] = ()
    streams: bool = False
    code: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def behaviour(self) -> str:
        """What the exact layer says."""
        if self.status != "compared":
            return f"{self.status}: {self.why}"
        if self.streams:
            return f"streams changed, {len(self.changed)} of {self.seeds} runs differ"
        if not self.changed:
            return "identical"
        told = f"behaviour changed in {len(self.changed)} of {self.seeds} runs"
        return f"{told} ({', '.join(self.code)})" if self.code else told

    def count(self, *verdicts: LineVerdict) -> int:
        """Lines with one of these verdicts."""
        return sum(line.verdict in verdicts for line in self.lines)

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "baseline": str(self.path) if self.path else "",
            "status": self.status,
            "why": self.why,
            "behaviour": self.behaviour,
            "seeds": self.seeds,
            "changed_seeds": list(self.changed),
            "streams_changed": self.streams,
            "code_changed": list(self.code),
            "commands": list(self.commands),
            "metrics": [line.data() for line in self.lines],
        }


@dataclass(frozen=True)
class CheckReport:
    """All that a check found.

    exact: any change of behaviour fails. strict: what stays inconclusive fails.
    """

    parts: tuple[Part, ...]
    exact: bool = False
    strict: bool = False
    confidence: float = 0.95
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 pass, 1 regression, 2 wrong input, 3 inconclusive (strict), 4 stale or missing.

        Of several the most severe: 2, then 1, 4, 3.
        """
        codes = {code for part in self.parts for code in self._codes(part)}
        return next(code for code in _SEVERITY if code in codes | {PASS})

    @property
    def passed(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == PASS

    def _codes(self, part: Part) -> Iterator[int]:
        if part.status == "wrong input":
            yield WRONG_INPUT
        if part.status in ("stale", "no baseline"):
            yield STALE
        if part.status == "failed" or part.count("regression", "missing"):
            yield REGRESSION
        if self.exact and part.changed:
            yield REGRESSION
        if self.strict and part.count("inconclusive"):
            yield INCONCLUSIVE

    def fails(self, part: Part) -> bool:
        """Whether a scenario does not pass."""
        return any(self._codes(part))

    def line_fails(self, line: Line) -> bool:
        """Whether a metric does not pass."""
        bad = ("regression", "missing", *(("inconclusive",) if self.strict else ()))
        return line.verdict in bad

    @property
    def lines(self) -> list[tuple[Part, Line]]:
        """Every metric of every scenario."""
        return [(part, line) for part in self.parts for line in part.lines]

    def data(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        return {
            "schema": 1,
            "exit_code": self.exit_code,
            "passed": self.passed,
            "exact": self.exact,
            "strict": self.strict,
            "confidence": self.confidence,
            "summary": self.summary(),
            "notes": list(self.notes),
            "scenarios": [part.data() for part in self.parts],
        }

    def summary(self) -> str:
        """One line: passed or not, and how many of each."""
        from .render import summary

        return summary(self)

    def table(self, *, full: bool = False) -> "Table":
        """The metrics that are not the same, or (`full`) all of them."""
        from .render import lines_table

        return lines_table(self, full=full)

    def markdown(self) -> str:
        """The report for a pull request, everything in it escaped."""
        from .render import markdown

        return markdown(self)

    def junit(self) -> str:
        """JUnit XML: a test case for each metric of each scenario."""
        from .junit import junit_xml

        return junit_xml(self)

    def __str__(self) -> str:
        from .render import plain_text

        return plain_text(self)


def worst(lines: Sequence[Line]) -> Line | None:
    """The regression that went furthest beyond, None for none."""
    bad = [line for line in lines if line.verdict == "regression" and line.change is not None]
    return max(bad, key=lambda line: abs(line.change or 0.0), default=None)
