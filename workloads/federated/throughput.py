"""Throughput of real links: FLOAT's 4G/5G samples, MobiPerf's tests, and any bandwidth trace.

FLOAT (Khan et al., EuroSys 2024) ships a CSV in the form of the 5Gophers and Lumos5G data: one row
a second, `throughput_mbps`, the run's `seq_num` and the cell. MobiPerf's open data is a JSON list
of measurements, as its app and the Mobilyzer library write them.
"""

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.models.network.bandwidth.tables import CapacityTrace
from mltwin.sim.errors import InputError
from mltwin.workloads.bandwidth import read_bandwidth
from mltwin.workloads.source import Source

from .devices import BYTES_OF_KBIT, BYTES_OF_MBIT, Array, Devices
from .json_map import read_json

_COLUMNS = ("seq_num", "radio_type", "throughput_mbps")


def is_throughput(source: Source) -> bool:
    """Whether a file begins like FLOAT's CSV."""
    head = source.head(1)
    return bool(head) and set(_COLUMNS) <= {cell.strip() for cell in head[0].split(",")}


def read_throughput(path: str | os.PathLike[str]) -> dict[str, list[CapacityTrace]]:
    """Capacity traces of FLOAT's CSV by radio type, one for each run of following seconds.

    A run ends where `seq_num` does not go on by one.

    Raises:
        InputError: file, line, column, value and mend are named.
    """
    source = Source(path)
    header: list[str] = []
    runs: list[tuple[str, list[float]]] = []
    before: tuple[str, int] | None = None
    for number, cells in enumerate(csv.reader(line for _, line in source.lines()), 1):
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            missing = [name for name in _COLUMNS if name not in header]
            if missing:
                raise source.error(f"has no column {missing[0]!r}", number, "give FLOAT's columns")
            continue
        if len(cells) != len(header):
            raise source.error(f"{len(cells)} columns, the header has {len(header)}", number)
        row = dict(zip(header, cells, strict=True))
        second = int(_cell(source, number, "seq_num", row))
        rate = _cell(source, number, "throughput_mbps", row)
        radio = row["radio_type"].strip()
        if before != (radio, second - 1):
            runs.append((radio, []))
        runs[-1][1].append(rate * BYTES_OF_MBIT)
        before = (radio, second)
    if not runs:
        raise source.error("has no rows", mend="give one row a second")
    found: dict[str, list[CapacityTrace]] = {}
    for radio, rates in runs:
        name = f"{source.path.name}, {radio} run {len(found.get(radio, []))}"
        trace = CapacityTrace.make(np.arange(len(rates)), rates, len(rates), name=name)
        found.setdefault(radio, []).append(trace)
    return found


def links_of(traces: Iterable[CapacityTrace | str | os.PathLike[str]], **options: Any) -> Array:
    """float64[n], mean bytes/s of bandwidth traces, or of their files (Mahimahi, HSDPA, UCC 5G).

    For constant rates of the same mean; `link_traces` makes clients follow the whole traces.
    Options go to `read_bandwidth`.

    Raises:
        InputError: as `read_bandwidth`; a trace that carries nothing.
    """
    rates = []
    for given in traces:
        trace = given if isinstance(given, CapacityTrace) else read_bandwidth(given, **options)
        if not trace.mean_bytes_per_s > 0:
            raise InputError("carries nothing", where=trace.name, mend="leave it out")
        rates.append(trace.mean_bytes_per_s)
    if not rates:
        raise InputError("there is no trace", where="links_of", mend="give one or more")
    return np.array(rates)


@dataclass(frozen=True, eq=False)
class MobilePerformance:
    """MobiPerf's measurements by device, NaN where a device lacks one.

    Attributes:
        device: names; network: "wifi" or what the phone said, of the device's first measurement.
        down_bytes_per_s, up_bytes_per_s: float64[n], medians of TCP throughput tests.
        rtt_s: float64[n], median of mean ping times.
        facts: how many measurements of each kind, and how many were left out as failed.
    """

    device: tuple[str, ...]
    network: tuple[str, ...]
    down_bytes_per_s: Array
    up_bytes_per_s: Array
    rtt_s: Array
    facts: dict[str, Any]

    def devices(self) -> Devices:
        """Those measured both ways, as links (s_per_sample is 1: unknown). InputError if none."""
        both = np.isfinite(self.down_bytes_per_s) & np.isfinite(self.up_bytes_per_s)
        if not both.any():
            raise InputError(
                "no device was measured both ways", where="MobiPerf", mend="join more files"
            )
        return Devices.make(
            np.ones(int(both.sum())),
            self.down_bytes_per_s[both],
            self.up_bytes_per_s[both],
            names=tuple(np.array(self.device)[both].tolist()),
            facts=self.facts,
        )


def read_mobiperf(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> MobilePerformance:
    """TCP throughput and ping of MobiPerf's JSON, by device.

    A measurement is {"type", "success", "parameters", "values", "device_properties"}. Of type
    `tcpthroughput`, `parameters.dir_up` is the direction and `values.tcp_speed_results` the kbit/s
    of its samples (a JSON list as text); of type `ping`, `values.mean_rtt_ms`. Other types are
    passed over; those without success or without a result are counted. A device is a
    `registration_id`, else model and `tac`. Also read: the shorter form that FLHetBench shares, a
    downlink test with `tcp_speed_results` beside `device_properties` and no type.

    Raises:
        InputError: file, number of the measurement and value are named.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    speeds: dict[str, dict[str, list[float]]] = {}
    network: dict[str, str] = {}
    counts = {"tcpthroughput": 0, "ping": 0, "other": 0, "failed": 0}
    for path in given:
        source, records = read_json(path)
        if not isinstance(records, list):
            raise source.error("is not a JSON list of measurements", mend="give MobiPerf's file")
        for place, record in enumerate(records):
            where = f"{source.path}, measurement {place}"
            kind, what, values = _measurement(where, record)
            counts[kind if kind in counts else "other"] += 1
            if not what:
                continue
            if not values:
                counts["failed"] += 1
                continue
            device, over = _device(record)
            network.setdefault(device, over)
            speeds.setdefault(device, {}).setdefault(what, []).extend(values)
    names = tuple(sorted(speeds))
    columns = [
        np.array([float(np.median(speeds[name].get(what, [np.nan]))) for name in names])
        for what in ("down", "up", "rtt")
    ]
    return MobilePerformance(
        names,
        tuple(network[name] for name in names),
        columns[0] * BYTES_OF_KBIT,
        columns[1] * BYTES_OF_KBIT,
        columns[2] / 1000.0,
        {"source": "MobiPerf", "measurements": counts},
    )


def _measurement(where: str, record: Any) -> tuple[str, str, list[float]]:
    """(type, what it tells: down, up, rtt or nothing, values above 0)."""
    if isinstance(record, dict) and "type" not in record and "tcp_speed_results" in record:
        record = {**record, "type": "tcpthroughput", "values": record}
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise InputError("has no type", where=where, mend="give MobiPerf's measurements")
    kind = record["type"]
    if kind not in ("tcpthroughput", "ping"):
        return kind, "", []
    values, parameters = _object(record, "values"), _object(record, "parameters")
    what = "rtt" if kind == "ping" else ("up" if parameters.get("dir_up") else "down")
    told = values.get("mean_rtt_ms" if kind == "ping" else "tcp_speed_results")
    if record.get("success") is False or told in (None, "", "[]"):
        return kind, what, []
    try:
        found = json.loads(told) if isinstance(told, str) else told
        numbers = [float(value) for value in (found if isinstance(found, list) else [found])]
    except (TypeError, ValueError):
        raise InputError(
            f"{str(told)[:40]!r} is not a number or a list of numbers",
            where=where,
            mend="correct it, or leave the measurement out",
        ) from None
    return kind, what, [value for value in numbers if np.isfinite(value) and value > 0]


def _device(record: dict[str, Any]) -> tuple[str, str]:
    told = _object(record, "device_properties")
    info = _object(told, "device_info")
    name = told.get("registration_id") or f"{info.get('model', '')} {info.get('tac', '')}".strip()
    return str(name or "unknown"), str(told.get("network_type", "")).lower()


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    """The object of a key; one without entries where there is none."""
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _cell(source: Source, line: int, column: str, row: dict[str, str]) -> float:
    text = row[column].strip()
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value >= 0):
        raise InputError(
            f"{text[:40]!r} is not a number of 0 or more",
            where=f"{source.path}, line {line}, column {column!r}",
            mend="correct the line, or leave it out",
        )
    return float(value)
