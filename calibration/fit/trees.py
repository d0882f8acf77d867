"""Boosted trees for what a physical formula leaves over, fitted with scikit-learn."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.gpu.operators.trees import LEAF, Trees, encode
from mltwin.sim.errors import InputError

from .robust import Array

ROUNDS = 200
LEAVES = 31
RATE = 0.08
LEAST = 10


def fit_trees(inputs: Array, target: Array, *, rounds: int = ROUNDS, leaves: int = LEAVES) -> Trees:
    """Trees of least absolute error: outliers count little.

    Args:
        inputs: (points, features).
        target: (points,) log of measured over physical time.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError:
        raise InputError(
            "scikit-learn is not installed", mend="pip install 'mltwin[calibrate]'"
        ) from None
    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=rounds,
        max_leaf_nodes=leaves,
        learning_rate=RATE,
        min_samples_leaf=min(LEAST, max(1, len(target) // 20)),
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    # Thresholds are kept in 32 bits: so are the inputs when they are chosen.
    model.fit(np.asarray(inputs, np.float32).astype(float), target)
    return _flatten(model, inputs.shape[1])


def _flatten(model: Any, features: int) -> Trees:
    """The library's trees as flat arrays in which siblings are neighbours."""
    roots: list[int] = []
    columns: dict[str, list[float]] = {"feature": [], "threshold": [], "left": [], "value": []}
    for (predictor,) in model._predictors:
        roots.append(len(columns["left"]))
        _add_tree(predictor.nodes, columns)
    return encode(
        features,
        roots,
        columns["feature"],
        # A threshold rounded up in 32 bits must not let a point through that stood at it.
        _round_down(np.array(columns["threshold"])),
        columns["left"],
        columns["value"],
        float(np.ravel(model._baseline_prediction)[0]),
    )


def _add_tree(nodes: Any, columns: dict[str, list[float]]) -> None:
    waiting = [0]
    start = len(columns["left"])
    order = {0: start}
    end = start + 1
    for name in columns:
        columns[name].append(0)
    while waiting:
        node = waiting.pop(0)
        place, row = order[node], nodes[node]
        if row["is_leaf"]:
            columns["feature"][place] = LEAF
            columns["value"][place] = float(row["value"])
            continue
        columns["feature"][place] = int(row["feature_idx"])
        columns["threshold"][place] = float(row["num_threshold"])
        columns["left"][place] = end
        for child in (int(row["left"]), int(row["right"])):
            order[child] = end
            end += 1
            waiting.append(child)
            for name in columns:
                columns[name].append(0)


def _round_down(values: Array) -> npt.NDArray[np.float32]:
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)
