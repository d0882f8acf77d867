"""Task graphs from files: executed, told in a few lines, written for Perfetto."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mltwin.models.training.executor import execute
from mltwin.workloads.executions import read_execution

from .training_trace import save_trace


def inspect_graph(
    files: Sequence[Path],
    *,
    trace: Path | None = None,
    save: Path | None = None,
    slowdown: float = 1.0,
) -> Iterator[str]:
    """Read, execute and tell; one line at a time.

    Args:
        files: of one graph, one a rank; one folder stands for its files.
        trace: where to write the run for Perfetto.
        save: where to write the graph as plain JSON.
        slowdown: of compute beside communication.

    Raises InputError: a file that cannot be read, a cycle, a place that cannot be written.
    """
    graph = read_execution(files[0] if len(files) == 1 else list(files))
    yield graph.describe()
    run = execute(graph, overlap_slowdown=slowdown)
    yield run.describe()
    yield run.critical_path().describe()
    longest = list(run.critical_path().by_name().items())[:8]
    for name, seconds in longest:
        yield f"  {1e3 * seconds:10.4g} ms  {name or '(no name)'}"
    if save is not None:
        from mltwin.workloads.executions.plain import save_graph

        yield f"saved: {save_graph(graph, save)}"
    if trace is not None:
        yield from save_trace(run, trace, title=Path(files[0]).name)
        yield f"trace: {trace}"
