"""Hand-made views for policies, and a way to ask a policy twice: as plain Python and compiled."""

from typing import Any

import numpy as np

from mltwin.models.serving.hooks import (
    BLOCK,
    CONTEXT,
    HOOKS,
    MIXED_ROLE,
    REPLICA,
    REQUEST,
    TENANT,
    UP,
)
from mltwin.policies import Policy, policy_params, resolve
from mltwin.sim.records import table
from mltwin.sim.ticks import NEVER

S = 10**12  # ticks


def find(name: str, hook: str) -> Policy:
    return resolve(name, hook)[0]


def request(**fields: Any) -> Any:
    return table(1, REQUEST, **{"deadline": NEVER, "session": -1, "predicted": 1, **fields})[0]


def context(**fields: Any) -> Any:
    return table(1, CONTEXT, **{"block_tokens": 16, **fields})[0]


def block(**fields: Any) -> Any:
    return table(1, BLOCK, **fields)[0]


def replicas(*rows: dict[str, Any], **columns: Any) -> np.recarray:
    """Mixed replicas that are up, as rows of fields or as columns of values."""
    n = len(rows) or len(next(iter(columns.values())))
    view = table(n, REPLICA, **{"role": MIXED_ROLE, "state": UP, "speed": 1.0, **columns})
    for i, row in enumerate(rows):
        for name, value in row.items():
            view[name][i] = value
    return view


def tenants(n: int = 1, **columns: Any) -> np.recarray:
    return table(n, TENANT, **{"weight": 1.0, **columns})


def ask(
    policy: Policy,
    *,
    settings: dict[str, float] | None = None,
    memory: np.ndarray | None = None,
    **views: Any,
) -> Any:
    """The policy's answer, the same from Python and from machine code; memory is updated."""
    remembered = np.zeros(4) if memory is None else memory
    defaults = {
        "request": request(),
        "replicas": replicas({}),
        "tenants": tenants(),
        "ctx": context(),
        "block": block(),
        "params": policy_params(policy, settings),
    }
    defaults["hits"] = np.zeros(len(views.get("replicas", defaults["replicas"])), np.int32)
    given = {**defaults, **views}
    answers, memories = [], []
    for function in (policy, policy.compiled()):
        mine = {**given, "memory": remembered.copy()}
        answers.append(function(*(mine[name] for name in HOOKS[policy.hook].arguments)))
        memories.append(mine["memory"])
    assert answers[0] == answers[1]
    assert np.array_equal(memories[0], memories[1])
    remembered[:] = memories[0]
    if HOOKS[policy.hook].returns == "int64":
        assert int(answers[0]) == answers[0]
        return int(answers[0])
    return float(answers[0])
