"""How many clients a second our kernels train, beside NumPy and PyTorch, over sizes of models.

Training alone: no events. Five steps of ten of a client's fifty samples, one thread unless said.
PyTorch is asked in the environment that MLTWIN_BENCH_ENV names (torch==2.13.0), where it has one.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .caching_peer import peer_python
from .federated_learning_peers import BATCH, LR, SAMPLES, STEPS, pool, rate
from .process import MeasureError, ask, child_json

PEERS = Path(__file__).with_name("federated_learning_peers.py")
OWN_WAYS, TORCH_WAYS = ("numpy",), ("torch_loop", "torch_vmap")
# Model -> sizes of its layers, clients of a round.
SIZES: dict[str, tuple[list[int], int]] = {
    "softmax 1e3": ([100, 10], 4_000),
    "softmax 1e4": ([1_000, 10], 1_000),
    "softmax 1e5": ([10_000, 10], 100),
    "softmax 1e6": ([10_000, 100], 16),
    "softmax 1e7": ([100_000, 100], 4),
    "mlp 1e3": ([60, 14, 10], 4_000),
    "mlp 1e4": ([60, 128, 16, 10], 1_000),
    "mlp 1e5": ([784, 126, 10], 200),
    "mlp 1e6": ([784, 800, 400, 10], 24),
    "mlp 1e7": ([3072, 2400, 1000, 10], 4),
}


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """Client rounds per second of the two models that bars are set for, training alone."""
    found = {}
    for name, sizes in (("softmax", [60, 10]), ("mlp", [60, 32, 10])):
        for threads in (1, 2):
            rates = [own_rate(sizes, 10_000, threads) for _ in range(3)]
            found[f"{name}_training_per_s_{threads}t"] = sorted(rates)[1]
    return found, {"samples": SAMPLES, "steps": STEPS, "batch": BATCH, "clients": 10_000}


def size_sweep(models: list[str] | None = None) -> list[dict[str, Any]]:
    """A row for each model: parameters, and client rounds per second by way.

    A way that could not be measured is None, with its reason in `failures`.
    """
    return [_row(name, *SIZES[name]) for name in models or SIZES]


def _row(name: str, sizes: list[int], clients: int) -> dict[str, Any]:
    parameters = sum((a + 1) * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))  # noqa: RUF007
    row: dict[str, Any] = {"model": name, "sizes": sizes, "parameters": parameters}
    row["mltwin"] = own_rate(sizes, clients, 1)
    failures: dict[str, str] = {}
    for way in (*OWN_WAYS, *TORCH_WAYS):
        spec = json.dumps({"way": way, "sizes": sizes, "clients": clients})
        try:
            python = peer_python() if way in TORCH_WAYS else sys.executable
            answer = child_json([python, str(PEERS), spec])
        except (MeasureError, subprocess.TimeoutExpired) as error:
            row[way], failures[way] = None, str(error)
            continue
        row[way] = answer["client_rounds_per_s"]
    return {**row, "failures": failures}


def own_rate(sizes: list[int], clients: int, threads: int) -> float:
    """Our client rounds per second, in a process of its own."""
    spec = {"sizes": sizes, "clients": clients, "threads": threads}
    return float(ask("train", module=__spec__.name, **spec)["client_rounds_per_s"])


def train(sizes: list[int], clients: int, threads: int) -> dict[str, Any]:
    """The measurement of `own_rate`, here."""
    import numpy as np

    from mltwin.models.federation.hooks import Local
    from mltwin.models.federation.learning.mlp import MlpTask
    from mltwin.models.federation.learning.tables import Examples

    x, labels, rows = pool(sizes, clients)
    examples = Examples.make(
        *(x, labels, np.arange(clients + 1) * SAMPLES, rows.reshape(-1), x[:10], labels[:10]),
        classes=sizes[-1],
        name="clouds",
    )
    task = MlpTask(examples, tuple(sizes[1:-1]), threads=threads)
    versions = task.initial(0).astype(np.float32)[None]
    zero, everyone = np.zeros(clients, np.int64), np.arange(clients)
    local = Local(lr=LR, batch=BATCH)

    def play(number: int) -> Any:
        return task.train(versions, zero, everyone, zero + number, zero + STEPS, local, 1)

    return {"client_rounds_per_s": rate(play, clients)}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given.pop("task")
    print(json.dumps(train(**given)))
