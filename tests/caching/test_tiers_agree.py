"""The kernel of tiers against its plain-Python twin: every event, on random cases."""

from itertools import pairwise

import numpy as np
import pytest

from mltwin.models.caching.cache import Cache
from mltwin.models.caching.reference.policies import REFERENCES
from mltwin.models.caching.registry import EVICTIONS
from mltwin.models.caching.tiers_run import TiersOutcome, run_reference, run_tiers
from mltwin.models.caching.tiers_tables import Level, TierPlan

CASES = 360
SHARDS = 6
POLICIES = sorted(name for name in REFERENCES if not EVICTIONS[name].future)


def random_case(case: int, n: int = 260) -> tuple[TierPlan, list[Cache]]:
    """One to four tiers, any mix of policies, sizes, writes, lives, speeds."""
    rng = np.random.default_rng([9, case])
    objects, tiers = int(rng.integers(3, 40)), int(rng.integers(1, 5))
    weights = np.arange(1, objects + 1) ** -rng.uniform(0.2, 1.3)
    ids = rng.choice(objects, n, p=weights / weights.sum()).astype(np.uint32)
    unit = rng.random() < 0.3
    own = np.ones(objects, np.int64) if unit else rng.integers(0, 30, objects)
    sizes = own[ids] + (rng.integers(0, 3, n) if not unit and rng.random() < 0.4 else 0)
    gaps = rng.integers(0, int(rng.choice([1, 4, 60])) + 1, n)
    op = rng.choice(3, n, p=[0.75, 0.2, 0.05]).astype(np.uint8) if rng.random() < 0.6 else None
    life = rng.integers(0, 900, n) * (rng.random(n) < 0.7) if rng.random() < 0.4 else None
    exclusive, back = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    plan = TierPlan(
        time=np.cumsum(gaps),
        ids=ids,
        sizes=sizes,
        objects=objects,
        levels=tuple(_level(rng) for _ in range(tiers + 1)),
        op=op,
        life=life,
        exclusive=exclusive,
        strict=bool(not exclusive and not back and rng.random() < 0.5),
        back=back,
        promote_after=int(rng.choice([1, 1, 2, 3])),
    )
    footprint = int(own.sum()) + 2
    caches = [
        Cache(
            str(rng.choice(POLICIES)),
            int(rng.integers(1, footprint)),
            objects,
            admission=str(rng.choice(["always"] * 4 + ["second_hit", "probability"])),
            settings={"window": 9, "chance": 0.6},
            max_objects=int(rng.integers(1, objects)) if rng.random() < 0.2 else None,
            seed=case,
        )
        for _ in range(tiers)
    ]
    return plan, caches


def _level(rng: np.random.Generator) -> Level:
    return Level(
        latency=int(rng.choice([0, 0, 3, 50])),
        gbps=None if rng.random() < 0.4 else float(rng.uniform(0.5, 40)),
        duplex=bool(rng.random() < 0.3),
        life=int(rng.choice([0, 0, 0, 300])),
    )


def check_laws(plan: TierPlan, caches: list[Cache], out: TiersOutcome) -> None:
    """Conservation, from numbers that were counted apart."""
    reads = np.bincount(
        out.served[_is(plan, 0) & (out.served < 8)],
        plan.sizes[_is(plan, 0) & (out.served < 8)],
        plan.tiers + 1,
    )
    for k, (level, totals) in enumerate(zip(out.levels, out.caches, strict=False)):
        assert totals["inserted"] == (
            totals["resident"] + totals["evicted"] + totals["removed"] + totals["expired"]
        )
        assert totals["inserted_size"] + totals["grown_size"] == (
            totals["used"] + totals["evicted_size"] + totals["removed_size"]
        )
        assert level["write_bytes"] == totals["inserted_size"] + level["updated_bytes"]
        assert level["read_bytes"] == reads[k]
        assert totals["used"] <= caches[k].capacity
    if plan.exclusive:
        held = [x for tier in out.resident for x in tier]
        assert len(held) == len(set(held))
    if plan.strict:
        for near, far in pairwise(out.resident):
            assert set(near) <= set(far)
    assert out.levels[-1]["read_bytes"] == reads[-1]


def _is(plan: TierPlan, op: int) -> np.ndarray:
    return np.ones(len(plan.ids), bool) if plan.op is None else plan.op == op


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_event_agrees(shard):
    seen: set[int] = set()
    for case in range(shard, CASES, SHARDS):
        plan, caches = random_case(case)
        twin = run_reference(plan, caches)
        out = run_tiers(plan, caches, log=True)
        assert out.log is not None and twin.log is not None
        for row, mine, other in zip(range(10**9), out.log, twin.log, strict=False):
            assert tuple(mine) == other, (case, row)
        assert len(out.log) == len(twin.log), case
        assert out.done.tolist() == twin.done.tolist(), case
        assert out.served.tolist() == twin.served.tolist(), case
        assert (out.levels, out.links) == (twin.levels, twin.links), case
        assert out.resident == twin.resident, case
        assert (out.dirty, out.end, out.stale) == (twin.dirty, twin.end, twin.stale), case
        for mine, other in zip(out.caches, twin.caches, strict=True):
            assert {name: mine[name] for name in other} == other, case
        check_laws(plan, caches, out)
        seen |= {row[1] for row in out.log}
    assert seen == set(range(9)), "every kind of event must have happened"
