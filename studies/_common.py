"""What every study shares: arguments, data that may be missing, runs, and what it leaves behind.

A study imports only the face (`mltwin`) and this file; see `README.md` beside it for the form.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.csvfile import write_csv
from mltwin.plots import save_figure
from mltwin.text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Options:
    """How a study is to be run.

    Attributes:
        out: folder for the picture, the tables and the figures.
        quick: fewer and shorter runs, for a first look and for tests.
        workers: threads, None for one a core.
    """

    out: Path
    quick: bool = False
    workers: int | None = None


def main(study: Callable[[Options], Mapping[str, Any]], text: str | None) -> None:
    """Run a study from the command line; one line instead of a traceback for bad input."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(prog=f"python -m studies.{name}", description=text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("results") / "studies" / name)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--workers", type=int, help="threads, by default one a core")
    given = parser.parse_args()
    try:
        study(Options(given.out, given.quick, given.workers))
    except mt.InputError as error:
        sys.exit(f"error: {error}")
    print(f"written to {given.out}")


def shared_data(*parts: str) -> Path:
    """A file or folder of the measured data that `MLTWIN_DATA` names.

    Raises InputError if the variable is not set or the data is not there.
    """
    root = os.environ.get("MLTWIN_DATA")
    if not root:
        raise mt.InputError(
            "this study needs measured data that is not in the package",
            where="MLTWIN_DATA",
            mend="set it to the folder that holds " + "/".join(parts),
        )
    path = Path(root).joinpath(*parts)
    if not path.exists():
        raise mt.InputError("is not there", where=str(path), mend="check MLTWIN_DATA")
    return path


def trace_or(name: str, stand_in: Any) -> tuple[Any, bool]:
    """The catalogue's trace if this machine has it, else the stand-in; whether it is real."""
    from mltwin.workloads.catalogue import locate

    found = locate(name, verify=False) is not None
    return (name if found else stand_in), found


def run_all(
    scenarios: Sequence[mt.Scenario], options: Options, seeds: Sequence[int] = (0,)
) -> list[list[mt.Result]]:
    """The runs of each scenario, one a seed, in the order given."""
    if not scenarios:
        return []
    compared = mt.compare(scenarios, seeds=list(seeds), workers=options.workers)
    return list(compared.runs.values())


def mean(runs: Sequence[mt.Result], metric: str) -> float:
    """Mean of a metric over the runs of a scenario's seeds."""
    return float(np.mean([run.metrics[metric] for run in runs]))


def crossing(x: Sequence[float], y: Sequence[float], level: float) -> float:
    """Where a falling curve first falls below `level`, linear between the points.

    0 if it starts below; the last x if it never falls (a lower bound then).
    """
    for i, value in enumerate(y):
        if value < level:
            if i == 0:
                return 0.0
            share = (y[i - 1] - level) / (y[i - 1] - value)
            return float(x[i - 1] + share * (x[i] - x[i - 1]))
    return float(x[-1])


def publish(
    options: Options,
    name: str,
    figure: "Figure",
    tables: Mapping[str, Table],
    figures: Mapping[str, Any],
) -> None:
    """Write `<name>.png`, for each table `<name>-<table>.csv`, all tables as `<name>.md`, and the
    figures as `<name>.json`; and print the tables."""
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    save_figure(figure, out / f"{name}.png")
    for part, table in tables.items():
        write_csv(table.frame(), out / f"{name}-{part}.csv")
        print(table)
    text = "\n".join(table.markdown() for table in tables.values())
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    plain = json.dumps(_rounded(figures), indent=1, sort_keys=True)
    (out / f"{name}.json").write_text(plain + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Plain data with floats of six digits, so that a file reads well and compares well."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, np.ndarray):
        return _rounded(value.tolist())
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}")
    return value.item() if isinstance(value, np.generic) else value
