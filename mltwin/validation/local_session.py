"""A measurement of the local engine from warm-up to the last run, on disk at every stage.

The folder holds what a restart needs: ``settings.json`` (what was asked, on which machine),
``calibration.json``, and per run ``<run>.prediction.json`` (written before it), ``<run>.json.gz``
(each step) and ``<run>.json`` (what was found). A measurement that was cut off goes on where it
stopped; one that is complete is begun anew.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.calibration.local.cost import StepCost, fit_cost, step_errors
from mltwin.calibration.local.engine import Engine, Load
from mltwin.calibration.local.mirror import Rules
from mltwin.calibration.local.predict import (
    Requests,
    Served,
    capacity,
    draw_requests,
    latencies,
    predict,
)
from mltwin.calibration.local.probe import judge, read_machine
from mltwin.calibration.local.replay import Work, step_match, work_of
from mltwin.calibration.local.steplog import StepLog
from mltwin.sim.errors import InputError

Progress = Callable[[float, str], None]
# Parts of the seed: none is used for two purposes.
_FITTING, _CAPACITY, _BURSTS, _RUNS = 100_000, 200_000, 300_000, 400_000
CLOSED = ((1, 24), (4, 64), (16, 96))  # (concurrency, requests) of the closed-loop calibration
OPEN = (0.4, 0.7, 1.0)  # loads of the open-loop calibration, and of each its requests
OPEN_REQUESTS = 120
CHECK_LOAD, BURST_REQUESTS = 0.8, 150
CALIBRATIONS = 3  # most tries for a calibration on a quiet machine
MOST_S = 600.0  # after so long, runs that were not quiet are no longer repeated
DONE = "done.json"


@dataclass(frozen=True)
class Settings:
    """What is measured: loads as shares of capacity, quiet runs wanted of each, requests, seed."""

    loads: tuple[float, ...] = (0.5, 0.8, 1.1)
    repeats: int = 3
    requests: int = 250
    seed: int = 0
    threads: int = 2
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        if not self.loads or not all(0 < load < 10 for load in self.loads):
            raise InputError(f"loads {self.loads}", mend="give shares of capacity, e.g. 0.5 0.8")
        if self.repeats < 1 or self.requests < 10:
            raise InputError(
                f"{self.repeats} repeats of {self.requests} requests", mend="at least 1 and 10"
            )
        if self.seed < 0 or self.threads < 1:
            raise InputError(f"seed {self.seed}, {self.threads} threads", mend="at least 0 and 1")

    @property
    def attempts(self) -> int:
        """Most runs of a load: those that break the quiet rule are repeated so often."""
        return 3 * self.repeats


def default_threads() -> int:
    """Half of the cores, at most two: the rest is for the client and the machine."""
    return max(1, min(2, (os.cpu_count() or 1) // 2))


@dataclass
class Calibration:
    """What was fitted before the runs.

    Attributes:
        cost: of a step; plain: without the term for a changed number of tokens.
        capacity: requests a second.
        errors, plain_errors: of both costs on a burst that neither was fitted to.
        quiet: how quiet the machine was meanwhile; tries: how often it was calibrated for that.
    """

    cost: StepCost
    plain: StepCost
    capacity: float
    errors: dict[str, Any]
    plain_errors: dict[str, Any]
    quiet: dict[str, Any] = field(default_factory=dict)
    tries: int = 1

    def data(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Calibration":
        """From :meth:`data`."""
        return cls(**{**data, "cost": StepCost(**data["cost"]), "plain": StepCost(**data["plain"])})


class Session:
    """One measurement; see the module. ``run()`` gives all runs in the order in which they ran."""

    def __init__(self, settings: Settings, folder: Path, progress: Progress | None = None) -> None:
        self.settings, self.folder = settings, folder
        self._tell = progress or (lambda share, text: None)
        self.engine = Engine(settings.rules, settings.threads)
        self._prepare()
        self.calibration: Calibration | None = None
        self.bursts = 0
        self._begun = time.perf_counter()

    def run(self) -> list[dict[str, Any]]:
        """Calibrate, then run; what was found of each run."""
        self._tell(0.0, "warming up")
        self.engine.warm(lambda share, text: self._tell(0.08 * share, text))
        self.calibration = self._calibrated()
        found = self._runs(self.calibration)
        self._write(DONE, {"runs": len(found)})
        self._tell(1.0, "done")
        return found

    def requests(self, load: float) -> Requests:
        """The requests of the runs at a load: the same in each of them."""
        assert self.calibration is not None
        number = round(1000 * load)
        rate = load * self.calibration.capacity
        return draw_requests(self.settings.requests, rate, self.settings.seed, _RUNS + number)

    def _prepare(self) -> None:
        wanted = json.loads(json.dumps({**asdict(self.settings), "machine": self.engine.machine}))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot be made: {error.strerror}", where=str(self.folder)) from None
        if self._read("settings.json") != wanted or (self.folder / DONE).exists():
            for old in self.folder.glob("*"):
                if old.name.endswith((".json", ".json.gz")):
                    old.unlink()
            self._write("settings.json", wanted)

    def _calibrated(self) -> Calibration:
        known = self._read("calibration.json")
        if known is None:
            for tries in range(1, CALIBRATIONS + 1):
                reading = read_machine()
                made = self._calibrate()
                quiet = judge(reading, read_machine())
                made.quiet, made.tries = quiet.data(), tries
                if quiet.passed:
                    break
            known = made.data()
            self._write("calibration.json", known)
        return Calibration.of(known)

    def _calibrate(self) -> Calibration:
        works: list[Work] = []
        seed, rules = self.settings.seed, self.settings.rules
        for number, (concurrency, requests) in enumerate(CLOSED):
            self._tell(0.08 + 0.02 * number, f"calibrating, {concurrency} at a time")
            drawn = draw_requests(requests, 1.0, seed, _FITTING + number)
            works.append(work_of(self._serve(drawn, concurrency=concurrency)))
        rough = capacity(rules, fit_cost(Work.joined(works)), seed, _CAPACITY)
        for number, load in enumerate(OPEN):
            self._tell(0.14 + 0.02 * number, f"calibrating, load {load:g}")
            drawn = draw_requests(OPEN_REQUESTS, load * rough, seed, _FITTING + 100 + number)
            works.append(work_of(self._serve(drawn)))
        joined = Work.joined(works)
        cost, plain = fit_cost(joined), fit_cost(joined, changes=False)
        capable = capacity(rules, cost, seed, _CAPACITY)
        self._tell(0.2, "a burst to check")
        check = self._burst(CHECK_LOAD * capable)
        return Calibration(
            cost, plain, capable, step_errors(cost, check), step_errors(plain, check)
        )

    def _burst(self, rate: float) -> Work:
        """A short run with requests of its own, to see how fast the machine is."""
        self.bursts += 1
        drawn = draw_requests(BURST_REQUESTS, rate, self.settings.seed, _BURSTS + self.bursts)
        return work_of(self._serve(drawn))

    def _serve(self, drawn: Requests, concurrency: int = 0) -> StepLog:
        load = Load(drawn.prompt, drawn.output, drawn.arrival, concurrency=concurrency)
        return self.engine.run(load)

    def _runs(self, calibration: Calibration) -> list[dict[str, Any]]:
        settings = self.settings
        found: list[dict[str, Any]] = []
        for number, load in enumerate(settings.loads):
            before: Work | None = None
            quiet = 0
            for attempt in range(1, settings.attempts + 1):
                if attempt > settings.repeats and time.perf_counter() - self._begun > MOST_S:
                    break
                name = f"load-{load:g}-run-{attempt}"
                known = self._read(f"{name}.json")
                if known is None:
                    share = (number + min(1.0, quiet / settings.repeats)) / len(settings.loads)
                    self._tell(0.22 + 0.78 * share, f"load {load:g}, run {attempt}")
                    known, before = self._one(name, load, attempt, calibration, before)
                found.append(known)
                quiet += known["quiet"]["passed"]
                if quiet == settings.repeats:
                    break
        return found

    def _one(
        self, name: str, load: float, attempt: int, calibration: Calibration, before: Work | None
    ) -> tuple[dict[str, Any], Work]:
        """One run between two bursts (the one before it may be the last one's after)."""
        requests, rules, cost = self.requests(load), self.settings.rules, calibration.cost
        rate = load * calibration.capacity
        before = self._burst(rate) if before is None else before
        blind = self._predicted(requests, cost.adjusted(before))
        upfront = self._predicted(requests, cost)
        self._write(f"{name}.prediction.json", {"blind": blind, "upfront": upfront})
        reading = read_machine()
        log = self._serve(requests)
        # The bursts' speeds judge drift; steal and other processes are those of the run itself.
        later = read_machine()
        after = self._burst(rate)
        first, second = cost.speed(before), cost.speed(after)
        quiet = judge(reading, later, drift=abs(second / first - 1.0))
        log.save(self.folder / f"{name}.json.gz")
        match, work = step_match(log), work_of(log)
        both = cost.adjusted(Work.joined([before, after]))
        own = self._predicted(requests, cost.adjusted(work))
        result = {
            "name": name,
            "load": load,
            "attempt": attempt,
            "quiet": quiet.data(),
            "reasons": quiet.reasons(),
            "speed_before": first,
            "speed_after": second,
            "speed_run": cost.speed(work),
            "cost": both.data(),
            "steps": match.steps,
            "emissions": match.emissions,
            "whole": match.whole,
            "measured": latencies(requests, served_of(log)),
            "predicted": {
                "around": self._predicted(requests, both),
                "blind": blind,
                "upfront": upfront,
                "own speed": own,
            },
            "rules": asdict(rules),
        }
        self._write(f"{name}.json", result)
        return result, after

    def _predicted(self, requests: Requests, cost: StepCost) -> dict[str, float]:
        return latencies(requests, predict(self.settings.rules, requests, cost))

    def log(self, name: str) -> StepLog:
        """The step log of a run."""
        return StepLog.load(self.folder / f"{name}.json.gz")

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _write(self, name: str, data: Any) -> None:
        """Write JSON at once or not at all, so that a cut leaves no half file."""
        path = self.folder / name
        part = path.with_suffix(".part")
        try:
            part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None


def served_of(log: StepLog) -> Served:
    """When the requests of a real run got their first and last tokens."""
    times = log.token_times()
    first = [t[0] if t else float("nan") for t in times]
    last = [t[-1] if len(t) == n else float("nan") for t, n in zip(times, log.output, strict=True)]
    return Served(np.array(first), np.array(last), len(log.start))
