"""The measurements, each in a process of its own: `python -m benchmarks.child '{"task": ...}'`.

The last line of the output is the answer, a JSON object; `process.ask` starts and reads it. Nothing
compiled is imported before a task runs, so that a task owns its memory and its caches.
"""

import gc
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .cases import (
    CASES,
    OWN_POLICIES,
    lowered,
    offered_rate,
    own_policies,
    prepare,
    scenario,
    trace_name,
)
from .process import MeasureError

WARM_UP_REQUESTS = 2_000
LOGGED_REQUESTS = 50_000


def speed(case: str, requests: int, repeats: int) -> dict[str, Any]:
    """Wall time of whole runs: state, kernel, conservation check, columns of the result."""
    given, rate = _scenario(case, requests)
    inp, policies = prepare(given)
    times = []
    _warm_up(case)
    for _ in range(repeats):
        outcome = None  # its memory is free for the next run
        elapsed, outcome = _timed(inp, policies)
        times.append(elapsed)
    return {
        "seconds": times,
        "rate_per_s": rate or requests / _span_s(inp),
        "trace": trace_name(CASES[case].lengths),
        "transfers_at_once": _transfers_at_once(case),
        **facts(inp, outcome),
    }


def facts(inp: Any, outcome: Any) -> dict[str, Any]:
    """Counts per request that no machine changes, and what says how loaded the replicas were."""
    n = len(inp.arrival)
    busy = outcome.replicas["busy_prefill"] + outcome.replicas["busy_decode"]
    up = outcome.replicas["up_ticks"].astype(float)
    ttft_s = (outcome.requests["first"] - outcome.requests["arrival"]) / 1e12
    return {
        "requests": n,
        "per_request": {name: count / n for name, count in outcome.counters.items()},
        "iterations_per_request": float(outcome.replicas["iterations"].sum()) / n,
        "output_tokens_per_request": float(inp.output.mean()),
        "busy_share": float(busy.sum() / up.sum()),
        "hit_share": outcome.totals["hit_tokens"] / float(inp.prompt.sum()),
        "refused": outcome.totals["refused"],
        "preemptions": int(outcome.replicas["preemptions"].sum()),
        "ttft_p50_s": statistics.median(ttft_s.tolist()),
    }


def ratio(case: str, requests: int, repeats: int) -> dict[str, Any]:
    """Speed with a user's policies over that with the built-in ones, run in turns."""
    given, _ = _scenario(case, requests)
    built_in, own = prepare(given), prepare(own_policies(given))
    if _timed(*built_in)[1].differences(_timed(*own)[1]):
        raise MeasureError(f"{OWN_POLICIES.name} decides otherwise than the built-in policies")
    pairs = []
    for turn in range(repeats):
        # Each goes first in turn, and no outcome outlives its run: memory would be warmer for one.
        if turn % 2:
            b, a = _timed(*own)[0], _timed(*built_in)[0]
        else:
            a, b = _timed(*built_in)[0], _timed(*own)[0]
        pairs.append([a, b])
    return {"pairs_s": pairs, "ratios": [a / b for a, b in pairs]}


def memory(case: str, requests: int) -> dict[str, Any]:
    """Peak resident memory of a run above what the trace and the loaded code take, in bytes.

    Columns that lowering made beside the trace's own count as the run's.
    """
    inp, policies, beside = _prepared_beside_its_trace(case, requests)
    _warm_up(case)
    gc.collect()
    before = _status_bytes("VmRSS")
    _reset_peak()
    elapsed, outcome = _timed(inp, policies)
    peak, after = _status_bytes("VmHWM"), _status_bytes("VmRSS")
    return {
        "requests": requests,
        "bytes_per_request": (peak - before + beside) / requests,
        "kept_bytes_per_request": (after - before + beside) / requests,
        "lowered_bytes_per_request": beside / requests,
        "seconds": elapsed,
        "done": outcome.totals["done"],
    }


def traced_memory(case: str, requests: int) -> dict[str, Any]:
    """The same by what NumPy and Python allocate (tracemalloc), touched or not: a cross-check."""
    import tracemalloc

    inp, policies, beside = _prepared_beside_its_trace(case, requests)
    _warm_up(case)
    gc.collect()
    tracemalloc.start()
    _, outcome = _timed(inp, policies)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "traced_bytes_per_request": (peak + beside) / requests,
        "traced_kept_bytes_per_request": (kept + beside) / requests,
        "done": outcome.totals["done"],
    }


def phases(case: str, requests: int, repeats: int) -> dict[str, Any]:
    """Where the wall time of a run goes: seconds of each step, medians."""
    found: dict[str, list[float]] = {}
    started = time.perf_counter()
    given, _ = _scenario(case, requests)
    found["capacity and scenario"] = [time.perf_counter() - started]
    started = time.perf_counter()
    inp, policies = prepare(given)
    found["trace, lowering, policies"] = [time.perf_counter() - started]
    _warm_up(case)
    from mltwin.models.serving import simulate as driver

    steps = {"state": "make_state", "kernel": "_drive", "check": "check_state"}
    for label, name in {**steps, "outcome": "_outcome"}.items():
        _clock(driver, name, found.setdefault(label, []))
    for _ in range(repeats):
        outcome = None
        with _hardware_counters() as counters:
            elapsed, outcome = _timed(inp, policies)
        found.setdefault("run", []).append(elapsed)
    return {
        "seconds": {label: statistics.median(times) for label, times in found.items()},
        "perf_stat": counters,
        **facts(inp, outcome),
    }


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    f.__name__: f for f in (speed, ratio, memory, traced_memory, phases)
}


def _scenario(case: str, requests: int) -> tuple[Any, float | None]:
    rate = offered_rate(CASES[case])
    return scenario(CASES[case], requests, rate=rate), rate


def _warm_up(case: str) -> None:
    """Load every kernel and policy that the case uses."""
    small = CASES[case]
    _timed(*prepare(scenario(small, WARM_UP_REQUESTS, rate=small.rate)))


def _timed(inp: Any, policies: dict[str, Any]) -> tuple[float, Any]:
    from mltwin.models.serving.simulate import simulate

    gc.collect()
    started = time.perf_counter()
    outcome = simulate(inp, policies)
    return time.perf_counter() - started, outcome


def _span_s(inp: Any) -> float:
    return float(inp.arrival[-1] - inp.arrival[0]) / 1e12


def _transfers_at_once(case: str) -> float:
    """Mean number of KV transfers that share the network, from the event log of a shorter run."""
    import numpy as np

    from mltwin.models.serving.outcome import TRANSFER_END, TRANSFER_START
    from mltwin.models.serving.simulate import simulate

    if "prefill" not in CASES[case].cluster:
        return 0.0
    inp, policies = prepare(scenario(CASES[case], LOGGED_REQUESTS, rate=CASES[case].rate))
    outcome = simulate(inp, policies, log=True)
    assert outcome.log is not None
    started = np.sort(outcome.log["time"][outcome.log["kind"] == TRANSFER_START])
    ended = np.sort(outcome.log["time"][outcome.log["kind"] == TRANSFER_END])
    return float((ended - started).sum()) / outcome.totals["end"]


def _prepared_beside_its_trace(case: str, requests: int) -> tuple[Any, dict[str, Any], int]:
    """Input and policies, and the bytes of the input's arrays that are not the trace's."""
    import numpy as np

    given, _ = _scenario(case, requests)
    found = lowered(given)
    columns = [v for v in vars(found.trace).values() if isinstance(v, np.ndarray)]
    beside = sum(
        values.nbytes
        for values in vars(found.input).values()
        if isinstance(values, np.ndarray)
        and not any(np.may_share_memory(values, column) for column in columns)
    )
    return found.input, {h: p.compiled() for h, p in found.policies.items()}, beside


def _status_bytes(field: str) -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        raise MeasureError("resident memory is read from /proc, which is not here") from None
    line = next(line for line in text.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _reset_peak() -> None:
    """Make VmHWM count from now (Linux: writing 5 to clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        raise MeasureError("the kernel does not let us reset the peak of memory") from None


def _clock(module: Any, name: str, times: list[float]) -> None:
    """Let a function of a module note how long each call takes."""
    function = getattr(module, name)

    def clocked(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            times.append(time.perf_counter() - started)

    setattr(module, name, clocked)


@contextmanager
def _hardware_counters() -> Iterator[dict[str, float]]:
    """Counters of this process by `perf stat`; empty where there is no perf or no counters."""
    found: dict[str, float] = {}
    perf = shutil.which("perf")
    if perf is None:
        yield found
        return
    events = "cycles,instructions,cache-misses,branch-misses,page-faults"
    watcher = subprocess.Popen(
        [perf, "stat", "-x", ",", "-e", events, "-p", str(os.getpid())],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.3)  # until it is attached
    try:
        yield found
    finally:
        watcher.send_signal(signal.SIGINT)
        for line in (watcher.communicate()[1] or "").splitlines():
            value, _, event = (line.split(",") + ["", ""])[:3]
            if value.replace(".", "", 1).isdigit():
                found[event] = float(value)


def main() -> int:
    spec = json.loads(sys.argv[1])
    try:
        answer = TASKS[spec.pop("task")](**spec)
    except MeasureError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
