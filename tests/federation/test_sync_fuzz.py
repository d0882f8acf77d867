"""Random federations: both engines give the same run, and its books are in order."""

from typing import Any

import numpy as np
import pytest
from sync_case import clients, quadratics, run, synchronous

from mltwin.models.federation.tables import Availability, Clients, Plan

MS = 10**6
ESTIMATING = [
    name for name in synchronous() if name not in ("known_prob", "fedstale", "fedvarp")
]  # no need to know chances
SELECTIONS = ("uniform", "weighted", "oort", "power_of_choice", "available_longest", "fastest")
ATTACKS = ("gaussian", "sign_flip", "little_is_enough", "inner_product")
RULES = ("median", "krum", "flag", "centred_clipping", "geometric_median", "trimmed_mean")


def population(draw: np.random.Generator) -> Clients:
    """A few clients; some come and go, some fail."""
    count = int(draw.integers(1, 9))
    edges = np.sort(draw.choice(200, 6, replace=False)) * 10 * MS
    there = Availability(
        np.array([0, 3]),
        edges[0::2],
        edges[1::2],
        np.array([draw.choice([0, 2000 * MS])]),
        draw.integers(-1, 1, count).astype(np.int32),
        draw.integers(0, 1000 * MS, count),
    )
    return clients(
        count,
        jitter=draw.random(),
        failure=draw.choice([0, 0.3]),
        latency_s=draw.choice([0, 0.01]),
        availability=there if draw.random() < 0.6 else None,
    )


def asked(draw: np.random.Generator) -> Plan:
    return Plan(
        steps=int(draw.integers(1, 4)),
        lr=0.05,
        versions=int(draw.integers(1, 12)),
        interruption=str(draw.choice(["drop", "pause", "finish"])),
        detect_s=[0.0, 0.02, None][draw.integers(3)],
        aggregate_s=float(draw.choice([0, 0.01])),
        until_s=100.0,
    )


def rounds(draw: np.random.Generator, count: int) -> dict[str, Any]:
    wanted = int(draw.integers(0, count + 1))
    return {
        "name": str(draw.choice(ESTIMATING)),
        "clients": wanted,
        "over": float(draw.choice([1, 1.5])),
        "deadline_s": float(draw.choice([0, 0.05, 0.3])),
        "minimum": int(draw.integers(1, max(2, (wanted or count) // 2 + 1))),
        "fill": bool(draw.integers(2)),
        "every_s": float(draw.choice([0, 0.1])),
    }


@pytest.mark.parametrize("case", range(40))
def test_engines_agree_on_any_rounds(case: int) -> None:
    draw = np.random.default_rng(case)
    who, plan = population(draw), asked(draw)
    given = {"who": who, "plan": plan, "seed": case, "selection": str(draw.choice(SELECTIONS))}
    spec = rounds(draw, len(who))
    if spec["name"] == "unbiased_fedavg":
        spec["estimated"] = True
    if draw.random() < 0.7:
        given |= {
            "task": quadratics(len(who), 3, noise=0.1),
            "attack": str(draw.choice(ATTACKS)),
            "combine": str(draw.choice(RULES)),
        }
    one, other = (run(spec, reference=reference, **given) for reference in (False, True))
    assert one.ended == other.ended
    assert one.totals == other.totals
    assert all(np.array_equal(one.versions[name], other.versions[name]) for name in one.versions)
    assert all(np.array_equal(one.clients[name], other.clients[name]) for name in one.clients)
    if one.weights is not None:
        assert np.array_equal(one.weights, other.weights)
