"""What becomes of links in a `NetworkScenario`: failures, recoveries, bandwidth from a trace."""

import numpy as np

from mltwin.models.network.bandwidth import CapacityTrace, link_changes
from mltwin.models.network.flows import Changes
from mltwin.models.network.topology import Topology
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks
from mltwin.workloads.bandwidth import read_bandwidth
from mltwin.workloads.bandwidth_synthetic import SHIPPED, shipped_bandwidth

from .fields import close_to, placed
from .network import LinkTrace, NetworkScenario


def changes_of(scenario: NetworkScenario, topology: Topology, seed: int) -> Changes:
    """All that happens to links, by time.

    Drawn traces depend on the seed and their place in the list.

    Raises InputError: a link that is not there or follows two traces, a trace that cannot be read.
    """
    when, which, speed = [], [], []
    for place, change in enumerate(scenario.changes):
        for link in _links_named(topology, change.link, f"changes.{place}.link"):
            when.append(int(ticks(change.at_ms / 1e3)))
            which.append(link)
            speed.append(topology.bytes_per_s[link] * change.share)
    parts = [Changes.make(when, which, speed)] if when else []
    followed: set[int] = set(which)
    for place, given in enumerate(scenario.traces):
        links = _links_named(topology, given.link, f"traces.{place}.link")
        again = followed.intersection(links)
        if again:
            raise InputError(
                f"{topology.link_name(min(again))} changes twice",
                where=f"traces.{place}.link",
                mend="give a link one trace, or changes",
            )
        followed.update(links)
        trace = _trace_of(scenario, place, given, seed)
        parts.append(
            link_changes(
                dict.fromkeys(links, trace),
                given.until_s,
                starts_s=dict.fromkeys(links, given.start_s),
            )
        )
    if not parts:
        return Changes.none()
    return Changes.make(
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.link for part in parts]),
        np.concatenate([part.bytes_per_s for part in parts]),
    )


def check_traces(scenario: NetworkScenario, topology: Topology) -> None:
    """Read the traces and look up the links that the scenario names.

    Raises InputError for the first that is wrong.
    """
    changes_of(scenario, topology, 0)


def _trace_of(scenario: NetworkScenario, place: int, given: LinkTrace, seed: int) -> CapacityTrace:
    if given.trace in SHIPPED:
        model = shipped_bandwidth(given.trace)
        return model.draw(given.start_s + given.until_s, seed, place).scaled(given.scale)
    path = scenario.resolve_path(given.trace)
    if not path.is_file():
        raise InputError(
            f"no file {given.trace!r}",
            where=f"traces.{place}.trace",
            mend=f"check the path, or use one of {', '.join(SHIPPED)}",
        )
    return read_bandwidth(path).scaled(given.scale)


def _links_named(topology: Topology, name: str, where: str) -> list[int]:
    """The links that 'a->b' or, both ways, 'a<->b' names."""
    both = "<->" in name
    ends = [end.strip() for end in name.split("<->" if both else "->")]
    if len(ends) != 2:
        raise InputError(f"{name!r} names no link", where=where, mend="write 'a->b' or 'a<->b'")
    try:
        found = topology.links_between(*ends).tolist()
        if both:
            found = sorted({*found, *topology.links_between(ends[1], ends[0]).tolist()})
    except InputError as error:
        raise placed(error, where) from None
    if not found:
        raise InputError(
            f"no link goes from {ends[0]!r} to {ends[1]!r}",
            where=where,
            mend=close_to(f"{ends[0]} -> {ends[1]}", topology.link_names()),
        )
    return found
