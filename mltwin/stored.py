"""Stored runs as groups to compare: a folder's runs of one scenario, one for each seed."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mltwin.sim.errors import InputError

from .result import Result
from .scenario import Scenario

Runnable = Scenario | str | Path
Item = Runnable | Result | Sequence[Result]
Group = Scenario | list[Result]


def opened(items: Iterable[Item]) -> list[Group]:
    """Scenarios as they are, stored runs as groups of results.

    A path may be a scenario file, a stored run, or a folder of stored runs. A folder's runs are
    grouped by scenario and code, in the order of names; a group's runs by seed. Runs given one
    by one (`runs/*`) are grouped alike, save where that would leave a single group.

    Raises InputError: a path that holds neither, or a run that is damaged.
    """
    groups: list[Group] = []
    single: list[bool] = []
    for item in items:
        found = _opened(item)
        groups += found
        alone = isinstance(item, str | Path) and len(found) == 1
        single += [alone and isinstance(g, list) and len(g) == 1 for g in found]
    merged = _merged(groups, single)
    return merged if len(merged) > 1 else groups


def _opened(item: Item) -> list[Group]:
    if isinstance(item, Scenario):
        return [item]
    if isinstance(item, Result):
        return [[item]]
    if not isinstance(item, str | Path):
        results = list(item)
        if not results or not all(isinstance(result, Result) for result in results):
            raise InputError(
                f"{item!r:.80} cannot be compared", mend="give scenarios, results or paths"
            )
        return [results]
    path = Path(item)
    if path.name == "run.json":
        path = path.parent
    if path.is_dir():
        return list(stored_groups(path))
    return [Scenario.load(path)]


def stored_groups(folder: str | Path) -> list[list[Result]]:
    """The runs stored in a folder, grouped by scenario and code; each group in order of its seeds.

    Raises InputError if there is none, or one is damaged.
    """
    from mltwin.sim.executors import map_runs

    place = Path(folder)
    if (place / "run.json").is_file():
        return [[Result.load(place)]]
    runs = sorted(manifest.parent for manifest in place.glob("*/run.json"))
    if not runs:
        raise InputError("there is no run", where=str(place), mend="give a folder that `save` made")
    results = [outcome.get() for outcome in map_runs(Result.load, runs)]
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(_key(result), []).append(result)
    ordered = sorted(groups.items(), key=lambda pair: (_natural(pair[1][0].label), pair[0]))
    return [_by_seed(group) for _, group in ordered]


def _merged(groups: Sequence[Group], single: Sequence[bool]) -> list[Group]:
    """Groups of one run each put together where they are runs of one scenario with other seeds."""
    merged: list[Group] = []
    open_: dict[tuple[str, ...], list[Result]] = {}
    for group, alone in zip(groups, single, strict=True):
        if not alone or isinstance(group, Scenario):
            merged.append(group)
            continue
        known = open_.get(_key(group[0]))
        if known is None or group[0].seed in {result.seed for result in known}:
            open_[_key(group[0])] = mine = list(group)
            merged.append(mine)
        else:
            known += group
            known.sort(key=lambda result: result.seed)
    return merged


def _key(result: Result) -> tuple[str, ...]:
    """What runs of one group share: scenario, name and code."""
    scenario, spec = result.scenario, result.spec
    versions = " ".join(f"{name} {v}" for name, v in sorted(spec.versions.items()))
    content = scenario.hash if scenario else ""
    return (content, result.label, spec.kernel_hash, versions)


def unique_names(first: Sequence[Result]) -> list[str]:
    """Labels of groups' first runs, made unique: by the code that ran them, or by numbers."""
    labels = [result.label for result in first]
    if len(set(labels)) == len(labels):
        return labels
    coded = [
        label if labels.count(label) == 1 else f"{label} (code {result.spec.kernel_hash[:7]})"
        for label, result in zip(labels, first, strict=True)
    ]
    if len(set(coded)) == len(coded):
        return coded
    return [_numbered(label, i, labels) for i, label in enumerate(labels)]


def _numbered(label: str, index: int, labels: list[str]) -> str:
    """A label, made unique where two scenarios bear the same."""
    same = [i for i, other in enumerate(labels) if other == label]
    return label if len(same) == 1 else f"{label} #{same.index(index) + 1}"


def _by_seed(group: list[Result]) -> list[Result]:
    return sorted(group, key=lambda result: result.seed)


def _natural(text: str) -> list[tuple[int, str]]:
    """A sorting key that puts `rate = 9` before `rate = 10`."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
