"""Links of clients that follow traces: drawn from the shipped chains, or read from files.

    links = link_traces(1000, down="4g", up={"name": "4g", "scale": 0.3}, seed=1)
    clients = population(samples, links=links, seed=1)

A few traces serve many clients: each client gets one of them, and begins at a random place in it.
"""

import glob
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S, LinkTraces
from mltwin.models.network.bandwidth.tables import CapacityTrace
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S as NETWORK_TICKS_PER_S
from mltwin.workloads.bandwidth import read_bandwidth
from mltwin.workloads.bandwidth_synthetic import SHIPPED, shipped_bandwidth
from mltwin.workloads.source import Source

from .draws import PLACE, TRACE, client_uniforms
from .populations import Law, law_of
from .throughput import is_throughput, read_throughput

Traces = dict[str, CapacityTrace]
"""By name. Two directions whose traces have the same names are dealt together."""

MOST_TRACES, MOST_STEPS = 10_000, 2_000_000
"""Traces of a direction, and steps of all that are drawn."""

_PARAMETERS = ("traces", "duration_s", "scale")
_ABOUT = {
    "3g": "commutes in Norway over 3G",
    "4g": "LTE of drivers in the USA",
    "5g": "downloads in Ireland over 5G",
    "broadband": "broadband of homes in the USA",
    "streaming": "video sessions of Puffer",
}


def link_traces(
    clients: int, *, down: Law | None = None, up: Law | None = None, seed: int = 0
) -> LinkTraces:
    """A trace, and a place in it to begin at, for each client and direction.

    Where both directions have traces of the same names (drawn ones; the same file both ways, or
    `a.down` and `a.up`), a client has the same in both.

    Args:
        clients: N.
        down, up: one of `LINKS`, with its parameters; None: that direction keeps its constant rate.
        seed: of the chains, of which trace a client has, and of its place; each client's are its
            own.

    Raises:
        InputError: an unknown law or parameter, what a law refuses, a trace that carries nothing.
    """
    found = [
        {} if law is None else _made(law, side, clients, seed)
        for side, law in (("down", down), ("up", up))
    ]
    who = np.arange(clients)
    alike = list(found[0]) == list(found[1])
    columns = []
    for side, traces in enumerate(found):
        u = client_uniforms(seed, TRACE, who, 0 if alike else side)
        columns.append((u * len(traces)).astype(np.int64) if traces else np.full(clients, -1))
    columns[1][columns[1] >= 0] += len(found[0])
    every = [*found[0].values(), *found[1].values()]
    period = np.array([trace.end // (NETWORK_TICKS_PER_S // TICKS_PER_S) for trace in every])
    if not every:
        return LinkTraces.of([], down=columns[0], up=columns[1])
    longest = np.max([np.where(of >= 0, period[of], 0) for of in columns], axis=0)
    place = (client_uniforms(seed, PLACE, who) * longest).astype(np.int64)
    return LinkTraces.of(every, down=columns[0], up=columns[1], offset=place)


def _made(law: Law, side: str, clients: int, seed: int) -> Traces:
    """The traces of a direction; of files that have both, those of this one."""
    given = {"name": law} if isinstance(law, str) else dict(law)
    if given.get("name") == "files":
        given.setdefault("direction", side)
    where = f"{side}_trace"
    try:
        traces: Traces = law_of(LINKS, given, clients, where=where, seed=seed)
    except InputError as error:
        place = error.where or ""
        if not place.startswith(where):
            place = f"{where}.{place}" if place in _PARAMETERS else f"{where}: {place}"
        raise InputError(error.message, where=place, mend=error.mend) from None
    for trace in traces.values():
        if not trace.mean_bytes_per_s > 0:
            raise InputError(
                f"{trace.name} carries nothing", where=where, mend="leave it out, or draw longer"
            )
    return traces


def files(
    clients: int,
    *,
    seed: int,
    path: str,
    scale: float = 1.0,
    steady: bool = False,
    format: str | None = None,
    window_s: float | None = None,
    direction: str = "down",
    radio: str | None = None,
    least_s: float = 10.0,
) -> Traces:
    """Measured traces: a file, all files of a folder, or those that a pattern (a/*/*.csv) finds.

    Args:
        clients, seed: not used.
        path: of Mahimahi, HSDPA, FCC, Puffer, UCC's 5G or FLOAT's throughput, gz and xz too.
        scale: factor on all rates.
        steady: in place of each trace its mean, to see what the change itself does.
        format: mahimahi, cooked or ucc, as `read_bandwidth`; None: by the first line.
        window_s: means over windows of about this length; None: the file's own steps.
        direction: "down" or "up", of files that have both.
        radio: of FLOAT's file, say "4G"; None: all of them.
        least_s: traces that are shorter are left out.

    Raises:
        InputError: no file, too many, one that cannot be read, no trace that is long enough.
    """
    check_scale(scale)
    found: Traces = {}
    try:
        for file in trace_files(path):
            for name, trace in _read(file, format, window_s, direction, radio):
                if trace.duration_s >= least_s:
                    found[name] = _taken(trace, scale, steady)
    except InputError as error:
        raise _of_folder(error, path) if Path(path).is_dir() else error from None
    if not found:
        what = "no trace" if radio is None else f"no trace of {radio!r}"
        raise InputError(
            f"{what} lasts {least_s:g} s", where=path, mend="lower least_s, or check the path"
        )
    _refuse_many(len(found))
    return found


def trace_files(path: str) -> list[Path]:
    """The files of a path: itself, those of a folder, or those that a pattern finds; by name.

    Raises InputError: there is none, or too many.
    """
    place = Path(path)
    if place.is_dir():
        found = [file for file in place.iterdir() if file.is_file() and file.name[0] != "."]
    elif place.is_file():
        found = [place]
    else:
        found = [Path(name) for name in glob.glob(path, recursive=True) if Path(name).is_file()]
    if not found:
        raise InputError(
            "there is no file", where=path, mend="give a file, a folder of files or a pattern"
        )
    _refuse_many(len(found))
    return sorted(found)


def _of_folder(error: InputError, path: str) -> InputError:
    """An error of a file that may be in a folder of traces by chance, as a README is."""
    other = f"a pattern that leaves it out, as {Path(path).name}/*.down"
    mend = f"{error.mend}, or give {other}" if error.mend else f"give {other}"
    return InputError(error.message, where=error.where, mend=mend)


def _read(
    file: Path, format: str | None, window_s: float | None, direction: str, radio: str | None
) -> Iterable[tuple[str, CapacityTrace]]:
    """Traces of a file, and what each is called."""
    if format is not None or not is_throughput(Source(file)):
        trace = read_bandwidth(file, format, window_s=window_s, direction=direction)
        yield str(file.with_suffix("")), trace
        return
    for kind, runs in read_throughput(file).items():
        if radio is None or kind == radio:
            for number, run in enumerate(runs):
                whole = run if window_s is None else run.resampled(window_s)
                yield f"{file} {kind} {number}", whole


def _taken(trace: CapacityTrace, scale: float, steady: bool) -> CapacityTrace:
    """A trace, or its mean for as long, times a factor."""
    if steady:
        mean = trace.mean_bytes_per_s
        trace = CapacityTrace.make([0.0], [mean], trace.duration_s, name=trace.name)
    return trace.scaled(scale)


def check_scale(scale: float) -> None:
    """Refuse a factor that is not above 0 (InputError)."""
    if not 0 < scale < math.inf:
        raise InputError(f"scale is {scale}", where="scale", mend="give more than 0")


def _refuse_many(count: int) -> None:
    if count > MOST_TRACES:
        raise InputError(f"{count:,} traces", where="traces", mend=f"use {MOST_TRACES:,} or fewer")


@lru_cache(maxsize=4)
def _drawn(name: str, duration_s: float, seed: int, traces: int) -> tuple[CapacityTrace, ...]:
    """Traces of a shipped chain; kept, as both directions and runs under one seed have the same."""
    chain = shipped_bandwidth(name)
    return tuple(chain.draw(duration_s, seed, number) for number in range(traces))


def _chain(name: str) -> Callable[..., Traces]:
    """The law of a shipped chain."""

    def law(
        clients: int,
        *,
        seed: int,
        traces: int = 64,
        duration_s: float = 3600.0,
        scale: float = 1.0,
        steady: bool = False,
    ) -> Traces:
        check_scale(scale)
        if traces < 1:
            raise InputError(f"traces is {traces}", where="traces", mend="give 1 or more")
        _refuse_many(traces)
        chain = shipped_bandwidth(name)
        steps = traces * duration_s / chain.step_s
        if not 0 < steps <= MOST_STEPS:
            raise InputError(
                f"{traces} traces of {duration_s:g} s",
                where="duration_s",
                mend=f"give above 0, and at most {MOST_STEPS * chain.step_s:g} s in all",
            )
        drawn = _drawn(name, duration_s, seed, traces)
        return {
            f"drawn {number}": _taken(trace, scale, steady) for number, trace in enumerate(drawn)
        }

    law.__name__ = law.__qualname__ = name
    law.__doc__ = f"Drawn from a chain that was fitted to {_ABOUT[name]}; repeated traces."
    return law


LINKS: Mapping[str, Callable[..., Traces]] = {
    **{name: _chain(name) for name in SHIPPED},
    "files": files,
}
"""Laws of links that change: those of the shipped chains (`traces` of them of `duration_s`, which
clients share), and files."""
