"""SimGrid beside us: the same flows through its CM02 model, by a C++ program of our own.

`make bench-env` compiles `simgrid/flows.cpp` where g++ and SimGrid's headers are installed (Debian:
libsimgrid-dev). `python -m benchmarks.network_simgrid FILE` writes small random cases with the
times SimGrid gave, for a test that needs no SimGrid.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .cases import ROOT
from .process import MeasureError, environment, last_line

ENV = ROOT / ".venv-bench"
CM02 = ("network/model:CM02", "network/TCP-gamma:0", "network/crosstraffic:0")
PRECISE = ("surf/precision:1e-12",)
"""SimGrid takes times within 1e-5 s for one unless told otherwise: 1e-9 to 1e-8 s apart here."""
_TIME_LIMIT_S = 600


class Case(NamedTuple):
    """Flows in order of release.

    Attributes:
        bytes_per_s, latency_s: of each link.
        paths: links of each flow, none twice.
        release_s, bytes: of each flow; bytes are whole numbers, as SimGrid takes no others.
        pair: hosts of each flow, with one path a pair; None: every flow has two of its own.
    """

    bytes_per_s: Sequence[float]
    latency_s: Sequence[float]
    paths: Sequence[Sequence[int]]
    release_s: Sequence[float]
    bytes: Sequence[int]
    pair: Sequence[tuple[int, int]] | None = None


class Said(NamedTuple):
    """What SimGrid answered: CPU seconds of the simulation alone, and when each flow ended."""

    seconds: float
    end_s: list[float]


def simgrid(case: Case, options: Sequence[str] = PRECISE) -> Said:
    """Run a case. Raises MeasureError where the program is missing or fails."""
    command = [program(), "--log=root.thres:warning"]
    command += [f"--cfg={option}" for option in (*CM02, *options)]
    done = subprocess.run(
        command,
        input=written(case),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT_S,
    )
    numbers = [float(word) for word in done.stdout.split()]
    if done.returncode or len(numbers) != 1 + len(case.bytes):
        raise MeasureError(f"SimGrid: {last_line(done.stderr) or 'no answer'}")
    return Said(numbers[0], numbers[1:])


def program() -> str:
    """The compiled driver. Raises MeasureError where there is none."""
    chosen = os.environ.get("MLTWIN_BENCH_ENV")
    place = (Path(chosen) if chosen else ENV) / "bin" / "simgrid-flows"
    if not place.exists():
        raise MeasureError(
            "SimGrid's driver is not compiled: install libsimgrid-dev, make bench-env"
        )
    return str(place)


def written(case: Case) -> str:
    """A case as the driver reads it."""
    pairs = case.pair or [(2 * f, 2 * f + 1) for f in range(len(case.paths))]
    routes = dict(zip(pairs, case.paths, strict=True))
    hosts = 1 + max(max(pair) for pair in pairs)
    lines = [f"links {len(case.bytes_per_s)}"]
    lines += [f"{s!r} {t!r}" for s, t in zip(case.bytes_per_s, case.latency_s, strict=True)]
    lines += [f"hosts {hosts}", f"routes {len(routes)}"]
    lines += [f"{a} {b} {len(p)} {' '.join(map(str, p))}" for (a, b), p in routes.items()]
    lines.append(f"flows {len(case.paths)}")
    for release, (source, target), amount in zip(case.release_s, pairs, case.bytes, strict=True):
        lines.append(f"{release!r} {source} {target} {amount}")
    return "\n".join(lines) + "\n"


def random_case(seed: int) -> Case:
    """A few flows over random paths; every other case has latencies, by which CM02 shares."""
    g = np.random.default_rng(seed)
    links, flows = int(g.integers(2, 10)), int(g.integers(3, 26))
    paths = [
        g.choice(links, int(g.integers(1, min(links, 4) + 1)), replace=False).tolist()
        for _ in range(flows)
    ]
    latency = g.integers(1, 50, links) * 1e-6 if seed % 2 else np.zeros(links)
    return Case(
        bytes_per_s=(g.integers(1, 100, links) * 1e8).tolist(),
        latency_s=latency.tolist(),
        paths=paths,
        release_s=(np.sort(g.integers(0, 10_000, flows)) / 1e6).tolist(),
        bytes=np.ceil(g.lognormal(15, 2, flows)).astype(int).tolist(),
    )


def ours(case: Case) -> tuple[Any, Any]:
    """Bandwidths and flows of a case for `simulate_flows`.

    CM02 shares a link by the inverse of the latencies, as TCP does by its round trips: here that
    is a weight. A flow's bytes begin to move after the latency of its path, in both.
    """
    from mltwin.models.network.flows import FlowTable
    from mltwin.sim.ticks import ticks

    latency = np.array([sum(case.latency_s[k] for k in path) for path in case.paths])
    flows = FlowTable.of_paths(
        case.bytes,
        case.paths,
        release=ticks(np.array(case.release_s)),
        delay=ticks(latency),
        weight=np.where(latency > 0, 1e-6 / np.maximum(latency, 1e-12), 1.0),
    )
    return np.array(case.bytes_per_s), flows


def main() -> None:
    """Write random cases with SimGrid's answers to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--cases", type=int, default=16)
    chosen = parser.parse_args()
    rows = []
    for seed in range(chosen.cases):
        case = random_case(seed)
        rows.append(json.dumps({**case._asdict(), "end_s": simgrid(case).end_s}))
    about = f"SimGrid 3.32, {', '.join((*CM02, *PRECISE))}; python -m benchmarks.network_simgrid"
    text = ",\n".join(rows)
    chosen.file.write_text(f'{{"about": {json.dumps(about)}, "cases": [\n{text}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
