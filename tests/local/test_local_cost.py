"""The cost of a step: recovered from steps made with it, noise and stalls among them."""

import numpy as np
import pytest

from mltwin.calibration.local.cost import StepCost, fit_cost, plain_cells, step_errors
from mltwin.calibration.local.mirror import Rules
from mltwin.calibration.local.predict import (
    Requests,
    capacity,
    draw_requests,
    latencies,
    predict,
    serve,
)
from mltwin.calibration.local.replay import Work
from mltwin.sim.errors import InputError

TRUE = StepCost(
    base=2.6e-3, token=8.2e-5, context=6.9e-7, pair=3.4e-8, sequence=3e-5, change=2.5e-3
)


def drawn_work(steps: int, noise: float, seed: int = 0) -> Work:
    """Steps as a run has them: some pure decode, some full of prompts."""
    random = np.random.default_rng(seed)
    decodes = random.integers(0, 40, steps)
    prefill = np.where(random.random(steps) < 0.3, random.integers(1, 216, steps), 0)
    decodes = np.where(decodes + prefill == 0, 1, decodes)
    tokens = (decodes + prefill).astype(float)
    work = Work(
        tokens,
        decodes * random.uniform(50, 300, steps),
        prefill * random.uniform(20, 300, steps),
        decodes + (prefill > 0) * random.integers(1, 4, steps).astype(float),
        (random.random(steps) < 0.5).astype(float),
        np.zeros(steps),
    )
    seconds = TRUE.of(work) * np.exp(noise * random.standard_normal(steps))
    if noise:
        seconds[random.random(steps) < 0.01] *= 8  # the machine was away
    return Work(**{**work.__dict__, "seconds": seconds})


def test_exact_steps_give_the_exact_cost() -> None:
    work = drawn_work(500, 0.0)
    found = fit_cost(work)
    for name in ("base", "token", "context", "pair", "change"):
        assert getattr(found, name) * found.scale == pytest.approx(getattr(TRUE, name), rel=0.02)
    assert step_errors(found, work)["p90_abs_pct"] < 0.5


def test_noisy_steps_give_the_cost_and_the_sum() -> None:
    work, other = drawn_work(3000, 0.15), drawn_work(3000, 0.0, seed=1)
    found = fit_cost(work)
    assert found.of(work).sum() == pytest.approx(work.seconds.sum())
    # The typical step is right up to one factor, the stalls.
    ratio = found.of(other) / other.seconds
    assert np.quantile(np.abs(ratio / np.median(ratio) - 1), 0.9) < 0.04
    assert 1.0 < np.median(ratio) < 1.15


def test_the_change_term_is_worth_its_place() -> None:
    work = drawn_work(1000, 0.0)
    with_it, without = fit_cost(work), fit_cost(work, changes=False)
    assert without.change == 0.0
    assert (
        step_errors(without, work)["p90_abs_pct"] > 10 * step_errors(with_it, work)["p90_abs_pct"]
    )
    assert abs(step_errors(without, work)["sum_pct"]) < 1e-9


def test_speed_is_the_ratio_of_sums() -> None:
    work = drawn_work(200, 0.0)
    assert TRUE.speed(work) == pytest.approx(1.0)
    assert TRUE.scaled(0.5).speed(work) == pytest.approx(2.0)


@pytest.mark.parametrize(("rest", "arithmetic"), [(1.0, 1.0), (1.3, 1.3), (1.1, 2.5), (2.0, 0.9)])
def test_a_short_run_tells_two_speeds(rest: float, arithmetic: float) -> None:
    work = drawn_work(200, 0.1, seed=3)
    true = TRUE._split(rest, arithmetic)
    seconds = work.seconds * true.of(work) / TRUE.of(work)
    found = TRUE.adjusted(Work(**{**work.__dict__, "seconds": seconds}))
    quiet = drawn_work(500, 0.0, seed=4)
    ratio = found.of(quiet) / true.of(quiet)
    # The stalls (one step in a hundred, eight times as long) are spread over all steps.
    assert found.of(work).sum() == pytest.approx(seconds.sum())
    assert np.quantile(ratio, 0.9) / np.quantile(ratio, 0.1) < 1.08


def test_too_few_steps() -> None:
    with pytest.raises(InputError, match="too few"):
        fit_cost(drawn_work(20, 0.0))


def test_the_kernels_table_is_the_cost_without_changes() -> None:
    cells, plain = plain_cells(TRUE), drawn_work(100, 0.0)
    said = TRUE.seconds(plain.tokens, plain.context, plain.pairs, plain.sequences)
    for i in range(len(said)):
        ticks = cells.evaluate(
            int(plain.tokens[i]),
            int(plain.context[i]),
            int(plain.sequences[i]),
            int(plain.pairs[i]),
        )
        exact = TRUE.seconds(
            plain.tokens[i], int(plain.context[i]), int(plain.pairs[i]), plain.sequences[i]
        )
        assert ticks * 1e-12 == pytest.approx(float(exact), rel=1e-6)


def test_two_requests_by_hand() -> None:
    """Constant steps of 1 s: the second request's prompt shares the first one's second step."""
    requests = Requests(np.array([4, 4]), np.array([3, 2]), np.array([0.0, 0.5]))
    served = serve(Rules(), requests, lambda step, changed: 1.0)
    assert served.first.tolist() == [1.0, 2.0] and served.last.tolist() == [3.0, 3.0]
    assert (served.steps, served.busy_s) == (3, 3.0)
    found = latencies(requests, served)
    assert found["ttft_mean"] == pytest.approx(1.25)
    assert found["tpot_p50"] == pytest.approx(1.0)


def test_an_idle_engine_waits_for_the_next_arrival() -> None:
    requests = Requests(np.array([4, 4]), np.array([1, 1]), np.array([1.0, 9.0]))
    served = serve(Rules(), requests, lambda step, changed: 0.5)
    assert served.first.tolist() == [1.5, 9.5]


def test_load_decides_the_wait() -> None:
    rules = Rules()
    rate = capacity(rules, TRUE, 1)
    waits = []
    for load in (0.3, 0.8, 1.5):
        requests = draw_requests(400, load * rate, 2)
        waits.append(latencies(requests, predict(rules, requests, TRUE))["ttft_mean"])
    assert waits[0] < 0.6 * waits[1] and waits[1] < 0.3 * waits[2]


def test_draws_are_the_seeds_own() -> None:
    one, same, other = (draw_requests(50, 2.0, seed, 4) for seed in (1, 1, 2))
    assert (one.arrival == same.arrival).all() and (one.prompt == same.prompt).all()
    assert (one.arrival != other.arrival).any()
    # The rate only stretches time: loads differ in nothing else.
    fast = draw_requests(50, 4.0, 1, 4)
    assert np.allclose(2 * fast.arrival, one.arrival) and (fast.prompt == one.prompt).all()


def test_no_requests() -> None:
    with pytest.raises(InputError, match="0 requests"):
        draw_requests(0, 1.0, 1)
