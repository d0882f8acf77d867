"""Radio links of clients: from places, powers and fading to rates and outages.

After the setting of Zeng, Semiari, Saad and Bennis 2022 (arXiv 2201.00626: air taxis that learn
turbulence together over ground stations): SINR -> Shannon rate -> upload time. Their strategy is
`fedasync` with polynomial weights. Not verified, since only the paper's abstract was at hand: its
weight by staleness, its fading and its spatial model (clients near corridors). Here clients are
uniform over a disc around their station, interferers over a ring outside of it.

    links = radio_links(count, seed)
    clients = Clients.make(samples, **links.columns)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

from .limits import within

Array = npt.NDArray[Any]

CHUNK = 1000
"""Clients whose fading is drawn at once."""


@dataclass(frozen=True)
class Radio:
    """A station with clients around it, and what reaches it from elsewhere.

    Attributes:
        radius_m, height_m: clients are uniform over a disc of that radius, so high above it.
        bandwidth_hz: of the channel that each client has for itself.
        power_w: sent by a client; station_w: by the station.
        gain_1m: power received at 1 m, as a share of that sent (1.4e-4: free space at 2 GHz).
        exponent: received power falls as distance^-exponent.
        noise_w_per_hz: thermal noise (4e-21 is -174 dBm/Hz), times the receiver's noise factor.
        interferers: clients of other stations on the same channel, of the same power and height.
        far_m: they are uniform over the ring from radius_m to far_m around the station.
        nakagami: m of the fading, a whole number; 1 is Rayleigh; power is Gamma(m) / m.
        threshold: SINR below which a transfer fails.
        draws: of fading, for each client.
    """

    radius_m: float = 1000.0
    height_m: float = 300.0
    bandwidth_hz: float = 1e6
    power_w: float = 0.2
    station_w: float = 10.0
    gain_1m: float = 1.4e-4
    exponent: float = 2.5
    noise_w_per_hz: float = 2e-20
    interferers: int = 2
    far_m: float = 3000.0
    nakagami: int = 1
    threshold: float = 0.1
    draws: int = 400

    def __post_init__(self) -> None:
        within(self, radius_m=(0, 1e7), height_m=(1, 1e6), bandwidth_hz=(1, 1e12))
        within(self, power_w=(1e-12, 1e6), station_w=(1e-12, 1e6), gain_1m=(1e-12, 1))
        within(self, exponent=(1, 10), noise_w_per_hz=(1e-30, 1), interferers=(0, 1000))
        within(self, far_m=(self.radius_m, 1e7), nakagami=(1, 100), threshold=(0, 1e9))
        within(self, draws=(1, 10**6))

    @property
    def noise_w(self) -> float:
        """Noise over the channel."""
        return self.noise_w_per_hz * self.bandwidth_hz


@dataclass(frozen=True, eq=False)
class RadioLinks:
    """Links of N clients.

    Attributes:
        distance_m: float64[N].
        up_bytes_per_s, down_bytes_per_s: float64[N], mean Shannon rates where there is no outage;
            an upload lasts through many fadings, so that the mean rate is what counts.
        outage: float64[N], chance that the upload's SINR is below the threshold (exact for
            Rayleigh fading, else the share of the draws).
    """

    distance_m: Array
    up_bytes_per_s: Array
    down_bytes_per_s: Array
    outage: Array

    @property
    def columns(self) -> dict[str, Array]:
        """Keywords of `Clients.make`: rates, and outage as the chance that a dispatch fails."""
        return {
            "up_bytes_per_s": self.up_bytes_per_s,
            "down_bytes_per_s": self.down_bytes_per_s,
            "failure": self.outage,
        }


def radio_links(count: int, seed: int = 0, radio: Radio | None = None) -> RadioLinks:
    """Links of clients around a station; client i is the same however many there are.

    Raises:
        InputError: a client whose upload is always out of reach.
    """
    of = radio or Radio()
    everyone = np.arange(count)
    distance = places(everyone, seed, of)
    parts = [_rates(chunk, distance[chunk], seed, of) for chunk in _chunks(everyone)]
    up, down, outage = (np.concatenate(column) for column in zip(*parts, strict=True))
    silent = np.flatnonzero(outage >= 1.0)
    if len(silent):
        raise InputError(
            f"client {silent[0]}, {distance[silent[0]]:.0f} m away, is never heard",
            where="radio_links",
            mend="lower threshold or radius_m, or raise power_w",
        )
    return RadioLinks(distance, up, down, outage)


def places(clients: Array, seed: int, radio: Radio) -> Array:
    """float64[n], metres from the station, keyed by client."""
    draws = rng_arrays.uniforms(seed, rng_arrays.CLIENTS, clients)
    return np.hypot(radio.radius_m * np.sqrt(draws), radio.height_m)


def rayleigh_outage(
    signal_w: npt.ArrayLike, interference_w: npt.ArrayLike, noise_w: float, threshold: float
) -> Array:
    """Chance that SINR is below a threshold when all powers fade as Rayleigh.

    1 - exp(-theta noise / S) * prod_j 1 / (1 + theta I_j / S), for mean powers S and I_j (last
    axis of `interference_w`); Haenggi and Ganti 2009, section 3.2.
    """
    signal = np.asarray(signal_w, np.float64)
    others = np.asarray(interference_w, np.float64)
    survives = np.prod(1.0 / (1.0 + threshold * others / signal[..., None]), axis=-1)
    return 1.0 - np.exp(-threshold * noise_w / signal) * survives


def received_w(distance_m: npt.ArrayLike, power_w: float, radio: Radio) -> Array:
    """Mean power at a distance, without fading."""
    return power_w * radio.gain_1m * np.asarray(distance_m, np.float64) ** -radio.exponent


def interference(clients: Array, seed: int, radio: Radio) -> Array:
    """float64[n, interferers], their mean power at the station of each client."""
    which = np.arange(1, radio.interferers + 1)
    draws = rng_arrays.uniforms(seed, rng_arrays.CLIENTS, clients[:, None], which)
    inner, outer = radio.radius_m**2, radio.far_m**2
    distance = np.sqrt(inner + (outer - inner) * draws + radio.height_m**2)
    return received_w(distance, radio.power_w, radio)


def _rates(clients: Array, distance: Array, seed: int, radio: Radio) -> tuple[Array, Array, Array]:
    """Up and down rates and outages of some clients."""
    signal = received_w(distance, radio.power_w, radio)
    others = interference(clients, seed, radio)
    own = _fading(clients, seed, radio, 0)
    disturbed = np.full_like(own, radio.noise_w)
    for j in range(radio.interferers):
        disturbed += others[:, j, None] * _fading(clients, seed, radio, 1 + j)
    sinr = signal[:, None] * own / disturbed
    heard = sinr >= radio.threshold
    up = _mean_rate(sinr, heard, radio)
    # The station disturbs nobody here: its channel is its own.
    strength = received_w(distance, radio.station_w, radio)[:, None] / radio.noise_w
    down_sinr = strength * _fading(clients, seed, radio, 1 + radio.interferers)
    down = _mean_rate(down_sinr, np.ones_like(heard), radio)
    if radio.nakagami == 1:
        outage = rayleigh_outage(signal, others, radio.noise_w, radio.threshold)
    else:
        outage = 1.0 - heard.mean(axis=1)
    return up, down, outage


def _mean_rate(sinr: Array, heard: Array, radio: Radio) -> Array:
    """float64[n] bytes/s, B log2(1 + SINR) over the draws that count."""
    rates = radio.bandwidth_hz * np.log2(1.0 + sinr) / 8.0
    return (rates * heard).sum(axis=1) / np.maximum(heard.sum(axis=1), 1)


def _fading(clients: Array, seed: int, radio: Radio, sender: int) -> Array:
    """float64[n, draws], Gamma(m) / m: the mean of m exponentials."""
    first = sender * radio.draws * radio.nakagami
    numbers = first + np.arange(radio.draws * radio.nakagami)
    draws = rng_arrays.exponentials(seed, rng_arrays.NETWORK, clients[:, None], numbers)
    return draws.reshape(len(clients), radio.draws, radio.nakagami).mean(axis=2)


def _chunks(clients: Array) -> list[Array]:
    return [clients[start : start + CHUNK] for start in range(0, len(clients), CHUNK)]
