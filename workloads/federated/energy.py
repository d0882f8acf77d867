"""Watts and memory of phones, by class, and watts of radios, by rate.

Figures of the literature, for studies of energy where nobody has measured; a measurement of your
own phones is better. They are quoted from the papers' tables as commonly cited; the papers' full
texts were not at hand when this was written.
"""

from dataclasses import dataclass, replace

import numpy as np

from mltwin.models.federation.tables import Clients
from mltwin.sim.errors import InputError

from .devices import BYTES_OF_MBIT, Array


@dataclass(frozen=True)
class DeviceClass:
    """A class of devices: watts while training (above idle, peak of the CPU) and memory."""

    compute_w: float
    memory_bytes: float
    source: str


_AUTOFL = "Kim and Wu, AutoFL, MICRO 2021 (device table; peak CPU power, memory of its emulation)"

CLASSES = {
    "high": DeviceClass(5.5, 8e9, f"{_AUTOFL}: Mi8 Pro"),
    "mid": DeviceClass(5.6, 4e9, f"{_AUTOFL}: Galaxy S10e"),
    "low": DeviceClass(3.6, 2e9, f"{_AUTOFL}: Moto X Force"),
}
"""Phones, fastest first."""


@dataclass(frozen=True)
class Radio:
    """Watts of a radio: base_w, and so many watts for each Mbit/s of the rate it runs at."""

    up_w_per_mbit_s: float
    down_w_per_mbit_s: float
    base_w: float

    def send_w(self, up_bytes_per_s: Array) -> Array:
        """float64[n], watts while sending at these rates."""
        return np.asarray(self.base_w + self.up_w_per_mbit_s * up_bytes_per_s / BYTES_OF_MBIT)

    def receive_w(self, down_bytes_per_s: Array) -> Array:
        """float64[n], watts while receiving at these rates."""
        return np.asarray(self.base_w + self.down_w_per_mbit_s * down_bytes_per_s / BYTES_OF_MBIT)


RADIOS = {
    "lte": Radio(0.43839, 0.05197, 1.28804),
    "3g": Radio(0.86898, 0.12212, 0.81788),
    "wifi": Radio(0.28317, 0.13701, 0.13286),
}
"""Huang et al., "A Close Examination of Performance and Power Characteristics of 4G LTE Networks",
MobiSys 2012, section 5 (an Android phone of 2011; rates of up to about 20 Mbit/s)."""

MEASURED_BYTES_PER_S = 20 * BYTES_OF_MBIT
"""Rates above this are beyond the measurement: the power at this rate is taken."""


def with_energy(
    clients: Clients, *, radio: str = "wifi", shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
) -> Clients:
    """The clients with watts and memory: the fastest are of class high, the slowest of class low.

    Args:
        clients: speeds and links are read; an infinite rate counts as the fastest measured.
        radio: "wifi", "lte" or "3g".
        shares: of the classes high, mid and low; they sum to 1.

    Raises:
        InputError: another radio, shares that are not three or do not sum to 1.
    """
    if radio not in RADIOS:
        raise InputError(
            f"no radio is called {radio!r}", where="energy", mend=f"use one of {', '.join(RADIOS)}"
        )
    if len(shares) != len(CLASSES) or min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-9:
        raise InputError(
            f"shares are {shares}", where="energy", mend="give three numbers that sum to 1"
        )
    rank = np.empty(len(clients), np.int64)
    rank[np.argsort(clients.s_per_sample, kind="stable")] = np.arange(len(clients))
    edges = np.cumsum(shares)[:-1] * len(clients)
    kind = np.searchsorted(edges, rank, side="right")
    model, classes = RADIOS[radio], list(CLASSES.values())
    rates = [
        np.minimum(rate, MEASURED_BYTES_PER_S)
        for rate in (clients.up_bytes_per_s, clients.down_bytes_per_s)
    ]
    return replace(
        clients,
        compute_w=np.array([c.compute_w for c in classes])[kind],
        send_w=model.send_w(rates[0]),
        receive_w=model.receive_w(rates[1]),
        memory_bytes=np.array([c.memory_bytes for c in classes])[kind],
        group=kind.astype(np.int32),
        names=tuple(CLASSES),
        facts={**clients.facts, "radio": radio, "energy": "AutoFL, Huang et al. 2012"},
    )
