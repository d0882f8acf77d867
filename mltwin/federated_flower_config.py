"""What a Flower strategy's configuration asks of its clients, as far as the twin knows it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mltwin.models.federation.hooks import Plan, Server
from mltwin.sim.errors import InputError

from .federated_flower_calls import Array, Sent

_LR, _STEPS, _EPOCHS = ("lr", "learning_rate"), ("steps", "local_steps"), ("epochs", "local_epochs")
_MOST = 10**9


def local_of(sent: Sent, plan: Plan) -> dict[str, Any]:
    """Fields of `hooks.Local` that the configurations of a round set.

    Raises InputError: clients are asked for different things, or for another size of batch.
    """
    configs = [config for _, config in sent]
    batch = _same(configs, "batch_size")
    if batch is not None and batch != plan.batch:
        raise InputError(
            f"the strategy sends batch_size {batch:g}, the plan's is {plan.batch}",
            where="strategy",
            mend=f"set training.batch to {batch:g}",
        )
    given = {"prox": _same(configs, "proximal_mu"), "lr": _same(configs, *_LR)}
    return {name: value for name, value in given.items() if value is not None}


def steps_of(sent: Sent, server: Server) -> Array | None:
    """int64[n], local steps of each client; None: the plan's, as no configuration names them.

    Raises InputError: a number of steps or epochs that cannot be.
    """
    asked = [(_number(config, *_STEPS), _number(config, *_EPOCHS)) for _, config in sent]
    if all(steps is None and epochs is None for steps, epochs in asked):
        return None
    plan, found = server.plan, []
    for (client, _), (steps, epochs) in zip(sent, asked, strict=True):
        samples = int(server.clients.samples[client])
        passes = plan.epochs if epochs is None else epochs
        if steps is None and passes is not None:
            steps = math.ceil(passes * samples / (plan.batch or samples))
        found.append(plan.steps if steps is None else steps)
    return np.array(found, np.int64)


def _number(config: Mapping[str, Any], *keys: str) -> float | None:
    """What a configuration says under the first of some keys that it has, with - for _ too.

    Raises InputError: it is no number of 0 to 10^9.
    """
    named = {key.replace("-", "_"): value for key, value in config.items()}
    key = next((key for key in keys if key in named), None)
    if key is None:
        return None
    try:
        value = float(named[key])
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= _MOST:
        raise InputError(
            f"the strategy sends {key} = {named[key]!r}", where="strategy", mend="give 0 to 10^9"
        )
    return value


def _same(configs: list[Mapping[str, Any]], *keys: str) -> float | None:
    """What all configurations say; None: nothing."""
    found = {_number(config, *keys) for config in configs}
    if len(found) > 1:
        raise InputError(
            f"clients of one round are sent different {keys[0]}: {sorted(map(str, found))[:5]}",
            where="strategy",
            mend="send all the same",
        )
    return found.pop()
