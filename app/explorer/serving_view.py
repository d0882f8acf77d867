"""What the serving page shows of a run: small tables and charts, made from the stored result.

A run may have a million requests; what is kept of it in the server's memory and sent to a browser
is at most `show.MAX_POINTS` rows a chart.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin import Result
from mltwin.text import Table

if TYPE_CHECKING:
    import pandas as pd

LATENCIES = ("TTFT", "TPOT", "E2E")
TICKS_A_SECOND = 10**12
_SAMPLE = 1000
_CURVE = 201
_BINS = 60
_INSTANTS = 240
_MOST_REPLICAS = 64


@dataclass(frozen=True)
class RunView:
    """A run in small.

    metrics, tables, notes: as the command line prints them.
    bars: metric to its interval under draws of the GPU profiles' fitted parameters.
    limits_ms: the SLO.
    digest, requests: of the run.
    curves: latency, share, ms: quantiles over all requests.
    sample: arrival_s, state and latencies (ms) of evenly spaced requests.
    windows: at_s, p50, p99 of TTFT (ms) in equal spans of arrival time, over all requests.
    system: at_s, waiting, admitted: requests in the system.
    replicas: replica, pool, kind of iteration, share of its time.
    """

    metrics: dict[str, float]
    tables: list[Table]
    notes: list[str]
    bars: dict[str, tuple[float, float]]
    limits_ms: dict[str, float]
    digest: str
    requests: int
    curves: "pd.DataFrame"
    sample: "pd.DataFrame"
    windows: "pd.DataFrame"
    system: "pd.DataFrame"
    replicas: "pd.DataFrame"


@lru_cache(maxsize=8)
def view_of(folder: Path) -> RunView:
    """The view of the run stored in a folder; the last few are kept.

    Raises InputError where there is no run or it is damaged.
    """
    return made_view(Result.load(folder))


def made_view(result: Any) -> RunView:
    """The view of a serving run."""
    bars = result.error_bars
    return RunView(
        metrics=dict(result.metrics),
        tables=result.report(),
        notes=[*result.notes, *result.violations],
        bars={} if bars is None else dict(bars.intervals),
        limits_ms=result.limits,
        digest=result.digest,
        requests=len(result.tables["requests"]["arrival"]),
        curves=_curves(result),
        sample=_sample(result),
        windows=_windows(result),
        system=_system(result),
        replicas=_replicas(result),
    )


def _curves(result: Any) -> "pd.DataFrame":
    import pandas as pd

    shares = np.unique(
        np.concatenate([np.linspace(0, 1, _CURVE), 1 - np.geomspace(1e-4, 0.05, 40)])
    )
    parts = []
    for name in LATENCIES:
        values = result.latencies[name.lower()]
        values = values[np.isfinite(values)]
        if len(values):
            ms = np.percentile(values, 100 * shares)
            parts.append(pd.DataFrame({"latency": name, "share": shares, "ms": ms}))
    return pd.concat(parts, ignore_index=True) if parts else _empty("latency", "share", "ms")


def _empty(*columns: str) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({column: [] for column in columns})


def _sample(result: Any) -> "pd.DataFrame":
    import pandas as pd

    columns = result.tables["requests"]
    count = len(columns["arrival"])
    some = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).round().astype(int))
    data: dict[str, Any] = {"at_s": columns["arrival"][some] / TICKS_A_SECOND}
    data |= {name: result.latencies[name.lower()][some] for name in LATENCIES}
    data |= {"prompt": columns["prompt"][some], "output": columns["output"][some]}
    return pd.DataFrame(data)


def _windows(result: Any) -> "pd.DataFrame":
    """Median and 99th percentile of TTFT by arrival."""
    import pandas as pd

    at = result.tables["requests"]["arrival"] / TICKS_A_SECOND
    ttft = result.latencies["ttft"]
    known = np.isfinite(ttft)
    at, ttft = at[known], ttft[known]
    if not len(at):
        return _empty("at_s", "statistic", "ms")
    edges = np.linspace(at.min(), max(at.max(), at.min() + 1e-9), min(_BINS, len(at)) + 1)
    place = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
    order = np.argsort(place, kind="stable")
    cuts = np.searchsorted(place[order], np.arange(1, len(edges) - 1))
    rows = []
    for middle, part in zip((edges[:-1] + edges[1:]) / 2, np.split(ttft[order], cuts), strict=True):
        if len(part):
            for name, level in (("p50", 50), ("p99", 99)):
                rows.append((middle, name, float(np.percentile(part, level))))
    return pd.DataFrame(rows, columns=["at_s", "statistic", "ms"])


def _system(result: Any) -> "pd.DataFrame":
    """Requests waiting and admitted at evenly spaced instants."""
    import pandas as pd

    columns = result.tables["requests"]
    finish, scheduled, arrival = (columns[name] for name in ("finish", "scheduled", "arrival"))
    end = max(int(finish.max(initial=0)), int(arrival.max(initial=0)), 1)
    grid = np.linspace(0, end, _INSTANTS)
    never = (finish >= 0) & (scheduled < 0)
    arrived = _by(arrival, grid)
    started = _by(scheduled[scheduled >= 0], grid) + _by(finish[never], grid)
    ended = _by(finish[finish >= 0], grid)
    at = grid / TICKS_A_SECOND
    parts = [
        pd.DataFrame({"at_s": at, "state": name, "requests": count})
        for name, count in (("admitted", started - ended), ("waiting", arrived - started))
    ]
    return pd.concat(parts, ignore_index=True)


def _by(times: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """How many of times are at or before each instant."""
    return np.searchsorted(np.sort(times), grid, side="right")


def _replicas(result: Any) -> "pd.DataFrame":
    import pandas as pd

    columns, pools = result.tables["replicas"], result.facts["pools"]
    up = np.maximum(columns["up_ticks"], 1)
    pool_of = columns["pool"]
    first = np.searchsorted(pool_of, pool_of)  # replicas stand in the order of their pools
    names = [pools[pool]["name"] for pool in pool_of]
    rows = []
    for kind, column in (("with prefill", "busy_prefill"), ("decode only", "busy_decode")):
        for i, share in enumerate((columns[column] / up)[:_MOST_REPLICAS]):
            rows.append((f"{names[i]} {i - first[i]}", i, names[i], kind, float(share)))
    return pd.DataFrame(rows, columns=["replica", "index", "pool", "iterations", "share"])
