"""The smallest cluster that keeps the SLO at the scenario's rate.

Counts of replicas (any fields, more being better) are sought in a box, cheapest first by what is
known: see `lattice`. For two pools this finds the pair of prefill and decode replicas, and the
staircase of pairs beyond which nothing can be saved.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mltwin.comparison import Runnable, as_scenario
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.sweeps.jobs import Row

from .costs import Cost, cost_array
from .lattice import Index, Lattice
from .limits import Limit, Limits, as_limits, mean_of, one_limit
from .runs import DEFAULT_SEEDS, SAME_SEEDS, Progress, Runs, check_metric
from .smallest import Smallest, Tried

_MOST_POINTS = 1_000_000
_MOST_REPLICAS = 64
_MAX_ROUNDS = 400

Bounds = Mapping[str, tuple[int, int] | Sequence[Any]]


def smallest_cluster(
    scenario: Runnable,
    *,
    fields: Bounds | None = None,
    limits: Limits | None = None,
    least: float | None = None,
    cost: Cost = "gpus",
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    around: int = 1,
    settle: float = 1.25,
    workers: int | None = None,
    backend: str = "threads",
    address: str | None = None,
    store: Any = None,
    progress: Progress | None = None,
) -> Smallest:
    """The cheapest values of `fields` that keep all limits.

    Args:
        scenario: what is asked, at its rate.
        fields: field to (lowest, highest) whole number, or to a list of values, the weakest
            first. By default the replicas of each pool that has some, 1 to 64.
        limits: metric to bound, or texts such as `p99_ttft_ms<=500`; means over the seeds count.
        least: share of requests within the SLO; without limits 0.9, with them none.
        cost: what is to be least: `gpus`, `dollars` (an hour), or a function of the scenario.
        around: also run every point within so many steps of the answer, for its margin.
        settle: with several fields, find out about all points up to this times the least cost,
            so that the staircase is known a little beyond the answer.
        store: a folder that keeps what was run.
        progress: called with (share done, text).

    Raises InputError for a bad argument, a metric that the runs lack, or the error of a run.
    """
    base = as_scenario(scenario)
    box = _box(base, fields)
    wanted = wanted_limits(limits, least)
    if settle < 1:
        raise InputError(f"{settle} is below 1", where="settle")
    costs = cost_array(base, list(box), list(box.values()), cost)
    lattice = Lattice(list(box.values()), costs)
    with Runs(
        seeds, backend=backend, workers=workers, address=address, store=store, progress=progress
    ) as runs:
        search = _Search(base, list(box), lattice, wanted, runs)
        search.run([lattice.top])
        if lattice.tried[lattice.top]:
            search.halve(1.0, 0.7)
            search.halve(settle if len(box) > 1 else 1.0, 0.9)
            search.look_around(around)
        runs.say(1.0)
    return search.found(cost)


def wanted_limits(limits: Limits | None, least: float | None) -> tuple[Limit, ...]:
    """All that has to be kept: a share within the SLO, other limits, or both.

    Raises InputError for a limit that is none.
    """
    others = as_limits(limits)
    if least is None and others:
        return others
    return (one_limit("slo_attainment", 0.9 if least is None else least, None), *others)


def pool_fields(scenario: Any) -> list[str]:
    """`cluster.NAME.replicas` of each pool that has replicas.

    Raises InputError for a system without pools.
    """
    pools = getattr(scenario, "cluster", None)
    if not isinstance(pools, Mapping):
        raise InputError(
            f"a {scenario.system} scenario has no pools",
            where="fields",
            mend="name the fields: {'field': (1, 64)}",
        )
    return [f"cluster.{name}.replicas" for name, pool in pools.items() if pool.replicas]


def _box(scenario: Scenario, fields: Bounds | None) -> dict[str, list[Any]]:
    """Field to its values, checked."""
    if fields is None:
        fields = {field: (1, _MOST_REPLICAS) for field in pool_fields(scenario)}
    if not fields:
        raise InputError("there is no field to search", where="fields")
    box: dict[str, list[Any]] = {}
    for name, given in fields.items():
        values = list(given)
        if isinstance(given, tuple):
            whole = len(given) == 2 and all(isinstance(v, int) for v in given)
            if not whole or given[0] > given[1]:
                raise InputError(
                    f"{given!r} is no range", where=name, mend="write (lowest, highest), or a list"
                )
            values = list(range(given[0], given[1] + 1))
        if not values:
            raise InputError("has no values", where=name)
        box[name] = values
    if math.prod(len(v) for v in box.values()) > _MOST_POINTS:
        raise InputError("the box has over a million points", where="fields", mend="narrow it")
    return box


class _Search:
    """The state of a search: the lattice, and the rows of each point that was run."""

    def __init__(
        self,
        scenario: Scenario,
        fields: list[str],
        lattice: Lattice,
        limits: tuple[Limit, ...],
        runs: Runs,
    ) -> None:
        self.scenario, self.fields, self.lattice = scenario, fields, lattice
        self.limits, self.runs = limits, runs
        self.rows: dict[Index, list[Row]] = {}
        self.notes: list[str] = []

    def run(self, points: Sequence[Index]) -> None:
        """Run points not yet run, and take in what they do."""
        todo = [p for p in dict.fromkeys(points) if p not in self.rows]
        if not todo:
            return
        first = not self.rows
        for point, rows in zip(todo, self.runs.sound([self.at(p) for p in todo]), strict=True):
            self.rows[point] = rows
        if first:
            for limit in self.limits:
                check_metric(self.rows[todo[0]], limit.metric)
            if self.runs.one_seed_if_equal(list(self.rows.values())):
                self.rows = {point: rows[:1] for point, rows in self.rows.items()}
                self.notes.append(SAME_SEEDS)
        for point in todo:
            self.lattice.mark(point, self.does(point))

    def at(self, point: Index) -> Scenario:
        """The scenario at a point."""
        values = self.lattice.values(point)
        return self.scenario.changed(dict(zip(self.fields, values, strict=True)))

    def does(self, point: Index) -> bool:
        """Whether a point that was run keeps every limit."""
        return all(limit.met(mean_of(self.rows[point], limit.metric)) for limit in self.limits)

    def depth(self) -> int:
        """Rounds to look ahead: what gains most for each round of the workers."""

        def gain(depth: int) -> float:
            return depth / math.ceil((2**depth - 1) * len(self.runs.seeds) / self.runs.workers)

        return max(range(1, 5), key=gain)

    def halve(self, factor: float, share: float) -> None:
        """Try points until all is known up to `factor` times the least cost."""
        at_first = max(len(self.lattice.open(factor)), 2)
        for _ in range(_MAX_ROUNDS):
            points = self.lattice.choose(self.depth(), factor)
            if not points:
                return
            self.run(points)
            left = math.log(1 + len(self.lattice.open(factor))) / math.log(1 + at_first)
            self.runs.say(share * (1 - 0.8 * min(1.0, left)))

    def look_around(self, width: int) -> None:
        """Run the points around the answer; a cheaper one that does becomes the answer."""
        for _ in range(_MAX_ROUNDS):
            answer = self.answer()
            self.run(self.lattice.around(answer, width))
            if self.answer() == answer:
                return

    def answer(self) -> Index:
        """Of the cheapest points that do, the one with the most slack; ties: the first."""

        def worth(point: Index) -> tuple[float, Index]:
            slack = [
                limit.slack(mean_of(self.rows[point], limit.metric)) / (abs(limit.bound) or 1.0)
                for limit in self.limits
            ]
            return -min(slack), point

        return min(self.lattice.best(), key=worth)

    def found(self, cost: Cost) -> Smallest:
        """What was found."""
        tried = [
            Tried(
                values=self.lattice.values(point),
                cost=float(self.lattice.cost[point]),
                rows=rows,
                does=self.lattice.tried[point],
            )
            for point, rows in sorted(self.rows.items())
        ]
        best = self.answer() if self.lattice.best() else None
        return Smallest(
            scenario=self.scenario,
            fields=self.fields,
            limits=self.limits,
            cost_name=cost if isinstance(cost, str) else "cost",
            seeds=self.runs.seeds,
            tried=tried,
            best=None if best is None else tried[sorted(self.rows).index(best)],
            staircase=[self.lattice.values(point) for point in self.lattice.staircase()],
            runs=self.runs.made,
            notes=self.notes + self._remarks(),
        )

    def _remarks(self) -> list[str]:
        return [
            f"not monotone: {self._named(small)} keeps the limits, {self._named(large)} does not"
            for small, large in self.lattice.contradictions()[:3]
        ]

    def _named(self, point: Index) -> str:
        return " x ".join(str(value) for value in self.lattice.values(point))
