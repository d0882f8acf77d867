"""`simulate_flows`: when each of many flows ends, by one of two fidelities."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError, KernelError
from mltwin.sim.eventlog import EventLog
from mltwin.sim.ticks import NEVER, TICKS_PER_S
from mltwin.sim.world import World

from .flows import Changes, FlowRun, FlowTable
from .tables import crossings
from .topology import Topology

FIDELITIES = ("maxmin", "alphabeta")
_AT_ONCE = 1 << 62
_EXACT = 1e-9


def simulate_flows(
    network: Topology | ArrayLike,
    flows: FlowTable,
    *,
    fidelity: str = "maxmin",
    incremental: bool = True,
    changes: Changes | None = None,
    record: bool = False,
    merge: bool = True,
) -> FlowRun:
    """Let all flows run to their end.

    Args:
        network: a topology, or the bytes per second of each link.
        flows: paths name links of the network.
        fidelity: "maxmin": flows share links max-min fairly by weight; "alphabeta": each has its
            narrowest link for itself.
        incremental: work rates out only where a change reaches; False works all out every time
            (equal within 1e-9, for tests).
        changes: links that break, recover or follow a trace ("maxmin" only).
        record: keep `FlowRun.rates` and `FlowRun.log` ("maxmin" only; slow).
        merge: treat flows with equal paths as one (False: for tests).

    Raises:
        InputError: an unknown fidelity or link, flows that wait for each other in a circle, or a
            flow whose link has no bandwidth and never gets any (both are named).
    """
    speed = check_network(network, flows, changes)
    changes = changes or Changes.none()
    if fidelity == "alphabeta":
        if len(changes) or record:
            raise InputError(
                "links that change, and what they carry, need flows that meet",
                where="fidelity",
                mend='use fidelity="maxmin"',
            )
        return _apart(speed, flows, network)
    if fidelity != "maxmin":
        raise InputError(f"unknown fidelity {fidelity!r}", mend=f"use one of {FIDELITIES}")
    world = flow_world(speed, flows, changes, record=record, incremental=incremental, merge=merge)
    rates = _drive(world, record)
    if rates is None:
        plan = world.plan[0]
        raise never_ends(int(plan.waiting_flow), int(plan.waiting_link), network)
    return _run_of(world, flows, len(speed), rates)


def check_network(
    network: Topology | ArrayLike, flows: FlowTable, changes: Changes | None
) -> NDArray[np.float64]:
    """Bytes per second of each link.

    Raises:
        InputError: a bandwidth that is none, a link that there is not, flows that wait for each
            other in a circle.
    """
    given = network.bytes_per_s if isinstance(network, Topology) else network
    speed = np.ascontiguousarray(given, np.float64)
    wrong = ~(np.isfinite(speed) & (speed >= 0))
    if wrong.any():
        link = int(np.flatnonzero(wrong)[0])
        raise InputError(f"bandwidth {speed[link]} bytes/s", where=_link(link, network))
    flows.check_links(len(speed))
    if changes is not None and len(changes) and changes.link.max() >= len(speed):
        raise InputError(
            f"link {changes.link.max()} changes, which there is not",
            where="changes",
            mend=f"the network has links 0 to {len(speed) - 1}",
        )
    check_cycles(flows)
    return speed


def flow_world(
    bytes_per_s: NDArray[np.float64],
    flows: FlowTable,
    changes: Changes | None = None,
    *,
    record: bool = False,
    **choices: Any,
) -> Any:
    """The world of `network_kernel.advance`, before anything has happened.

    record: keep an event log of all rows that there can be.
    `choices` are those of `shared.network_tables`.
    """
    from .network_kernel import plan_tables
    from .shared import network_tables

    changes = changes or Changes.none()
    log = EventLog(2 * len(flows) + len(changes) if record else 0)
    given = network_tables(bytes_per_s, flows, **choices)
    return World(**given, **plan_tables(flows, changes, log))


def check_cycles(flows: FlowTable) -> None:
    """Raise InputError naming the flows if some wait for each other in a circle."""
    if not len(flows.after):
        return
    from .alphabeta import in_order

    left = in_order(flows, np.zeros(len(flows), np.int64))[2]
    if not left.any():
        return
    f = int(np.flatnonzero(left)[0])
    seen: list[int] = []
    while f not in seen:
        seen.append(f)
        awaited = flows.after[flows.after_first[f] : flows.after_first[f + 1]]
        f = int(awaited[left[awaited] > 0][0])
    circle = seen[seen.index(f) :]
    shown = [str(one) for one in [*circle[:8], *(["..."] if len(circle) > 8 else []), circle[0]]]
    raise InputError(
        f"flows wait for each other: {' after '.join(shown)}", where="flows", mend="cut the circle"
    )


def _drive(world: Any, record: bool) -> tuple[tuple[int, int, float], ...] | None:
    """Run a world to its end; what links carried if asked for, None if flows are stuck."""
    from .network_kernel import FINISHED, RUNNING, STUCK, advance

    if not record:
        status = advance(world, NEVER, _AT_ONCE)
        return () if status == FINISHED else None
    rates: list[tuple[int, int, float]] = []
    before = np.zeros(len(world.link))
    status = RUNNING
    while status == RUNNING:
        status = advance(world, NEVER, 1)
        used = carried(world)
        for link in np.flatnonzero(used != before).tolist():
            rates.append((int(world.plan[0].now), link, float(used[link])))
        before = used
    return None if status == STUCK else tuple(rates)


def carried(world: Any) -> NDArray[np.float64]:
    """Bytes per second that each link of a settled world carries now."""
    active, owner, path = crossings(world)
    b = world.bundle[active]
    rate = b.weight * b.share * TICKS_PER_S
    return np.bincount(path, rate[owner], minlength=len(world.link))


def _apart(speed: NDArray[np.float64], flows: FlowTable, network: Any) -> FlowRun:
    from .alphabeta import durations, in_order

    busy = durations(speed, flows)
    never = np.flatnonzero(busy >= NEVER)
    if len(never):
        f = int(never[0])
        path = flows.links[flows.first[f] : flows.first[f + 1]]
        broken = path[speed[path] <= 0]
        raise never_ends(f, int(broken[0]) if len(broken) else -1, network)
    start, end, _ = in_order(flows, np.minimum(flows.delay + busy, NEVER))
    if len(end) and end.max() >= NEVER:
        raise never_ends(int(np.argmax(end)), -1, network)
    n = len(speed)
    return FlowRun(
        start=start,
        end=end,
        link_bytes=bytes_of_links(flows, n),
        link_busy_ticks=np.bincount(
            flows.links, np.repeat(busy, np.diff(flows.first)), minlength=n
        ).astype(np.int64),
        link_peak=np.zeros(n, np.int32),
    )


def bytes_of_links(flows: FlowTable, n_links: int) -> NDArray[np.float64]:
    """float64[n_links]: what all flows together bring over each link."""
    each = np.repeat(flows.bytes, np.diff(flows.first))
    return np.bincount(flows.links, each, minlength=n_links)


def _run_of(
    world: Any, flows: FlowTable, n_links: int, rates: tuple[tuple[int, int, float], ...]
) -> FlowRun:
    net = world.net[0]
    if net.flows or net.active:
        raise KernelError(f"{net.flows} flows are left in a network that is done")
    return FlowRun(
        start=world.times.start.copy(),
        end=world.times.end.copy(),
        link_bytes=bytes_of_links(flows, n_links),
        link_busy_ticks=world.link.busy.copy(),
        link_peak=world.link.peak.copy(),
        solves=int(net.solves),
        full_solves=int(net.full_solves),
        thawed=int(net.thawed),
        violations=_violations(world),
        rates=rates,
        log=world.log[: world.log_count[0]],
    )


def _violations(world: Any) -> tuple[str, ...]:
    """What an empty network still holds, and flows that ended before they began."""
    link = world.link
    found = [
        f"link {k} is left with {link.flows[k]} flows and {link.left[k]} of {link.capacity[k]}"
        for k in np.flatnonzero((link.flows != 0) | (link.left != link.capacity)).tolist()
    ]
    times = world.times
    early = np.flatnonzero((times.end < times.start + times.delay) | (times.start < times.release))
    found += [f"flow {f} ended before it began" for f in early.tolist()]
    if world.net[0].unequal:
        found.append(f"{world.net[0].unequal} flows did not move the bytes they had")
    return tuple(found)


def _link(link: int, network: Any) -> str:
    if isinstance(network, Topology):
        return f"link {link} ({network.link_names()[link]})"
    return f"link {link}"


def never_ends(flow: int, link: int, network: Any) -> InputError:
    """The error of a flow that waits for a link for ever (link -1: of one that is too slow)."""
    if link < 0:
        return InputError(
            "would take more than 100 days",
            where=f"flow {flow}" if flow >= 0 else "flows",
            mend="give fewer bytes or more bandwidth",
        )
    return InputError(
        f"flow {flow} crosses {_link(link, network)}, which has no bandwidth and never gets any",
        where="flows",
        mend="route it elsewhere, or let the link recover",
    )
