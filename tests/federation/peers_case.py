"""Small federations of peers for the tests, with every feature now and then."""

from typing import Any

import numpy as np

from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.outcome import FederatedRun
from mltwin.models.federation.peers.overlay import complete, positions, ring, star
from mltwin.models.federation.tables import Availability, Clients, Plan


def quadratics(peers: int, width: int = 4, seed: int = 0, shift: float = 0.0) -> QuadraticTask:
    """Peers with different optima about `shift`, the same curvature; models start at 0."""
    draw = np.random.default_rng(seed)
    return QuadraticTask(np.ones((peers, width)), shift + draw.normal(size=(peers, width)))


def presence(draw: np.random.Generator, peers: int, horizon: int, absent: float) -> Availability:
    """Three traces, some with a period; peers follow one with probability `absent`."""
    first, begin, end, period = [0], [], [], []
    for _ in range(3):
        count = int(draw.integers(1, 4))
        times = np.sort(draw.choice(np.arange(horizon + 1), 2 * count, replace=False))
        begin += times[::2].tolist()
        end += times[1::2].tolist()
        first.append(len(begin))
        period.append(int(draw.choice([0, horizon])))
    unit = int(draw.choice([10**8, 10**8 + 3]))
    trace = np.where(draw.random(peers) < absent, draw.integers(0, 3, peers), -1)
    return Availability(
        np.array(first),
        np.array(begin, np.int64) * unit,
        np.array(end, np.int64) * unit,
        np.array(period, np.int64) * unit,
        trace.astype(np.int32),
        draw.integers(0, horizon, peers) * unit,
    )


def random_setting(seed: int, *, horizon: int = 40, slow: float = 1.0) -> dict[str, Any]:
    """clients, overlay and plan of a random case; durations are often equal, for ties."""
    draw = np.random.default_rng(seed)
    peers = int(draw.integers(3, 13))
    overlay = [ring, complete, star][seed % 3](peers)
    if draw.random() < 0.5:
        overlay = overlay.with_latency(positions(3, seed))
    clients = Clients.make(
        draw.integers(1, 5, peers) * 10,
        s_per_sample=slow * draw.choice([1e-2, 5e-3, 1e-2 * np.pi], peers),
        jitter=draw.choice([0, 0, 0.5]),
        up_bytes_per_s=draw.choice([1e3, 2e3, np.inf], peers),
        down_bytes_per_s=draw.choice([1e3, 3e3, np.inf], peers),
        latency_s=draw.choice([0, 0.05, 0.6 * slow]),
        failure=draw.choice([0, 0.3]),
        availability=presence(draw, peers, horizon, float(draw.choice([0, 0.3, 0.8]))),
        compute_w=1.5,
        send_w=0.5,
        receive_w=0.25,
    )
    plan = Plan(
        steps=int(draw.integers(1, 6)),
        model_bytes=float(draw.choice([0, 300, 1000])),
        until_s=float(draw.choice([5, 20.5])) * slow,
        updates=int(draw.choice([30, 1000])),
        interruption=str(draw.choice(["drop", "pause", "finish"])),
    )
    return {"clients": clients, "overlay": overlay, "plan": plan}


def same(a: FederatedRun, b: FederatedRun) -> None:
    """Two runs are equal, event for event and count for count, and break no law."""
    assert a.log.tolist() == b.log.tolist()
    for name in ("ended", "end", "facts", "totals", "complete"):
        assert getattr(a, name) == getattr(b, name), name
    for table in ("clients", "versions", "evaluations"):
        left, right = getattr(a, table), getattr(b, table)
        assert left.keys() == right.keys()
        for column in left:
            assert np.array_equal(left[column], right[column]), (table, column)
    assert np.array_equal(a.staleness, b.staleness)
    assert a.violations == b.violations == []
