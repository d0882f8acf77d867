"""Runs to be made, and making them: in threads, in processes, or on a cluster.

`run_jobs` is what sweeps and searches stand on. It takes what a store has already, shares the rest
out over the workers in chunks, and gives a row for each job, in order. Results themselves are not
kept: a row has the metrics and the digest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.scenario import Scenario
from mltwin.sim.executors import usable_cores

from .backends import map_chunks
from .identity import point_key, run_key
from .work import Row as Row

if TYPE_CHECKING:
    from .store import SweepStore

Progress = Callable[[int, int], None]
OnRows = Callable[[Sequence[tuple[int, Row]]], None]


@dataclass(frozen=True)
class Job:
    """One run to be made: a scenario with a seed."""

    scenario: Scenario
    seed: int


def run_jobs(
    jobs: Sequence[Job],
    *,
    backend: str = "threads",
    workers: int | None = None,
    address: str | None = None,
    store: "SweepStore | str | Path | None" = None,
    progress: Progress | None = None,
    on_rows: OnRows | None = None,
    keys: Sequence[str] | None = None,
) -> list[Row]:
    """Run the jobs; rows in the order of the jobs, a failed run is a row with an error.

    Args:
        jobs: seeds of one point should share one scenario object: it is hashed once.
        backend: threads, processes, serial, dask or ray.
        workers: how many runs at once; by default one for each core, or all of a cluster.
        address: of a Dask scheduler or a Ray cluster; none: one is started on this machine.
        store: where rows are kept as they come in, and taken from instead of running again.
        progress: called in this thread with (rows there, rows in all).
        on_rows: called in this thread with (number of the job, row) as they come in.
        keys: of the jobs in the store, where the caller has them (`keys_of`).

    Raises InputError: an unknown backend, a missing package, a cluster that does not answer, a
    store that another process writes to or that is damaged.
    """
    from .store import open_store

    rows: dict[int, Row] = {}

    def take(found: Sequence[tuple[int, Row]]) -> None:
        rows.update(found)
        if on_rows is not None and found:
            on_rows(found)
        if progress is not None:
            progress(len(rows), len(jobs))

    with open_store(store) as kept:
        names: Sequence[Any] = [(id(job.scenario), job.seed) for job in jobs]
        if kept is not None:
            names = keys_of(jobs) if keys is None else keys
            take([(i, row) for i, row in enumerate(kept.known(names)) if row is not None])
        twins = _twins(names)
        todo = [
            (i, job.scenario, job.seed)
            for i, job in enumerate(jobs)
            if i not in rows and twins[names[i]][0] == i
        ]
        turn = _turns(jobs)
        todo.sort(key=lambda one: (turn[one[2]], one[0]))
        for found in map_chunks(todo, backend=backend, workers=workers, address=address):
            if kept is not None:
                kept.append([(names[number], row) for number, row in found])
            take([(twin, row) for number, row in found for twin in twins[names[number]]])
    return [rows[number] for number in range(len(jobs))]


def _turns(jobs: Sequence[Job]) -> dict[int, int]:
    """When each seed is run: a few seeds at a time, all points of them.

    The points of a seed share its requests, which are remembered for a while. Workers that are at
    different seeds do not wait for each other to make the same ones, and a sweep that is watched
    shows all of its points early.
    """
    seeds = dict.fromkeys(job.seed for job in jobs)
    together = 2 * usable_cores()
    return {seed: n // together for n, seed in enumerate(seeds)}


def _twins(keys: Sequence[Any]) -> dict[Any, list[int]]:
    """The numbers of the jobs under each key: equal jobs are run once."""
    found: dict[Any, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return found


def keys_of(jobs: Sequence[Job]) -> list[str]:
    """The key of each job in a store."""
    points: dict[int, str] = {}
    for job in jobs:
        if id(job.scenario) not in points:
            points[id(job.scenario)] = point_key(job.scenario)
    return [run_key(points[id(job.scenario)], job.seed) for job in jobs]
