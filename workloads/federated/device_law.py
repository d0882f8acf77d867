"""Devices drawn from fitted quantile functions, their ranks joined as they were measured."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .devices import Array, Devices
from .draws import DEVICE, client_normals

LEVELS = np.array([0, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 1.0])
COLUMNS = ("s_per_sample", "down_bytes_per_s", "up_bytes_per_s")


@dataclass(frozen=True, eq=False)
class DeviceLaw:
    """Laws of what a device can do.

    Attributes:
        quantiles: by column of `COLUMNS`, float64[15] at `LEVELS`; a column that was not measured
            is absent.
        spearman: rank correlation of training time and rates (of down and up rate where there is
            no training time).
        same: down and up have one rate, as measured.
        name: what it is called.
    """

    quantiles: dict[str, Array]
    spearman: float
    same: bool
    name: str = "devices"

    def draw(self, clients: int, *, seed: int = 0) -> Devices:
        """Devices of N clients; each depends on (seed, client) only. Raises InputError: no client.

        A Gaussian copula joins the columns: normal scores correlate by 2 sin(pi rho / 6)
        (Kruskal, JASA 53, 1958).
        """
        if clients < 1:
            raise InputError(f"{clients} clients", where=self.name, mend="give 1 or more")
        who = np.arange(clients)
        r = 2.0 * math.sin(math.pi * self.spearman / 6.0)
        common = client_normals(seed, DEVICE, who)
        own = r * common + math.sqrt(max(0.0, 1.0 - r * r)) * client_normals(seed, DEVICE, who, 1)
        lead = "s_per_sample" if "s_per_sample" in self.quantiles else "down_bytes_per_s"
        found = {
            column: self._quantile(column, common if column == lead else own)
            for column in self.quantiles
        }
        down = found.get("down_bytes_per_s", np.inf)
        up = down if self.same else found.get("up_bytes_per_s", np.inf)
        facts = {"law": self.name, "seed": seed}
        speed = found.get("s_per_sample", np.ones(clients))
        return Devices.make(speed, down, up, facts=facts)

    def _quantile(self, column: str, score: Array) -> Array:
        """Geometric between the levels."""
        from scipy.special import ndtr

        knots = np.log(self.quantiles[column])
        return np.asarray(np.exp(np.interp(ndtr(score), LEVELS, knots)))

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, five digits each: what is stored."""
        kept = {
            column: [float(f"{value:.5g}") for value in values]
            for column, values in self.quantiles.items()
        }
        return {
            "quantiles": kept,
            "spearman": round(self.spearman, 4),
            "same": self.same,
            "name": self.name,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DeviceLaw":
        """Back from `to_dict`. Raises InputError where it is not one."""
        try:
            quantiles = {k: np.array(v, float) for k, v in data["quantiles"].items()}
            law = cls(quantiles, float(data["spearman"]), bool(data["same"]), str(data["name"]))
        except (AttributeError, KeyError, TypeError, ValueError) as wrong:
            raise InputError(f"is no law of devices ({wrong})", where="device law") from None
        if any(k not in COLUMNS or len(v) != len(LEVELS) for k, v in quantiles.items()):
            raise InputError("has other columns or levels", where="device law")
        return law


def fit(devices: Devices, *, name: str = "devices") -> DeviceLaw:
    """The law of measured devices: quantiles of what is known of them, and one rank correlation.

    Columns that are the same for all, or infinite, are unknown and left out; down and up rates that
    are equal device by device count as one.

    Raises:
        InputError: fewer than two devices, or nothing known.
    """
    known = {
        column: getattr(devices, column)
        for column in COLUMNS
        if np.isfinite(getattr(devices, column)).all() and np.ptp(getattr(devices, column)) > 0
    }
    if len(devices) < 2 or not known:
        raise InputError(f"{len(devices)} devices tell nothing", where=name, mend="give more")
    rates = [known[column] for column in COLUMNS[1:] if column in known]
    same = len(rates) == 2 and bool(np.array_equal(*rates))
    if same:
        del known["up_bytes_per_s"]
    pair = list(known.values())[:2]
    rho = spearman(*pair) if len(pair) == 2 else 0.0
    return DeviceLaw({c: np.quantile(v, LEVELS) for c, v in known.items()}, rho, same, name)


def spearman(a: Array, b: Array) -> float:
    """Rank correlation; equal values share their mean rank."""
    return float(np.corrcoef(mean_ranks(a), mean_ranks(b))[0, 1])


def mean_ranks(values: Array) -> Array:
    """float64[n], ranks from 0; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2.0)[place])
