"""The benchmark's ways of local training do the same work."""

import numpy as np
import pytest

from benchmarks import federated_learning_peers as peers
from benchmarks.federated_learning import SIZES, train
from mltwin.models.federation.hooks import Local
from mltwin.models.federation.learning.mlp import MlpTask
from mltwin.models.federation.learning.tables import Examples


@pytest.mark.parametrize("sizes", [[7, 4], [7, 9, 5, 4]])
def test_numpy_s_step_is_ours(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """On full batches, where the order of data does not matter."""
    monkeypatch.setattr(peers, "SAMPLES", 12)
    x, labels, rows = peers.pool(sizes, 3)
    first = peers.first_weights(sizes)
    weights = [np.repeat(matrix[None], 3, axis=0) for matrix in first]
    unit = np.eye(sizes[-1], dtype=np.float32)
    for _ in range(4):
        peers.numpy_step(weights, x[rows], unit[labels[rows]])
    data = Examples.make(
        x, labels, np.arange(4) * 12, rows.reshape(-1), x, labels, classes=sizes[-1]
    )
    start = np.concatenate([matrix.reshape(-1) for matrix in first])
    zero, everyone = np.zeros(3, int), np.arange(3)
    found = MlpTask(data, tuple(sizes[1:-1])).train(
        start[None], zero, everyone, zero, zero + 4, Local(lr=peers.LR, batch=0), 0
    )
    theirs = np.concatenate([matrix.reshape(3, -1) for matrix in weights], 1)
    np.testing.assert_allclose(start + found.delta, theirs, atol=1e-5)


def test_a_rate_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SECONDS", 0.0)
    assert train([5, 3], 4, 1)["client_rounds_per_s"] > 0
    assert peers.main({"way": "numpy", "sizes": [5, 3], "clients": 4})["client_rounds_per_s"] > 0


def test_the_sweep_goes_from_a_thousand_to_ten_million_parameters() -> None:
    counts = {
        name: sum((a + 1) * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))  # noqa: RUF007
        for name, (sizes, _) in SIZES.items()
    }
    for name, count in counts.items():
        assert count == pytest.approx(float(name.split()[1]), rel=0.1), name
    assert min(counts.values()) < 1100
    assert max(counts.values()) > 9e6
