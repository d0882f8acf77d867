"""Hold scenarios against their baselines: exactly, and then by statistics.

Exactly: the same seed gives the same digest unless behaviour changed. By statistics: does what
changed matter? A check begins with each baseline's first seeds; where they leave a metric open it
looks again with more of those that the baseline holds (`verdict` says how the error is kept).
"""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.tomlfile import read_toml

from .baseline import Baseline
from .case import Case, opened, quoted
from .outcome import CheckReport, Part
from .runs import run_all
from .verdict import Question, decide

DEFAULT_FOLDER = "baselines"
CONFIDENCE = 0.95
Progress = Callable[[int, int], None]


def check(
    baselines: str | Path | Sequence[str | Path] = DEFAULT_FOLDER,
    *,
    only: Sequence[str] = (),
    scenario: Scenario | str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    exact: bool = False,
    strict: bool = False,
    max_seeds: int | None = None,
    confidence: float = CONFIDENCE,
    workers: int | None = None,
    progress: Progress | None = None,
    again: str = "",
) -> CheckReport:
    """Run the scenarios of baselines and say what got worse.

    Args:
        baselines: files that `mltwin check --init` made, or folders of them.
        only: names of baselines (their files', without `.json`; `*` stands for anything).
        scenario: the one baseline's scenario, else the file that it names.
        changes: fields to change before running, to try what the gate would say.
        exact: any change of behaviour fails.
        strict: what stays inconclusive fails.
        max_seeds: of a scenario; by default all that its baseline holds.
        confidence: family-wise, over all metrics and scenarios.
        workers: threads; default: all cores.
        progress: called with (runs done, runs asked for so far).
        again: words to add to the commands that repeat a check.

    Raises InputError: a damaged baseline, a scenario that is wrong, nothing that `only` names, or
    an option out of range. What is missing or stale is in the report.
    """
    if max_seeds is not None and max_seeds < 1:
        raise InputError(f"{max_seeds} seeds", where="max_seeds", mend="give 1 or more")
    if not 0.5 <= confidence < 1:
        raise InputError(f"{confidence} is no confidence", where="confidence", mend="give 0.95")
    given = [baselines] if isinstance(baselines, str | Path) else list(baselines)
    parts, files = _chosen(*find_baselines(given), list(only))
    if scenario is not None and len(files) != 1:
        raise InputError(
            f"{len(files)} baselines for one scenario", where="scenario", mend="name one baseline"
        )
    own = Scenario.load(scenario) if isinstance(scenario, str | Path) else scenario
    loaded = [Baseline.load(file) for file in files]
    again = again or _options(changes or {})
    cases = [opened(one, changes or {}, own, again) for one in loaded]
    _look(cases, max_seeds, 1 - confidence, workers, progress)
    found = _told_apart([*parts, *(case.part() for case in cases)])
    return CheckReport(tuple(found), exact=exact, strict=strict, confidence=confidence)


def _options(changes: Mapping[str, Any]) -> str:
    """The changes as options of the command line."""
    words = [f"{field}={json.dumps(value)}" for field, value in changes.items()]
    return " ".join(f"--set {shlex.quote(word)}" for word in words)


def find_baselines(given: Sequence[str | Path]) -> tuple[list[Path], list[Part]]:
    """Baseline files, and what is missing: files, folders, baselines of scenarios in folders."""
    files: list[Path] = []
    missing: list[Part] = []
    for path in map(Path, given):
        if path.is_dir():
            here = sorted(path.glob("*.json"))
            files += here
            bare = list(_without_baseline(path, {file.stem for file in here}))
            missing += bare
            if not here and not bare:
                missing.append(_no_baseline(path, "the folder holds none"))
        elif path.is_file():
            files.append(path)
        else:
            missing.append(_no_baseline(path, f"{path} does not exist"))
    return list(dict.fromkeys(files)), missing


def named_baselines(
    given: Sequence[str | Path], only: Sequence[str] = ()
) -> list[tuple[Path, Baseline]]:
    """The baselines of files and folders, by name.

    Raises InputError where there is none, or one is damaged.
    """
    missing, files = _chosen(*find_baselines(given), list(only))
    if not files:
        why = missing[0].why if missing else "there is none"
        raise InputError(why, where="baselines", mend="make one with `mltwin check --init`")
    return [(file, Baseline.load(file)) for file in files]


def look_sizes(first: int, held: int, most: int | None) -> list[int]:
    """Seeds at each look: `first`, twice that, and so on up to what is held and allowed.

    >>> look_sizes(10, 30, None), look_sizes(10, 10, None), look_sizes(10, 30, 8)
    ([10, 20, 30], [10], [8])
    """
    cap = held if most is None else min(held, most)
    sizes = list(range(first, cap + 1, first)) or [cap]
    return sizes if sizes[-1] == cap else [*sizes, cap]


def _told_apart(parts: list[Part]) -> list[Part]:
    """Parts by name; those that share one are named with their folder."""
    names = Counter(part.name for part in parts)
    renamed = [
        replace(part, name=f"{part.path.parent.name}/{part.name}")
        if names[part.name] > 1 and part.path is not None
        else part
        for part in parts
    ]
    return sorted(renamed, key=lambda part: part.name)


def _without_baseline(folder: Path, known: set[str]) -> Iterator[Part]:
    for file in sorted(folder.glob("*.toml")):
        if file.stem not in known and _is_scenario(file):
            yield _no_baseline(file, f"{file.name} has no {file.stem}.json")


def _is_scenario(file: Path) -> bool:
    """Whether a TOML file is one, right or wrong: it says of which system."""
    try:
        return "system" in read_toml(file)
    except InputError:
        return True


def _no_baseline(path: Path, why: str) -> Part:
    scenario = quoted(path.with_suffix(".toml")) if path.suffix else "SCENARIO.toml"
    command = f"mltwin check --init {scenario} --reason 'first baseline'"
    return Part(path.stem, "no baseline", path=path, why=why, commands=(command,))


def _chosen(
    files: list[Path], missing: list[Part], only: list[str]
) -> tuple[list[Part], list[Path]]:
    if not only:
        return missing, files
    for name in only:
        if not any(fnmatchcase(known, name) for known in _names(files, missing)):
            raise InputError(
                f"no baseline {name!r}",
                where="--only",
                mend=f"there are {', '.join(sorted(set(_names(files, missing)))) or 'none'}",
            )
    parts = [part for part in missing if _fits(part.name, only)]
    return parts, [file for file in files if _fits(file.stem, only)]


def _names(files: list[Path], missing: list[Part]) -> list[str]:
    return [*(file.stem for file in files), *(part.name for part in missing)]


def _fits(name: str, only: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in only)


def _look(
    cases: list[Case],
    most: int | None,
    level: float,
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Run and decide, with more seeds where that is needed."""
    live = [case for case in cases if case.status == "compared"]
    # Both are fixed before any result is seen, as the error is shared out over them.
    family = sum(len(case.baseline.metrics) for case in live)
    sizes = {
        id(case): look_sizes(case.baseline.first, len(case.baseline.seeds), most) for case in live
    }
    looks = max((len(found) for found in sizes.values()), default=0)
    told = _Told(progress)
    for look in range(looks):
        todo = {
            id(case): sizes[id(case)][look]
            for case in live
            if case.open and look < len(sizes[id(case)])
        }
        chosen = [case for case in live if id(case) in todo]
        _extend(chosen, todo, workers, told)
        # Without pairs every seed is needed at once.
        lost = [case for case in chosen if case.streams and case.status == "compared"]
        _extend(lost, {id(case): sizes[id(case)][-1] for case in lost}, workers, told)
        _decide(chosen, level / looks, family)
    for case in live:
        _close(case)


def _extend(
    cases: list[Case], counts: Mapping[int, int], workers: int | None, told: "_Told"
) -> None:
    """Run the seeds that are missing to the count of each case."""
    todo = [(case, seed) for case in cases for seed in case.missing_seeds(counts[id(case)])]
    if not todo:
        return
    jobs = [(case.scenario, seed) for case, seed in todo if case.scenario is not None]
    runs = run_all(jobs, workers=workers, progress=told.more(len(jobs)))
    for case in cases:
        mine = [run for (owner, _), run in zip(todo, runs, strict=True) if owner is case]
        case.take(mine)


def _decide(cases: list[Case], level: float, family: int) -> None:
    asked: list[tuple[Case, str, Question]] = []
    for case in cases:
        if case.status == "compared":
            found = case.questions()
            asked += [(case, name, q) for name, q in found.items() if isinstance(q, Question)]
    answers = decide([question for _, _, question in asked], level, family)
    for (case, name, question), answer in zip(asked, answers, strict=True):
        line = case.line(name, question, answer)
        case.tested[name] = line
        if answer.verdict != "inconclusive":
            case.lines[name] = line


def _close(case: Case) -> None:
    """What is still open stays inconclusive, with its last interval."""
    if case.status != "compared":
        return
    for name, question in case.questions().items():
        if isinstance(question, str):
            case.lines[name] = case.untested(name, question)
        else:
            case.lines[name] = case.tested[name]


class _Told:
    """Progress over several rounds of runs."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.done = progress, 0

    def more(self, count: int) -> Progress | None:
        """The function to call in the next round, of so many runs."""
        before, self.done = self.done, self.done + count
        if self.progress is None:
            return None
        report, total = self.progress, self.done
        return lambda done, _: report(before + done, total)
