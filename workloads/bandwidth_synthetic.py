"""Bandwidth traces drawn from Markov chains, and the chains that ship with the project.

A `MarkovBandwidth` steps between levels of rate at fixed intervals (Markov-modulated). The shipped
ones (`SHIPPED`) were fitted by `fit_bandwidth` to public traces; the traces themselves do not ship.
A chain of one-second steps keeps the spread of rates and how fast they change, not daily patterns,
nor fades that last longer than the levels remember.
"""

import functools
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.network.bandwidth.tables import REPEAT, CapacityTrace
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import NETWORK, uniforms

_FILE = Path(__file__).resolve().parent / "data" / "bandwidth.json"

SHIPPED = ("3g", "4g", "5g", "broadband", "streaming")
"""Chains of `shipped_bandwidth`: Norwegian 3G commutes, LTE of US drivers, Irish 5G downloads, US
home broadband, sessions of Puffer."""


@dataclass(frozen=True, eq=False)
class MarkovBandwidth:
    """K levels of rate, and how often one follows another.

    Attributes:
        bytes_per_s: float64[K].
        transition: float64[K, K], rows sum to 1: the chance of each level one step after each.
        step_s: seconds between steps.
        name: what it is called.
    """

    bytes_per_s: npt.NDArray[np.float64]
    transition: npt.NDArray[np.float64]
    step_s: float = 1.0
    name: str = "markov"

    @classmethod
    def make(
        cls,
        bytes_per_s: npt.ArrayLike,
        transition: npt.ArrayLike,
        step_s: float = 1.0,
        name: str = "markov",
    ) -> "MarkovBandwidth":
        """A checked chain. Raises InputError where rates or chances cannot be."""
        rates, chances = np.asarray(bytes_per_s, float), np.asarray(transition, float)
        where = f"bandwidth {name!r}"
        k = len(rates) if rates.ndim == 1 else 0
        if not k or chances.shape != (k, k):
            raise InputError(f"{rates.shape} rates, {chances.shape} chances", where=where)
        if not np.all(np.isfinite(rates) & (rates >= 0)):
            raise InputError("a rate is below 0 or none", where=where)
        wrong = ~((chances >= 0).all(axis=1) & (np.abs(chances.sum(axis=1) - 1) < 1e-9))
        if np.any(wrong):
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(f"the chances after level {row} do not sum to 1", where=where)
        if not (np.isfinite(step_s) and step_s > 0):
            raise InputError(f"step_s is {step_s}", where=where, mend="give more than 0")
        return cls(rates, chances, float(step_s), name)

    @classmethod
    def two_states(
        cls,
        good_bytes_per_s: float,
        bad_bytes_per_s: float,
        mean_good_s: float,
        mean_bad_s: float,
        step_s: float = 1.0,
        name: str = "two states",
    ) -> "MarkovBandwidth":
        """A link that is good or bad for geometric times (Gilbert 1960). Raises InputError."""
        if not (mean_good_s >= step_s and mean_bad_s >= step_s):
            raise InputError("a stay is shorter than a step", where=name, mend="shorten step_s")
        leave, mend = step_s / mean_good_s, step_s / mean_bad_s
        chances = [[1 - leave, leave], [mend, 1 - mend]]
        return cls.make([good_bytes_per_s, bad_bytes_per_s], chances, step_s, name)

    def stationary(self) -> npt.NDArray[np.float64]:
        """float64[K]: the share of time on each level in the long run."""
        k = len(self.bytes_per_s)
        # (P^T - 1) x = 0 with sum 1; least squares also settles levels that nothing leads to.
        rows = np.vstack((self.transition.T - np.eye(k), np.ones(k)))
        found = np.linalg.lstsq(rows, np.append(np.zeros(k), 1.0), rcond=None)[0]
        found = np.maximum(found, 0.0)
        return np.asarray(found / found.sum())

    @property
    def mean_bytes_per_s(self) -> float:
        """Mean rate in the long run."""
        return float(self.stationary() @ self.bytes_per_s)

    def draw(
        self, duration_s: float, seed: int = 0, client: int = 0, *, afterwards: str = REPEAT
    ) -> CapacityTrace:
        """A trace of about `duration_s`, in whole steps. Each client's depends on (seed, client)
        only. Raises InputError for a duration below 0 or none."""
        if not (np.isfinite(duration_s) and duration_s > 0):
            raise InputError(
                f"duration_s is {duration_s}", where=self.name, mend="give more than 0"
            )
        steps = max(1, round(duration_s / self.step_s))
        drawn = uniforms(seed, NETWORK, client, np.arange(steps)).tolist()
        last = len(self.bytes_per_s) - 1
        begin = np.cumsum(self.stationary()).tolist()
        after = np.cumsum(self.transition, axis=1).tolist()
        level = min(bisect_right(begin, drawn[0]), last)
        levels = [level]
        for u in drawn[1:]:
            level = min(bisect_right(after[level], u), last)
            levels.append(level)
        return CapacityTrace.make(
            np.arange(steps) * self.step_s,
            self.bytes_per_s[levels],
            steps * self.step_s,
            afterwards=afterwards,
            name=f"{self.name}, client {client}",
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "bytes_per_s": self.bytes_per_s.tolist(),
            "transition": self.transition.tolist(),
            "step_s": self.step_s,
        }


def fit_bandwidth(
    traces: Sequence[CapacityTrace], *, levels: int = 8, step_s: float = 1.0, name: str = "fitted"
) -> MarkovBandwidth:
    """The chain of some traces: means over steps, cut into levels that hold equal shares of time.

    A level's rate is the mean of its steps, so the overall mean is kept; the chances are counted
    over neighbouring steps within each trace (maximum likelihood: Billingsley 1961).

    Raises:
        InputError: no trace lasts two steps.
    """
    steps = [t.resampled(step_s).at(_middles(t, step_s)) for t in traces]
    pooled = np.concatenate(steps) if steps else np.zeros(0)
    if sum(len(s) > 1 for s in steps) == 0:
        raise InputError("no trace lasts two steps", where=name, mend="give longer ones")
    edges = np.unique(np.quantile(pooled, np.arange(1, levels) / levels))
    used, place = np.unique(np.searchsorted(edges, pooled, side="right"), return_inverse=True)
    k = len(used)
    rates = np.bincount(place, pooled, k) / np.bincount(place, minlength=k)
    counts, began = np.zeros((k, k)), 0
    for one in steps:
        own = place[began : began + len(one)]
        began += len(one)
        np.add.at(counts, (own[:-1], own[1:]), 1)
    # A level seen only as a trace's last step stays where it is.
    alone = counts.sum(axis=1) == 0
    counts[alone, alone] = 1.0
    chances = counts / counts.sum(axis=1, keepdims=True)
    return MarkovBandwidth.make(rates, chances, step_s, name)


def _middles(trace: CapacityTrace, step_s: float) -> npt.NDArray[np.int64]:
    """Ticks in the middle of each window of `trace.resampled(step_s)`."""
    pieces = max(1, round(trace.duration_s / step_s))
    return np.array([trace.end * (2 * k + 1) // (2 * pieces) for k in range(pieces)], np.int64)


def shipped_bandwidth(name: str) -> MarkovBandwidth:
    """One of the `SHIPPED` chains. InputError names them where there is none of that name."""
    found = _shipped()
    if name not in found:
        raise InputError(
            f"no bandwidth model is called {name!r}", mend=f"use one of {', '.join(sorted(found))}"
        )
    model = found[name]["model"]
    return MarkovBandwidth.make(model["bytes_per_s"], model["transition"], model["step_s"], name)


def shipped_source(name: str) -> Mapping[str, Any]:
    """What a shipped chain was fitted to: source, files, seconds, mean rate. Raises InputError."""
    shipped_bandwidth(name)
    return {key: value for key, value in _shipped()[name].items() if key != "model"}


@functools.cache
def _shipped() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return data
