"""Random plans of long runs for the tests: small, with every feature now and then."""

import numpy as np

from mltwin.models.training.laws import lognormal_law, weibull_law
from mltwin.models.training.reliability_tables import RunPlan
from mltwin.sim.ticks import NEVER


def random_run(seed: int) -> RunPlan:
    """Nodes, failures, checkpoints and elasticity drawn from the seed; ticks are few."""
    draw = np.random.default_rng(seed)
    unit = int(draw.choice([1, 1, 2]))
    nodes = unit * int(draw.integers(1, 5))
    pool = nodes + int(draw.integers(0, 4))
    step = int(draw.integers(5, 40))
    traced = draw.random() < 0.25
    rows = int(draw.integers(4, 40)) if traced else 0
    often = float(step * nodes * draw.choice([3.0, 20.0, 100.0]))
    law = draw.random()
    plenty = {} if law < 0.5 else {"life": weibull_law(0.7)}
    chance = draw.random
    interval_kind = int(draw.integers(0, 2))
    return RunPlan(
        step_of=np.array([step * nodes] + [step * nodes // n for n in range(1, nodes + 1)]),
        nodes=nodes,
        steps=int(draw.integers(1, 60)),
        pool=pool,
        unit=unit,
        least=unit * int(draw.integers(1, nodes // unit + 1)),
        copies=int(draw.integers(1, 4)),
        seed=seed,
        until=int(draw.choice([3_000, 20_000])),
        elastic=int(draw.integers(0, 3)),
        memory=bool(chance() < 0.5),
        storage_every=int(draw.integers(0, 4)),
        block=int(draw.choice([0, 4, 30])),
        snapshot=int(draw.choice([0, 3, 15, 90])),
        flush=int(draw.choice([0, 10, 100, 400])),
        write=int(draw.integers(0, 20)),
        update_share=float(draw.choice([0.0, 0.1, 0.5])),
        detect=int(draw.choice([0, 5])),
        restart=int(draw.choice([0, 10, 50])),
        load_memory=int(draw.integers(0, 9)),
        load_storage=int(draw.integers(0, 40)),
        reshard=int(draw.integers(0, 20)),
        swap=int(draw.integers(0, 10)),
        regrow=int(draw.choice([0, 50, 200])),
        life_mean=0.0 if traced or chance() < 0.1 else often,
        soft_share=float(draw.choice([0.0, 0.5])),
        repair_mean=float(draw.choice([0, 20, 300])),
        repair_drawn=bool(chance() < 0.5),
        rack_nodes=int(draw.integers(1, 4)),
        rack_mean=0.0 if traced or chance() < 0.5 else 4 * often,
        slow_mean=0.0 if traced or chance() < 0.5 else often,
        slow_factor=float(draw.choice([1.5, 4.0])),
        slow_detect=int(draw.choice([0, 30, NEVER])),
        interval=int(draw.choice([0, 20, 100, NEVER])),
        interval_kind=interval_kind,
        interval_least=10,
        cost=4.0,
        prior=100.0,
        noise=lognormal_law(0.3) if chance() < 0.5 else None,
        trace_time=np.sort(draw.integers(0, 1500, rows)) * int(draw.integers(0, 2)),
        trace_node=draw.integers(0, pool, rows),
        trace_up=draw.random(rows) < 0.65,
        **plenty,
    )
