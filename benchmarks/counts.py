"""Counts that depend on no machine: events, plans, solves and flows of each case.

A slower algorithm shows here before any clock would tell. `counts.json` holds what they were;
`python -m benchmarks.counts` compares, `--write` sets them anew after a change that was meant.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from .cases import CASES, SYNTHETIC, Case, fixed_cells, prepare, scenario

FILE = Path(__file__).with_name("counts.json")
REQUESTS = 20_000
TOLERANCE = 0.005  # traces are drawn with log and exp, whose last bit may differ between machines
# Requests per second of one replica with `fixed_cells`, about 80 % of what it can do.
RATE_PER_REPLICA = 16.0
KV_BLOCKS = {16: 27_000, 512: 840}


def count(case: Case, *, skip: bool = True) -> dict[str, float]:
    """Counts per request of a small run of a case on the shipped traces and fixed cells.

    skip: False steps through every iteration, to see what skipping saves.
    """
    from mltwin.models.serving.simulate import simulate

    rate = case.rate if case.load is None else RATE_PER_REPLICA * case.replicas
    given = scenario(case, REQUESTS, rate=rate, trace=SYNTHETIC[case.lengths])
    inp, policies = prepare(given)
    cells, blocks = fixed_cells(), KV_BLOCKS[inp.block_tokens]
    kinds = [replace(kind, cells=cells, blocks=blocks) for kind in inp.kinds]
    counters = simulate(replace(inp, kinds=kinds, skip=skip), policies).counters
    return {name: round(value / REQUESTS, 4) for name, value in counters.items()}


def expected() -> dict[str, dict[str, float]]:
    """The checked-in counts per request of each case."""
    found: dict[str, dict[str, float]] = json.loads(FILE.read_text("utf-8"))
    return found


def off(measured: float, held: float) -> bool:
    """Whether a count differs from the one held by more than the tolerance."""
    return abs(measured - held) > TOLERANCE * abs(held)


def main(arguments: list[str]) -> int:
    found = {key: count(case) for key, case in CASES.items()}
    if arguments == ["--write"]:
        FILE.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        return 0
    held = expected()
    status = 0
    for key, counts in found.items():
        for name, value in counts.items():
            differs = off(value, held[key][name])
            status |= differs
            mark = "  <- differs" if differs else ""
            print(f"{key:28} {name:8} {value:10.4f} was {held[key][name]:10.4f}{mark}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
