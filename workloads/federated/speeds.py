"""How fast clients are: laws of the seconds per sample, by name, and devices measured or fitted.

Each takes the number of clients and its own parameters, and gives `Devices`. A client's draw is
keyed by (seed, client): the first hundred of a million are those of a hundred.
"""

import math
import os
from collections.abc import Callable, Mapping

import numpy as np

from mltwin.sim.errors import InputError

from . import fedscale as fedscale_files
from . import flash
from .device_law import DeviceLaw
from .devices import Array, Devices
from .draws import DEVICE, LINK, SPEED, client_uniforms


def homogeneous(clients: int, *, s_per_sample: float = 1e-3, seed: int = 0) -> Devices:
    """All alike."""
    return _devices(np.full(_count(clients), _above(s_per_sample, "s_per_sample")))


def uniform(clients: int, *, low: float = 5e-4, high: float = 1.5e-3, seed: int = 0) -> Devices:
    """Seconds per sample uniform from low to high."""
    _above(low, "low")
    if not low <= high < math.inf:
        raise InputError(f"high is {high}", where="uniform", mend=f"give {low:g} or more")
    return _devices(low + (high - low) * _u(clients, seed))


def normal(
    clients: int, *, mean: float = 1e-3, sd: float = 3e-4, least: float = 0.05, seed: int = 0
) -> Devices:
    """Seconds per sample normal, cut off below `least` times the mean (the law of the rest)."""
    from scipy.special import ndtr, ndtri

    _above(mean, "mean")
    _above(sd, "sd")
    if not 0.0 < least < 1.0:
        raise InputError(f"least is {least}", where="normal", mend="give more than 0, below 1")
    below = ndtr((least - 1.0) * mean / sd)
    # The middle of the cell that a uniform on [0, 1) stands for: never 0 or 1.
    u = _u(clients, seed) + 2.0**-54
    return _devices(np.maximum(mean + sd * ndtri(below + (1.0 - below) * u), least * mean))


def exponential(clients: int, *, mean: float = 1e-3, least: float = 0.0, seed: int = 0) -> Devices:
    """Seconds per sample exponential of this mean, after `least` times the mean that all take."""
    _above(mean, "mean")
    if not 0.0 <= least < 1.0:
        raise InputError(f"least is {least}", where="exponential", mend="give 0 to below 1")
    drawn = -np.log1p(-_u(clients, seed)) + 2.0**-54
    return _devices(mean * (least + (1.0 - least) * drawn))


def log_normal(clients: int, *, median: float = 1e-3, sigma: float = 0.5, seed: int = 0) -> Devices:
    """Seconds per sample log-normal; sigma of the logarithm."""
    from scipy.special import ndtri

    _above(median, "median")
    if not 0.0 <= sigma <= 10.0:
        raise InputError(f"sigma is {sigma}", where="log_normal", mend="give 0 to 10")
    return _devices(median * np.exp(sigma * ndtri(_u(clients, seed) + 2.0**-54)))


def pareto(clients: int, *, least: float = 5e-4, shape: float = 2.0, seed: int = 0) -> Devices:
    """Seconds per sample Pareto: P(more than s) = (least / s)**shape."""
    _above(least, "least")
    _above(shape, "shape")
    return _devices(least * np.exp(-np.log1p(-_u(clients, seed)) / shape))


def two_speeds(
    clients: int,
    *,
    fast: float = 1e-3,
    slow: float = 1e-2,
    slow_share: float = 0.2,
    seed: int = 0,
) -> Devices:
    """Two kinds of devices; round(slow_share * clients) are slow, which ones is drawn."""
    _above(fast, "fast")
    _above(slow, "slow")
    if not 0.0 <= slow_share <= 1.0:
        raise InputError(f"slow_share is {slow_share}", where="two_speeds", mend="give 0 to 1")
    values = np.full(_count(clients), fast)
    order = np.argsort(_u(clients, seed), kind="stable")
    values[order[: round(slow_share * clients)]] = slow
    return _devices(values)


def spread(clients: int, *, slowest: float = 1e-3, percent: float = 80.0, seed: int = 0) -> Devices:
    """Evenly spread: client i takes slowest * (1 - i * percent / 100 / (clients - 1)).

    The "F-X" of Fraboni et al., JMLR 24, 2023, section 5. Nothing is drawn.
    """
    _above(slowest, "slowest")
    if not 0.0 <= percent < 100.0:
        raise InputError(f"percent is {percent}", where="spread", mend="give 0 to below 100")
    step = np.arange(_count(clients)) / max(1, clients - 1)
    return _devices(slowest * (1.0 - step * percent / 100.0))


def fedscale(clients: int, *, scale: float = 1.0, seed: int = 0) -> Devices:
    """Phones and links as FedScale's (a law fitted to 60 of its clients); links too.

    `scale` multiplies the seconds per sample: FedScale's are those of one mobile CNN.
    """
    return _scaled(_law("fedscale").draw(clients, seed=seed), scale)


def ai_benchmark(clients: int, *, scale: float = 1.0, seed: int = 0) -> Devices:
    """Phones as those of AI-Benchmark, each model alike (a law fitted to 307), with WiFi links of
    FLASH's users (a law fitted to 19)."""
    phones = _law("ai-benchmark").draw(clients, seed=seed)
    links = _law("flash-wifi").draw(clients, seed=seed + 1)
    joined = Devices.make(
        phones.s_per_sample, links.down_bytes_per_s, links.up_bytes_per_s, facts=phones.facts
    )
    return _scaled(joined, scale)


def mobile(
    clients: int,
    *,
    network: str = "4g",
    median: float = 1e-3,
    sigma: float = 0.5,
    up_share: float = 0.3,
    seed: int = 0,
) -> Devices:
    """Log-normal training times, and links as seconds of a mobile network.

    Args:
        network: one of the shipped bandwidth chains (3g, 4g, 5g, broadband, streaming); a client's
            rate is that of one second in the long run.
        median, sigma: of the seconds per sample.
        up_share: uplink rate over downlink rate; assumed, the chains are of downlinks.
    """
    from mltwin.workloads.bandwidth_synthetic import shipped_bandwidth

    _above(up_share, "up_share")
    chain = shipped_bandwidth(network)
    upper = np.cumsum(chain.stationary())
    u = client_uniforms(seed, LINK, np.arange(_count(clients)))
    level = np.minimum(np.searchsorted(upper, u, side="right"), len(upper) - 1)
    rate = np.maximum(chain.bytes_per_s[level], 1.0)
    speed = log_normal(clients, median=median, sigma=sigma, seed=seed).s_per_sample
    return Devices.make(speed, rate, rate * up_share, facts={"network": network})


def file(
    clients: int, *, path: str | os.PathLike[str], format: str = "fedscale", seed: int = 0
) -> Devices:
    """Devices of a file, drawn with replacement; as they stand where there are as many as clients.

    format: "fedscale" (`client_device_capacity` as JSON) or "ai-benchmark" (`benchmark2score`).
    """
    readers = {
        "fedscale": fedscale_files.read_fedscale_capacity,
        "ai-benchmark": flash.read_ai_benchmark,
    }
    if format not in readers:
        raise InputError(
            f"no format is called {format!r}", where=str(path), mend=f"use {' or '.join(readers)}"
        )
    found = readers[format](path)
    if len(found) == _count(clients):
        return found
    return found.take((_u(clients, seed, DEVICE) * len(found)).astype(np.int64))


SPEEDS: Mapping[str, Callable[..., Devices]] = {
    law.__name__: law
    for law in (
        homogeneous,
        uniform,
        normal,
        exponential,
        log_normal,
        pareto,
        two_speeds,
        spread,
        fedscale,
        ai_benchmark,
        mobile,
        file,
    )
}
"""All laws by name."""


def _law(name: str) -> DeviceLaw:
    from .shipped import device_law

    return device_law(name)


def _devices(s_per_sample: Array) -> Devices:
    return Devices.make(s_per_sample)


def _scaled(devices: Devices, scale: float) -> Devices:
    _above(scale, "scale")
    return Devices.make(
        devices.s_per_sample * scale,
        devices.down_bytes_per_s,
        devices.up_bytes_per_s,
        facts=devices.facts,
    )


def _u(clients: int, seed: int, kind: int = SPEED) -> Array:
    return client_uniforms(seed, kind, np.arange(_count(clients)))


def _count(clients: int) -> int:
    if clients < 1:
        raise InputError(f"{clients} clients", where="speed", mend="give 1 or more")
    return clients


def _above(value: float, name: str) -> float:
    if not 0.0 < value < math.inf:
        raise InputError(f"{name} is {value}", where="speed", mend="give more than 0")
    return value
