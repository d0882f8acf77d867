"""How far fitted collectives are from what was measured: `python -m benchmarks.network_nccl`.

Every table of collectives below MLTWIN_DATA (or --data) is fitted without every fifth size, then
without each number of GPUs in turn, and scored on what was left out. The two figures are of NCCL
inside a node: the weighted median of the absolute errors, each collective of each table counting
alike, however many sizes it has. Also times one hierarchical all-reduce on 16,384 GPUs as flows.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

GPUS_16K = 16_384
BYTES_16K = 10e9


class Score(NamedTuple):
    """Of one collective of one table: what was measured, and its errors (column ``error``)."""

    table: str
    law: str
    rows: int
    sizes: pd.DataFrame
    counts: pd.DataFrame


def nccl_scores(data: str | Path) -> list[Score]:
    """All tables, inside a node and across."""
    from mltwin.calibration.collectives import collective_cases
    from mltwin.calibration.fit.nccl import count_errors, size_errors

    return [
        Score(
            "/".join(case.table.file.split("/")[:-1]),
            case.law,
            len(case.rows),
            size_errors(case.rows, case.kind),
            count_errors(case.rows, case.kind),
        )
        for case in collective_cases(data)
    ]


def nccl_median_pct(scores: list[Score]) -> dict[str, float]:
    """``nccl_sizes_median_pct`` and ``nccl_counts_median_pct``."""
    inside = [s for s in scores if s.law.startswith("nccl.") and not s.law.endswith(".across")]
    return {
        "nccl_sizes_median_pct": weighted_median_pct([s.sizes for s in inside]),
        "nccl_counts_median_pct": weighted_median_pct([s.counts for s in inside]),
    }


def weighted_median_pct(parts: list[pd.DataFrame]) -> float:
    """Median of |error| in percent over all rows, each part weighing one in all."""
    kept = [np.abs(p["error"].to_numpy(float)) for p in parts if len(p)]
    error = np.concatenate(kept)
    weight = np.concatenate([np.full(len(e), 1 / len(e)) for e in kept])
    order = np.argsort(error)
    passed = np.cumsum(weight[order])
    return round(float(error[order][np.searchsorted(passed, passed[-1] / 2)]) * 100, 2)


def allreduce_16k_s(repeats: int = 3) -> dict[str, Any]:
    """Seconds of wall time of a hierarchical all-reduce of 10 GB on 2,048 rail-optimised servers of
    8 GPUs, topology, routes and flows made anew each time: the median, after one that compiles."""
    from mltwin.models.network.builders import rail_optimised
    from mltwin.models.network.collectives_flows import collective_seconds

    collective_seconds(rail_optimised(4, 8), "all_reduce", BYTES_16K, algorithm="hierarchical")
    walls = []
    for _ in range(repeats):
        began = time.perf_counter()
        network = rail_optimised(GPUS_16K // 8, 8)
        found = collective_seconds(network, "all_reduce", BYTES_16K, algorithm="hierarchical")
        walls.append(time.perf_counter() - began)
    return {
        "allreduce_16k_s": round(float(np.median(walls)), 3),
        "simulated_s": found.seconds,
        "closed_form_s": found.estimates["hierarchical"],
    }


def _table(scores: list[Score]) -> str:
    wide = max(len(s.table) for s in scores)
    lines = [f"{'table':{wide}} {'collective':28}{'rows':>6}{'sizes %':>9}{'counts %':>10}"]
    for s in scores:
        cells = [
            f"{np.median(np.abs(part['error'])) * 100:.1f}" if len(part) else "-"
            for part in (s.sizes, s.counts)
        ]
        lines.append(f"{s.table:{wide}} {s.law:28}{s.rows:>6}{cells[0]:>9}{cells[1]:>10}")
    return "\n".join(lines)


def exchange_table() -> str:
    """Of the models of DeepEP that ship: median errors on shapes, or numbers of ranks, left out in
    turn when they were fitted."""
    from mltwin.models.network.collectives_experts import exchange_models, load_exchange

    lines = [f"{'exchange':14}{'half':20}{'rows':>6}{'left out %':>12}"]
    for name in exchange_models():
        for o in load_exchange(name).origin:
            lines.append(f"{name:14}{o['law']:20}{o['rows']:>6}{o['median_pct']:>12}")
    return "\n".join(lines)


def main() -> None:
    """Prints the table and the figures, or (--json) the figures alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("MLTWIN_DATA"), help="measured data")
    parser.add_argument("--json", action="store_true", help="figures alone, as JSON")
    options = parser.parse_args()
    if not options.data:
        sys.exit("give --data or set MLTWIN_DATA")
    scores = nccl_scores(options.data)
    figures = {**nccl_median_pct(scores), **allreduce_16k_s()}
    if not options.json:
        print(_table(scores), exchange_table(), sep="\n\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
