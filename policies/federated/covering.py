"""Parts of a model: which parameters a smaller model has, and training of them alone.

Helpers of `submodels`: no policy is registered here.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Local, Server, Updates

Array = npt.NDArray[Any]


def part(task: Any, share: float, offset: int = 0) -> Array:
    """bool[d], the parameters of a model whose layers have `share` of their units.

    Dense layers (a task with a `layout`) keep ceil(share * units) units of every hidden layer, with
    the weights from and to them; inputs and outputs stay whole (HeteroFL: Diao, Ding and Tarokh,
    arXiv 2010.01264, section 3). A network without a hidden layer keeps that share of its inputs, a
    task without layers that share of its parameters. Kept units are consecutive from `offset`,
    past the last one from the first again (FedRolex: Alam et al., arXiv 2212.01548, section 3).
    """
    layout = getattr(task, "layout", None)
    if layout is None:
        return _window(task.parameters, share, offset)
    sizes = layout.sizes
    kept = [np.ones(size, bool) for size in sizes]
    for layer in range(1, len(sizes) - 1) if len(sizes) > 2 else [0]:
        kept[layer] = _window(sizes[layer], share, offset)
    mask = np.zeros(layout.parameters)
    for layer, matrix in enumerate(layout.matrices(mask)):
        matrix[:-1] = kept[layer][:, None] & kept[layer + 1]
        matrix[-1] = kept[layer + 1]
    return mask.astype(bool)


def _window(units: int, share: float, offset: int) -> Array:
    kept = np.zeros(units, bool)
    kept[(offset + np.arange(max(1, math.ceil(share * units)))) % units] = True
    return kept


def trained(
    server: Server, done: Arrivals, masks: Array, lr: Array | float
) -> tuple[Updates, Array]:
    """Updates of sub-models, and float64[n], the loss of the first step minus that of the last.

    A client starts from the held model with the parameters outside its part at zero, and they stay
    there. Its steps are taken one at a time, each with a batch of its own key, so a sample may come
    again before all have been seen. Updates are zero outside the part.

    Args:
        masks: bool[n, d]; lr: step size, one or float64[n].
    """
    start = server.held(done) * masks
    now = start.copy()
    first, last = np.zeros(len(done)), np.zeros(len(done))
    loss, squared = np.zeros(len(done)), np.zeros(len(done))
    rates = np.broadcast_to(np.asarray(lr, np.float64), len(done))
    for k in range(int(done.steps.max(initial=0))):
        rows = np.flatnonzero(done.steps > k)
        one = server.task.train(
            now[rows],
            np.arange(len(rows)),
            done.client[rows],
            done.dispatch[rows] * int(done.steps.max()) + k,
            np.ones(len(rows), np.int64),
            Local(lr=rates[rows], batch=server.plan.batch),
            server.seed,
        )
        now[rows] += one.delta * masks[rows]
        loss[rows] += one.loss / done.steps[rows]
        squared[rows] += one.squared / done.steps[rows]
        last[rows] = one.loss
        if k == 0:
            first[rows] = one.loss
    return Updates(now - start, loss, squared), first - last


def averaged(weights: Array, masks: Array, deltas: Array) -> Array:
    """float64[d], each parameter averaged over those that have it, 0 where none has.

    sum_i p_i m_ik D_ik / sum_i p_i m_ik, added in order (HeteroFL, equation 1).
    """
    total = np.zeros(deltas.shape[1])
    cover = np.zeros(deltas.shape[1])
    for weight, mask, delta in zip(weights.tolist(), masks, deltas, strict=True):
        total += weight * (mask * delta.astype(np.float64))
        cover += weight * mask
    return np.asarray(total / np.where(cover > 0.0, cover, 1.0))
