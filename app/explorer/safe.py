"""What a visitor of the explorer may run: the one check that all pages use.

A scenario from a browser (a link, a control, pasted TOML) is data from a stranger. It may choose
anything that ships with mltwin; it may not name files of this machine, nor policy code.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mltwin import InputError, Scenario, ServingScenario, choices
from mltwin.fields import close_to

MAX_REQUESTS = 1_000_000
MAX_REPLICAS = 4096
_COUNTS = ("requests", "queries", "objects", "steps", "users", "views")
_TEXT = 300
_ENDING = re.compile(r"\.[A-Za-z]\w{0,7}$")  # of a file's name
_PARTS = 2000


def check_scenario(
    data: Mapping[str, Any], *, uploads: Mapping[str, Path] | None = None
) -> Scenario:
    """The scenario of plain data as a visitor may run it.

    Args:
        data: as `Scenario.data()` gives it, or part of it; `system` is required.
        uploads: files of this visitor by what the data may call them (`uploads.mine()`).

    Raises InputError for an unknown key or value, a path, policy code, or a run too large for the
    explorer.
    """
    if not isinstance(data, Mapping):
        raise InputError("is no table", where="scenario", mend="give keys and values")
    _refuse_strange(data)
    if not isinstance(data.get("system"), str):
        raise InputError("is no name", where="system", mend="name a system, such as 'serving'")
    allowed = {str(path) for path in (uploads or {}).values()}
    for place, text in _texts(data, ()):
        if text in allowed and place == "workload.trace":
            continue
        _refuse_path(place, text)
    scenario = Scenario.parse(data)
    _refuse_large(scenario)
    if isinstance(scenario, ServingScenario):
        _refuse_unknown(scenario, allowed)
    return scenario


def safe_scenario(
    data: Mapping[str, Any], *, uploads: Mapping[str, Path] | None = None
) -> Scenario | None:
    """`check_scenario` for a page: None after showing the one-line error."""
    from . import show

    try:
        return check_scenario(data, uploads=uploads)
    except InputError as error:
        show.error(str(error))
        return None


def _refuse_strange(data: Mapping[str, Any]) -> None:
    """No more parts than a scenario can have, no number that is none."""
    count = 0
    stack: list[Any] = [data]
    while stack:
        count += 1
        here = stack.pop()
        if count > _PARTS:
            raise InputError("is too large", where="scenario", mend="leave parts of it out")
        if isinstance(here, Mapping):
            stack += here.values()
        elif isinstance(here, list | tuple):
            stack += here
        elif isinstance(here, float) and not math.isfinite(here):
            raise InputError(f"{here} is no number to use", where="scenario")


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each text in the data with its dotted place; keys too."""
    if isinstance(value, str):
        yield ".".join(path), value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield ".".join(path), str(key)
            yield from _texts(part, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _texts(part, (*path, str(i)))


def _refuse_path(place: str, text: str) -> None:
    """No text of a scenario needs a path: those that could be one are refused."""
    if place in ("name", "") and len(text) <= _TEXT:
        return
    looks = any(mark in text for mark in ("/", "\\", "\0", "~", "..")) or (
        ":" in text or _ENDING.search(text) is not None
    )
    if looks or len(text) > _TEXT:
        raise InputError(
            f"{text[:40]!r} cannot be used in the explorer",
            where=place or "scenario",
            mend="choose a name from the list; files and policy code run from the command line",
        )


def _refuse_unknown(scenario: ServingScenario, uploads: Collection[str]) -> None:
    """Models, GPUs, engines, traces and policies are those that ship (or lie in the catalogue)."""
    policies = choices.policies_by_hook()
    named = [("model.name", scenario.model.name, choices.model_names())]
    for name, pool in scenario.cluster.items():
        named.append((f"cluster.{name}.gpu", pool.gpu, choices.gpu_names()))
        engines = tuple(choices.engine_texts())
        named.append((f"cluster.{name}.engine", _name(pool.engine, engines[0]), engines))
    for hook, chosen in scenario.policy:
        named.append((f"policy.{hook}", _name(chosen), tuple(p.name for p in policies[hook])))
    if isinstance(scenario.workload.trace, str) and scenario.workload.trace not in uploads:
        named.append(("workload.trace", scenario.workload.trace, tuple(choices.traces_here())))
    for place, value, known in named:
        if value not in known:
            raise InputError(
                f"{value[:40]!r} is not offered here", where=place, mend=close_to(value[:40], known)
            )


def _name(chosen: Any, usual: str = "") -> str:
    return str(chosen.get("name", usual)) if isinstance(chosen, Mapping) else str(chosen)


def _refuse_large(scenario: Scenario) -> None:
    data = scenario.data()
    counts = [found for key in _COUNTS for found in _numbers(data, key)]
    for place, requests in counts:
        if requests > MAX_REQUESTS:
            raise InputError(
                f"{requests:,} is more than the explorer runs",
                where=place,
                mend=f"ask for at most {MAX_REQUESTS:,}, or use the command line",
            )
    replicas = getattr(scenario, "replicas", 0)
    if isinstance(replicas, int) and replicas > MAX_REPLICAS:
        raise InputError(
            f"{replicas:,} replicas are more than the explorer runs",
            where="cluster",
            mend=f"ask for at most {MAX_REPLICAS:,}, or use the command line",
        )


def _numbers(value: Any, name: str, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Each number in the data under a key of this name, with its dotted place."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            here = (*path, str(key))
            if key == name and isinstance(part, int | float):
                yield ".".join(here), part
            yield from _numbers(part, name, here)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _numbers(part, name, (*path, str(i)))
