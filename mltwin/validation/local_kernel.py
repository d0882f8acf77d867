"""The local engine in the project's own simulator: preset ``openvino``, the fitted cost as a table.

The serving kernel takes the same decisions as the mirror where nothing is pre-empted (a test holds
that, step for step). Its table has no term for steps whose number of tokens changed, so it gets a
cost that was fitted without it.
"""

import numpy as np

from mltwin.calibration.local.cost import StepCost, plain_cells
from mltwin.calibration.local.mirror import Rules
from mltwin.calibration.local.predict import Requests, Served
from mltwin.engines import make_engine
from mltwin.models.serving.tables import RESERVES, EngineKind, IterationCells, ServingInput
from mltwin.sim.ticks import TICKS_PER_S, ticks

ENGINE = "openvino"


def kernel_input(rules: Rules, requests: Requests, cells: IterationCells) -> ServingInput:
    """A run of the local engine as the serving kernel's input (one replica, no prefix caching)."""
    engine = make_engine(ENGINE, max_tokens=rules.budget, max_batch=rules.budget)
    kind = EngineKind(
        cells=cells,
        max_batch=engine.max_batch,
        max_tokens=engine.max_tokens,
        blocks=rules.blocks,
        mixed=engine.mixed,
        chunked=engine.chunked,
        reserve=RESERVES[engine.reserve],
    )
    return ServingInput(
        arrival=ticks(requests.arrival),
        prompt=requests.prompt.astype(np.int32),
        output=requests.output.astype(np.int32),
        predicted=requests.output.astype(np.int32),
        kinds=[kind],
        kind_of=np.zeros(1, np.int64),
        block_tokens=rules.block_tokens,
    )


def kernel_serve(rules: Rules, requests: Requests, cost: StepCost) -> Served:
    """What the serving kernel expects of a run; compare :func:`~mltwin...local.predict.predict`."""
    from mltwin.models.serving.simulate import simulate

    outcome = simulate(kernel_input(rules, requests, plain_cells(cost)))
    first, last = outcome.requests["first"], outcome.requests["finish"]
    ended = last >= 0
    return Served(
        np.where(ended, first / TICKS_PER_S, np.nan), np.where(ended, last / TICKS_PER_S, np.nan)
    )
