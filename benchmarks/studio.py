"""Sweeps, gate and explorer against their bars: `python -m benchmarks.studio`.

Each group of keys can be asked for alone (--only). Efficiency and page times want an otherwise idle
machine; page times want Chromium.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .bars import Bar, Group, give, measure

BARS: dict[str, Bar] = {
    "sweep_efficiency": Bar(0.8, at_least=True),
    "sweep_overhead_us": Bar(300),
    "gate_power_pct": Bar(99, at_least=True),
    "gate_false_pct": Bar(1),
    "page_first_result_s": Bar(5),
    "control_to_chart_s": Bar(1.5),
}


def _sweep() -> Group:
    from .studio_sweep import figures

    return Group(*figures())


def _gate() -> Group:
    from .studio_gate import figures

    return Group(*figures())


def _pages() -> Group:
    from .studio_pages import figures

    return Group(*figures())


GROUPS: dict[str, Callable[[], Group]] = {"sweep": _sweep, "gate": _gate, "pages": _pages}


def main() -> int:
    """Measure, print, write. The exit status is 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studio", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="may be repeated")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object there too")
    chosen = parser.parse_args()
    results = measure(
        GROUPS,
        chosen.only or list(GROUPS),
        BARS,
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    return give(results, BARS, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    sys.exit(main())
