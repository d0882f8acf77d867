"""Our federated rounds beside those of Flower's simulation engine, on as many cores.

The same task: FedAvg in which every client takes part in every round, the same data, model and
local steps. Flower is asked through both of its interfaces, the present one (`run_simulation` of a
message-based app) and the older `start_simulation`, which it has deprecated; the figure is against
the faster of the two. Its workers get as many CPUs as we use threads; its server and Ray's own
processes come on top. Its first round, in which Ray starts the workers, is left out.
"""

import json
import subprocess
from typing import Any

from .caching_peer import peer_python
from .process import MeasureError, ask, child_json

APIS = ("message", "legacy")
SOFTMAX = [60, 10]
CLIENTS, ROUNDS, CORES = 1_000, 4, (1, 2)
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """How many times the client rounds per second of Flower.

    Raises MeasureError where Flower is not installed.
    """
    found: dict[str, float] = {}
    detail: dict[str, Any] = {"clients": CLIENTS, "rounds": ROUNDS}
    for cores in CORES:
        theirs = {api: flower(api, SOFTMAX, CLIENTS, ROUNDS, cores) for api in APIS}
        ours = own(SOFTMAX, CLIENTS, cores)
        best = max(answer["client_rounds_per_s"] for answer in theirs.values())
        end = "" if cores == 1 else f"_{cores}t"
        found[f"softmax_vs_flower{end}"] = ours["per_s"] / best
        present = theirs["message"]["client_rounds_per_s"]
        found[f"softmax_vs_flower_present{end}"] = ours["per_s"] / present
        detail[str(cores)] = {"ours": ours, "flower": theirs}
    return found, detail


def flower(api: str, sizes: list[int], clients: int, rounds: int, cores: int) -> dict[str, Any]:
    """What Flower answers (`flower_child.main`).

    Raises MeasureError where it is not installed, or does not finish.
    """
    spec = {"api": api, "sizes": sizes, "clients": clients, "rounds": rounds, "cores": cores}
    command = [peer_python(), "-m", "benchmarks.flower_child", json.dumps(spec)]
    try:
        return child_json(command, **QUIET)
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"Flower did not answer within {error.timeout:g} s") from None


def own(sizes: list[int], clients: int, threads: int) -> dict[str, Any]:
    """The same rounds of ours: events, training, steps."""
    return ask(
        "learning",
        module="benchmarks.federated_child",
        sizes=sizes,
        clients=clients,
        versions=20,
        strategy={"name": "fedavg", "clients": 0},
        rounds=9,
        threads=threads,
    )
