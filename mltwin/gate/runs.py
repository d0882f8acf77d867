"""The runs of a check: what the gate needs to know of each, and no more."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mltwin.result import Result
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError, MltwinError
from mltwin.sim.executors import Executor, map_runs

Progress = Callable[[int, int], None]
DIGITS = 16


@dataclass(frozen=True)
class Run:
    """What one run left.

    digest, trace_sha256: the first `DIGITS` hexadecimal digits: they are to show change, not to
        withstand an attack, and leave baselines readable.
    metrics: those that are finite numbers; `odd` the others (`nan`, `inf`), as text.
    sources: hashes of the user's policy files that ran.
    error: one line if the run failed or broke a law of conservation, else "".
    wrong_input: whether the error is one of the scenario or a file, not of the run.
    """

    seed: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    odd: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    trace_sha256: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    wrong_input: bool = False


def run_all(
    jobs: Sequence[tuple[Scenario, int]],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Run]:
    """Run each (scenario, seed), in threads; a run that fails is a `Run` with an error.

    The first run of each scenario comes before the threads: it loads and compiles the user's
    policies, which is to be done once and by one.

    progress: called with (runs done, runs in all).
    """
    first: dict[int, int] = {}
    for i, (scenario, _) in enumerate(jobs):
        first.setdefault(id(scenario), i)
    ahead = list(first.values())
    others = sorted(set(range(len(jobs))) - set(ahead))
    rounds: list[tuple[Executor, list[int]]] = [("serial", ahead), ("threads", others)]
    found: dict[int, Run] = {}
    for executor, todo in rounds:
        outcomes = map_runs(
            _one,
            [jobs[i] for i in todo],
            executor=executor,
            workers=workers,
            progress=_counted(progress, len(found), len(jobs)),
        )
        found |= {i: outcome.get() for i, outcome in zip(todo, outcomes, strict=True)}
    return [found[i] for i in range(len(jobs))]


def _counted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of a part of the runs as that of all."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _one(job: tuple[Scenario, int]) -> Run:
    scenario, seed = job
    try:
        result = scenario.run(seed)
    except MltwinError as error:
        return Run(seed, error=str(error), wrong_input=isinstance(error, InputError))
    except Exception as error:  # a user's system or policy: its failure is a finding
        return Run(seed, error=" ".join(f"{type(error).__name__}: {error}".split()))
    numbers = {name: float(value) for name, value in result.metrics.items()}
    return Run(
        seed,
        metrics={name: value for name, value in numbers.items() if math.isfinite(value)},
        odd={name: repr(value) for name, value in numbers.items() if not math.isfinite(value)},
        digest=_digest(result)[:DIGITS],
        trace_sha256=result.trace_sha256[:DIGITS],
        sources={str(k): str(v)[:DIGITS] for k, v in result.facts.get("sources", {}).items()},
        error=f"broken law: {result.violations[0]}" if result.violations else "",
    )


def _digest(result: Result) -> str:
    """The digest of a run, "" where its metrics have none (NaN among them)."""
    try:
        return result.digest
    except InputError:
        return ""
