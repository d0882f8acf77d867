"""What a sweep costs and how it scales: `sweep_efficiency` and `sweep_overhead_us`.

`sweep_efficiency`: 1,000 runs of 100,000 requests (the case `router_64`'s kind of traffic on eight
replicas: ten rates, two routing policies, fifty seeds of arrivals), threads, rows kept on disk. The
wall time with one worker over that with a worker for each core, divided by the number of workers.
Both are taken in one process, after a small sweep that loads the kernels.

`sweep_overhead_us`: the wall time of a sweep of a system whose `simulate` is nearly free (fifty
metrics, a table of a hundred rows), threads, rows kept on disk, minus the time that `simulate`
itself takes for the same runs, one after the other; a run. Checking the points, hashing, the
digest of each result, rows, files and the final table of rows are all in it. Imports are not: a
small sweep comes first.

    python -m benchmarks.studio_sweep [--runs 1000] [--requests 100000] [--repeats 3]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from .process import MeasureError, ask

RUNS, REQUESTS, REPEATS = 1_000, 100_000, 3
OVERHEAD_POINTS, OVERHEAD_SEEDS = 500, 4
RATES, ROUTES = 10, ["least_requests", "round_robin"]
_HERE = "benchmarks.studio_sweep"


def figures(
    runs: int = RUNS, requests: int = REQUESTS, repeats: int = REPEATS
) -> tuple[dict[str, float], dict[str, Any]]:
    """Both figures, and what they were made of.

    Raises MeasureError where a measurement fails.
    """
    scaling = sweep_efficiency(runs, requests)
    cost = sweep_overhead_us(repeats)
    values = {name: found[name] for found in (scaling, cost) for name in found if _is_key(name)}
    return values, {"sweep_efficiency": scaling, "sweep_overhead_us": cost}


def sweep_efficiency(runs: int = RUNS, requests: int = REQUESTS) -> dict[str, Any]:
    """`sweep_efficiency` and what it was made of; see the module."""
    return ask("efficiency", module=_HERE, runs=runs, requests=requests)


def sweep_overhead_us(repeats: int = REPEATS) -> dict[str, Any]:
    """`sweep_overhead_us`, the median of the repeats, and what it was made of; see the module."""
    return ask("overhead", module=_HERE, repeats=repeats)


def efficiency(runs: int, requests: int) -> dict[str, Any]:
    """The measurement itself, in a process of its own."""
    from mltwin.serving import ServingScenario
    from mltwin.sim.executors import usable_cores

    base = ServingScenario.parse(
        {
            "system": "serving",
            "workload": {"requests": requests, "arrivals": "poisson", "rate": 40.0},
            "model": {"name": "llama-3.1-8b"},
            "cluster": {"mixed": {"replicas": 8}},
        }
    )
    seeds = max(1, runs // (RATES * len(ROUTES)))
    space = {
        "workload.rate": {"from": 20.0, "to": 80.0, "steps": RATES, "scale": "log"},
        "policy.route": ROUTES,
    }
    workers = usable_cores()
    _timed(base.changed({"workload.requests": 2_000}), space, 1, workers)
    parallel_s, digest = _timed(base, space, seeds, workers)
    serial_s, again = _timed(base, space, seeds, 1)
    if digest != again:
        raise MeasureError("one worker and several gave different digests")
    return {
        "sweep_efficiency": serial_s / parallel_s / workers,
        "workers": workers,
        "runs": seeds * RATES * len(ROUTES),
        "requests": requests,
        "seconds_one_worker": serial_s,
        "seconds_all_workers": parallel_s,
    }


def overhead(repeats: int) -> dict[str, Any]:
    """The measurement itself, in a process of its own."""
    from mltwin.sim.executors import usable_cores

    base, workers = _free_scenario(), usable_cores()
    _timed(base, {"size": [1, 2, 3]}, 2, workers)
    space = {"size": {"from": 1, "to": OVERHEAD_POINTS, "steps": OVERHEAD_POINTS}}
    runs = OVERHEAD_POINTS * OVERHEAD_SEEDS
    swept, simulated = [], []
    for _ in range(repeats):
        swept.append(_timed(base, space, OVERHEAD_SEEDS, workers)[0])
        started = time.perf_counter()
        for _ in range(OVERHEAD_POINTS):
            for seed in range(OVERHEAD_SEEDS):
                base.simulate(seed)
        simulated.append(time.perf_counter() - started)
    costs = [(a - b) / runs * 1e6 for a, b in zip(swept, simulated, strict=True)]
    return {
        "sweep_overhead_us": statistics.median(costs),
        "each_us": costs,
        "simulate_us": [seconds / runs * 1e6 for seconds in simulated],
        "runs": runs,
        "workers": workers,
    }


def _free_scenario() -> Any:
    import numpy as np

    from mltwin import Result, Scenario

    metrics = {f"metric_{i}": float(i) for i in range(50)}
    column = np.arange(100.0)

    class FreeScenario(Scenario):
        """A system that takes no time to simulate."""

        system: Literal["free"] = "free"
        size: int = 1

        def simulate(self, seed: int, **options: Any) -> Result:
            return Result(metrics, {"rows": {"value": column}})

    return FreeScenario()


def _timed(base: Any, space: dict[str, Any], seeds: int, workers: int) -> tuple[float, str]:
    """Seconds that a sweep with a store takes, and its digest."""
    from mltwin.sweeps.run import sweep

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        found = sweep(base, space, seeds=seeds, workers=workers, store=folder)
        elapsed = time.perf_counter() - started
    if found.failures:
        raise MeasureError(found.failures[0].error)
    return elapsed, found.digest


def _is_key(name: str) -> bool:
    return name in ("sweep_efficiency", "sweep_overhead_us")


def main() -> int:
    """Measure and print; with a JSON object as the only argument, be the fresh process."""
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        spec = json.loads(sys.argv[1])
        task = {"efficiency": efficiency, "overhead": overhead}[spec.pop("task")]
        print(json.dumps(task(**spec)))
        return 0
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{Path(__file__).stem}")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    chosen = parser.parse_args()
    print(json.dumps(figures(chosen.runs, chosen.requests, chosen.repeats)[1], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
