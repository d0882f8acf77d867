"""A study: a base scenario, the points around it and the seeds that all points are run on.

    scenario = "base.toml"            # or a [scenario] table
    seeds = 5                         # a count, or a list; the same for all points
    metrics = ["p99_ttft_ms"]         # shown first; all are kept

    [grid]
    "workload.rate" = { from = 2, to = 16, steps = 4, scale = "log" }
    "policy.route" = ["least_requests", "round_robin"]

Everything is checked before anything is run: keys, fields, values, each point as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mltwin.fields import Section, build, placed
from mltwin.scenario import Scenario, system_class
from mltwin.sim.errors import InputError
from mltwin.sim.runspec import content_hash
from mltwin.tomlfile import read_toml

from .spaces import KINDS, Point, path_from, points_of

MAX_RUNS = 1_000_000
_RESERVED = {"seed": "give seeds in place of it", "system": "make a study for each system"}


class StudyFile(Section):
    """A study as it is written."""

    scenario: str | dict[str, Any] = Field(description="a scenario file, or the scenario itself")
    name: str = Field("", description="a label; else the file's name")
    seeds: int | list[int] = Field(1, description="how many from the scenario's own, or which")
    metrics: list[str] = Field([], description="shown in tables and plots; none: the headline")
    backend: Literal["threads", "processes", "serial", "dask", "ray"] = Field(
        "threads", description="where runs are made"
    )
    workers: int | None = Field(None, ge=1, description="runs at once, else one for each core")
    address: str | None = Field(None, description="of a Dask or Ray cluster, else one here")
    store: str | None = Field(None, description="folder in which rows are kept")
    grid: dict[str, Any] = Field({}, description="all combinations of values")
    random: dict[str, Any] = Field({}, description="so many random points")
    lhs: dict[str, Any] = Field({}, description="so many points of a Latin hypercube")
    list_: str | list[dict[str, Any]] = Field(
        [], alias="list", description="points one by one, or a CSV file of them"
    )


@dataclass(frozen=True)
class Study:
    """What is to be run; made by `make_study` and `load_study`, which check it.

    Attributes:
        base: the scenario that is varied.
        points: dotted field to value, one dict a point.
        scenarios: the base with each point's values.
        seeds: of every point.
        metrics: to show first; none: the system's headline.
        name: a label.
        options: backend, workers, address and store as the file gives them.
    """

    base: Scenario
    points: list[Point]
    scenarios: list[Scenario]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...] = ()
    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> list[str]:
        """The varied fields, in order of appearance."""
        return list(dict.fromkeys(name for point in self.points for name in point))

    @property
    def runs(self) -> int:
        """How many runs it takes."""
        return len(self.points) * len(self.seeds)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of base, points and seeds."""
        return content_hash(
            {"base": self.base.hash, "points": self.points, "seeds": list(self.seeds)}
        )

    @property
    def headline(self) -> tuple[str, ...]:
        """The metrics that the system shows first; () for all."""
        module, _, name = system_class(self.base.system).result_class.partition(":")
        found: tuple[str, ...] = getattr(import_module(module), name).headline
        return found


def look_up(study: Study, where: str = "space") -> Study:
    """The study, once all names in its points are looked up (`Scenario.check`).

    This reads what they name, and runs the files of users' policies.

    Raises InputError for the first name that is not there.
    """
    for i, scenario in enumerate(study.scenarios):
        try:
            scenario.check()
        except InputError as error:
            raise _at_point(error, study.points, i, where) from None
    return study


def load_study(
    path: str | Path,
    *,
    changes: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] | None = None,
) -> Study:
    """Read a study file; paths in it are taken from its folder.

    Args:
        changes: dotted fields of the base scenario to change first.
        seeds: in place of the file's.

    Raises InputError that names the file and the field.
    """
    place, folder = str(path), Path(path).resolve().parent
    given = build(StudyFile, read_toml(path), where=place)
    if isinstance(given.scenario, str):
        base = Scenario.load(path_from(folder, given.scenario, f"{place}: scenario"))
    else:
        base = Scenario.parse(given.scenario, where=f"{place}: scenario")
        base._folder = folder
    space = {kind: getattr(given, "list_" if kind == "list" else kind) for kind in KINDS}
    made = make_study(
        base.changed(changes) if changes else base,
        space,
        seeds=given.seeds if seeds is None else seeds,
        metrics=given.metrics,
        name=given.name or Path(path).stem,
        where=place,
        folder=folder,
    )
    look_up(made, place)
    made.options.update(backend=given.backend, workers=given.workers, address=given.address)
    if given.store is not None:
        made.options["store"] = path_from(folder, given.store, f"{place}: store")
    return made


def make_study(
    base: Scenario,
    space: Mapping[str, Any],
    *,
    seeds: int | Sequence[int] = 1,
    metrics: Sequence[str] | None = None,
    name: str = "",
    where: str = "space",
    folder: Path | None = None,
) -> Study:
    """A checked study of a space (`mltwin.sweeps.spaces`) around a scenario.

    Raises InputError: a field or value that the scenario refuses, seeds that are none, no points,
    more than a million runs.
    """

    def whole(name: str, spec: Any) -> bool:
        return _takes_whole_numbers_only(base, name, spec)

    points = points_of(space, where=where, folder=folder, whole=whole)
    if not points or not points[0]:
        raise InputError(
            "varies nothing", where=where, mend='add a [grid] with "field" = [1, 2, 3]'
        )
    chosen = read_seeds(seeds, base.seed, where=f"{where}: seeds")
    if len(points) * len(chosen) > MAX_RUNS:
        raise InputError(
            f"{len(points):,} points on {len(chosen):,} seeds",
            where=where,
            mend=f"up to {MAX_RUNS:,} runs are made in one study",
        )
    _check_fields(base, points, where)
    scenarios = [_scenario(base, points, i, where) for i in range(len(points))]
    title = name or base.name or base.label
    return Study(base, points, scenarios, chosen, tuple(metrics or ()), title)


def read_seeds(given: int | Sequence[int], first: int, *, where: str = "seeds") -> tuple[int, ...]:
    """The seeds: so many from `first` on, or those given.

    Raises InputError: none, a seed twice, negative, or no whole number.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 1:
            raise InputError(f"{given} seeds", where=where, mend="give at least 1")
        return tuple(range(first, first + min(given, MAX_RUNS + 1)))
    if isinstance(given, bool | str) or not isinstance(given, Sequence | range):
        raise InputError(f"{given!r} are no seeds", where=where, mend="give a count or a list")
    for seed in given:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**62:
            raise InputError(f"{seed!r} is no seed", where=where, mend="give whole numbers from 0")
    if not given:
        raise InputError("there are none", where=where, mend="give at least one")
    if len(set(given)) < len(given):
        raise InputError("a seed stands twice", where=where, mend="give each once")
    return tuple(given)


def _takes_whole_numbers_only(base: Scenario, name: str, spec: Any) -> bool:
    """Whether a field takes the lower end of a range, but no fraction just above it."""
    low, high = (spec.get("from"), spec.get("to")) if isinstance(spec, Mapping) else (None, None)
    if not isinstance(low, int) or not isinstance(high, int):
        return False
    return _takes(base, name, low) and not _takes(base, name, low + (high - low) * 0.381)


def _takes(base: Scenario, name: str, value: Any) -> bool:
    try:
        base.changed({name: value})
    except InputError:
        return False
    return True


def _check_fields(base: Scenario, points: Sequence[Point], where: str) -> None:
    """Raises InputError for a field that the scenario does not have, or that cannot be varied."""
    for name in dict.fromkeys(name for point in points for name in point):
        if name in _RESERVED:
            raise InputError("cannot be varied", where=f"{where}: {name}", mend=_RESERVED[name])
        if name == "name":
            raise InputError("changes nothing", where=f"{where}: {name}", mend="leave it out")
        value = next(point[name] for point in points if name in point)
        try:
            base.changed({name: value})
        except InputError as error:
            # Where a check of the whole scenario fails, the point's other values may mend it.
            if error.where == name:
                raise placed(error, where) from None


def _scenario(base: Scenario, points: Sequence[Point], i: int, where: str) -> Scenario:
    try:
        return base.changed(points[i])
    except InputError as error:
        raise _at_point(error, points, i, where) from None


def _at_point(error: InputError, points: Sequence[Point], i: int, where: str) -> InputError:
    values = ", ".join(f"{name} = {value}" for name, value in points[i].items())
    return placed(error, f"{where}: point {i + 1} of {len(points)} ({values})")
