"""FedAvg in Flower's simulation engine, for scale; run in the environment of `make bench-env`.

`python -m benchmarks.flower_child '{"api": "message", "sizes": [60, 10], "clients": 100, ...}'`
prints one JSON object. Every client takes part in every round; nothing is evaluated.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import flwr
import numpy as np

from . import flower_client
from .flower_task import first_arrays


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """Client rounds per second.

    Args:
        spec: api ("message", Flower's present one, or "legacy", `start_simulation`), sizes of the
            model's layers, clients, rounds (two or more), cores: Ray's CPUs, one a worker.

    Returns:
        client_rounds_per_s of the median round but the first, in which Ray starts its workers:
        first_round_s; norm of the last model, flwr's version.
    """
    moments: list[float] = []
    last: list[Any] = []

    def note(number: int, arrays: Any) -> None:
        moments.append(time.perf_counter())
        last[:] = arrays

    run = {"message": run_messages, "legacy": run_legacy}[spec["api"]]
    run(spec["sizes"], spec["clients"], spec["rounds"], spec["cores"], note)
    if len(moments) != spec["rounds"] + 1:
        raise SystemExit(f"Flower ended after {len(moments) - 1} of {spec['rounds']} rounds")
    seconds = np.diff(moments).tolist()
    return {
        "client_rounds_per_s": spec["clients"] / statistics.median(seconds[1:]),
        "first_round_s": seconds[0],
        "rounds_s": seconds[1:],
        "norm": float(np.sqrt(sum(float((array**2).sum()) for array in last))),
        "flwr": flwr.__version__,
    }


def run_messages(
    sizes: list[int], clients: int, rounds: int, cores: int, note: Callable[[int, Any], None]
) -> None:
    """`run_simulation` of a ServerApp and a ClientApp."""
    from flwr.app import ArrayRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    server = ServerApp()

    @server.main()
    def _(grid: Any, context: Any) -> None:
        strategy = FedAvg(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=clients,
            min_available_nodes=clients,
        )
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(first_arrays(sizes)),
            num_rounds=rounds,
            evaluate_fn=lambda number, arrays: note(number, arrays.to_numpy_ndarrays()),
        )

    resources = {"num_cpus": 1, "num_gpus": 0.0}
    settings = {"client_resources": resources, "init_args": {"num_cpus": cores}}
    run_simulation(server, flower_client.app, clients, backend_config=settings)


def run_legacy(
    sizes: list[int], clients: int, rounds: int, cores: int, note: Callable[[int, Any], None]
) -> None:
    """`start_simulation`, which Flower keeps for older programs."""
    from flwr.common import ndarrays_to_parameters
    from flwr.server import ServerConfig
    from flwr.server.strategy import FedAvg
    from flwr.simulation import start_simulation

    strategy = FedAvg(
        fraction_fit=1.0,
        fraction_evaluate=0.0,
        min_fit_clients=clients,
        min_available_clients=clients,
        evaluate_fn=lambda number, arrays, config: note(number, arrays),
        initial_parameters=ndarrays_to_parameters(first_arrays(sizes)),
    )
    start_simulation(
        client_fn=flower_client.make_client,
        num_clients=clients,
        config=ServerConfig(num_rounds=rounds),
        strategy=strategy,
        client_resources={"num_cpus": 1, "num_gpus": 0.0},
        ray_init_args={"num_cpus": cores},
    )


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
