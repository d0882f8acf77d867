"""FedScale's clients: what a device can do, and when it is there.

Lai et al., "FedScale", ICML 2022. `client_device_capacity` maps an id to `computation` (ms for the
inference of one sample) and `communication` (kbit/s); `client_behave_trace` maps an id to `active`
and `inactive` (s at which it comes and goes), `finish_time` (s, where it starts again) and `model`.
The originals are pickles, which are not read: convert them to JSON of the same dictionary.
"""

import os

import numpy as np

from mltwin.sim.errors import InputError

from .devices import BYTES_OF_KBIT, Devices
from .json_map import numbers, positive, read_map
from .presence import Presence

TRAINING_FACTOR = 3.0
"""Training costs so many inferences: forward and backward (FedScale's `client_metadata`)."""


def read_fedscale_capacity(path: str | os.PathLike[str]) -> Devices:
    """Devices of `client_device_capacity` as JSON.

    s_per_sample is `TRAINING_FACTOR` times the inference time; up and down have the same rate.

    Raises:
        InputError: file, key, field, value and mend are named; a pickle.
    """
    source, found = read_map(path, "device")
    ms = [positive(source, key, value, "computation") for key, value in found.items()]
    kbps = [positive(source, key, value, "communication") for key, value in found.items()]
    rate = np.array(kbps) * BYTES_OF_KBIT
    return Devices.make(
        np.array(ms) * (TRAINING_FACTOR / 1000.0),
        rate,
        rate,
        names=tuple(found),
        facts={"source": source.path.name, "devices": len(found)},
    )


def read_fedscale_availability(path: str | os.PathLike[str]) -> Presence:
    """Presence of `client_behave_trace` as JSON.

    A device that begins there has an interval from 0: it goes before it first comes. One that is
    there at the end has an interval to `finish_time`. Intervals of no length are dropped, those
    that touch are joined, both counted in `facts`.

    Raises:
        InputError: file, key, field, value and mend are named; a pickle.
    """
    source, found = read_map(path, "device")
    traces, periods, names, empty = [], [], [], 0
    for key, record in found.items():
        finish = positive(source, key, record, "finish_time")
        begin = numbers(source, key, record, "active")
        end = numbers(source, key, record, "inactive")
        where = f"{source.path}, key {key!r}"
        for field, values in (("active", begin), ("inactive", end)):
            if any(b > a for a, b in zip(values[1:], values, strict=False)):
                raise InputError(f"{field} does not rise", where=where, mend="sort it")
        if end and (not begin or end[0] < begin[0]):
            begin = [0.0, *begin]
        if len(begin) > len(end):
            end = [*end, finish]
        if len(begin) != len(end) or any(e < b for b, e in zip(begin, end, strict=True)):
            raise InputError(
                f"{len(begin)} times of coming and {len(end)} of going do not alternate",
                where=where,
                mend="give active[i] <= inactive[i] <= active[i + 1]",
            )
        if begin and not 0 <= begin[0] <= end[-1] <= finish:
            raise InputError(
                f"a time is outside 0 to finish_time {finish:g} s", where=where, mend="correct it"
            )
        kept = [(b, e) for b, e in zip(begin, end, strict=True) if e > b]
        empty += len(begin) - len(kept)
        traces.append((np.array([b for b, _ in kept]), np.array([e for _, e in kept])))
        periods.append(finish)
        names.append(str(record.get("model", key)))
    given = sum(len(begin) for begin, _ in traces)
    made = Presence.join(traces, np.array(periods), tuple(names))
    made.facts.update(
        source=source.path.name,
        devices=len(made),
        dropped={"empty": empty},
        joined=given - len(made.begin_s),
    )
    return made
