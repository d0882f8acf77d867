"""Make baselines, and make them anew with a written reason."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mltwin.fields import close_to
from mltwin.metrics import direction
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError

from .baseline import Baseline, Tracked, input_hashes, scenario_hash
from .case import code_versions
from .check import Progress
from .runs import Run, run_all
from .tolerances import Tolerance, default_direction, default_tolerance

SEEDS = 10
HELD_PER_SEED = 3


def make_baseline(
    scenario: Scenario | str | Path,
    path: str | Path | None = None,
    *,
    reason: str,
    seeds: int = SEEDS,
    hold: int | None = None,
    start: int = 0,
    metrics: Sequence[str] | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Baseline:
    """Run a scenario and write its baseline.

    Args:
        scenario: or its file, which then stands in the baseline.
        path: of the baseline; by default beside the scenario's file. A folder: in it.
        reason: why, kept in the file.
        seeds: with which a check begins.
        hold: how many are stored, for checks that need more; default: three times `seeds`.
        start: the first seed; the others follow it.
        metrics: to guard; default: the system's headline that is not 0 throughout and has a
            better way.
        tolerances: by metric, "" for all others; default: by the kind of metric.

    Raises InputError: no reason, a run that fails, a metric that some run lacks, no place to write.
    """
    check_reason(reason)
    loaded = scenario if isinstance(scenario, Scenario) else Scenario.load(scenario)
    file = None if isinstance(scenario, Scenario) else Path(scenario)
    target = _target(file, Path(path) if path is not None else None, loaded)
    held = HELD_PER_SEED * seeds if hold is None else hold
    if seeds < 1 or held < seeds or start < 0:
        raise InputError(
            f"{seeds} seeds from {start}, {held} held",
            where="seeds",
            mend="hold at least those a check uses",
        )
    runs = _runs(loaded, range(start, start + held), workers, progress)
    chosen = _metrics(loaded, runs, metrics)
    made = _baseline(runs, chosen, tolerances or {})
    found = replace(
        made,
        scenario="" if file is None else _relative(file, target.parent),
        scenario_hash=scenario_hash(loaded),
        inputs=input_hashes(loaded),
        first=seeds,
        updated=(reason.strip(),),
        path=target,
    )
    found.save(target)
    return found


def update_baseline(
    baseline: Baseline | str | Path,
    *,
    reason: str,
    scenario: Scenario | None = None,
    metrics: Sequence[str] | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Baseline, bool]:
    """Run a baseline's scenario as it is now and write what came; whether the file was changed.

    Seeds, metrics, directions and tolerances stay, unless others are given. Where nothing that is
    compared has changed, the file is left alone.

    Raises InputError: no reason, a run that fails, a metric that is no longer there.
    """
    check_reason(reason)
    old = baseline if isinstance(baseline, Baseline) else Baseline.load(baseline)
    file = old.scenario_path()
    if scenario is None:
        if file is None:
            raise InputError("names no scenario file", where=str(old.path), mend="give a scenario")
        scenario = Scenario.load(file)
    runs = _runs(scenario, old.seeds, workers, progress)
    chosen = _metrics(scenario, runs, metrics if metrics is not None else list(old.metrics))
    kept = {name: old.metrics[name].tolerance for name in chosen if name in old.metrics}
    ways = {name: old.metrics[name].direction for name in chosen if name in old.metrics}
    given = dict(tolerances or {})
    made = _baseline(runs, chosen, given if "" in given else {**kept, **given})
    tracked = {
        name: replace(one, direction=ways.get(name, one.direction))
        for name, one in made.metrics.items()
    }
    new = replace(
        made,
        metrics=tracked,
        scenario=old.scenario,
        scenario_hash=scenario_hash(scenario),
        inputs=input_hashes(scenario),
        first=old.first,
        updated=(*old.updated, reason.strip()),
        path=old.path,
    )
    if replace(new, updated=old.updated, code=old.code) == old:
        return old, False
    assert old.path is not None
    new.save(old.path)
    return new, True


def check_reason(reason: str | None) -> str:
    """A reason that is one.

    Raises InputError where it is missing or blank.
    """
    if reason is None or not reason.strip():
        raise InputError(
            "is missing",
            where="--reason",
            mend="say in a sentence why the numbers may change; it is kept in the baseline",
        )
    return reason


def refuse_dirty_tree(paths: Sequence[Path]) -> None:
    """Refuse where a file under version control differs from its commit, baselines left out.

    Numbers that came of code nobody committed cannot be had again. Where there is no git, or no
    repository, there is nothing to refuse.

    Raises InputError naming a file that differs.
    """
    folder = paths[0].resolve().parent if paths else Path.cwd()
    if shutil.which("git") is None:
        return
    root = _git(folder, "rev-parse", "--show-toplevel")
    changed = _git(folder, "status", "--porcelain", "-z", "--untracked-files=no")
    if root is None or changed is None:
        return
    own = {path.resolve() for path in paths}
    for entry in changed.split("\0"):
        name = entry[3:]
        if name and (Path(root.strip()) / name).resolve() not in own:
            raise InputError(
                f"{name} is not committed",
                where="--update",
                mend="commit what the new numbers come of first, or give --force",
            )


def _git(folder: Path, *words: str) -> str | None:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def _target(file: Path | None, path: Path | None, scenario: Scenario) -> Path:
    name = f"{file.stem if file else scenario.label}.json"
    if path is None:
        return (file.parent if file else Path()) / name
    return path if path.suffix == ".json" else path / name


def _relative(file: Path, folder: Path) -> str:
    """The scenario's file from the baseline's folder, with slashes on every system."""
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # another drive
        return file.resolve().as_posix()


def _runs(
    scenario: Scenario, seeds: Sequence[int], workers: int | None, progress: Progress | None
) -> list[Run]:
    runs = run_all([(scenario, seed) for seed in seeds], workers=workers, progress=progress)
    for run in runs:
        if run.wrong_input:
            raise InputError(run.error, where=scenario.label)
        if run.error:
            raise InputError(
                f"the run of seed {run.seed} failed: {run.error}",
                where=scenario.label,
                mend="a baseline is made of healthy runs",
            )
    return runs


def _metrics(scenario: Scenario, runs: Sequence[Run], given: Sequence[str] | None) -> list[str]:
    """Metrics to guard: those given, or the system's headline."""
    known = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
    if given is not None:
        for name in given:
            if not any(name in run.metrics for run in runs):
                raise InputError(f"no metric {name!r}", where="metrics", mend=close_to(name, known))
        return list(dict.fromkeys(given))
    chosen = [n for n in _headline(scenario) or known if n in known and direction(n) != "none"]
    moving = [name for name in chosen if any(run.metrics[name] for run in runs)]
    if not moving:
        raise InputError(
            "no metric to guard by itself",
            where=scenario.label,
            mend=f"name some with --metrics: {', '.join(known[:8]) or 'the runs have none'}",
        )
    return moving


def _headline(scenario: Scenario) -> tuple[str, ...]:
    """The metrics that the results of a scenario's system show first."""
    from importlib import import_module

    module, _, name = type(scenario).result_class.partition(":")
    return tuple(getattr(import_module(module), name).headline)


def _baseline(
    runs: Sequence[Run], metrics: Sequence[str], tolerances: Mapping[str, Tolerance]
) -> Baseline:
    """What the runs say, without what the caller knows."""
    for name in tolerances:
        if name and name not in metrics:
            raise InputError(
                f"no metric {name!r} is guarded", where="--tol", mend=close_to(name, metrics)
            )
    tracked = {}
    for name in sorted(metrics):
        size = tolerances.get(name, tolerances.get("", default_tolerance(name)))
        values = tuple(run.metrics.get(name) for run in runs)
        tracked[name] = Tracked(values, default_direction(name), size)
    return Baseline(
        scenario="",
        scenario_hash="",
        inputs={},
        seeds=tuple(run.seed for run in runs),
        first=1,
        digests=tuple(run.digest for run in runs),
        traces=tuple(run.trace_sha256 for run in runs),
        metrics=tracked,
        code=code_versions(runs[0].sources),
        updated=(),
    )
