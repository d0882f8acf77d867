"""How fast a graph of a million tasks is executed.

64 GPUs train 24 layers, step after step, each GPU with its own draws of kernel times: forward and
backward kernels with an all-reduce of four neighbours after each (tensor parallel), and
an all-reduce of sixteen GPUs per layer beside the backward pass (data parallel, on a stream of its
own), which the next step's optimizer waits for. Compute takes 1.2 times as long while its GPU
communicates, so every all-reduce changes the end of a kernel that runs.
"""

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mltwin.models.training.graph import Graph

TASKS = 1_000_000
GPUS, LAYERS, TENSOR = 64, 24, 4
SLOWDOWN = 1.2
ROUNDS = 5
_TENSOR_STREAM, _DATA_STREAM = 1, 2


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """Tasks per second of `execute`, from the finished graph to the finished run; median."""
    from mltwin.models.training.executor import execute

    graph = overlap_graph()
    cases: dict[str, dict[str, Any]] = {
        "graph_tasks_per_s": {"overlap_slowdown": SLOWDOWN},
        "graph_tasks_per_s_priorities": {"overlap_slowdown": SLOWDOWN, "order": "ready"},
        "graph_tasks_per_s_undisturbed": {},
    }
    found, detail = {}, {"tasks": len(graph), "dependencies": len(graph.after)}
    for key, options in cases.items():
        execute(graph, **options)  # compiles
        times = []
        for _ in range(ROUNDS):
            start = time.process_time()
            run = execute(graph, **options)
            times.append(time.process_time() - start)
        found[key] = len(graph) / statistics.median(times)
        detail[key] = {"seconds": times, "makespan_s": run.makespan_s}
    return found, detail


def overlap_graph(tasks: int = TASKS) -> "Graph":
    """Steps of the module's job until there are `tasks` tasks."""
    from mltwin.models.training.graph import GraphBuilder

    draws = np.random.default_rng(6)
    graph = GraphBuilder()
    last = graph.add(device=np.arange(GPUS), name="start")
    while len(graph) < tasks:
        gradients = []
        for layer in range(2 * LAYERS):
            backward = layer >= LAYERS
            name = "backward" if backward else "forward"
            ticks = draws.integers(10**8, 2 * 10**8, GPUS) * (2 if backward else 1)
            last = graph.add(
                device=np.arange(GPUS), duration=ticks, after=last, name=name, category=name
            )
            if backward:
                gradients.append(_all_reduce(graph, last, GPUS // TENSOR, _DATA_STREAM, "dp"))
            last = _all_reduce(graph, last, TENSOR, _TENSOR_STREAM, "tp")
        for gradient in gradients:
            last = graph.add(
                device=np.arange(GPUS),
                duration=2 * 10**7,
                after=np.stack([last, gradient], axis=1),
                name="optimizer",
                category="optimizer",
            )
    return graph.build()


def _all_reduce(graph: Any, after: Any, ranks: int, stream: int, category: str) -> Any:
    """One collective of each set of `ranks` GPUs: neighbours, or every fourth."""
    from mltwin.models.training.graph import COLLECTIVE

    gpu = np.arange(GPUS)
    own = gpu // ranks if category == "tp" else gpu % (GPUS // ranks)
    return graph.add(
        kind=COLLECTIVE,
        device=gpu,
        stream=stream,
        group=graph.new_groups(GPUS // ranks)[own],
        duration=3 * 10**7 if category == "tp" else 12 * 10**7,
        after=after,
        name="all-reduce",
        category=category,
    )
