"""The handlers of `shared` called one by one, as another system's kernel calls them."""

import numpy as np
from flow_cases import crowd

from mltwin.models.network.certificate import broken_certificate
from mltwin.models.network.shared import (
    end_flow,
    network_tables,
    next_end,
    pop_ended,
    set_cap,
    set_capacity,
    settle,
    start_flow,
    waiting_flow,
)
from mltwin.sim.ticks import NEVER
from mltwin.sim.world import World


def drive(seed: int, *, caps: bool = False) -> int:
    """Flows start, end, are taken out early and lose their links at random; how many ended.

    With caps each flow is alone in its bundle, and its own cap changes too.
    """
    speed, flows, _ = crowd(seed, flows=60, links=12)
    world = World(**network_tables(speed, flows, full_share=1, merge=not caps))
    g = np.random.default_rng(seed)
    waiting, moving = list(range(len(flows))), set()
    now, ended, moved = 0, 0, 0.0
    while waiting or moving:
        for _ in range(int(g.integers(0, 4))):
            if waiting:
                f = waiting.pop()
                start_flow(world, f, now)
                moving.add(f)
        if moving and g.random() < 0.2:
            f = int(g.choice(sorted(moving)))
            left = end_flow(world, f, now)
            assert 0.0 <= left <= flows.bytes[f] * (1 + 1e-12)
            moving.remove(f)
            moved += flows.bytes[f] - left
        for _ in range(int(g.integers(0, 4)) if caps else 0):
            which = sorted(moving) if g.random() < 0.8 else range(len(flows))
            if len(which):
                set_cap(world, int(g.choice(which)), float(g.choice([1e7, 4e8, 2e9, np.inf])))
        if g.random() < 0.2:
            link = int(g.integers(len(speed)))
            set_capacity(world, link, float(g.choice([0.0, 1e9, 5e9])), now)
        settle(world, now)
        assert broken_certificate(world) == [], (seed, now)
        assert world.net[0].flows == len(moving)
        later = next_end(world)
        if later >= NEVER and moving:
            f, link = waiting_flow(world)
            assert f in moving and world.link[link].capacity == 0.0
            set_capacity(world, link, 1e9, now)
            settle(world, now)
            later = next_end(world)
        now = min(int(later), now + int(g.integers(1, 10**10)))
        f = pop_ended(world, now)
        while f >= 0:
            moving.remove(f)
            ended += 1
            f = pop_ended(world, now)
        settle(world, now)
    assert world.net[0].unequal == 0
    assert np.all(world.link.left == world.link.capacity) and not world.link.flows.any()
    return ended


if __name__ == "__main__":
    print(sum(drive(seed) for seed in range(6)), sum(drive(seed, caps=True) for seed in range(6)))
