"""`sweep`: run a study on a backend, with a store that survives being killed.

    found = mt.sweep("base.toml", {"workload.rate": [2, 4, 8]}, seeds=5, store="results/rates")
    print(found.table())

A killed sweep goes on where it was: the same call takes from the store what is there.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError

from .identity import code_hash, point_key, run_key
from .jobs import Job, run_jobs
from .record import FILE, Record, read_record, write_record
from .store import SweepStore, open_store
from .study import Study, load_study, look_up, make_study
from .sweep import Sweep, by_point
from .work import Row

LIVE_EVERY_S = 0.5
_LIVE_SHARE = 20  # showing a large sweep takes time: at most a twentieth of it


def sweep(
    base: Scenario | Study | str | Path,
    space: Mapping[str, Any] | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    backend: str = "threads",
    workers: int | None = None,
    address: str | None = None,
    store: SweepStore | str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    metrics: Sequence[str] | None = None,
    live: Callable[[Sweep], None] | None = None,
    retry_failed: bool = False,
) -> Sweep:
    """Run a scenario at all points of a space, each on the same seeds.

    Args:
        base: the scenario, its file, or a checked study (`make_study`, `load_study`); given a
            study, `space`, `seeds` and `metrics` are the study's.
        space: fields and values, see `mltwin.sweeps.spaces`; `{"workload.rate": [2, 4, 8]}`.
        seeds: a count (from the scenario's own seed on) or a list.
        backend: threads, processes, serial, dask or ray.
        workers: runs at once, by default one for each core, or all of a cluster.
        address: of a Dask scheduler or Ray cluster; none: one is started on this machine.
        store: a folder in which rows are kept as they come, and taken from when run again.
        progress: called with (runs done, runs in all).
        metrics: shown first in tables and plots; all are kept.
        live: called with the sweep so far, twice a second at most.
        retry_failed: run failed runs of the store again.

    Raises InputError: something in the study that is wrong, before anything is run; a store or a
    cluster that cannot be used. A run that fails does not end the sweep (`Sweep.failures`).
    """
    study = _study(base, space, seeds, metrics)
    points = study.scenarios
    # All points on the first seed, then on the next: a trace drawn from a seed is drawn once, and
    # a sweep that is half done shows all points.
    jobs = [Job(scenario, seed) for seed in study.seeds for scenario in points]
    with open_store(store) as kept:
        record, keys, notices = Record.of(study), None, []
        if kept is not None:
            record = record.keyed([point_key(scenario) for scenario in points], code_hash())
            keys = [run_key(point, seed) for seed in study.seeds for point in record.point_keys]
            notices = _prepared(kept, record, keys, retry_failed)
        rows: list[Row | None] = [None] * len(jobs)
        due = time.monotonic() + LIVE_EVERY_S

        def take(found: Sequence[tuple[int, Row]]) -> None:
            nonlocal due
            for number, row in found:
                rows[number] = row
            if live is not None and (now := time.monotonic()) > due:
                live(Sweep(record, by_point(record, rows), notices))
                took = time.monotonic() - now
                due = now + took + max(LIVE_EVERY_S, _LIVE_SHARE * took)

        run_jobs(
            jobs,
            backend=backend,
            workers=workers,
            address=address,
            store=kept,
            progress=progress,
            on_rows=take,
            keys=keys,
        )
        return Sweep(record, by_point(record, rows), notices)


def _study(
    base: Scenario | Study | str | Path,
    space: Mapping[str, Any] | None,
    seeds: int | Sequence[int],
    metrics: Sequence[str] | None,
) -> Study:
    if isinstance(base, Study):
        return base
    if space is None:
        if isinstance(base, str | Path):
            return load_study(base)
        raise InputError("there is no space", where="sweep", mend='give {"field": [1, 2, 3]}')
    scenario = base if isinstance(base, Scenario) else Scenario.load(base)
    return look_up(make_study(scenario, space, seeds=seeds, metrics=metrics))


def _prepared(
    store: SweepStore, record: Record, keys: Sequence[str], retry_failed: bool
) -> list[str]:
    """Enter the study into its store; what to tell of the rows that are there."""
    notices = list(store.notices)
    before = _last_record(store.path)
    if before is not None and before.study == record.study:
        old = store.known(before.keys())
        fresh = set(keys)
        lost = sum(
            row is not None and key not in fresh
            for key, row in zip(before.keys(), old, strict=True)
        )
        if lost:
            cause = "the code" if before.code != record.code else "a file that the scenario names"
            notices.append(f"{cause} has changed: {lost} stored runs are made again")
    write_record(store.path, record)
    if retry_failed:
        known = zip(keys, store.known(keys), strict=True)
        store.forget([key for key, row in known if row is not None and row.error])
    there = sum(key in store for key in dict.fromkeys(keys))
    if there:
        notices.append(f"{there} of {len(set(keys))} runs were there already")
    return notices


def _last_record(folder: Path) -> Record | None:
    """The record of the sweep before, if there is one that can be read."""
    try:
        return read_record(folder) if (folder / FILE).exists() else None
    except InputError:  # it is written anew
        return None
