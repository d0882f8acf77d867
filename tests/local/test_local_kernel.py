"""Mirror and serving kernel are one scheduler where nothing is pre-empted: equal to the tick."""

import numpy as np
import pytest

from mltwin.calibration.local.cost import StepCost, plain_cells
from mltwin.calibration.local.mirror import Rules, Step
from mltwin.calibration.local.predict import Requests, draw_requests, predict, serve
from mltwin.models.serving.simulate import simulate
from mltwin.sim.ticks import ticks
from mltwin.validation.local_kernel import kernel_input, kernel_serve

COST = StepCost(base=2.6e-3, token=8.2e-5, context=6.9e-7, pair=3.4e-8, sequence=3e-5)
RULES = Rules()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [5.0, 25.0, 60.0, 1e6])
def test_equal_to_the_tick(rate: float, seed: int) -> None:
    requests = draw_requests(180, rate, seed)
    cells = plain_cells(COST)
    outcome = simulate(kernel_input(RULES, requests, cells), check=seed == 0)
    assert outcome.requests["preempted"].max() == 0

    def duration(step: Step, changed: bool) -> int:
        return cells.evaluate(step.tokens, step.context, step.sequences, step.pairs)

    in_ticks = Requests(requests.prompt, requests.output, ticks(requests.arrival))
    served = serve(RULES, in_ticks, duration)
    assert (outcome.requests["first"] == served.first.astype(np.int64)).all()
    assert (outcome.requests["finish"] == served.last.astype(np.int64)).all()


def test_seconds_agree_too() -> None:
    requests = draw_requests(100, 25.0, 3)
    mine, kernels = predict(RULES, requests, COST), kernel_serve(RULES, requests, COST)
    assert np.allclose(mine.first, kernels.first, rtol=0, atol=1e-7)
    assert np.allclose(mine.last, kernels.last, rtol=0, atol=1e-7)
