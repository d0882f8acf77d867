"""The study of rollouts with long tails still finds what its page says; its engine is exact."""

from pathlib import Path

import numpy as np
import pytest

from studies._common import Options
from studies._rollout_pool import PROMPT, SLOTS, Pool, Rollout, Worker, decoding, prefill_s
from studies.rollouts import study


def test_tails_and_bounds(tmp_path: Path) -> None:
    found = study(Options(tmp_path, quick=True))
    assert (tmp_path / "rollouts.png").read_bytes()[:4] == b"\x89PNG"
    waited, partial = found["by_spread"]["1"].values()
    assert waited["rollout_share"] > 0.8 and waited["old_tokens"] == 0 == waited["late_most"]
    assert partial["rollout_tokens_per_s"] > 2 * waited["rollout_tokens_per_s"]
    assert partial["late_most"] >= 2
    gains = [
        more["rollout_tokens_per_s"] / one["rollout_tokens_per_s"]
        for one, more in found["by_size"].values()
    ]
    assert gains == sorted(gains, reverse=True) and gains[-1] < 2
    ends, began = found["bounded"]["ends first"], found["bounded"]["began first"]
    assert ends["1"]["tokens_per_s"] > 1.5 * began["1"]["tokens_per_s"]
    assert ends["1"]["beyond"] > 0.1
    assert all(one["beyond"] == 0 and one["late_most"] <= int(b) for b, one in began.items())
    assert ends["0"]["tokens_per_s"] < found["together"]
    assert all(one["trainer_busy"] <= 1 + 1e-9 for one in (*ends.values(), *began.values()))


def test_a_worker_makes_every_token_once() -> None:
    base, each = decoding()
    worker = Worker()
    worker.begin(Rollout(0, 5), 0.0)
    worker.begin(Rollout(1, 3), 0.0)
    # One iteration is under way when the second comes: its prompt waits for the end of it.
    expected = prefill_s() * PROMPT * 2
    assert worker.now >= expected
    one_by_one, context = worker.now, worker.context
    for _ in range(worker.running[0][0] - worker.made):
        context += len(worker.running)
        one_by_one += base[2] + each[2] * context
    assert worker.next_end() == pytest.approx(one_by_one, rel=1e-12)


def test_a_pool_that_is_broken_off_loses_nothing() -> None:
    pool = Pool.of(2)
    lengths = np.arange(20, 20 + 2 * SLOTS + 30)
    pool.ask([Rollout(i, int(n)) for i, n in enumerate(lengths)], 0.0)
    assert [len(worker.running) for worker in pool.workers] == [SLOTS, SLOTS]
    done = [pool.end() for _ in range(40)]
    moment = pool.next_end()
    left = pool.stop(moment - 1e-9)
    assert sorted(r.number for r in (*done, *left)) == list(range(len(lengths)))
    assert all(r.made == r.tokens for r in done)
    assert all(0 <= r.made < r.tokens for r in left)
    assert [r.number for r in left] == sorted(r.number for r in left)
    again = Pool.of(1, moment)
    again.ask(left[:5], moment)
    for _ in range(5):
        again.end()
    assert all(r.made == r.tokens for r in left[:5])
