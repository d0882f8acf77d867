"""One scenario of a check: its baseline, the runs of now, and the lines that come of them."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError

from .baseline import Baseline, Tracked, input_hashes, scenario_hash
from .difference import LEAST_UNPAIRED, Difference, paired, unpaired
from .outcome import Line, Part, Status, worst
from .runs import DIGITS, Run
from .verdict import Answer, Question

ONE_SEED = "one seed does not tell chance from change"


@dataclass
class Case:
    """A baseline, the scenario of now, and what is known so far.

    runs: of the baseline's seeds, in their order, as many as were made.
    lines: metrics that are decided, by name; `tested` those that were ever tested.
    again: words of the command that repeats the check of this baseline, after its path.
    """

    baseline: Baseline
    scenario: Scenario | None = None
    status: Status = "compared"
    why: str = ""
    again: str = ""
    runs: list[Run] = field(default_factory=list)
    lines: dict[str, Line] = field(default_factory=dict)
    tested: dict[str, Line] = field(default_factory=dict)
    streams: bool = False

    @property
    def open(self) -> bool:
        """Whether a metric is still undecided."""
        return self.status == "compared" and len(self.lines) < len(self.baseline.metrics)

    def missing_seeds(self, count: int) -> list[int]:
        """Seeds to run for the first so many of the baseline's."""
        return list(self.baseline.seeds[len(self.runs) : count])

    def take(self, runs: Sequence[Run]) -> None:
        """Add runs of the next seeds; see whether they failed or drew another workload."""
        self.runs += runs
        failed = next((run for run in runs if run.error), None)
        if failed is not None:
            self.status = "wrong input" if failed.wrong_input else "failed"
            self.why = f"seed {failed.seed}: {failed.error}"
            return
        pairs = zip(self.runs, self.baseline.traces, strict=False)
        if any(run.trace_sha256 != trace for run, trace in pairs):
            self.streams = True
            if not self.baseline.generated and len(self.baseline.seeds) > 1:
                self.status, self.why = "stale", "the trace is another than the baseline's"

    def questions(self) -> dict[str, Question | str]:
        """For each open metric what is to be tested, or why it cannot be.

        Metrics without a value on one side are decided here: they are missing.
        """
        found: dict[str, Question | str] = {}
        for name, tracked in self.baseline.metrics.items():
            if name in self.lines:
                continue
            why = self._missing(name, tracked)
            if why:
                self.lines[name] = Line(
                    name,
                    "missing",
                    tracked.direction,
                    tracked.tolerance,
                    base=tracked.mean,
                    why=why,
                )
                continue
            difference = self._difference(name, tracked)
            if difference is None:
                found[name] = self._no_test(name)
            else:
                found[name] = Question(difference, tracked.direction, tracked.tolerance)
        return found

    def line(self, name: str, question: Question, answer: Answer) -> Line:
        """The line of a metric that was tested."""
        tracked = self.baseline.metrics[name]
        new, old = self._values(name, tracked)
        difference = question.difference
        why = ""
        if question.margin != tracked.tolerance.size:
            why = "the baseline is 0: the change is absolute, without tolerance"
        return Line(
            name,
            answer.verdict,
            tracked.direction,
            tracked.tolerance,
            base=_mean(old),
            now=_mean(new),
            change=difference.centre,
            low=answer.low,
            high=answer.high,
            relative=difference.relative,
            seeds=difference.n,
            paired=difference.paired,
            why=why,
        )

    def untested(self, name: str, why: str) -> Line:
        """The line of a metric that could not be tested."""
        tracked = self.baseline.metrics[name]
        new, old = self._values(name, tracked)
        return Line(
            name,
            "inconclusive",
            tracked.direction,
            tracked.tolerance,
            base=_mean(old),
            now=_mean(new),
            seeds=len(new),
            paired=not self.streams,
            why=why,
        )

    def part(self) -> Part:
        """All that was found."""
        lines = tuple(self.lines[name] for name in self.baseline.metrics if name in self.lines)
        pairs = list(zip(self.runs, self.baseline.digests, strict=False))
        changed = tuple(r.seed for r, digest in pairs if not r.error and r.digest != digest)
        return Part(
            self.baseline.name,
            self.status,
            path=self.baseline.path,
            why=self.why,
            lines=lines if self.status == "compared" else (),
            seeds=len(self.runs),
            changed=changed,
            streams=self.streams,
            code=self._code(),
            commands=self._commands(lines, changed),
        )

    def _missing(self, name: str, tracked: Tracked) -> str:
        """Why a metric cannot be compared, "" if it can."""
        for run, base in zip(self.runs, tracked.values, strict=False):
            if name in run.odd:
                return f"it is {run.odd[name]} in seed {run.seed}"
            if base is not None and name not in run.metrics:
                return f"the run of seed {run.seed} has no such metric"
            if base is None and name in run.metrics:
                return (
                    f"the baseline has no value for seed {run.seed}, the run of now has: update it"
                )
        return ""

    def _values(self, name: str, tracked: Tracked) -> tuple[list[float], list[float]]:
        """Values of now and of the baseline, of the seeds that were run."""
        pairs = [
            (run.metrics[name], base)
            for run, base in zip(self.runs, tracked.values, strict=False)
            if base is not None and name in run.metrics
        ]
        return [new for new, _ in pairs], [old for _, old in pairs]

    def _difference(self, name: str, tracked: Tracked) -> Difference | None:
        new, old = self._values(name, tracked)
        relative = tracked.tolerance.relative
        if not new:  # no value on either side: nothing has changed
            return Difference(0.0, 0.0, 1, 0, relative)
        if self.streams:
            return unpaired(new, old, relative=relative)
        return paired(new, old, relative=relative)

    def _no_test(self, name: str) -> str:
        if not self.streams:
            return ONE_SEED
        count = len(self._values(name, self.baseline.metrics[name])[0])
        return (
            f"streams changed, so runs are not paired: that needs {LEAST_UNPAIRED} seeds, not "
            f"{count}; make the baseline anew with --hold {LEAST_UNPAIRED}"
        )

    def _code(self) -> tuple[str, ...]:
        """What of the code is another than the baseline's, as far as both say."""
        if not self.runs or self.runs[0].error:
            return ()
        then, now = self.baseline.code, code_versions(self.runs[0].sources)
        changed = [key for key in sorted(then.keys() & now.keys()) if then[key] != now[key]]
        told = {"mltwin": f"mltwin {then.get('mltwin')} -> {now['mltwin']}"}
        return tuple(told.get(key, f"{key} changed") for key in changed)

    def _commands(self, lines: Sequence[Line], changed: Sequence[int]) -> tuple[str, ...]:
        if self.baseline.path is None:
            return (self.again,) if self.again else ()
        if self.again.startswith("pytest "):
            return (self.again,)
        extra = f" {self.again}" if self.again else ""
        check = f"mltwin check {quoted(self.baseline.path)}{extra}"
        file = self.baseline.scenario_path()
        if file is None or not changed:
            return (check,)
        seed = self._worst_seed(worst(lines), changed)
        return check, f"mltwin run {quoted(file)} --seed {seed}{extra}"

    def _worst_seed(self, line: Line | None, changed: Sequence[int]) -> int:
        """The seed in which the worst metric moved the most."""
        if line is None:
            return changed[0]
        values = self.baseline.metrics[line.metric].values
        moved = {
            run.seed: abs(run.metrics[line.metric] - base) / (abs(base) or 1.0)
            for run, base in zip(self.runs, values, strict=False)
            if base is not None and line.metric in run.metrics
        }
        return max(moved, key=lambda seed: moved[seed])


def opened(
    baseline: Baseline,
    changes: Mapping[str, Any],
    scenario: Scenario | None = None,
    again: str = "",
) -> Case:
    """The case of a baseline: its scenario, unless another is given, found to be the same or stale.

    Raises InputError where the scenario's file is wrong, or a change does not fit.
    """
    case = Case(baseline, again=again)
    if scenario is None:
        file = baseline.scenario_path()
        if file is None:
            raise InputError(
                "names no scenario file", where=str(baseline.path), mend="give the scenario itself"
            )
        if not file.is_file():
            case.status, case.why = "stale", f"its scenario {baseline.scenario} is gone"
            return case
        scenario = Scenario.load(file)
    if scenario_hash(scenario) != baseline.scenario_hash:
        case.status = "stale"
        case.why = "the scenario is another than the baseline's: `mltwin check --update`"
        return case
    inputs = input_hashes(scenario)
    differ = sorted(
        k for k in inputs.keys() | baseline.inputs.keys() if _other(k, inputs, baseline)
    )
    if differ:
        case.status, case.why = "stale", f"{differ[0]} is another file than the baseline's"
        return case
    case.scenario = scenario.changed(changes) if changes else scenario
    return case


def code_versions(sources: Mapping[str, str]) -> dict[str, str]:
    """What a run was made with: versions and the hashes of sources, the same on any machine."""
    from mltwin import __version__
    from mltwin.sim.cachedir import source_hash

    return {"mltwin": __version__, "kernel": source_hash()[:DIGITS], **sources}


def quoted(path: Path) -> str:
    """A path as typed in a shell, from the working directory where it is below it."""
    try:
        near = os.path.relpath(path)
    except ValueError:  # another drive
        near = str(path)
    return shlex.quote(str(path) if near.startswith("..") else near)


def _other(name: str, inputs: Mapping[str, str], baseline: Baseline) -> bool:
    return inputs.get(name) != baseline.inputs.get(name)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
