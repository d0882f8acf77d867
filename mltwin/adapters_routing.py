"""Mode routing of the adapter system: worlds for POLAR and its rivals, and what they lose.

Regret at a request is the utility of the best set of residents in hindsight with known rewards
(`models.adapters.routing_tables.best_set`) less the expected utility of what was done; its sum
grows as t to the power of `regret_slope`, a least-squares line through the logarithms.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .adapters_serving import adapter_sizes, load_ticks

if TYPE_CHECKING:
    from mltwin.models.adapters.contexts import Topics
    from mltwin.models.adapters.routing_tables import RoutingInput

    from .adapters import AdapterScenario
    from .adapters_result import AdapterResult

MAX_CELLS = 50_000_000  # requests times adapters
POINTS = 200  # of the regret curve, evenly spaced in log t
SLOPE_FROM = 30  # the slope is fitted over the last 29/30 of the run, on a logarithmic scale


def world_law(scenario: "AdapterScenario") -> "Topics":
    """How contexts and adapters are drawn."""
    from mltwin.models.adapters.contexts import Topics

    r = scenario.routing
    return Topics(r.dimension, r.topics, r.zipf, r.spread, r.persistence, r.fit)


def rewards_file(scenario: "AdapterScenario") -> Path:
    """The user's matrix.

    Raises InputError where there is no such file.
    """
    path = scenario.resolve_path(scenario.routing.rewards or "")
    if not path.is_file():
        raise InputError("no such file", where=f"routing.rewards: {path}", mend="check the path")
    return path


def read_rewards(path: Path, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """(contexts float64[T, d], rewards float64[T, N]) of a Parquet file, its first `limit` rows.

    Raises InputError for a file that is not Parquet, lacks columns, or holds what is no number.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"is not Parquet: {reason}", where=str(path)) from None
    if not table.num_rows:
        raise InputError("has no rows", where=str(path))
    found = [_numbered(table.slice(0, limit), letter, path) for letter in "xr"]
    return found[0], found[1]


def _numbered(table: Any, letter: str, path: Path) -> np.ndarray:
    columns: list[np.ndarray] = []
    while (name := f"{letter}{len(columns)}") in table.column_names:
        column = table[name].to_numpy(zero_copy_only=False)
        if column.dtype.kind not in "iuf" or not np.isfinite(column).all():
            wrong = (
                "is not a number" if column.dtype.kind not in "iuf" else "is empty or not finite"
            )
            raise InputError(
                f"column {name!r} {wrong}", where=str(path), mend="fill it with finite numbers"
            )
        columns.append(column.astype(np.float64))
    if not columns:
        raise InputError(
            f"has no column {letter}0",
            where=str(path),
            mend="name contexts x0, x1, .. and rewards r0, r1, ..",
        )
    return np.column_stack(columns)


def routing_input(scenario: "AdapterScenario", seed: int) -> tuple["RoutingInput", np.ndarray]:
    """The tables of a scenario, and the residents that are best in hindsight.

    Raises InputError for a matrix that cannot be read or is too narrow.
    """
    from mltwin.models.adapters.contexts import (
        draw_adapters,
        draw_contexts,
        expected_rewards,
        first_residents,
        reward_noise,
    )
    from mltwin.models.adapters.routing_tables import CONTROLLERS, RoutingInput, best_set

    r = scenario.routing
    if r.rewards is None and r.requests * r.adapters > MAX_CELLS:
        raise InputError(
            f"{r.requests} requests by {r.adapters} adapters",
            where="routing.requests",
            mend=f"at most {MAX_CELLS} together",
        )
    if r.rewards is not None:
        contexts, means = read_rewards(rewards_file(scenario), r.requests)
        rewards = means
    else:
        law = world_law(scenario)
        contexts, _ = draw_contexts(law, r.requests, seed)
        means = expected_rewards(contexts, draw_adapters(law, r.adapters, seed))
        rewards = means + reward_noise(r.requests, r.adapters, r.noise, seed)
    adapters = means.shape[1]
    if r.resident > adapters:
        raise InputError(
            f"{r.resident} of {adapters} adapters resident",
            where="routing.resident",
            mend=f"give at most {adapters}",
        )
    load = load_ticks(scenario, adapter_sizes(scenario, adapters)).astype(np.float64)
    cost = r.price * load / load.mean()
    best = best_set(means, cost, r.resident)
    start = first_residents(adapters, r.resident, seed)
    if r.controller == "oracle":
        start = best
    if r.controller == "popular":
        wanted = np.bincount(means.argmax(axis=1), minlength=adapters)
        start = np.sort(np.argsort(-wanted, kind="stable")[: r.resident])
    given = RoutingInput(
        contexts=contexts,
        means=means,
        rewards=rewards,
        cost=cost,
        capacity=r.resident,
        start=start,
        controller=CONTROLLERS.index(r.controller),
        aware=r.aware,
        bonus=r.bonus,
        ridge=r.ridge,
        epoch=r.epoch,
        exploration=r.exploration,
        window=r.window,
    )
    return given, best


def run_routing(
    scenario: "AdapterScenario", seed: int, *, reference: bool = False
) -> "AdapterResult":
    """Run mode routing."""
    from mltwin.models.adapters.bandit import simulate_routing
    from mltwin.models.adapters.learning import route_reference
    from mltwin.models.adapters.routing_tables import best_utility

    from .adapters_result import AdapterResult

    given, best = routing_input(scenario, seed)
    outcome = route_reference(given) if reference else simulate_routing(given)
    utility = outcome.utility(given)
    ideal = best_utility(given.means, given.cost, best)
    regret = np.cumsum(ideal - utility)
    rounds = len(regret)
    at = np.unique(np.geomspace(1, rounds, POINTS).round().astype(np.int64))
    requests: dict[str, np.ndarray] = {
        "adapter": outcome.chosen.astype(np.int32),
        "paid": outcome.paid,
        "utility": utility,
    }
    curve = {"request": at, "regret": regret[at - 1]}
    totals = outcome.totals
    metrics = {
        "requests": float(rounds),
        "hit_ratio": totals["hits"] / rounds,
        "miss_ratio": totals["pagings"] / rounds,
        "mean_reward": float(given.means[np.arange(rounds), outcome.chosen].mean()),
        "mean_paid": float(outcome.paid.mean()),
        "mean_utility": float(utility.mean()),
        "oracle_utility": float(ideal.mean()),
        "regret": float(regret[-1]),
        "mean_regret": float(regret[-1] / rounds),
        "swaps": float(totals["swaps"]),
        "epochs": float(totals["epochs"]),
    }
    slope = regret_slope(at, curve["regret"])
    if slope is not None:
        metrics["regret_slope"] = slope
    broken = [
        f"broken: {law}"
        for law, holds in {
            "hits + pagings = requests": totals["hits"] + totals["pagings"] == rounds,
            "as many residents as fit": len(outcome.resident) == given.capacity,
            "every request is routed": bool(np.all(outcome.chosen >= 0)),
            "nothing is paid but paging": _within(outcome.paid.sum(), totals, given.cost),
        }.items()
        if not holds
    ]
    facts = {
        "mode": "routing",
        "best": best.tolist(),
        "resident": outcome.resident.tolist(),
        "cost": given.cost.tolist(),
    }
    notes = []
    if scenario.routing.rewards is not None:
        notes.append(
            "Regret is counted from an oracle that sees each row's rewards: a linear router keeps "
            "losing to it where rewards are not linear in the context."
        )
    return AdapterResult(
        metrics,
        {"requests": requests, "regret": curve},
        facts=facts,
        notes=notes,
        violations=broken,
    )


def _within(paid: float, totals: dict[str, int], cost: np.ndarray) -> bool:
    """Whether a sum can be the price of so many pagings, and of newcomers at epochs' ends."""
    slack = 1e-9 * (1 + paid)
    most = totals["pagings"] + totals["swaps"]
    return bool(totals["pagings"] * cost.min() - slack <= paid <= most * cost.max() + slack)


def regret_slope(at: np.ndarray, regret: np.ndarray) -> float | None:
    """Slope of log regret over log t, by least squares over t from T / 30 on.

    None where regret is not positive throughout (an oracle's, or a matrix too short).

    >>> t = np.arange(1, 1001)
    >>> round(regret_slope(t, 3 * t**0.5), 6)
    0.5
    """
    late = at >= max(2, int(at[-1]) // SLOPE_FROM)
    if late.sum() < 5 or np.any(regret[late] <= 1e-9 * at[late]):
        return None
    x, y = np.log(at[late]), np.log(regret[late])
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())
