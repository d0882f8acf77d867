"""Federations against their bars: `python -m benchmarks.federated`.

`flower`, and in `size_sweep` PyTorch and Flower, want `make bench-env`. One thread unless a key
says otherwise; medians, each after a run that is not timed.
"""

import json
import math
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from .bars import Bar, Group, run_groups
from .process import MeasureError, ask, child_json

BARS: dict[str, Bar] = {
    "softmax_client_rounds_per_s_1t": Bar(50_000, at_least=True),
    "mlp_client_rounds_per_s_1t": Bar(15_000, at_least=True),
    "events_only_per_s": Bar(3_000_000, at_least=True),
    "million_clients_rss_mb": Bar(4_000),
    "million_clients_s": Bar(120),
    "softmax_vs_flower": Bar(500, at_least=True),
}
CHILD = "benchmarks.federated_child"
FEDBUFF = {"name": "fedbuff", "buffer": 100, "concurrency": 1000}
MODELS = {"softmax": [60, 10], "mlp": [60, 32, 10]}
# Key -> strategy, versions of a run, updates that count as one.
SMALL_STEPS: dict[str, tuple[dict[str, Any], int, int]] = {
    "fedasync_updates_per_s": ({"name": "fedasync", "concurrency": 1_000}, 20_000, 1),
    "afa_updates_per_s": ({"name": "afa_cd", "rest_s": 1.0}, 1_000, 1),
    "rounds_of_ten_per_s": ({"name": "fedavg", "clients": 10}, 3_000, 10),
}
ROUNDS = 9
FLOWER_CLIENTS = {"softmax 1e3": 200, "softmax 1e5": 40, "softmax 1e7": 4}
"""Models of the size sweep that Flower is asked for, and clients of a round there."""


def _learning() -> Group:
    figures, detail = {}, {}
    for name, sizes in MODELS.items():
        answer = ask(
            "learning", module=CHILD, sizes=sizes, clients=10_000, versions=300,
            strategy=FEDBUFF, rounds=ROUNDS,
        )  # fmt: skip
        figures[f"{name}_client_rounds_per_s_1t"] = answer["per_s"]
        detail[name] = answer
    return Group(figures, detail)


def _strategies() -> Group:
    """Strategies that step often: with each update, with every tenth, with rounds of ten."""
    figures, detail = {}, {}
    for key, (strategy, versions, updates_of_one) in SMALL_STEPS.items():
        answer = ask(
            "learning", module=CHILD, sizes=MODELS["softmax"], clients=10_000, versions=versions,
            strategy=strategy, rounds=ROUNDS, evaluate_every=1_000,
        )  # fmt: skip
        figures[key] = answer["per_s"] / updates_of_one
        detail[key] = {"strategy": strategy, **answer}
    return Group(figures, detail)


def _training() -> Group:
    from .federated_learning import figures

    return Group(*figures())


def _events() -> Group:
    plain, noisy = (
        ask(
            "events", module=CHILD, clients=100_000, updates=3_000_000, strategy=FEDBUFF,
            rounds=ROUNDS, jitter=jitter,
        )
        for jitter in (0.0, 0.3)
    )  # fmt: skip
    figures = {"events_only_per_s": plain["per_s"], "events_only_per_s_jitter": noisy["per_s"]}
    return Group(figures, {"plain": plain, "jitter": noisy})


def _million() -> Group:
    with tempfile.TemporaryDirectory() as cache:
        cold = _ask_million(20_000, MLTWIN_CACHE_DIR=cache)
    warm = _ask_million(20_000)
    answer = _ask_million(1_000_000)
    figures = {
        "million_clients_rss_mb": answer["rss_mb"],
        "million_clients_s": answer["seconds"],
        "million_clients_compile_s": cold["seconds"] - warm["seconds"],
    }
    return Group(figures, answer)


def _ask_million(clients: int, **variables: str) -> dict[str, Any]:
    spec = json.dumps({"task": "million", "clients": clients})
    return child_json([sys.executable, "-m", CHILD, spec], **variables)


def _flower() -> Group:
    from .federated_flower import figures

    return Group(*figures())


def _size_sweep() -> Group:
    from .federated_learning import SIZES, size_sweep

    rows = size_sweep()
    for row in rows:
        if row["model"] in FLOWER_CLIENTS:
            _ask_flower(row, SIZES[row["model"]][0], FLOWER_CLIENTS[row["model"]])
    return Group(parity(rows), {"rows": len(rows)}, {"size_sweep": rows})


def _ask_flower(row: dict[str, Any], sizes: list[int], clients: int) -> None:
    from .federated_flower import flower

    try:
        row["flower"] = flower("legacy", sizes, clients, 3, 1)["client_rounds_per_s"]
    except MeasureError as error:
        row["flower"], row["failures"]["flower"] = None, str(error)


WAYS = ("numpy", "torch_loop", "torch_vmap", "flower")


def parity(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How many times as fast as the best other way we are, at the smallest and the largest size.

    And the fewest parameters at which another way is as fast; left out where none is.
    """
    ratios = []
    for row in sorted(rows, key=lambda row: row["parameters"]):
        others = [row[way] for way in WAYS if row.get(way)]
        if others:
            ratios.append((row["parameters"], row["mltwin"] / max(others)))
    if not ratios:
        return {}
    ends = min((size for size, ratio in ratios if ratio <= 1), default=math.inf)
    found = {"size_sweep_ratio_smallest": ratios[0][1], "size_sweep_ratio_largest": ratios[-1][1]}
    return found | ({} if math.isinf(ends) else {"size_sweep_advantage_ends_at": float(ends)})


GROUPS: dict[str, Callable[[], Group]] = {
    "learning": _learning,
    "strategies": _strategies,
    "training": _training,
    "events": _events,
    "million": _million,
    "flower": _flower,
    "size_sweep": _size_sweep,
}


if __name__ == "__main__":
    sys.exit(run_groups("federated", __doc__, GROUPS, BARS))
