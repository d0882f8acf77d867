"""LoRA aggregation: stacking is exact, averages carry noise, and that noise hurts."""

import numpy as np
import pytest

from mltwin.models.adapters.sizes import adapter_parameters
from mltwin.models.federation.adapter_tuning import tune
from mltwin.models.federation.adapters import (
    PAPER_RANKS,
    Adapter,
    aggregate,
    noise,
    stacked,
    traffic,
    wanted,
)
from mltwin.models.llm import load_model
from mltwin.sim import rng
from mltwin.sim.errors import InputError


def _adapters(ranks, inputs=12, outputs=9) -> list[Adapter]:
    def normal(entity, rows, columns):
        draws = rng.normals(3, rng.POLICY, entity, np.arange(rows * columns))
        return draws.reshape(rows, columns)

    return [
        Adapter(normal(2 * k, r, inputs), normal(2 * k + 1, outputs, r))
        for k, r in enumerate(ranks)
    ]


def test_stacking_leaves_no_residual() -> None:
    adapters = _adapters([4, 2, 1, 3])
    weights = [0.4, 0.3, 0.2, 0.1]
    made = stacked(adapters, weights)
    assert made.rank == 10
    assert np.abs(noise("flora", adapters, weights)).max() < 1e-14
    loop = sum(p * one.b @ one.a for p, one in zip(weights, adapters, strict=True))
    assert made.product == pytest.approx(loop, abs=1e-14)


def test_averages_are_off_by_the_covariance_of_the_factors() -> None:
    adapters, weights = _adapters([3] * 4), [0.4, 0.3, 0.2, 0.1]
    a = sum(p * one.a for p, one in zip(weights, adapters, strict=True))
    b = sum(p * one.b for p, one in zip(weights, adapters, strict=True))
    covariance = sum(
        p * (one.b - b) @ (one.a - a) for p, one in zip(weights, adapters, strict=True)
    )
    off = noise("fedit", adapters, weights)
    assert off == pytest.approx(-covariance, abs=1e-13)
    assert np.abs(off).max() > 0.1
    same = [adapters[0]] * 4
    assert np.abs(noise("fedit", same, weights)).max() < 1e-14


def test_zero_padding_keeps_lower_ranks_in_front() -> None:
    adapters, weights = _adapters([3, 1]), [0.5, 0.5]
    made = aggregate("zero_pad", adapters, weights)
    assert made.rank == 3
    assert made.a[0] == pytest.approx((adapters[0].a[0] + adapters[1].a[0]) / 2)
    assert made.a[1:] == pytest.approx(adapters[0].a[1:] / 2)
    assert wanted([made.cut(1)], [1.0]) == pytest.approx(np.outer(made.b[:, 0], made.a[0]))
    with pytest.raises(InputError, match=r"the ranks differ: \[1, 3\]"):
        aggregate("fedit", adapters, weights)


def test_download_grows_with_the_sum_of_ranks() -> None:
    model = load_model("mistral-7b")
    one = adapter_parameters(model, 1, ("q", "v")) * 2.0
    stack = traffic("flora", PAPER_RANKS, model)
    assert stack.up_bytes == tuple(r * one for r in PAPER_RANKS)
    assert set(stack.down_bytes) == {sum(PAPER_RANKS) * one}
    padded = traffic("zero_pad", PAPER_RANKS, model)
    assert padded.down_bytes == padded.up_bytes
    assert padded.server_bytes == 64 * one
    assert sum(stack.down_bytes) / sum(padded.down_bytes) == pytest.approx(10.0)


def test_on_a_real_task_stacking_has_no_noise_and_learns_more() -> None:
    """The paper's ranks; the same rounds, steps and first adapters."""
    exact = tune("flora")
    padded = tune("zero_pad")
    assert max(r.noise for r in exact) < 1e-14
    assert min(r.noise for r in padded) > 0.05
    assert exact[-1].error < padded[-1].error < exact[0].error + 0.2
    assert padded[0].error < 1.0


def test_one_client_makes_all_methods_alike_in_the_first_round() -> None:
    errors = {m: tune(m, ranks=(8,), rounds=1)[0] for m in ("flora", "fedit", "zero_pad")}
    assert len({round(r.error, 12) for r in errors.values()}) == 1
    assert max(r.noise for r in errors.values()) < 1e-15


def test_gradients_are_those_of_the_loss() -> None:
    from mltwin.models.federation import adapter_tuning as tuning

    start = _adapters([2], 6, 5)[0]
    base, target = np.zeros((5, 6)), _adapters([1], 6, 5)[0].product
    moved = tuning._trained(base, start, target, 1, 1e-6)

    def loss(a, b):
        return 0.5 * ((base + b @ a - target) ** 2).sum()

    nudge = np.zeros_like(start.a)
    nudge[1, 2] = 1e-6
    slope = (loss(start.a + nudge, start.b) - loss(start.a - nudge, start.b)) / 2e-6
    assert (start.a - moved.a)[1, 2] / 1e-6 == pytest.approx(slope, rel=1e-5)


def test_impossible_ranks_are_refused() -> None:
    with pytest.raises(InputError, match="ranks"):
        tune("flora", ranks=(65,))
    with pytest.raises(InputError, match="unknown method 'mean'"):
        tune("mean")
