"""From a `NetworkScenario` to flows over a topology, and from their run to a result."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.models.network.flows import Changes, FlowRun, FlowTable
from mltwin.models.network.routing import routes
from mltwin.models.network.simulate import simulate_flows
from mltwin.models.network.topology import Topology
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import NETWORK, bits
from mltwin.sim.ticks import TICKS_PER_S, ticks

from .fields import placed
from .network import NetworkScenario
from .network_result import NetworkResult
from .network_traces import changes_of
from .network_traffic import MB, sent
from .topologies import named_topology


@dataclass(frozen=True, eq=False)
class Lowered:
    """A scenario as the simulation takes it.

    Attributes:
        topology, flows, changes: see `mltwin.models.network`.
        owner: int64[R], the flow of the scenario that each row of `flows` is a part of.
        source, target: int32[R], ranks.
        facts: for the result.
    """

    topology: Topology
    flows: FlowTable
    changes: Changes
    owner: np.ndarray
    source: np.ndarray
    target: np.ndarray
    facts: dict[str, Any]


def run_network(scenario: NetworkScenario, seed: int, *, reference: bool = False) -> NetworkResult:
    """Simulate a scenario once.

    Raises InputError: see `NetworkScenario.simulate`; flows of a collective that meet (alphabeta).
    """
    lowered = lower(scenario, seed)
    run = _simulate(scenario, lowered, reference)
    if scenario.fidelity == "alphabeta" and "collective" in lowered.facts:
        _refuse_overfull(lowered, run)
    return NetworkResult.of_run(lowered, run, alone_ticks(lowered))


def _refuse_overfull(lowered: Lowered, run: FlowRun) -> None:
    """InputError where a link carries more than it can: a rank's own flows meet in a collective."""
    span = max(run.makespan, 1) / TICKS_PER_S
    able = np.maximum(lowered.topology.bytes_per_s * span, 1e-300)
    used = run.link_bytes / able
    link = int(used.argmax())
    if used[link] > 1 + 1e-6:
        raise InputError(
            f"alphabeta would send {used[link]:.3g} times what {lowered.topology.link_name(link)} "
            f"can carry: {lowered.facts['algorithm']} has flows that meet there",
            where="fidelity",
            mend='fidelity = "maxmin" (or algorithm = "ring", where there is one)',
        )


def alone_ticks(lowered: Lowered) -> np.ndarray:
    """int64[n]: ticks that each flow would take if nothing else were sent, all its parts at once.

    The longest latency of its parts, and the bytes that cross its narrowest link over that link's
    bandwidth (or all its bytes over its cap). A link that is broken at first is left out.
    """
    table, speed = lowered.flows, lowered.topology.bytes_per_s
    n = int(lowered.owner.max(initial=-1)) + 1
    crossings = np.diff(table.first)
    pair = np.repeat(lowered.owner, crossings) * len(speed) + table.links
    pairs, place = np.unique(pair, return_inverse=True)
    carried = np.bincount(place, np.repeat(table.bytes, crossings), minlength=len(pairs))
    link, flow = pairs % len(speed), pairs // len(speed)
    longest = np.bincount(lowered.owner, table.bytes, n) / np.bincount(lowered.owner, table.cap, n)
    whole = speed[link] > 0
    np.maximum.at(longest, flow[whole], carried[whole] / speed[link][whole])
    delay = np.zeros(n, np.int64)
    np.maximum.at(delay, lowered.owner, table.delay)
    return delay + np.ceil(longest * TICKS_PER_S - 1e-3).astype(np.int64)


def _simulate(scenario: NetworkScenario, lowered: Lowered, reference: bool) -> FlowRun:
    if reference and scenario.fidelity == "maxmin":
        from mltwin.models.network.reference import simulate_reference

        return simulate_reference(lowered.topology, lowered.flows, changes=lowered.changes)
    return simulate_flows(
        lowered.topology, lowered.flows, fidelity=scenario.fidelity, changes=lowered.changes
    )


def lower(scenario: NetworkScenario, seed: int) -> Lowered:
    """Topology, flows and changes of a scenario and seed.

    Raises InputError: see `NetworkScenario.simulate`.
    """
    topology = topology_of(scenario)
    changes = changes_of(scenario, topology, seed)
    if len(changes) and scenario.fidelity != "maxmin":
        raise InputError(
            "links that change need flows that meet",
            where="fidelity",
            mend='fidelity = "maxmin", or leave `changes` and `traces` out',
        )
    facts = {
        "fidelity": scenario.fidelity,
        "kind": scenario.traffic.kind,
        "topology": topology.describe().splitlines()[0],
        "ranks": topology.ranks,
    }
    if scenario.traffic.kind == "collective":
        return _collectives(scenario, topology, changes, seed, facts)
    file = scenario.traffic.file
    flows = sent(
        scenario.traffic, topology, seed, scenario.resolve_path(file) if file is not None else None
    )
    path = routes(
        topology,
        flows.source,
        flows.target,
        routing=scenario.routing,
        keys=_keys(seed, len(flows.source)),
        parts=scenario.parts,
        seed=seed,
    )
    of = path.flow
    table = FlowTable.make(
        flows.bytes[of] * path.share,
        path.first,
        path.links,
        release=flows.release[of],
        # The parts of a flow share its weight and cap, so that many parts are not worth more.
        weight=flows.weight[of] * path.share,
        cap=flows.cap[of] * path.share,
        delay=ticks(path.latency_s),
    )
    return Lowered(
        topology,
        table,
        changes,
        of.astype(np.int64),
        flows.source[of],
        flows.target[of],
        facts,
    )


def _keys(seed: int, flows: int) -> np.ndarray:
    """What a switch hashes: as ports, drawn anew for each flow."""
    return (bits(seed, NETWORK, np.arange(flows), 3) >> np.uint64(2)).astype(np.int64)


def _collectives(
    scenario: NetworkScenario,
    topology: Topology,
    changes: Changes,
    seed: int,
    facts: dict[str, Any],
) -> Lowered:
    from mltwin.models.network.collectives import transfers
    from mltwin.models.network.collectives_flows import flows_of

    traffic = scenario.traffic
    n = traffic.ranks or topology.ranks
    if n > topology.ranks:
        raise InputError(
            f"{n} ranks, the topology has {topology.ranks}",
            where="traffic.ranks",
            mend=f"give at most {topology.ranks}",
        )
    if n // traffic.groups < 2 or n % traffic.groups:
        raise InputError(
            f"{n} ranks in {traffic.groups} groups",
            where="traffic.groups",
            mend="each group needs as many ranks as the others, two at least",
        )
    size = traffic.size_mb * MB
    groups = [np.arange(g, n, traffic.groups) for g in range(traffic.groups)]
    algorithm = _algorithm(scenario, topology, size, groups[0])
    tables, owner, source, target = [], [], [], []
    before = 0
    for ranks in groups:
        try:
            moves = transfers(
                traffic.collective,
                ranks,
                size,
                algorithm,
                topology=topology,
                pipelined=not traffic.stepwise,
            )
        except InputError as error:
            raise placed(error, "traffic") from None
        table, of = flows_of(moves, topology, scenario.routing, seed=seed, parts=scenario.parts)
        tables.append(table)
        owner.append(of + before)
        source.append(moves.source[of])
        target.append(moves.target[of])
        before += len(moves)
    more = {
        "collective": traffic.collective,
        "algorithm": algorithm,
        "group_ranks": n // traffic.groups,
        "groups": traffic.groups,
        "buffer_bytes": size,
    }
    return Lowered(
        topology,
        _joined(tables),
        changes,
        np.concatenate(owner),
        np.concatenate(source),
        np.concatenate(target),
        {**facts, **more},
    )


def _algorithm(
    scenario: NetworkScenario, topology: Topology, size: float, ranks: np.ndarray
) -> str:
    """The algorithm asked for; `auto`: the fastest alone of those that become flows here."""
    from mltwin.models.network.collectives_direct import MOST_DIRECT
    from mltwin.models.network.collectives_flows import estimate_s

    traffic = scenario.traffic
    if traffic.algorithm != "auto":
        return traffic.algorithm
    try:
        estimates = estimate_s(topology, traffic.collective, size, ranks)
    except InputError as error:
        raise placed(error, "traffic") from None
    if traffic.collective == "all_reduce" and len(ranks) > MOST_DIRECT:
        del estimates["direct"]
    if scenario.fidelity == "alphabeta" and "ring" in estimates:
        return "ring"  # whose flows do not meet
    return min(estimates, key=lambda name: estimates[name])


def _joined(tables: list[FlowTable]) -> FlowTable:
    """Several tables as one; dependencies stay within each."""
    if len(tables) == 1:
        return tables[0]

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(t, name) for t in tables])

    def starts(name: str) -> np.ndarray:
        lengths = np.concatenate([np.diff(getattr(t, name)) for t in tables])
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    before = np.cumsum([0, *(len(t) for t in tables[:-1])])
    after = [t.after + b for t, b in zip(tables, before, strict=True)]
    return FlowTable.make(
        rows("bytes"),
        starts("first"),
        rows("links"),
        release=rows("release"),
        weight=rows("weight"),
        cap=rows("cap"),
        delay=rows("delay"),
        after_first=starts("after_first"),
        after=np.concatenate(after).astype(np.int32),
    )


def topology_of(scenario: NetworkScenario) -> Topology:
    """The topology that a scenario names.

    Raises InputError: an unknown builder or parameter, a value that does not fit, a bad file.
    """
    return named_topology(scenario.topology, scenario.resolve_path)
