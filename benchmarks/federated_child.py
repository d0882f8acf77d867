"""Our own measurements of federations: `python -m benchmarks.federated_child '{"task": ...}'`.

Each in a process of its own; the last line of the output is the answer, a JSON object.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .federated_learning_peers import BATCH, LR, SAMPLES, STEPS, pool

HELD_OUT = 2_000
EVALUATE_EVERY = 100  # versions
SPREAD = 1.0  # sigma of the log-normal speeds

MILLION: dict[str, Any] = {
    "system": "federated",
    "strategy": {"name": "fedbuff", "buffer": 1000, "concurrency": 10_000},
    "clients": {"count": 1_000_000, "speed": "fedscale", "availability": "flash_strict"},
    "dataset": {
        "source": {"name": "gaussians", "samples": 20_000, "features": 60, "classes": 10},
        "split": {"name": "dirichlet", "alpha": 0.3},
        "samples": SAMPLES,
    },
    "training": {"steps": STEPS, "batch": BATCH, "lr": LR, "evaluate_every": 10},
    "stop": {"versions": 200},
}


def learning(
    sizes: list[int],
    clients: int,
    versions: int,
    strategy: dict[str, Any],
    rounds: int,
    threads: int = 1,
    evaluate_every: int = EVALUATE_EVERY,
) -> dict[str, Any]:
    """Client updates per second of a run that learns: events, training, steps, evaluation."""
    from mltwin.models.federation.learning.mlp import MlpTask
    from mltwin.models.federation.learning.tables import Examples
    from mltwin.models.federation.tables import Plan

    x, labels, rows = pool(sizes, clients)
    examples = Examples.make(
        *(x, labels, np.arange(clients + 1) * SAMPLES, rows.reshape(-1)),
        *(x[:HELD_OUT], labels[:HELD_OUT]),
        classes=sizes[-1],
        name="clouds",
    )
    task = MlpTask(examples, tuple(sizes[1:-1]), threads=threads)
    every = max(1, min(evaluate_every, versions))
    plan = Plan(steps=STEPS, batch=BATCH, lr=LR, versions=versions, evaluate_every=every)
    people = population(examples.samples, down_bytes_per_s=5e6, up_bytes_per_s=1e6)
    found = timed(lambda seed: run(people, strategy, plan, seed, task), rounds)
    return {**found, "loss": float(run(people, strategy, plan, 1, task).evaluations["loss"][-1])}


def events(
    clients: int, updates: int, strategy: dict[str, Any], rounds: int, jitter: float = 0.0
) -> dict[str, Any]:
    """Client updates per second where only time is simulated; each is a dispatch and an arrival."""
    from mltwin.models.federation.tables import Plan

    people = population(np.full(clients, SAMPLES), jitter=jitter)
    plan = Plan(updates=updates, model_bytes=1e5, evaluate_every=10**9)
    return timed(lambda seed: run(people, strategy, plan, seed), rounds)


def million(clients: int) -> dict[str, Any]:
    """Wall time and peak memory of the whole process: imports, clients, data, run, metrics."""
    import mltwin as mt

    given = {**MILLION, "clients": {**MILLION["clients"], "count": clients}}
    started = time.perf_counter()
    scenario = mt.Scenario.parse(given)
    result = scenario.run(1)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": time.perf_counter() - started,
        "rss_mb": peak_kib * 1024 / 1e6,
        "metrics": dict(result.metrics),
        "violations": list(result.violations),
    }


def population(samples: Any, **columns: Any) -> Any:
    """Clients that are always there, log-normally fast."""
    from mltwin.models.federation.tables import Clients

    speed = 1e-3 * np.random.default_rng(0).lognormal(0.0, SPREAD, len(samples))
    return Clients.make(samples, s_per_sample=speed, **columns)


def run(people: Any, strategy: dict[str, Any], plan: Any, seed: int, task: Any = None) -> Any:
    """One run; a fault in its books stops the benchmark."""
    from mltwin.models.federation.hooks import Policies
    from mltwin.models.federation.simulate import simulate
    from mltwin.policies.federated.registry import make

    found = simulate(people, Policies(make("strategy", strategy)), plan, task=task, seed=seed)
    if found.violations or not found.complete:
        raise SystemExit(f"{found.ended}; {found.violations}")
    return found


def timed(play: Callable[[int], Any], rounds: int) -> dict[str, Any]:
    """Updates used per second of wall time and of CPU time: medians, after a run not timed."""
    play(0)
    wall, cpu = [], []
    for number in range(1, rounds + 1):
        started, worked = time.perf_counter(), time.process_time()
        used = play(number).totals["used"]
        cpu.append(used / (time.process_time() - worked))
        wall.append(used / (time.perf_counter() - started))
    return {
        "per_s": statistics.median(wall),
        "per_cpu_s": statistics.median(cpu),
        "all_per_s": wall,
        "updates": used,
    }


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    f.__name__: f for f in (learning, events, million)
}

if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(json.dumps(TASKS[wanted.pop("task")](**wanted)))
