"""The federated benchmark: its children answer, its tasks are the same work, its table is read."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bars, federated, federated_child, federated_page, flower_task
from benchmarks import federated_learning_peers as peers
from benchmarks.caching_peer import peer_python
from benchmarks.federated_flower import flower
from benchmarks.process import MeasureError
from mltwin.models.federation.hooks import Local
from mltwin.models.federation.learning.mlp import MlpTask
from mltwin.models.federation.learning.tables import Examples


def test_our_children_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = federated_child.learning([6, 4], 30, 3, {"name": "fedbuff", "buffer": 5}, 2)
    assert found["per_s"] > 0 and found["per_cpu_s"] > 0 and found["updates"] == 15
    assert 0 < found["loss"] < np.log(4)
    found = federated_child.events(50, 400, federated.FEDBUFF, 2, jitter=0.2)
    assert found["updates"] == 400 and len(found["all_per_s"]) == 2
    small = {
        **federated_child.MILLION,
        "strategy": {"name": "fedbuff", "buffer": 20, "concurrency": 40},
        "stop": {"versions": 3},
    }
    monkeypatch.setattr(federated_child, "MILLION", small)
    found = federated_child.million(200)
    assert found["rss_mb"] > 50 and found["metrics"]["versions"] == 3 and not found["violations"]


def test_every_bar_has_a_group_that_gives_it() -> None:
    """By name: a figure that no group gives would never be judged."""
    told = "".join(
        Path(federated.__file__).with_name(f"{name}.py").read_text("utf-8")
        for name in ("federated", "federated_flower")
    )
    for key in federated.BARS:
        assert key in told or key.endswith("_client_rounds_per_s_1t")
    assert set(federated.MODELS) == {key.partition("_")[0] for key in federated.BARS if "1t" in key}


@pytest.mark.parametrize("sizes", [[7, 4], [7, 9, 4]])
def test_flower_s_client_does_our_steps(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """On full batches, where the order of data does not matter."""
    monkeypatch.setattr(flower_task, "BATCH", peers.SAMPLES)
    x, labels, rows = peers.pool(sizes, 3)
    data = Examples.make(
        *(x, labels, np.arange(4) * peers.SAMPLES, rows.reshape(-1), x, labels),
        classes=sizes[-1],
    )
    first = flower_task.first_arrays(sizes)
    start = np.concatenate([matrix.reshape(-1) for matrix in first])
    one, two = np.zeros(1, int), np.full(1, 2)
    found = MlpTask(data, tuple(sizes[1:-1])).train(
        start[None], one, two, one, one + peers.STEPS, Local(lr=peers.LR, batch=0), 0
    )
    theirs = np.concatenate([matrix.reshape(-1) for matrix in flower_task.learn(first, 2, 3)])
    np.testing.assert_allclose(start + found.delta[0], theirs, atol=1e-5)


def test_the_sweep_says_where_the_advantage_ends() -> None:
    rows = [
        {"parameters": 10**3, "mltwin": 100.0, "numpy": 20.0, "torch_loop": None},
        {"parameters": 10**5, "mltwin": 10.0, "numpy": 5.0, "torch_vmap": 11.0},
        {"parameters": 10**7, "mltwin": 1.0, "numpy": 2.0, "flower": 0.1},
    ]
    assert federated.parity(rows) == {
        "size_sweep_ratio_smallest": 5.0,
        "size_sweep_ratio_largest": 0.5,
        "size_sweep_advantage_ends_at": 1e5,
    }
    assert "size_sweep_advantage_ends_at" not in federated.parity(rows[:1])
    assert federated.parity([{"parameters": 1, "mltwin": 1.0, "numpy": None}]) == {}


def test_tables_stand_beside_figures() -> None:
    table = [{"parameters": 1}]
    found = bars.measure(
        {"a": lambda: bars.Group({"x": 2.0}, {}, {"size_sweep": table})},
        ["a"],
        {"x": bars.Bar(1, at_least=True)},
        lambda text: None,
    )
    assert found["size_sweep"] == table and found["bars"] == {"x": True}


def test_the_page_shows_what_was_measured() -> None:
    page = (
        "| key | bar | measured |\n| `a_per_s` | >= 5 | |\n| `b` | - | 3 |\n"
        f"{federated_page.BEGIN}old\n{federated_page.END}after\n"
    )
    row = {"model": "mlp 1e3", "sizes": [6, 4], "parameters": 1004, "mltwin": 1234.5, "numpy": 50.0}
    found = federated_page.filled(page, {"figures": {"a_per_s": 54321.9}, "size_sweep": [row]})
    assert "| `a_per_s` | >= 5 | 54,322 |\n| `b` | - | 3 |\n" in found
    assert "| mlp 6-4 | 1,004 | 1,234 | 50 | 25 |" in found and "old" not in found
    assert found.endswith("after\n") and federated_page.filled(found, {"figures": {}}) == found


def test_the_committed_page_shows_the_committed_results() -> None:
    if not federated_page.RESULTS.exists():
        pytest.skip("not measured yet")
    page = federated_page.PAGE.read_text("utf-8")
    results = json.loads(federated_page.RESULTS.read_text("utf-8"))
    assert federated_page.filled(page, results) == page
    assert results["size_sweep"] and set(federated.BARS) <= set(results["figures"])


def test_without_flower_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTWIN_BENCH_ENV", str(tmp_path))
    with pytest.raises(MeasureError, match="make bench-env"):
        flower("legacy", [6, 4], 4, 2, 1)


def _has_flower() -> bool:
    try:
        command = [peer_python(), "-c", "import flwr.simulation, ray"]
    except MeasureError:
        return False
    return subprocess.run(command, capture_output=True, env=os.environ.copy()).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("api", ["message", "legacy"])
def test_flower_makes_the_model_that_fedavg_makes(api: str) -> None:
    if not _has_flower():
        pytest.skip("Flower is not installed: make bench-env")
    found = flower(api, [6, 4], 4, 2, 1)
    arrays = flower_task.first_arrays([6, 4])
    for _ in range(2):
        models = [flower_task.learn(arrays, client, 4) for client in range(4)]
        arrays = [np.mean(column, axis=0) for column in zip(*models, strict=True)]
    norm = np.sqrt(sum(float((array**2).sum()) for array in arrays))
    assert found["norm"] == pytest.approx(norm, rel=1e-5)
    assert found["client_rounds_per_s"] > 0 and found["first_round_s"] > 0
