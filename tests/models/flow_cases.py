"""Random networks with flows, small enough for the plain-Python reference."""

import hashlib

import numpy as np

from mltwin.models.network.flows import Changes, FlowTable
from mltwin.models.network.simulate import simulate_flows

S = 10**12
SPEEDS = [1e9, 2e9, 1e10, 3.3e9]


def random_case(seed: int, flows: int = 30, links: int = 9) -> tuple:
    """Bandwidths, flows and changes: ties, weights, caps, shared paths, dependencies, failures."""
    g = np.random.default_rng(seed)
    n_links, n = int(g.integers(1, links)), int(g.integers(1, flows))
    chance = g.random
    speed = g.choice(SPEEDS, n_links) if chance() < 0.5 else g.uniform(1e8, 1e10, n_links)
    shortest, again = int(chance() > 0.1), chance() < 0.1
    paths = []
    for _ in range(n):
        hops = int(g.integers(shortest, min(n_links, 4) + 1))
        paths.append(g.choice(n_links, hops, replace=bool(again)).tolist())
    if chance() < 0.5:
        paths = [paths[k] for k in g.integers(0, max(1, n // 3), n)]
    table = FlowTable.of_paths(
        g.choice([0.0, 1e6, 2e6, 5e6], n) if chance() < 0.5 else g.lognormal(14, 2, n),
        paths,
        after=_after(g, n) if chance() < 0.5 else None,
        release=_release(g, n),
        weight=_weight(g, n),
        cap=np.where(chance(n) < 0.3, g.choice([5e8, 1e9, 2.2e9], n), np.inf),
        delay=g.choice([0, 10**6], n) if chance() < 0.5 else 0,
    )
    return speed, table, _changes(g, speed) if chance() < 0.5 else None


def crowd(seed: int, flows: int = 150, links: int = 24) -> tuple:
    """Many flows at a time, of which each change concerns a few: the repair's own ground."""
    g = np.random.default_rng(seed)
    speed = g.uniform(1e8, 1e10, links)
    near = g.integers(0, links - 4, flows)
    paths = [(first + g.choice(4, int(g.integers(1, 4)), replace=False)).tolist() for first in near]
    table = FlowTable.of_paths(
        g.lognormal(15, 1, flows),
        paths,
        release=g.integers(0, S // 50, flows),
        weight=g.uniform(0.1, 10, flows) if seed % 2 else 1.0,
        cap=np.where(g.random(flows) < 0.2, g.uniform(1e7, 1e9, flows), np.inf),
    )
    return speed, table, _changes(g, speed) if seed % 3 == 0 else None


def wild(seed: int) -> tuple:
    """Bandwidths, weights, sizes and changes over many powers of ten, where rounding could tell."""
    g = np.random.default_rng(seed)
    links, n = int(g.integers(5, 60)), int(g.integers(50, 600))
    least = g.choice([6, 8, 9])
    speed = 10 ** g.uniform(least, g.choice([9, 10, 12]), links)
    span = int(g.integers(3, 9))
    near = g.integers(0, max(1, links - span), n)
    width, most = min(span, links), min(5, span, links)
    paths = [
        (int(first) + g.choice(width, int(g.integers(1, most)), replace=False)).tolist()
        for first in near
    ]
    if g.random() < 0.4:
        paths = [paths[k] for k in g.integers(0, n // 4 + 1, n)]
    weight = 10 ** g.uniform(-3, 3, n) if g.random() < 0.4 else np.ones(n)
    cap = np.where(g.random(n) < g.choice([0, 0.3, 0.9]), 10 ** g.uniform(6, 9, n), np.inf)
    amount = 10 ** g.uniform(2, 9, n) if g.random() < 0.5 else np.full(n, 1e7)
    release = g.integers(0, int(S * 10 ** g.uniform(-4, 0)), n)
    if g.random() < 0.3:
        release = release // (S // 1000) * (S // 1000)
    flows = FlowTable.of_paths(amount, paths, release=release, weight=weight, cap=cap)
    if g.random() >= 0.4:
        return speed, flows, None
    many = int(g.integers(1, 60))
    changes = Changes.make(
        [*g.integers(0, S, many), *[2 * S] * links],
        [*g.integers(0, links, many), *range(links)],
        [*(speed[g.integers(0, links, many)] * g.choice([0, 0.5, 1, 2], many)), *speed],
    )
    return speed, flows, changes


def _after(g: np.random.Generator, n: int) -> list[list[int]]:
    some = g.random(n) < 0.4
    return [
        g.choice(f, int(g.integers(0, min(f, 3) + 1)), replace=False).tolist()
        if f and some[f]
        else []
        for f in range(n)
    ]


def _release(g: np.random.Generator, n: int) -> np.ndarray:
    if g.random() < 0.5:
        return g.choice([0, S // 1000, S // 500], n)
    return g.integers(0, S // 200, n)


def _weight(g: np.random.Generator, n: int) -> np.ndarray:
    kind = g.integers(3)
    return (np.ones(n), g.choice([1.0, 2.0, 0.5], n), g.uniform(0.1, 10, n))[kind]


def _changes(g: np.random.Generator, speed: np.ndarray) -> Changes:
    """Links break and change, and all are whole again in the end."""
    n, links = int(g.integers(1, 8)), len(speed)
    return Changes.make(
        [*g.integers(0, S // 160, n), *[S // 140] * links],
        [*g.integers(0, links, n), *range(links)],
        [*g.choice([0.0, 5e8, 1e9, 4e9], n), *speed],
    )


def digest_of_cases(cases: int = 8) -> str:
    """Of what both fidelities make of some cases."""
    made = hashlib.sha256()
    for seed in range(cases):
        speed, flows, changes = random_case(seed)
        run = simulate_flows(speed, flows, changes=changes)
        for column in (run.start, run.end, run.link_busy_ticks, run.link_peak):
            made.update(column.tobytes())
        made.update(simulate_flows(speed, flows, fidelity="alphabeta").end.tobytes())
    return made.hexdigest()


if __name__ == "__main__":
    print(digest_of_cases())
