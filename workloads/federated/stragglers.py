"""Noise of compute times, from measurements of machines in clouds.

Azure's VM noise (Freischuetz et al., "TUNA", EuroSys 2025): one benchmark value a row, of many VMs.
Alibaba's mini-batch times (Xiao et al., "AntMan", OSDI 2020): iterations of jobs of ten workers.
Both become a factor of the time a step takes, of median 1, by its quantiles.
"""

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source

from .draws import JITTER, Array, client_uniforms

LEVELS = np.concatenate(
    ([0.0, 0.001, 0.01, 0.05], np.arange(0.1, 1.0, 0.1), [0.95, 0.99, 0.999, 1.0])
)


@dataclass(frozen=True, eq=False)
class Noise:
    """The law of a time factor.

    Attributes:
        factor: float64[17], quantiles at `LEVELS`, of median 1.
        sigma: of a log-normal law with the same spread of logarithms: what `Clients.jitter` takes.
        facts: the source, rows used and left out.
    """

    factor: Array
    sigma: float
    facts: dict[str, Any]

    @classmethod
    def of(cls, factors: Array, facts: dict[str, Any]) -> "Noise":
        """The law of measured factors (above 0), scaled to median 1."""
        scaled = factors / np.median(factors)
        return cls(np.quantile(scaled, LEVELS), float(np.log(scaled).std()), facts)

    def draw(self, clients: int, *, seed: int = 0) -> Array:
        """float64[clients], a factor of each client's speed, straight between the quantiles."""
        u = client_uniforms(seed, JITTER, np.arange(clients))
        return np.asarray(np.interp(u, LEVELS, self.factor))


def read_azure_noise(path: str | os.PathLike[str], *, within_vm: bool = False) -> Noise:
    """Noise of one file of Azure's VM noise data.

    The values are rates (events/s, MiB/s), so the time factor is their inverse. `within_vm` takes
    each VM's values against that VM's median: how it changes in time; otherwise VMs are compared.

    Raises:
        InputError: file, line, column and value are named.
    """
    source = Source(path)
    values, machines = [], []
    for number, row in _rows(source, ("value", "VM_id")):
        values.append(_positive(source, number, "value", row["value"]))
        machines.append(row["VM_id"])
    times = 1.0 / np.array(values)
    if within_vm:
        _, machine = np.unique(machines, return_inverse=True)
        for k in range(int(machine.max()) + 1):
            times[machine == k] /= np.median(times[machine == k])
    return Noise.of(times, {"source": source.path.name, "rows": len(times), "within": within_vm})


def read_alibaba_noise(path: str | os.PathLike[str]) -> Noise:
    """Noise of `job_*_norm.csv`: each worker's time against the median of its iteration.

    Rows without a time are left out and counted, as are those of iterations with one worker.

    Raises:
        InputError: file, line, column and value are named.
    """
    source = Source(path)
    steps: dict[str, list[float]] = {}
    empty = 0
    for number, row in _rows(source, ("time", "batch_time_norm")):
        if not row["batch_time_norm"].strip():
            empty += 1
            continue
        value = _positive(source, number, "batch_time_norm", row["batch_time_norm"])
        steps.setdefault(row["time"], []).append(value)
    shared = [np.array(times) / np.median(times) for times in steps.values() if len(times) > 1]
    if not shared:
        raise source.error("has no iteration of two workers", mend="give a job with several")
    factors = np.concatenate(shared)
    alone = sum(len(times) == 1 for times in steps.values())
    facts = {"source": source.path.name, "rows": len(factors), "empty": empty, "alone": alone}
    return Noise.of(factors, facts)


def _rows(source: Source, wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    header: list[str] = []
    found = False
    for number, cells in enumerate(csv.reader(line for _, line in source.lines()), 1):
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            missing = [name for name in wanted if name not in header]
            if missing:
                there = ", ".join(repr(name)[:30] for name in header[:10])
                raise source.error(f"has no column {missing[0]!r}; there are {there}", number)
            continue
        if len(cells) != len(header):
            raise source.error(f"{len(cells)} columns, the header has {len(header)}", number)
        found = True
        yield number, dict(zip(header, cells, strict=True))
    if not found:
        raise source.error("has no rows", mend="give the measured file")


def _positive(source: Source, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(
            f"{text[:40]!r} is not a number above 0",
            where=f"{source.path}, line {line}, column {column!r}",
            mend="correct the line, or leave it out",
        )
    return value
