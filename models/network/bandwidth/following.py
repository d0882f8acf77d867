"""What a trace makes of a link: rows of changes for a simulation of flows."""

from collections.abc import Mapping

import numpy as np

from mltwin.models.network.flows import Changes
from mltwin.models.network.topology import Topology
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .tables import CapacityTrace


def link_changes(
    traces: Mapping[int | str, CapacityTrace],
    until_s: float,
    *,
    topology: Topology | None = None,
    starts_s: Mapping[int | str, float] | None = None,
    longest: int = 20_000_000,
) -> Changes:
    """The changes that let links follow traces, for ``simulate_flows(..., changes=...)``.

    Args:
        traces: link number, or its name in `topology` (``"air <-> ap"``), -> its trace.
        until_s: how far the traces are laid out; later the last rate stays.
        topology: gives meaning to names.
        starts_s: where in its trace each link is at time 0 (0 where it is not named), so that
            clients may share a trace without marching in step.
        longest: rows at the utmost.

    Raises:
        InputError: a link that is not there, or more than `longest` changes.
    """
    names = {}
    if topology is not None:
        names = {name: i for i, name in enumerate(topology.link_names())}
    times, links, rates, total = [], [], [], 0
    horizon = ticks(float(until_s))
    for key, trace in traces.items():
        link = key
        if isinstance(key, str):
            if key not in names:
                raise InputError(
                    f"no link is called {key!r}",
                    where="bandwidth traces",
                    mend="see topology.link_names()" if topology else "give the topology too",
                )
            link = names[key]
        when, rate = trace.changes(horizon, ticks(float((starts_s or {}).get(key, 0.0))))
        total += len(when)
        if total > longest:
            raise InputError(
                f"more than {longest:,} changes of bandwidth by {until_s} s",
                where="bandwidth traces",
                mend="resample the traces to longer windows, or end sooner",
            )
        times.append(when)
        links.append(np.full(len(when), link, np.int32))
        rates.append(rate)
    if not times:
        return Changes.none()
    return Changes.make(np.concatenate(times), np.concatenate(links), np.concatenate(rates))
