"""What a cluster costs before it is run: GPUs, or dollars an hour."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError

Cost = str | Callable[[Scenario], float]


def cost_of(scenario: Scenario, cost: Cost) -> float:
    """GPUs, dollars an hour, or what a function says.

    Raises InputError for another name, a pool without a price, or a system without GPUs.
    """
    if callable(cost):
        return float(cost(scenario))
    if cost == "gpus":
        gpus = getattr(scenario, "gpus", None)
        if gpus is None:
            raise InputError(
                f"a {scenario.system} scenario has no gpus",
                where="cost",
                mend="give a function of the scenario",
            )
        return float(gpus)
    if cost == "dollars":
        return dollars_per_hour(scenario)
    raise InputError(f"unknown cost {cost!r}", where="cost", mend="use 'gpus' or 'dollars'")


def dollars_per_hour(scenario: Any) -> float:
    """The price of all GPUs of a serving scenario for an hour.

    Raises InputError for a pool without a price.
    """
    total = 0.0
    for name, pool in getattr(scenario, "cluster", {}).items():
        if pool.dollars_per_gpu_hour is None:
            raise InputError(
                "has no price", where=f"cluster.{name}.dollars_per_gpu_hour", mend="give one"
            )
        total += pool.replicas * pool.tp * pool.pp * pool.dp * pool.dollars_per_gpu_hour
    return total


def unit_of(cost: Cost) -> str:
    """What the numbers of a cost are called."""
    return (
        {"gpus": "GPUs", "dollars": "$ an hour"}.get(cost, "cost")
        if isinstance(cost, str)
        else "cost"
    )


def cost_array(
    scenario: Scenario, fields: Sequence[str], axes: Sequence[Sequence[Any]], cost: Cost
) -> np.ndarray:
    """The cost of every point of a box of field values.

    One that is a sum over the directions (as GPUs are, over pools) is found from its edges.
    """
    low = [axis[0] for axis in axes]

    def at(values: Sequence[Any]) -> float:
        return cost_of(scenario.changed(dict(zip(fields, values, strict=True))), cost)

    corner = at(low)
    shape = tuple(len(axis) for axis in axes)
    total = np.full(shape, corner)
    for direction, axis in enumerate(axes):
        edge = [at([*low[:direction], value, *low[direction + 1 :]]) - corner for value in axis]
        total += np.reshape(edge, [-1 if d == direction else 1 for d in range(len(axes))])
    if np.isclose(total[(-1,) * len(axes)], at([axis[-1] for axis in axes]), rtol=1e-9):
        return total
    return np.reshape([at(values) for values in product(*axes)], shape)
