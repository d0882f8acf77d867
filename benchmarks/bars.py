"""Figures against their bars: how groups of them are taken, judged and shown."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .serving import machine


class Bar(NamedTuple):
    """Most of a figure, or least where `at_least`."""

    bar: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bar if self.at_least else value <= self.bar


class Group(NamedTuple):
    """Figures that one measurement gives, more detail, and tables under keys of their own."""

    figures: dict[str, float]
    detail: dict[str, Any]
    tables: Mapping[str, list[dict[str, Any]]] = {}


def measure(
    groups: Mapping[str, Callable[[], Group]],
    names: Sequence[str],
    bars: Mapping[str, Bar],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Take the figures of some groups; what fails is left out, with the reason."""
    from mltwin.sim.errors import InputError

    from .process import MeasureError

    figures: dict[str, float] = {}
    tables: dict[str, Any] = {}
    details: dict[str, Any] = {}
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in names:
        tell(f"measuring {name} ...")
        started = time.perf_counter()
        try:
            group = groups[name]()
        except (InputError, MeasureError, OSError) as error:
            failures[name] = str(error)
            continue
        seconds[name] = round(time.perf_counter() - started, 1)
        figures |= group.figures  # also those without a bar, which are only reported
        tables |= group.tables
        details[name] = group.detail
    return {
        **figures,
        **tables,
        "figures": figures,
        "bars": {key: bars[key].met(value) for key, value in figures.items() if key in bars},
        "seconds": seconds,
        "details": details,
        "failures": failures,
        "machine": machine(),
    }


def run_groups(
    module: str,
    about: str | None,
    groups: Mapping[str, Callable[[], Group]],
    bars: Mapping[str, Bar],
) -> int:
    """The command line of a benchmark of groups: measure, print, write.

    The exit status is 1 if something could not be measured.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", action="append", choices=list(groups), help="may be repeated")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object there too")
    chosen = parser.parse_args()
    results = measure(
        groups,
        chosen.only or list(groups),
        bars,
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    return give(results, bars, as_json=chosen.json, out=chosen.out)


def show(results: Mapping[str, Any], bars: Mapping[str, Bar]) -> str:
    """The results as text."""
    lines = [f"{'key':34} {'value':>9} {'bar':>9}  met"]
    for key, met in results["bars"].items():
        bar = bars[key]
        sign = ">=" if bar.at_least else "<="
        lines.append(f"{key:34} {results[key]:9.3f} {sign} {bar.bar:>6g}  {'yes' if met else 'NO'}")
    others = results["figures"].keys() - results["bars"].keys()
    lines += [f"{key:34} {results[key]:9.3f}" for key in sorted(others)]
    lines += [f"{name}: {reason}" for name, reason in results["failures"].items()]
    about = results["machine"]
    return "\n".join([*lines, f"{about['cpu']}, {about['cores']} cores, Python {about['python']}"])


def give(
    results: Mapping[str, Any], bars: Mapping[str, Bar], *, as_json: bool, out: Path | None
) -> int:
    """Write and print results. The exit status: 1 if something could not be measured."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(json.dumps(results) if as_json else show(results, bars))
    return 1 if results["failures"] else 0
