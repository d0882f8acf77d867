"""The runs of a search: made through `run_jobs`, each once, counted, and told to who watches."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

from mltwin.fields import close_to
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.sweeps.jobs import Job, Row, run_jobs

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and a word on what is being done."""

DEFAULT_SEEDS = 3
# How far a round in flight moves the bar of a search whose length is not known beforehand.
_ROUND_SHARE = 0.15
# Shorter runs hold the interpreter's lock for most of their time: one thread makes them as fast.
# Together they take longer, as each waits for the others.
_SHORT_S, _SHORT_TOGETHER_S = 0.012, 0.025


def as_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Seeds: so many from 0, or those given.

    Raises InputError for none, a negative one, or one given twice.
    """
    found = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
    if not found or min(found) < 0 or len(set(found)) < len(found):
        raise InputError(
            f"{seeds!r} are no seeds", where="seeds", mend="give a count or different numbers"
        )
    return found


class Runs:
    """Makes the runs of a search; to be used in a `with`.

    A run that was made is not made again: the same scenario and seed give the same row. The store
    and a cluster started on this machine stay open between the rounds of a search. `made` counts
    runs; `workers` is how many go on at once.
    """

    def __init__(
        self,
        seeds: int | Sequence[int],
        *,
        backend: str = "threads",
        workers: int | None = None,
        address: str | None = None,
        store: Any = None,
        progress: Progress | None = None,
    ) -> None:
        from mltwin.sim.executors import usable_cores

        self.seeds = as_seeds(seeds)
        self.workers = workers or usable_cores()
        self.made = 0
        self._given = {"backend": backend, "workers": workers, "address": address, "store": store}
        self._opened = ExitStack()
        self._alone = False
        self._progress = progress
        self._share = self._shown = 0.0
        self._part = _ROUND_SHARE
        self._known: dict[tuple[str, int], Row] = {}

    def __enter__(self) -> Self:
        from mltwin.sweeps.clusters import clusters_held
        from mltwin.sweeps.store import open_store

        store = open_store(self._given["store"])
        self._given["store"] = self._opened.enter_context(store)
        self._opened.enter_context(clusters_held())
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def rows(
        self, scenarios: Sequence[Scenario], seeds: Sequence[int] | None = None
    ) -> list[list[Row]]:
        """The rows of each scenario, one a seed (default: all seeds), failed ones among them."""
        wanted = self.seeds if seeds is None else tuple(seeds)
        keys = [[(scenario.hash, seed) for seed in wanted] for scenario in scenarios]
        jobs: dict[tuple[str, int], Job] = {}
        for scenario, row in zip(scenarios, keys, strict=True):
            jobs |= {key: Job(scenario, key[1]) for key in row if key not in self._known}
        if jobs:
            given = self._given | {"workers": 1} if self._alone else self._given
            made = run_jobs(list(jobs.values()), progress=self._in_flight, **given)
            self._known |= dict(zip(jobs, made, strict=True))
            self.made += len(jobs)
            self._learn(made)
        return [[self._known[key] for key in row] for row in keys]

    def _learn(self, made: Sequence[Row]) -> None:
        """See from the last round whether threads pay: runs of a few ms only wait for each other.

        What is run does not depend on it, only how many at a time.
        """
        if self._given["backend"] == "threads" and self._given["workers"] is None:
            limit_s = _SHORT_S if self._alone else _SHORT_TOGETHER_S
            self._alone = min(row.wall_s for row in made) < limit_s

    def all_at_once(self) -> None:
        """Say that the next round is the whole search, so that the bar follows its runs."""
        self._part = 1.0

    def sound(self, scenarios: Sequence[Scenario]) -> list[list[Row]]:
        """The rows of each scenario.

        Raises InputError for the first run that failed.
        """
        found = self.rows(scenarios)
        for scenario, rows in zip(scenarios, found, strict=True):
            for row in rows:
                if row.error:
                    raise InputError(row.error, where=f"{scenario.label}, seed {row.seed}")
        return found

    def one_seed_if_equal(self, found: Sequence[Sequence[Row]]) -> bool:
        """Go on with the first seed alone where the seeds make no difference; whether they do not.

        A real trace replayed as it is draws nothing: all its seeds give the same run.
        """
        if len(self.seeds) < 2 or not found:
            return False
        if any(len({row.digest for row in rows}) > 1 for rows in found):
            return False
        self.seeds = self.seeds[:1]
        return True

    def say(self, share: float, text: str = "") -> None:
        """Tell the share of the search that is done; it never goes back."""
        self._share = min(1.0, max(self._share, share))
        self._shown = max(self._shown, self._share)
        if self._progress is not None:
            self._progress(self._shown, text or f"{self.made} runs")

    def _in_flight(self, done: int, total: int) -> None:
        if self._progress is not None:
            part = self._part * (1 - self._share) * done / max(total, 1)
            self._shown = max(self._shown, self._share + part)
            self._progress(self._shown, f"{self.made + done} runs")


SAME_SEEDS = (
    "all seeds give the same run (nothing in it is drawn), so there is no interval over them; "
    "a serving scenario draws its arrivals with workload.arrivals = 'poisson'"
)


def check_metric(rows: Sequence[Row], metric: str) -> None:
    """Refuse a metric that none of the rows has.

    Raises InputError that says what there is.
    """
    if any(metric in row.metrics for row in rows):
        return
    known = {name for row in rows for name in row.metrics}
    if metric in ("slo_attainment", "request_goodput"):
        raise InputError(
            f"the runs have no {metric}",
            where="slo",
            mend="give limits: slo.ttft_ms, slo.tpot_ms or slo.e2e_ms (--goodput ttft:500)",
        )
    raise InputError(f"the runs have no metric {metric!r}", mend=close_to(metric, known))
