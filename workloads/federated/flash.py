"""FLASH's smartphones: when they are ready, how fast their links are, how fast they train.

Yang et al., "Characterizing Impacts of Heterogeneity in Federated Learning upon Large-Scale
Smartphone Data", WWW 2021. `ready_strict.json` and `ready_loose.json` map a user to intervals in
seconds since a midnight in which the phone was idle, charging and on WiFi, by a stricter and a
looser rule. `speed_distri.json` maps a user to the mean and deviation of its WiFi speed in KB/s.
`benchmark2score.json` maps phones to AI-Benchmark scores.
"""

import os
from collections.abc import Mapping

import numpy as np

from mltwin.sim.errors import InputError

from .devices import Array, Devices
from .json_map import positive, read_map
from .presence import DAY_S, Presence

CLOCK_ERROR_S = -1e6
"""Begins before this are of clocks that were wrong (about -2.58e8 s in the published files)."""

BYTES_OF_KB = 1000.0

ANCHORS = ((383.0, 164.2), (6702.0, 58.8), (33289.0, 17.9))
"""(AI-Benchmark score, ms to train on one sample): the FEMNIST CNN of FLASH's `device_util.py`,
1,642, 588 and 179 ms for a batch of 10 on a Nexus S, a Redmi Note 7 Pro and a Pixel 4."""


def read_flash_availability(
    path: str | os.PathLike[str], *, period_s: float = 2 * DAY_S, least: int = 1
) -> Presence:
    """Presence of `ready_strict.json` or `ready_loose.json`.

    The published window is two days, at whose end a trace starts again. Dropped and counted in
    `facts["dropped"]`: begins before `CLOCK_ERROR_S`, ends not after their begins, intervals wholly
    outside the window, and users with fewer than `least` intervals left. Intervals across the
    window's edge are cut, those that overlap or touch are joined.

    Raises:
        InputError: file, key, value and mend are named; a pickle.
    """
    source, found = read_map(path, "user")
    if not period_s > 0:
        raise InputError(f"period_s is {period_s}", where=str(path), mend="give more than 0")
    dropped = {"clock": 0, "length": 0, "outside": 0, "cut": 0, "users": 0}
    traces: list[tuple[Array, Array]] = []
    names = []
    for key, record in found.items():
        pairs = _pairs(f"{source.path}, key {key!r}", record)
        clock = pairs[:, 0] < CLOCK_ERROR_S
        length = ~clock & (pairs[:, 1] <= pairs[:, 0])
        outside = ~clock & ~length & ((pairs[:, 1] <= 0) | (pairs[:, 0] >= period_s))
        kept = pairs[~(clock | length | outside)]
        inside = np.clip(kept, 0.0, period_s)
        for name, count in (("clock", clock), ("length", length), ("outside", outside)):
            dropped[name] += int(count.sum())
        dropped["cut"] += int((inside != kept).any(axis=1).sum())
        if len(inside) < least:
            dropped["users"] += 1
            continue
        traces.append((inside[:, 0], inside[:, 1]))
        names.append(key)
    if not traces:
        raise source.error("has no user with an interval to use", mend="give another file")
    facts = {"source": source.path.name, "users": len(found), "dropped": dropped}
    return Presence.join(traces, period_s, tuple(names), facts)


def read_flash_speeds(path: str | os.PathLike[str]) -> tuple[Devices, Array]:
    """Links of `speed_distri.json`, and the coefficient of variation of each user's uplink.

    Returns:
        devices whose s_per_sample is 1 (unknown), and float64[n].

    Raises:
        InputError: file, key, field, value and mend are named; a pickle.
    """
    source, found = read_map(path, "user")
    columns = {
        name: np.array([positive(source, key, record, name) for key, record in found.items()])
        for name in ("down_u", "down_sigma", "up_u", "up_sigma")
    }
    devices = Devices.make(
        np.ones(len(found)),
        columns["down_u"] * BYTES_OF_KB,
        columns["up_u"] * BYTES_OF_KB,
        names=tuple(found),
        facts={"source": source.path.name, "devices": len(found)},
    )
    return devices, columns["up_sigma"] / columns["up_u"]


def read_ai_benchmark(path: str | os.PathLike[str]) -> Devices:
    """Phones of `benchmark2score.json` with seconds a sample by `s_per_sample_of_scores`.

    Links are unknown, so infinite.

    Raises:
        InputError: file, key, value and mend are named; a pickle.
    """
    source, found = read_map(path, "phone")
    scores = [positive(source, key, {"score": value}, "score") for key, value in found.items()]
    return Devices.make(
        s_per_sample_of_scores(np.array(scores)),
        names=tuple(found),
        facts={"source": source.path.name, "devices": len(found), "anchors": ANCHORS},
    )


def s_per_sample_of_scores(scores: Array) -> Array:
    """float64[n], seconds to train on a sample, of AI-Benchmark scores.

    Straight lines through the logarithms of `ANCHORS`, the outer ones prolonged: three measured
    phones stand for all (FLASH itself gives every phone the time of the nearest of the three).
    """
    x = np.log(np.array([score for score, _ in ANCHORS]))
    y = np.log(np.array([ms for _, ms in ANCHORS]))
    at = np.log(np.asarray(scores, float))
    slope = np.diff(y) / np.diff(x)
    piece = np.clip(np.searchsorted(x, at) - 1, 0, len(slope) - 1)
    return np.asarray(np.exp(y[piece] + slope[piece] * (at - x[piece])) / 1000.0)


def phones_of(names: tuple[str, ...], to_benchmark: Mapping[str, str], benchmark: Devices) -> Array:
    """int64[n], the row of `benchmark` of each phone name; -1 where the phone is not known.

    Args:
        names: phones as traces call them, e.g. of `read_fedscale_availability`.
        to_benchmark: FLASH's `real2benchmark.json`; "unknown" is one of its values.
        benchmark: of `read_ai_benchmark`.
    """
    row = {name: k for k, name in enumerate(benchmark.names)}
    return np.array([row.get(to_benchmark.get(name, "unknown"), -1) for name in names], np.int64)


def _pairs(where: str, record: object) -> Array:
    """float64[k, 2] of a user's intervals."""
    if isinstance(record, list) and not record:
        return np.zeros((0, 2))
    try:
        pairs = np.array(record, np.float64)
    except (TypeError, ValueError):
        pairs = np.zeros(0)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isfinite(pairs).all():
        raise InputError(
            f"{str(record)[:40]!r} is not a list of [begin, end]",
            where=where,
            mend="give seconds, or leave the user out",
        )
    return pairs
