"""How step times differ between nodes: measured quantiles, and how they were made.

`MEASURED` holds factors to the median at `PROBABILITIES`, fitted by `fit_minibatches` and
`fit_machines` to public measurements (below); `laws.quantile_law` makes a law of them.

- `minibatch`: mini-batch times of ten workers of each of three training jobs of Alibaba's PAI
  (cluster-trace-gpu-v2020; Weng et al., NSDI 2022), each over its job's median. They hold both
  what differs between workers and what varies from step to step.
- `vm_compute`, `vm_memory`, `vm_requests`: matrix arithmetic, memory bandwidth and Redis requests
  on 10,631 to 11,868 fresh D8s_v5 virtual machines in each of one or two regions of Azure
  (Freischuetz et al., TUNA, EuroSys 2025), the region's median over each.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mltwin.sim.errors import InputError

from .laws import quantile_law

PROBABILITIES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
MEASURED: dict[str, tuple[float, ...]] = {
    "minibatch": (
        0.8087, 0.8183, 0.8556, 0.911, 0.9603, 1.0, 1.0423,
        1.0939, 1.121, 1.1707, 1.2444, 1.292, 1.4104,
    ),
    "vm_compute": (
        0.9796, 0.9939, 0.997, 0.998, 0.999, 1.0, 1.0011,
        1.0026, 1.004, 1.0065, 1.0193, 1.0448, 1.1273,
    ),
    "vm_memory": (
        0.9555, 0.9643, 0.9733, 0.9784, 0.9881, 1.0, 1.0153,
        1.0374, 1.0777, 1.3052, 1.5325, 1.5541, 1.5957,
    ),
    "vm_requests": (
        0.8526, 0.8595, 0.8689, 0.8825, 0.9115, 1.0, 1.0535,
        1.1006, 1.1288, 1.1573, 1.1793, 1.1934, 1.4156,
    ),
}  # fmt: skip


def measured_law(name: str) -> np.ndarray:
    """The law of a name of `MEASURED`.

    Raises InputError for another name.
    """
    if name not in MEASURED:
        raise InputError(f"no measured noise {name!r}", mend=f"known: {', '.join(MEASURED)}")
    return quantile_law(PROBABILITIES, MEASURED[name])


def fit_minibatches(paths: Iterable[str | Path]) -> tuple[float, ...]:
    """Quantiles of the column `batch_time_norm` of each file over its median, files pooled."""
    ratios = []
    for path in paths:
        times = _column(path, "batch_time_norm")
        ratios.append(times / np.median(times))
    return _quantiles(ratios)


def fit_machines(paths: Iterable[str | Path]) -> tuple[float, ...]:
    """Quantiles of the median of the column `value` (a rate) over it, files pooled."""
    ratios = []
    for path in paths:
        rates = _column(path, "value")
        ratios.append(np.median(rates) / rates)
    return _quantiles(ratios)


def _quantiles(ratios: Sequence[np.ndarray]) -> tuple[float, ...]:
    found = np.quantile(np.concatenate(ratios), PROBABILITIES)
    return tuple(round(float(value), 4) for value in found)


def _column(path: str | Path, name: str) -> np.ndarray:
    """The positive numbers of a column; empty cells are left out.

    Raises InputError: no file, no such column, no number, or nothing left.
    """
    values = []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if name not in (reader.fieldnames or ()):
                raise InputError(f"no column {name!r}", where=str(path))
            for row in reader:
                if row[name]:
                    values.append(_positive(row[name], f"{path}, line {reader.line_num}", name))
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is not a text of commas: {error}", where=str(path)) from None
    if not values:
        raise InputError(f"the column {name!r} is empty", where=str(path))
    return np.array(values)


def _positive(text: str, where: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise InputError(f"{text!r}", where=f"{where}, column {name!r}", mend="give a number > 0")
    return value
