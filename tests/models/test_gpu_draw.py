"""Profiles drawn from the error of their fit: keyed, as wide as stated, still monotone."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mltwin.models.gpu import GpuProfile, IterationModel, load_profile, load_user_table
from mltwin.models.gpu.draw import (
    COMPOSITION_SIGMA,
    HOST_SIGMA,
    SCALES_95,
    STAND_IN_SIGMA,
    TABLE_SIGMA,
    Draw,
    draw,
    error_bar_draws,
    error_scale,
)
from mltwin.models.gpu.draw_operators import FEW
from mltwin.models.gpu.lowering_check import lowering_error
from mltwin.models.gpu.operators import ElementwiseCost, GemmCost, MixedCost, Operators
from mltwin.models.gpu.operators.moe import TOKENS
from mltwin.models.gpu.operators.smooth import ROWS
from mltwin.sim.errors import InputError

H100 = load_profile("h100-sxm-80gb")
BATCHES: list[tuple[list[tuple[int, int]], list[int]]] = [
    ([], [900] * 48),
    ([(2048, 0)], []),
    ([(512, 1024)], [700] * 20),
]


def with_sigma(factor: float, assumed: float = 0.0) -> GpuProfile:
    """The H100 with its stated errors scaled, and rows for what is assumed without them."""
    rows = [
        dataclasses.replace(row, sigma=factor * row.sigma, median=factor * row.median)
        for row in H100.provenance
    ]
    for name in ("host", *COMPOSITION_SIGMA):
        rows.append(dataclasses.replace(rows[0], operator=name, sigma=assumed, median=0.0))
    return dataclasses.replace(H100, provenance=tuple(rows))


def spread(profile: Any, batch: Any = BATCHES[0], count: int = 60) -> float:
    times = [
        IterationModel("llama-3.1-8b", drawn).seconds(*batch)
        for drawn in error_bar_draws(profile, count)
    ]
    return float(np.std(np.log(times)))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b", "mixtral-8x7b"])
def test_without_error_nothing_changes(model: str, batch: Any) -> None:
    exact = draw(with_sigma(0.0), 3)
    assert IterationModel(model, exact, tp=2).seconds(*batch) == (
        IterationModel(model, H100, tp=2).seconds(*batch)
    )


def test_without_error_the_tables_are_the_same() -> None:
    plain, exact = (IterationModel("qwen3-30b-a3b", p) for p in (H100, draw(with_sigma(0.0), 0)))
    assert plain.lower(2048, 4096).to_dict() == exact.lower(2048, 4096).to_dict()


def test_draws_are_keyed() -> None:
    first, again, other, reseeded = (
        IterationModel("llama-3.1-8b", draw(H100, *which)).seconds(*BATCHES[2])
        for which in ((0,), (0,), (1,), (0, 1))
    )
    assert first == again
    assert len({first, other, reseeded}) == 3


def test_another_process_draws_the_same() -> None:
    code = (
        "from mltwin.models.gpu import IterationModel, load_profile\n"
        "from mltwin.models.gpu.draw import draw\n"
        "p = draw(load_profile('h100-sxm-80gb'), 5)\n"
        "print(repr(IterationModel('llama-3.1-8b', p).seconds([(512, 1024)], [700] * 20)))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = IterationModel("llama-3.1-8b", draw(H100, 5)).seconds(*BATCHES[2])
    assert found.stdout.strip() == repr(here)


def test_more_error_is_wider() -> None:
    small, large = spread(with_sigma(1.0)), spread(with_sigma(3.0))
    assert 2.2 < large / small < 4.0


NO_COMPOSITION = {"host": HOST_SIGMA, **dict.fromkeys(COMPOSITION_SIGMA, 0.0)}


def factors(operator: str, **options: Any) -> np.ndarray:
    """Logs over shapes and draws."""
    fitted = {"gemm.bfloat16": 0.02}
    draws = (Draw("a gpu", i, 0, fitted, NO_COMPOSITION, 0.1) for i in range(8))
    found = [one.factor(operator, np.arange(64, 564), 4096, **options) for one in draws]
    return np.log(np.concatenate(found))


def test_fitted_factors_have_the_stated_scale_and_tails() -> None:
    logs = np.abs(factors("gemm.bfloat16"))
    assert np.mean(logs <= 0.02) == pytest.approx(0.68, abs=0.03)
    assert np.mean(logs <= SCALES_95 * 0.02) == pytest.approx(0.95, abs=0.015)


def test_assumed_factors_are_log_normal() -> None:
    assert np.std(factors("host")) == pytest.approx(HOST_SIGMA, rel=0.05)
    assert np.std(factors("mixed")) == pytest.approx(0.1, rel=0.05)
    wider = np.std(factors("mixed", stands_in=True))
    assert wider == pytest.approx(np.hypot(0.1, STAND_IN_SIGMA), rel=0.05)


def test_shapes_are_drawn_apart() -> None:
    one = Draw("a gpu", 0, 0, {"gemm": 0.02}, NO_COMPOSITION, 0.1)
    n, k = np.meshgrid(np.arange(64, 4096, 64), np.arange(64, 1024, 64))
    found = one.factor("gemm", n, k)
    assert found.shape == n.shape and len(np.unique(found)) == n.size
    assert found[3, 7] == one.factor("gemm", n[3, 7], k[3, 7])
    assert float(one.factor("gemm", 64, 64)) != float(one.factor("gemm", 64, 64, part="few"))
    other = Draw("another gpu", 0, 0, {"gemm": 0.02}, NO_COMPOSITION, 0.1)
    assert float(one.factor("gemm", 64, 64)) != float(other.factor("gemm", 64, 64))


@pytest.mark.parametrize("index", range(6))
def test_times_still_rise_with_the_batch(index: int) -> None:
    drawn = draw(with_sigma(8.0), index).operators
    gemm = drawn.gemm["bfloat16"].seconds(ROWS, 6144, 4096)
    experts = drawn.moe["bfloat16"].seconds(TOKENS, 2048, 768, 128, 8)
    for times in (gemm, experts):
        assert np.all(np.diff(times) >= -1e-12 * times[1:]) and np.all(times > 0)


def test_few_and_many_rows_are_drawn_apart() -> None:
    plain, drawn = H100.operators.gemm["bfloat16"], draw(H100, 2).operators.gemm["bfloat16"]
    few, edge, many, more = (  # with the composition's factors, which differ too
        float(drawn.seconds(m, 4096, 4096) / plain.seconds(m, 4096, 4096))
        for m in (1, FEW, 2**15, 2**18)
    )
    assert few == pytest.approx(edge, rel=1e-12)
    assert abs(many - few) > 1e-4 and many == pytest.approx(more, rel=0.01)


def test_whole_iterations_share_a_factor() -> None:
    """What kernels have in common does not average out; decode and prefill have their own."""
    profile = with_sigma(0.0, assumed=0.1)
    prefill, decode = BATCHES[1], BATCHES[0]
    logs = []
    for drawn in error_bar_draws(profile, 40):
        times = IterationModel("llama-3.1-8b", drawn, host_overhead_s=0, sequence_overhead_s=0)
        logs.append([np.log(times.seconds(*batch)) for batch in (decode, prefill)])
    spread_of_both = np.std(logs, axis=0)
    # One of Student's t, three degrees of freedom: the sample's standard deviation is above 0.1.
    assert 0.06 < spread_of_both[0] < 0.4 and 0.05 < spread_of_both[1] < 0.4
    assert abs(np.corrcoef(np.transpose(logs))[0, 1]) < 0.6
    assert spread(H100) > 2 * spread(with_sigma(1.0))


@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b"])
def test_a_drawn_model_lowers_as_well(model: str) -> None:
    for profile in error_bar_draws(with_sigma(4.0), 3):
        drawn = IterationModel(model, profile)
        error = lowering_error(drawn, drawn.lower(2048, 4096), batches=100)
        assert error.p95 < 0.02


def test_the_cost_of_a_pair_goes_with_prefill() -> None:
    plain, drawn = H100.operators.prefill["bfloat16"][128], draw(H100, 1).operators.prefill
    mine = drawn["bfloat16"][128]
    factor = float(mine.seconds(512, 512 * 513 / 2, 512, 32, 8, 128)) / float(
        plain.seconds(512, 512 * 513 / 2, 512, 32, 8, 128)
    )
    assert factor != 1
    assert float(mine.per_pair_s(32, 128) / plain.per_pair_s(32, 128)) == pytest.approx(factor)


def test_mixed_calls_stay_within_their_bounds() -> None:
    p, d = np.array([1e-4, 3e-4, 0.0]), np.array([2e-4, 2e-5, 1e-4])
    ragged = MixedCost(1.0, chain_s=1e-10, overhead_s=5e-6, bandwidth=2e12, sms=132, l2_bytes=5e7)
    for cost, most in ((MixedCost(1.6), p + d + 1e-18), (ragged, np.full(3, np.inf))):
        operators = dataclasses.replace(H100.operators, mixed=cost)
        found = []
        for profile in error_bar_draws(dataclasses.replace(H100, operators=operators), 20):
            both = profile.operators.mixed.seconds(p, d, 100, 10, 9000, 2000, 100, 32, 8, 128)
            least = p if cost is ragged else np.maximum(p, d)
            assert np.all(both >= least) and np.all(both <= most)
            found.append(float(both[0]))
        assert len(set(found)) > 5


def test_what_the_user_states_is_not_drawn() -> None:
    given = IterationModel("llama-3.1-8b", draw(H100, 0), host_overhead_s=1e-3)
    assert given.host_s == 1e-3
    drawn = [profile.host for profile in error_bar_draws(H100, 200)]
    logs = np.log([host.iteration_s / H100.host.iteration_s for host in drawn])
    assert np.std(logs) == pytest.approx(HOST_SIGMA, rel=0.15)
    assert drawn[0].sequence_s / H100.host.sequence_s == pytest.approx(np.exp(logs[0]))
    assert drawn[0].basis == H100.host.basis


def test_the_profile_itself_is_left_alone() -> None:
    before = H100.to_json()
    drawn = draw(H100, 0)
    assert isinstance(drawn, GpuProfile) and drawn.facts == H100.facts
    assert H100.to_json() == before


def test_the_scale_of_few_shapes_has_a_floor() -> None:
    row = H100.provenance[0]
    assert error_scale(dataclasses.replace(row, sigma=0.03, median=0.01)) == 0.03
    assert error_scale(dataclasses.replace(row, sigma=0.001, median=0.01)) == 0.01
    assert error_scale(dataclasses.replace(row, sigma=0.0, median=0.01)) == 0.0


def tables() -> SimpleNamespace:
    """A profile of measured tables, as far as a draw looks at it."""
    gemm = GemmCost(100, 1e-6, 1e15, 3e12, 1e-7, 2.0, 0.5, 1.0)
    operators = Operators({"bfloat16": gemm}, {}, {}, {}, ElementwiseCost(1e-6, 2e12))
    return SimpleNamespace(
        name="tables", host=H100.host, operators=operators, answers=None, provenance=("a.csv",)
    )


@pytest.mark.parametrize(("confidence", "sigma"), [(1.0, 0.05), (0.6, 0.1), (0.0, 0.4)])
def test_measured_tables_have_a_stated_scale(confidence: float, sigma: float) -> None:
    assert sigma in {known for _, known in TABLE_SIGMA}
    drawn = error_bar_draws(tables(), 400, confidence=confidence)
    plain = float(tables().operators.gemm["bfloat16"].seconds(16, 4096, 4096))
    times = [float(p.operators.gemm["bfloat16"].seconds(16, 4096, 4096)) for p in drawn]
    expected = np.hypot(sigma, COMPOSITION_SIGMA["composition.decode"])
    assert np.std(np.log(np.array(times) / plain)) == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw(H100, -1), "count from 0"),
        (lambda: draw(H100, 0, -2), "count from 0"),
        (lambda: draw(tables(), 0, confidence=1.5), r"give a number in \[0, 1\]"),
        (lambda: draw(dataclasses.replace(H100, provenance=()), 0), "states no error of its fit"),
        (lambda: error_bar_draws(H100, 0), "ask for 1 to 10000"),
        (lambda: error_bar_draws(H100, 10_001), "ask for 1 to 10000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_timings_as_given_have_no_error_bars() -> None:
    linear = {"format": "mltwin-user-timing-1", "kind": "linear", "constant_s": 0.01}
    with pytest.raises(InputError, match="timings as given have no fitted error"):
        draw(load_user_table(linear), 0)
