"""Random plans of expert caches for the tests: small, with every feature now and then."""

import numpy as np

from mltwin.models.experts import POLICIES, Plan, make_plan


def random_plan(seed: int) -> Plan:
    """A plan drawn from the seed: layers, experts, capacity, streams, predictions, durations."""
    draw = np.random.default_rng(seed)
    layers, experts = int(draw.integers(1, 5)), int(draw.integers(1, 7))
    passes = int(draw.integers(1, 12))
    visits = layers * passes
    sets = [
        np.sort(
            draw.permutation(experts)[: draw.integers(0 if draw.random() < 0.1 else 1, experts + 1)]
        )
        for _ in range(visits)
    ]
    keys = [found + (v % layers) * experts for v, found in enumerate(sets)]
    wrong = [
        np.unique(draw.integers(0, experts, draw.integers(0, 3))) + (v % layers) * experts
        for v in range(visits)
    ]
    recall = draw.choice([0.0, 0.5, 1.0])
    told = [
        np.unique(np.concatenate([found[draw.random(len(found)) < recall], other]))
        if recall
        else found[:0]
        for found, other in zip(keys, wrong, strict=True)
    ]
    ahead = int(draw.integers(0, 2 * layers))
    number = np.arange(visits)
    issue = np.maximum(number - ahead, 0 if draw.random() < 0.5 else number // layers * layers)
    entries = np.concatenate(keys) if keys else np.zeros(0, np.int64)
    scale = int(draw.choice([1, 20, 200]))
    return make_plan(
        layers=layers,
        experts=experts,
        capacity=int(draw.integers(1, layers * experts + 2)),
        policy=str(draw.choice(POLICIES)),
        visit_start=np.concatenate([[0], np.cumsum([len(found) for found in keys])]),
        entry_key=entries,
        entry_ticks=draw.integers(0, 20, len(entries)),
        dense_ticks=draw.integers(0, 40, visits),
        pre_ticks=draw.integers(0, 30, visits) * (draw.random() < 0.5),
        load_ticks=draw.integers(0 if draw.random() < 0.2 else 1, 3 * scale, layers * experts),
        pred_start=np.concatenate([[0], np.cumsum([len(found) for found in told])]),
        pred_key=np.concatenate(told),
        issue_at=issue,
        streams=int(draw.integers(1, 4)),
        seed=seed,
        preload=bool(draw.random() < 0.3),
    )
