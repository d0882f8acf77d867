"""Sweeps, gate and explorer against their bars: `python -m benchmarks.studio`.

Each group of keys can be asked for alone (--only). Efficiency and page times want an otherwise idle
machine; page times want Chromium.
"""

import sys
from collections.abc import Callable

from .bars import Bar, Group, run_groups

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


if __name__ == "__main__":
    sys.exit(run_groups("studio", __doc__, GROUPS, BARS))
