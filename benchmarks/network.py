"""Networks and training against their bars: `python -m benchmarks.network`.

`simgrid` wants SimGrid (Debian: libsimgrid-dev, then `make bench-env`), `nccl` and `training` want
MLTWIN_DATA. One core; medians.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from .bars import Bar, Group, run_groups
from .process import MeasureError

BARS: dict[str, Bar] = {
    "simgrid_ratio_06": Bar(10, at_least=True),
    "simgrid_ratio_095": Bar(8, at_least=True),
    "resolves_per_s_06": Bar(30_000, at_least=True),
    "allreduce_16k_s": Bar(5),
    "graph_tasks_per_s": Bar(2e6, at_least=True),
    "nccl_sizes_median_pct": Bar(4),
    "nccl_counts_median_pct": Bar(8),
    "training_mfu_median_pct": Bar(12),
}


def _simgrid() -> Group:
    from .network_flows import figures

    return Group(*figures())


def _flows() -> Group:
    from .network_flows import own_figures

    return Group(*own_figures())


def _allreduce() -> Group:
    from .network_nccl import allreduce_16k_s

    found = allreduce_16k_s()
    return Group({"allreduce_16k_s": found.pop("allreduce_16k_s")}, found)


def _graph() -> Group:
    from .network_graph import figures

    return Group(*figures())


def _nccl() -> Group:
    from .network_nccl import nccl_median_pct, nccl_scores

    scores = nccl_scores(_data())
    return Group(nccl_median_pct(scores), {"tables": len(scores)})


def _training() -> Group:
    from .network_training import measure

    found = measure(_data())
    key = "training_mfu_median_pct"
    return Group({key: found[key]}, {"rows": found["rows"], "groups": found["groups"]})


def _data() -> Path:
    named = os.environ.get("MLTWIN_DATA")
    if not named:
        raise MeasureError("needs the measured data: set MLTWIN_DATA to its folder")
    return Path(named)


GROUPS: dict[str, Callable[[], Group]] = {
    "simgrid": _simgrid,
    "flows": _flows,
    "allreduce": _allreduce,
    "graph": _graph,
    "nccl": _nccl,
    "training": _training,
}


if __name__ == "__main__":
    sys.exit(run_groups("network", __doc__, GROUPS, BARS))
