"""Which eviction policy a scenario names: a kernel of ours, a built-in score, or a user's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.models.caching.cache import Score
from mltwin.models.caching.registry import EVICTIONS, SCORED, Eviction, eviction
from mltwin.policies import Policy, Sizes, list_policies, resolve
from mltwin.sim.errors import InputError

from .fields import close_to

Spec = str | Mapping[str, Any]
HOOK = "evict_object"


@dataclass(frozen=True)
class ChosenEviction:
    """An eviction policy and its parameters.

    Attributes:
        name: what tables call it.
        eviction: what it needs.
        params: parameters given for a kernel of ours.
        policy, values: a score and its parameters, else None and empty.
    """

    name: str
    eviction: Eviction
    params: Mapping[str, float] = field(default_factory=dict)
    policy: Policy | None = None
    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def for_cache(self, requests: int) -> str | Score:
        """What `Cache` takes. A user's function is compiled here.

        Raises InputError if it cannot be, naming file and line.
        """
        policy = self.policy
        if policy is None:
            return self.name

        def memory(objects: int) -> int:
            return policy.memory_size(Sizes(requests, 0, 0, 0, objects))

        return Score(policy.compiled(), self.values, memory, self.name)


def choose_eviction(
    spec: "Spec | Policy | ChosenEviction", *, folder: Path | str | None = None
) -> ChosenEviction:
    """The eviction policy that a scenario names.

    Args:
        spec: the name of a kernel or of a built-in score (`mltwin policies list
            evict_object`), ``file.py:function``, a Policy, or a mapping with one of these under
            ``name`` and parameters beside it; what was chosen before is given back.
        folder: what a relative file path starts from.

    Raises:
        InputError: no such policy, file or parameter, or a mistake in the user's file.
    """
    if isinstance(spec, ChosenEviction):
        return spec
    if isinstance(spec, Policy):
        spec = {"name": spec}
    if not isinstance(spec, str | Mapping):
        raise InputError(
            f"{spec!r:.60} names no policy", where="eviction", mend='give a name, as in "lru"'
        )
    if isinstance(spec, str) or not isinstance(spec.get("name"), Policy):
        name, params = name_and_params(spec, "eviction")
        if name in EVICTIONS:
            found = eviction(name)
            found.knobs(params)
            return ChosenEviction(name, found, params)
        _check_known(name)
    try:
        policy, values = resolve(spec, HOOK, folder=folder)
    except InputError as error:
        where = (error.where or "").replace(f"policy.{HOOK}", "eviction")
        raise InputError(error.message, where=where or None, mend=error.mend) from None
    return ChosenEviction(policy.name, SCORED, {}, policy, values)


def _check_known(name: str) -> None:
    scores = [policy.name for policy in list_policies(HOOK)]
    if name not in scores and ":" not in name and not name.endswith(".py"):
        raise InputError(
            f"no eviction policy {name!r}",
            where="eviction",
            mend=close_to(name, [*EVICTIONS, *scores]),
        )


def located(spec: Any, resolve_path: Callable[[str], Path]) -> Any:
    """The same policy with the path of its file made whole (`Scenario.resolve_path`)."""
    name = spec if isinstance(spec, str) else spec.get("name", "")
    if not isinstance(name, str) or name in EVICTIONS:
        return spec
    file, colon, function = name.rpartition(":") if ":" in name else (name, "", "")
    if not file.endswith(".py"):
        return spec
    whole = f"{resolve_path(file)}{colon}{function}"
    return whole if isinstance(spec, str) else {**spec, "name": whole}


def name_and_params(spec: Spec, where: str) -> tuple[str, dict[str, Any]]:
    """A policy's name and its parameters.

    Raises InputError for what is neither a name nor a mapping with one.
    """
    if isinstance(spec, str):
        return spec, {}
    params = dict(spec)
    name = params.pop("name", None)
    if not isinstance(name, str):
        raise InputError("has no name", where=where, mend='give a name, as in { name = "lru_k" }')
    return name, params
