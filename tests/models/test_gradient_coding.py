"""Gradient codes: loads and delays of the paper, every job decoded in time, rounds by hand."""

import numpy as np
import pytest

from mltwin.models.training.coding import (
    best_code,
    borne,
    codes_to_try,
    drawn_delays,
    gc,
    gc_round_mean_s,
    gilbert_elliott,
    is_decoded,
    m_sgc,
    run_code,
    sr_sgc,
    uncoded,
)
from mltwin.sim.errors import InputError


def test_loads_and_delays_are_the_papers() -> None:
    assert uncoded(256).load == 1 / 256
    assert gc(256, 15).load == 16 / 256 and gc(256, 15).rounds_late == 0
    repeat = sr_sgc(256, 2, 3, 23)
    assert repeat.s == 12 and repeat.load == 13 / 256 and repeat.rounds_late == 2
    plexed = m_sgc(256, 1, 2, 27)
    assert plexed.load == pytest.approx(28 * 2 / (256 * (1 + 28))) and plexed.rounds_late == 1
    assert m_sgc(8, 1, 3, 8).load == pytest.approx(3 / (8 * 2))
    # As W grows the load of M-SGC goes down to 1 / n, that of no code at all.
    loads = [m_sgc(64, 1, w, 8).load for w in (2, 4, 16, 256)]
    assert loads == sorted(loads, reverse=True) and loads[-1] == pytest.approx(1 / 64, rel=0.005)
    assert [c.label for c in (gc(9, 2), repeat, plexed)] == [
        "GC(2)", "SR-SGC(2, 3, 23)", "M-SGC(1, 2, 27)",
    ]  # fmt: skip


@pytest.mark.parametrize("wait", ["all", "enough"])
def test_every_job_is_decoded_in_time(wait: str) -> None:
    """Whatever the delays: a pattern that is borne is decoded."""
    rng = np.random.default_rng(1)
    late = 0
    for code in [*codes_to_try(8, 5, 6), uncoded(8)]:
        delays = rng.lognormal(0, float(rng.choice([0.3, 0.8, 1.5])), (40, 8))
        run = run_code(code, delays, 30, wait=wait)
        assert run.decoded.all(), code
        late += int(run.straggled.sum())
    assert late > 1000


def test_patterns_beyond_the_model_are_not_decoded() -> None:
    """Each bound is tight: one straggler more, or one round later, and a job is lost."""
    n = 6
    for code in (gc(n, 2), sr_sgc(n, 1, 2, 4), m_sgc(n, 1, 2, 2)):
        some = np.zeros((12, n), bool)
        count = code.s if code.kind == "gc" else code.spread
        some[4, :count] = True
        assert borne(code, some[:4], some[4])
        assert all(is_decoded(code, some, job) for job in range(8)), code
        more = some.copy()
        more[4, : count + 1] = True
        assert not borne(code, more[:4], more[4]), code
        if code.kind == "gc":
            assert not is_decoded(code, more, 4)
            continue
        twice = some.copy()
        twice[5, :count] = True  # again, B rounds after their first time
        assert not borne(code, twice[:5], twice[5])
        assert not all(is_decoded(code, twice, job) for job in range(8)), code


def test_rounds_by_hand() -> None:
    delays = np.array([[1.0, 1.1, 1.2, 5.0], [1.0, 4.0, 1.2, 5.0], [1.0, 1.0, 1.0, 1.0]])
    assert run_code(uncoded(4), delays, 3).duration_s.tolist() == [5.0, 5.0, 1.0]
    one = run_code(gc(4, 1), delays, 3)
    assert one.duration_s.tolist() == [2.0, 5.0, 1.0] and one.waited.tolist() == [
        False,
        True,
        False,
    ]
    enough = run_code(gc(4, 1), delays, 3, wait="enough")
    assert enough.duration_s.tolist() == [2.0, 4.0, 1.0]
    # Load 2/4 in place of 1/4: a quarter of a gradient of 0.4 s more a round, before (1 + mu).
    heavy = run_code(gc(4, 1), delays, 3, gradient_s=0.4, measured_load=0.25)
    assert heavy.duration_s == pytest.approx([2.2, 5.1, 1.1])
    two = run_code(gc(4, 2), delays, 3)
    assert two.total_s == 5 and two.straggled.sum(axis=1).tolist() == [1, 2, 0]


def test_bursts_are_gilbert_elliott() -> None:
    found = gilbert_elliott(1, 4000, 50, enter=0.02, leave=0.4)
    assert found.mean() == pytest.approx(0.02 / 0.42, rel=0.05)
    again = (found[1:] & found[:-1]).sum() / found[:-1].sum()
    assert again == pytest.approx(0.6, abs=0.02)
    delays = drawn_delays(1, found, usual_s=2.0, sigma=0.1, factor=4.0)
    assert np.median(delays[~found]) == pytest.approx(2.0, rel=0.01)
    assert np.median(delays[found]) == pytest.approx(8.0, rel=0.01)


def test_waiting_for_the_fastest_is_an_order_statistic() -> None:
    rng = np.random.default_rng(0)
    for n, s in ((10, 0), (10, 2), (30, 5)):
        times = (s + 1) * (0.1 + rng.exponential(0.4, (20_000, n)))
        mean = np.sort(times, axis=1)[:, n - s - 1].mean()
        assert gc_round_mean_s(n, s, 0.1, 0.4) == pytest.approx(mean, rel=0.01)


def test_the_best_of_each_kind() -> None:
    straggling = gilbert_elliott(3, 60, 16, enter=0.02, leave=0.7)
    delays = drawn_delays(3, straggling, usual_s=1.0, sigma=0.05, factor=5.0)

    def total(code: object) -> float:
        return run_code(code, delays, 50, gradient_s=4.0, measured_load=1 / 16).total_s  # type: ignore[arg-type]

    best = best_code(codes_to_try(16, 4, 8), total)
    assert set(best) == {"gc", "sr_sgc", "m_sgc"}
    assert best["gc"][1] == min(total(gc(16, s)) for s in range(1, 9))
    assert best["gc"][1] < total(uncoded(16))


def test_codes_that_cannot_be_are_told() -> None:
    for make, said in (
        (lambda: gc(4, 4), "GC of 4"),
        (lambda: sr_sgc(4, 2, 4, 1), "B divide W - 1"),
        (lambda: m_sgc(4, 3, 3, 1), "B be 1 to W - 1"),
        (lambda: run_code(gc(4, 1), np.ones((2, 4)), 3), "2 rounds and 4 workers"),
        (lambda: run_code(gc(4, 1), np.ones((3, 4)), 3, wait="none"), "unknown way"),
        (lambda: gilbert_elliott(0, 1, 1, enter=0.0, leave=0.0), "chances"),
    ):
        with pytest.raises(InputError, match=said):
            make()
