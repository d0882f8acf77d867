"""The goodput frontier: the highest rate at which the service still keeps its promise.

Goodput as DistServe defines it (OSDI 2024, section 1): the highest rate at which a given share of
the requests stays within the SLO. The rate is sought on a geometric grid whose step is the
tolerance, anchored at the scenario's own rate, by expanding a bracket and bisecting it. All rates
meet the same seeds, so their requests differ in nothing but time: the noise of a seed is the same
at neighbouring rates, and attainment falls almost without wobble. The answer is a point of the
grid, so it does not depend on how many runs go on at once.
"""

import math
from collections.abc import Sequence
from typing import Any

from mltwin.comparison import Runnable, as_scenario
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.sweeps.jobs import Row

from .frontier import Frontier, Point
from .limits import Limit, mean_of, one_limit
from .runs import DEFAULT_SEEDS, SAME_SEEDS, Progress, Runs, check_metric
from .space import is_number, own_value

_FACTOR = 4.0  # of the bracket's expansion
_LOWEST, _HIGHEST = _FACTOR**-8, _FACTOR**12  # of the rate that it starts from
_AROUND = (0.5, 0.65, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0)  # of the answer, where the curve is checked
_SEED_STEPS = 1  # a seed's own frontier is interpolated within so many steps of the grid
_MAX_ROUNDS = 40


def goodput(
    scenario: Runnable,
    *,
    rate_field: str = "workload.rate",
    metric: str = "slo_attainment",
    least: float | None = None,
    most: float | None = None,
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    low: float | None = None,
    high: float | None = None,
    tolerance: float = 0.02,
    check: bool = True,
    workers: int | None = None,
    backend: str = "threads",
    address: str | None = None,
    store: Any = None,
    progress: Progress | None = None,
) -> Frontier:
    """The highest rate at which `metric` is at least `least` (default: 0.9), or at most `most`.

    Args:
        scenario: what is asked; its own rate is where the search begins.
        rate_field: the field that is raised; one of whole numbers is found exactly.
        seeds: how many, or which; a rate counts as good if the mean over them does.
        low, high: keep within these rates; by default the bracket finds itself.
        tolerance: of the answer, relative.
        check: look also at rates further off, for curves that fall and rise again.
        store: a folder that keeps what was run; a search killed goes on where it was.
        progress: called with (share done, text).

    Raises InputError for a bad argument, a metric that the runs lack, or the error of a run.
    """
    limit = one_limit(metric, 0.9 if least is None and most is None else least, most)
    base = as_scenario(scenario)
    grid = Grid.around(base, rate_field, low, high, tolerance)
    with Runs(
        seeds, backend=backend, workers=workers, address=address, store=store, progress=progress
    ) as runs:
        search = _Search(base, rate_field, limit, grid, runs)
        search.bracket()
        search.narrow()
        if check:
            search.look_around()
        search.narrow_seeds()
        runs.say(1.0)
    return search.found()


class Grid:
    """The rates that may be asked for, numbered: a geometric grid, or whole numbers.

    Args:
        start: rate number 0.
        ratio: of neighbours; 1 stands for whole numbers.
        first, last: the numbers of the lowest and the highest rate.
        high: the rate of the last number, where one was given.
    """

    def __init__(
        self, start: float, ratio: float, first: int, last: int, high: float | None = None
    ) -> None:
        self.start, self.ratio, self.first, self.last, self.high = start, ratio, first, last, high

    @classmethod
    def around(
        cls,
        scenario: Scenario,
        field: str,
        low: float | None,
        high: float | None,
        tolerance: float,
    ) -> "Grid":
        """The grid for a field of a scenario.

        Raises InputError for bounds or a tolerance that make none, or a field that takes none.
        """
        if not 1e-4 <= tolerance <= 0.5:
            raise InputError(f"{tolerance} is not from 0.0001 to 0.5", where="tolerance")
        for name, bound in (("low", low), ("high", high)):
            if bound is not None and not 0 < bound < math.inf:
                raise InputError(f"{bound} is no rate", where=name, mend="give one above 0")
        if low is not None and high is not None and low >= high:
            raise InputError(f"{low:g} is not below high = {high:g}", where="low")
        own = _value(scenario, field)
        if low is None and high is not None:
            own = min(own, high)
        start = own if low is None else low
        if _is_whole(scenario, field):
            first = 1 if low is None else math.ceil(low)
            last = 2**24 if high is None else math.floor(high)
            return cls(float(max(first, min(last, round(start)))), 1.0, first, last)
        ratio = 1 + tolerance
        down = 0 if low is not None else math.floor(math.log(_LOWEST) / math.log(ratio))
        up = math.ceil(math.log((high or start * _HIGHEST) / start * (1 - 1e-12), ratio))
        return cls(start, ratio, down, max(up, 0), high)

    def rate(self, number: int) -> float | int:
        """The rate of a number, to six digits."""
        if self.ratio == 1.0:
            return int(number)
        if self.high is not None and number == self.last:
            return self.high
        return float(f"{self.start * self.ratio**number:.6g}")

    def number(self, rate: float) -> int:
        """The number of the rate nearest to this one."""
        if self.ratio == 1.0:
            found = round(rate)
        else:
            found = round(math.log(rate / self.start) / math.log(self.ratio))
        return max(self.first, min(self.last, found))

    def inner(self, low: int, high: int, parts: int) -> list[int]:
        """So many numbers between two (fewer where there is no room), even in the rate's log."""
        if self.ratio == 1.0:
            ends = math.log(max(low, 1)), math.log(max(high, 1))
            steps = [(ends[1] - ends[0]) * (i + 1) / (parts + 1) for i in range(parts)]
            found = {round(math.exp(ends[0] + step)) for step in steps}
            return sorted(n for n in found if low < n < high) or [(low + high) // 2]
        found = {low + round((high - low) * (i + 1) / (parts + 1)) for i in range(parts)}
        return sorted(n for n in found if low < n < high)


class _Search:
    """The state of a search: what was run at each number of the grid."""

    def __init__(
        self, scenario: Scenario, field: str, limit: Limit, grid: Grid, runs: Runs
    ) -> None:
        self.scenario, self.field, self.limit = scenario, field, limit
        self.grid, self.runs = grid, runs
        self.rows: dict[int, list[Row]] = {}
        self.notes: list[str] = []

    def run(self, numbers: Sequence[int]) -> None:
        """Run the rates of these numbers, those not yet run."""
        todo = sorted({n for n in numbers if n not in self.rows})
        if not todo:
            return
        scenarios = [self.scenario.set(self.field, self.grid.rate(n)) for n in todo]
        first = not self.rows
        for number, rows in zip(todo, self.runs.sound(scenarios), strict=True):
            self.rows[number] = rows
        if first:
            everything = [row for rows in self.rows.values() for row in rows]
            check_metric(everything, self.limit.metric)
            if self.runs.one_seed_if_equal(list(self.rows.values())):
                self.rows = {n: rows[:1] for n, rows in self.rows.items()}
                self.notes.append(SAME_SEEDS)

    def value(self, number: int, seed: int | None = None) -> float | None:
        """The metric at a number: of one seed (its place), or the mean."""
        rows = self.rows[number]
        if seed is None:
            return mean_of(rows, self.limit.metric)
        return rows[seed].metrics.get(self.limit.metric)

    def ends(self, seed: int | None = None) -> tuple[int | None, int | None]:
        """The highest number that keeps the limit below all that miss it, and the lowest miss."""
        missed = [n for n in self.rows if not self.limit.met(self.value(n, seed))]
        bad = min(missed, default=None)
        kept = [n for n in self.rows if n not in missed and (bad is None or n < bad)]
        return max(kept, default=None), bad

    def probes(self) -> int:
        """How many rates to ask for at once: what gains most for each round of the workers."""

        def gain(k: int) -> float:
            return math.log(k + 1) / math.ceil(k * len(self.runs.seeds) / self.runs.workers)

        return max(range(1, 2 * self.runs.workers + 1), key=gain)

    def bracket(self) -> None:
        """Find a rate that keeps the limit and a higher one that misses it, if there are any."""
        step = max(1, self._step(_FACTOR))
        whole = self.grid.ratio == 1.0
        start = self.grid.number(self.grid.start)
        ahead = [start]
        if self.grid.high is not None or whole:
            ahead.append(min(self.grid.last, self._up(start, step)))
        else:
            ahead += [start - step, start + step]
        self.run([self._clipped(n) for n in ahead])
        self.runs.say(0.1)
        for _ in range(_MAX_ROUNDS):
            good, bad = self.ends()
            if bad is None:
                top = max(self.rows)
                if top >= self.grid.last:
                    return
                self.run(
                    [self._clipped(self._up(top, step)), self._clipped(self._up(top, 2 * step))]
                )
            elif good is None:
                low = min(self.rows)
                if low <= self.grid.first or self._is_flat() or not self._lower(low, step):
                    return
            else:
                return

    def _step(self, factor: float) -> int:
        if self.grid.ratio == 1.0:
            return int(factor)
        return round(math.log(factor) / math.log(self.grid.ratio))

    def _up(self, number: int, step: int) -> int:
        return number * step if self.grid.ratio == 1.0 else number + step

    def _down(self, number: int, step: int) -> int:
        return number // step if self.grid.ratio == 1.0 else number - step

    def _clipped(self, number: int) -> int:
        return max(self.grid.first, min(self.grid.last, number))

    def _lower(self, low: int, step: int) -> bool:
        """Run a lower rate; False where it cannot be run (a trace would last too long)."""
        try:
            self.run([self._clipped(self._down(low, step))])
        except InputError:
            return False
        return True

    def _is_flat(self) -> bool:
        """Whether going lower has stopped to change anything: requests no longer meet."""
        lowest = sorted(self.rows)[:2]
        if len(lowest) < 2:
            return False
        one, other = (self.value(n) for n in lowest)
        return one is not None and one == other and one != 0

    def narrow(self) -> None:
        """Bisect until neighbours of the grid are the ends."""
        for _ in range(_MAX_ROUNDS):
            good, bad = self.ends()
            if good is None or bad is None or bad - good <= 1:
                return
            self.run(self.grid.inner(good, bad, self.probes()))
            self.runs.say(0.7 - 0.5 * min(1.0, math.log2(bad - good) / 8))

    def look_around(self) -> None:
        """Run rates further off; where one below misses the limit, the answer is below it."""
        for _ in range(_MAX_ROUNDS):
            good, bad = self.ends()
            if good is None:
                return
            rate = float(self.grid.rate(good))
            around = [self.grid.number(rate * factor) for factor in _AROUND]
            self.run([n for n in around if bad is not None or n <= good])
            self.runs.say(0.85)
            if self.ends()[0] == good:
                return
            self.narrow()

    def narrow_seeds(self) -> None:
        """Run what each seed's own frontier needs, so that there is an interval over seeds."""
        if len(self.runs.seeds) < 2 or None in self.ends():
            return
        for _ in range(_MAX_ROUNDS // 4):
            wanted = set()
            for seed in range(len(self.runs.seeds)):
                good, bad = self.ends(seed)
                if good is None and bad is not None:
                    wanted.add(self._clipped(self._down(bad, max(2, self._step(1.25)))))
                elif bad is None and good is not None:
                    wanted.add(self._clipped(self._up(good, max(2, self._step(1.25)))))
                elif good is not None and bad is not None and bad - good > _SEED_STEPS:
                    wanted.add((good + bad) // 2)
            if not wanted - set(self.rows):
                return
            self.run(sorted(wanted))
            self.runs.say(0.95)

    def of_seed(self, seed: int) -> float | None:
        """A seed's own frontier: where its metric crosses the bound, linear between the ends."""
        good, bad = self.ends(seed)
        if good is None or bad is None:
            return None
        low, high = float(self.grid.rate(good)), float(self.grid.rate(bad))
        kept, missed = (self.limit.slack(self.value(n, seed)) for n in (good, bad))
        share = kept / (kept - missed) if math.isfinite(missed) else 0.5
        return low + share * (high - low)

    def found(self) -> Frontier:
        """The frontier."""
        good, bad = self.ends()
        points = [Point(self.grid.rate(n), rows) for n, rows in sorted(self.rows.items())]
        seeds = self.runs.seeds
        own = [self.of_seed(i) for i in range(len(seeds))] if good is not None else []
        return Frontier(
            scenario=self.scenario,
            rate_field=self.field,
            limit=self.limit,
            seeds=seeds,
            rate=None if good is None else self.grid.rate(good),
            fails_at=None if bad is None else self.grid.rate(bad),
            by_seed={s: rate for s, rate in zip(seeds, own, strict=False) if rate is not None},
            points=points,
            runs=self.runs.made,
            notes=self.notes + self._remarks(good, bad, own),
        )

    def _remarks(self, good: int | None, bad: int | None, own: Sequence[float | None]) -> list[str]:
        """What is odd about the answer."""
        notes = []
        outside = [str(s) for s, rate in zip(self.runs.seeds, own, strict=False) if rate is None]
        if outside and len(self.runs.seeds) > 1 and bad is not None:
            notes.append(
                f"no interval: the frontier of seed {', '.join(outside)} lies beyond what was run"
            )
        if good is not None and bad is None:
            notes.append(
                f"no rate that was tried is too much (up to {self.grid.rate(max(self.rows)):g}): "
                "with more requests or a higher bound there may be one"
            )
        if bad is not None:
            again = [n for n in self.rows if n > bad and self.limit.met(self.value(n))]
            if again:
                rates = ", ".join(f"{self.grid.rate(n):g}" for n in sorted(again)[:4])
                notes.append(
                    f"not monotone: {self.limit.text} is missed at {self.grid.rate(bad):g} but "
                    f"kept again at {rates}; the answer is the frontier below the first miss"
                )
        return notes


def _value(scenario: Scenario, field: str) -> float:
    """The number that a field of a scenario has now; 1 where it has none.

    Raises InputError for a field that does not exist or holds something else.
    """
    own = own_value(scenario, field)
    if own is None:
        scenario.set(field, 1)  # refuses a field that does not exist
        return 1.0
    if not is_number(own) or own <= 0:
        raise InputError(f"{own!r} is no rate", where=field, mend="choose a field of numbers")
    return float(own)


def _is_whole(scenario: Scenario, field: str) -> bool:
    """Whether a field takes whole numbers only."""
    value = math.floor(_value(scenario, field)) + 0.5
    try:
        scenario.set(field, value)
    except InputError:
        scenario.set(field, math.ceil(value))  # refuses a field that takes no numbers at all
        return True
    return False
