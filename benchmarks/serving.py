"""What the serving simulator costs, against its bars: `python -m benchmarks.serving`.

Each figure is a median of `--repeats` runs, the default 5, of the single-threaded kernel with all
features on: paged KV, the conservation check at the end, policies through the registry, no progress
display. Each case runs in a process of its own. The time of a run is that of `simulate`: laying out
the state, the kernel, the check, the columns of the result; not loading the trace or compiling.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from .cases import CASES
from .peers import PEERS, REMARK
from .process import MeasureError, ask, environment, last_line

MILLION = 1_000_000
SINGLE, ROUTER, PREFIX = "single_replica_req_per_s", "router_64_req_per_s", "prefix_10_req_per_s"

# The main job is what `make run` does on a fresh machine: on the shipped traces.
_MAIN_JOB = ["-m", "mltwin", "run"]


class Options(NamedTuple):
    """requests: of a run; repeats: of which the median is taken."""

    requests: int
    repeats: int


class Figure(NamedTuple):
    """A measured value and what else is known of it."""

    value: float
    detail: dict[str, Any]


class Measure(NamedTuple):
    """How a key is measured and the bar: at least `bar`, or at most where `at_most`."""

    take: Callable[[Options], Figure]
    bar: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bar if self.at_most else value >= self.bar


def _speed(key: str) -> Callable[[Options], Figure]:
    def take(options: Options) -> Figure:
        found = ask("speed", case=key, requests=options.requests, repeats=options.repeats)
        return Figure(options.requests / statistics.median(found["seconds"]), found)

    return take


def _memory(key: str) -> Callable[[Options], Figure]:
    def take(options: Options) -> Figure:
        found = ask("memory", case=key, requests=options.requests)
        found |= ask("traced_memory", case=key, requests=options.requests)
        return Figure(found["bytes_per_request"], found)

    return take


def _policy_ratio(options: Options) -> Figure:
    found = ask("ratio", case=ROUTER, requests=options.requests, repeats=options.repeats)
    return Figure(statistics.median(found["ratios"]), found)


def _cold(options: Options) -> Figure:
    with tempfile.TemporaryDirectory() as cache:
        elapsed = _whole_process(_MAIN_JOB, cache=cache)
    return Figure(elapsed, {"seconds": [elapsed], "mltwin_data": "unset"})


def _warm(options: Options) -> Figure:
    with tempfile.TemporaryDirectory() as cache:
        _whole_process(_MAIN_JOB, cache=cache)
        times = [_whole_process(_MAIN_JOB, cache=cache) for _ in range(options.repeats)]
    return Figure(statistics.median(times), {"seconds": times, "mltwin_data": "unset"})


def _help(options: Options) -> Figure:
    times = [_whole_process(["-m", "mltwin", "--help"]) for _ in range(options.repeats)]
    return Figure(statistics.median(times), {"seconds": times})


MEASURES: dict[str, Measure] = {
    **{key: Measure(_speed(key), case.bar) for key, case in CASES.items()},
    "custom_policy_ratio": Measure(_policy_ratio, 0.9),
    "bytes_per_request": Measure(_memory(SINGLE), 200, at_most=True),
    "bytes_per_request_prefix": Measure(_memory(PREFIX), 400, at_most=True),
    "cold_main_job_s": Measure(_cold, 60, at_most=True),
    "warm_main_job_s": Measure(_warm, 6, at_most=True),
    "help_s": Measure(_help, 0.4, at_most=True),
}


def measure(keys: list[str], options: Options, tell: Callable[[str], None]) -> dict[str, Any]:
    """Take the measurements and return the results; what fails is None, with the reason."""
    results: dict[str, Any] = {key: None for key in keys}
    details: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for key in keys:
        tell(f"measuring {key} ...")
        try:
            figure = MEASURES[key].take(options)
        except (MeasureError, subprocess.TimeoutExpired) as error:
            failures[key] = str(error)
            continue
        results[key] = figure.value
        details[key] = figure.detail
    for count in ("events", "solves"):
        results[f"{count}_per_request"] = {
            key: details[key]["per_request"][count] for key in CASES if key in details
        }
    bars = {key: None if results[key] is None else MEASURES[key].met(results[key]) for key in keys}
    return {
        **results,
        "bars": bars,
        "requests": options.requests,
        "repeats": options.repeats,
        "details": details,
        "failures": failures,
        "peers": {"remark": REMARK, "rows": [peer._asdict() for peer in PEERS]},
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What the figures were taken on; no names of hosts, no paths."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average_1min_at_end": load,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numba": version("numba"),
        "numpy": version("numpy"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _whole_process(arguments: list[str], *, cache: str | None = None) -> float:
    """Seconds of `python <arguments>` from start to exit, in an empty folder.

    cache: folder of compiled kernels instead of the user's. Raises MeasureError if it fails.
    """
    env = environment() if cache is None else environment(MLTWIN_CACHE_DIR=cache)
    env.pop("MLTWIN_DATA", None)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        elapsed = time.perf_counter() - started
    if done.returncode:
        raise MeasureError(last_line(done.stderr) or f"exit status {done.returncode}")
    return elapsed


def show(results: dict[str, Any]) -> str:
    """The results as text."""
    lines = [f"{'key':28} {'value':>14} {'bar':>12}  met"]
    for key, met in results["bars"].items():
        value, bar = results[key], MEASURES[key]
        shown = "-" if value is None else f"{value:,.3f}" if value < 1000 else f"{value:,.0f}"
        sign = "<=" if bar.at_most else ">="
        mark = {True: "yes", False: "NO", None: results["failures"].get(key, "")}[met]
        lines.append(f"{key:28} {shown:>14} {sign} {bar.bar:>9,g}  {mark}")
    lines += ["", *_show_cases(results), "", f"Peers ({REMARK})"]
    for peer in PEERS:
        lines.append(
            f"{peer.name:20} {peer.req_per_s:>7,.0f} req/s  {peer.requests:>7,} requests  "
            f"{peer.setup}{'; ' + peer.remark if peer.remark else ''}"
        )
    about = results["machine"]
    lines += [
        "",
        f"{about['cpu']}, {about['cores']} cores (one used), {about['system']}, "
        f"Python {about['python']}, Numba {about['numba']}, load average "
        f"{about['load_average_1min_at_end']}",
    ]
    if results["requests"] != MILLION:
        lines.append(f"NOTE: {results['requests']:,} requests a run; the bars are for {MILLION:,}")
    return "\n".join(lines)


def _show_cases(results: dict[str, Any]) -> list[str]:
    lines = []
    for key, case in CASES.items():
        if key not in results["details"]:
            continue
        d = results["details"][key]
        per = d["per_request"]
        lines.append(
            f"{case.title}: {d['trace']}, {d['rate_per_s']:.1f} req/s simulated, replicas busy "
            f"{d['busy_share']:.0%}, {per['events']:.2f} events and {per['solves']:.2f} solves a "
            f"request, {d['transfers_at_once']:.1f} transfers at once, "
            f"hits {d['hit_share']:.0%} of prompt tokens, runs "
            + " ".join(f"{s:.2f}" for s in d["seconds"])
            + " s"
        )
    return lines


def profile(key: str, options: Options) -> str:
    """Where the wall time of a case goes."""
    found = ask("phases", case=key, requests=options.requests, repeats=options.repeats)
    run = found["seconds"]["run"]
    lines = [f"{CASES[key].title}, {options.requests:,} requests"]
    for label, seconds in found["seconds"].items():
        lines.append(
            f"{label:28} {seconds:8.3f} s {seconds / options.requests * 1e9:8.0f} ns a request"
            + (f" {seconds / run:6.1%} of the run" if seconds <= run else "")
        )
    for name, value in found["per_request"].items():
        lines.append(f"{name + ' a request':28} {value:10.3f}")
    lines.append(f"{'iterations a request':28} {found['iterations_per_request']:10.3f}")
    for name, value in found["perf_stat"].items():
        lines.append(f"{name + ' a request':28} {value / options.requests:10.1f}")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--only", action="append", metavar="KEY", choices=list(MEASURES), help="may be repeated"
    )
    parser.add_argument("--profile", metavar="KEY", choices=list(CASES), help="where time goes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=MILLION, help="of a run, for a quick look")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object there too")
    chosen = parser.parse_args()
    if chosen.repeats < 1 or chosen.requests < 1000:
        parser.error("--repeats is at least 1, --requests at least 1000")
    return chosen


def main() -> int:
    """Measure, print, write. The exit status is 1 if something could not be measured."""
    chosen = _options()
    options = Options(chosen.requests, chosen.repeats)
    if chosen.profile:
        print(profile(chosen.profile, options))
        return 0
    keys = list(dict.fromkeys(chosen.only or MEASURES))
    results = measure(keys, options, lambda text: print(text, file=sys.stderr, flush=True))
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(json.dumps(results) if chosen.json else show(results))
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
