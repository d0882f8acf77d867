"""Files that hold lengths but no times: the caller names an arrival process."""

from collections.abc import Mapping
from typing import Any

from .arrivals import arrival_ticks
from .table import Trace
from .tabular import Table


def with_arrivals(table: Table, spec: Mapping[str, Any] | None, seed: int) -> Trace:
    """A trace of the table's lengths in file order, arriving by `spec` (`workloads.arrivals`)."""
    if spec is None:
        raise table.source.error(
            "holds lengths but no arrival times",
            mend='name a process: arrivals={"process": "poisson", "rate_per_s": 2.0}',
        )
    table.rejects.write()
    return Trace.make(
        arrival_ticks(spec, table.rows, seed),
        table["prompt"],
        table["output"],
        name=table.source.stem,
        source=table.source.path.name,
        meta={"arrivals": dict(spec), "seed": seed, **table.rejects.meta()},
    )
