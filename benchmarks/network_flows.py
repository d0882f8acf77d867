"""20,000 flows among 256 hosts, by us and by SimGrid: finish times, seconds, solves a second.

16 leaves of 16 hosts at 12.5 GB/s, 8 spines with links of 25 GB/s from and to each leaf; sources
and targets at random, lognormal sizes of 10 MB on average, Poisson arrivals at 0.6 or 0.95 of what
the hosts can send. A pair of hosts takes one spine, by a hash.
"""

import statistics
import time
from typing import Any

import numpy as np

from .network_simgrid import Case, ours, simgrid
from .process import MeasureError

LEAVES, HOSTS_A_LEAF, SPINES = 16, 16, 8
HOSTS = LEAVES * HOSTS_A_LEAF
HOST_BYTES_PER_S, UPLINK_BYTES_PER_S = 12.5e9, 25e9
FLOWS = 20_000
MEAN_BYTES, SIGMA = 1e7, 1.5
LOADS = {"06": 0.6, "095": 0.95}
ROUNDS = 3
APART_S = 1e-7
"""Finish times may differ by this, else the ratio would compare different things."""


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """CPU seconds of SimGrid's event loop over those of `simulate_flows`, which alternate; medians.

    Ours count all that the call does, tables and checks included.
    Raises MeasureError where SimGrid is missing or finds other finish times.
    """
    found: dict[str, float] = {}
    detail: dict[str, Any] = {}
    for name, load in LOADS.items():
        case = hosts_case(load)
        run = timed(case)[1]
        mine, theirs, apart = [], [], 0.0
        for _ in range(ROUNDS):
            mine.append(timed(case)[0])
            said = simgrid(case)
            theirs.append(said.seconds)
            apart = max(apart, float(np.abs(run.end / 1e12 - said.end_s).max()))
        if apart > APART_S:
            raise MeasureError(f"finish times differ from SimGrid's by {apart:.2g} s")
        found[f"simgrid_ratio_{name}"] = statistics.median(theirs) / statistics.median(mine)
        detail[name] = {"ours_s": mine, "simgrid_s": theirs, "apart_s": apart}
    return found, detail


def own_figures() -> tuple[dict[str, float], dict[str, Any]]:
    """Solves a second, and how much the repair saves over solving everything every time."""
    found: dict[str, float] = {}
    detail: dict[str, Any] = {}
    for name, load in LOADS.items():
        case = hosts_case(load)
        timed(case)  # compiles
        seconds, runs = zip(*(timed(case) for _ in range(ROUNDS)), strict=True)
        full_s, full = timed(case, incremental=False)
        apart = np.abs(runs[0].end - full.end) / (full.end - full.start)
        found[f"resolves_per_s_{name}"] = runs[0].solves / statistics.median(seconds)
        detail[name] = {
            "seconds": seconds,
            "solves": runs[0].solves,
            "full_solves": runs[0].full_solves,
            "rated_a_solve": runs[0].thawed / runs[0].solves,
            "every_solve_full_s": full_s,
            "rated_a_full_solve": full.thawed / full.solves,
            "apart_relative": float(apart.max()),
        }
    return found, detail


def timed(case: Case, **choices: Any) -> tuple[float, Any]:
    """CPU seconds of one simulation, and the run."""
    from mltwin.models.network.simulate import simulate_flows

    speed, flows = ours(case)
    start = time.process_time()
    run = simulate_flows(speed, flows, **choices)
    return time.process_time() - start, run


def hosts_case(load: float, flows: int = FLOWS, seed: int = 0) -> Case:
    """The module's network at a load."""
    g = np.random.default_rng(seed)
    source = g.integers(0, HOSTS, flows)
    target = (source + 1 + g.integers(0, HOSTS - 1, flows)) % HOSTS
    size = np.ceil(g.lognormal(np.log(MEAN_BYTES) - SIGMA**2 / 2, SIGMA, flows))
    gap_s = MEAN_BYTES / (load * HOSTS * HOST_BYTES_PER_S)
    release = np.round(np.cumsum(g.exponential(gap_s, flows)), 12)
    up, down = source // HOSTS_A_LEAF, target // HOSTS_A_LEAF
    spine = ((source * 2654435761 + target * 40503) >> 7) % SPINES
    rising = 2 * HOSTS + up * SPINES + spine
    falling = 2 * HOSTS + LEAVES * SPINES + down * SPINES + spine
    paths = [
        [s, r, f, HOSTS + t] if a != b else [s, HOSTS + t]
        for s, r, f, t, a, b in np.stack([source, rising, falling, target, up, down], 1).tolist()
    ]
    links = 2 * HOSTS + 2 * LEAVES * SPINES
    speed = [HOST_BYTES_PER_S] * (2 * HOSTS) + [UPLINK_BYTES_PER_S] * (2 * LEAVES * SPINES)
    return Case(
        bytes_per_s=speed,
        latency_s=[0.0] * links,
        paths=paths,
        release_s=release.tolist(),
        bytes=size.astype(int).tolist(),
        pair=list(zip(source.tolist(), target.tolist(), strict=True)),
    )
