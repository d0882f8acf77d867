"""Federations without a server: overlays and protocols by name."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .federated_specs import made, named, parameters_of
from .fields import close_to

if TYPE_CHECKING:
    from mltwin.models.federation.outcome import FederatedRun
    from mltwin.models.federation.peers.overlay import Overlay
    from mltwin.workloads.federated.latency import LatencyMatrix

    from .federated import FederatedScenario
    from .federated_run import Lowered

PROTOCOLS = {
    "dpsgd": ("rounds", "DPSGD"),
    "gossip": ("gossip", "Gossip"),
    "modest": ("modest", "Modest"),
    "matchmaking": ("matching", "Matchmaking"),
}
"""Module and class of each protocol."""


def protocol_class(name: str) -> type:
    """The protocol of a name.

    Raises InputError: an unknown name.
    """
    if name not in PROTOCOLS:
        raise InputError(
            f"unknown protocol {name!r}", where="peers.protocol", mend=close_to(name, PROTOCOLS)
        )
    module, cls = PROTOCOLS[name]
    found: type = getattr(importlib.import_module(f"mltwin.models.federation.peers.{module}"), cls)
    return found


def overlays() -> Mapping[str, Callable[..., Any]]:
    """What makes an overlay of a name; the number of peers is the first argument."""
    from mltwin.models.federation.peers import overlay as ours

    return {
        "ring": ours.ring,
        "torus": torus,
        "complete": ours.complete,
        "star": ours.star,
        "exponential": ours.one_peer_exponential,
        "regular": ours.regular,
    }


def torus(peers: int) -> "Overlay":
    """The torus of so many peers that is nearest to a square.

    Raises InputError: a number without divisors.
    """
    from mltwin.models.federation.peers import overlay as ours

    rows = max(k for k in range(1, int(np.sqrt(peers)) + 1) if peers % k == 0)
    if rows == 1:
        raise InputError(f"{peers} peers make no grid", where="torus", mend="give 16 or 100")
    return ours.torus(rows, peers // rows)


def latencies_of(scenario: "FederatedScenario") -> "LatencyMatrix | None":
    """The file of latencies that a scenario names.

    Raises InputError: what is wrong with the file.
    """
    if scenario.peers is None or scenario.peers.latency_file is None:
        return None
    from mltwin.workloads.federated.latency import read_latency_matrix

    return read_latency_matrix(scenario.resolve_path(scenario.peers.latency_file))


def overlay_of(
    scenario: "FederatedScenario", peers: int, seed: int, sites: "LatencyMatrix | None" = None
) -> "Overlay":
    """Who talks to whom, and how far they are apart; `sites`: the latencies, where read before.

    Raises InputError: an unknown overlay or parameter, or what it refuses.
    """
    from mltwin.models.federation.peers import overlay as ours

    assert scenario.peers is not None
    where = "peers.overlay"
    name, given = named(scenario.peers.overlay, where)
    known = overlays()
    more: dict[str, Any] = {}
    if name in known and "seed" in parameters_of(known[name], frozenset()):
        more["seed"] = seed
    own = frozenset({"peers", "seed"})
    found: Overlay = made(known, {"name": name, **given}, peers, where=where, own=own, **more)
    sites = latencies_of(scenario) if sites is None else sites
    if sites is not None:
        return found.with_latency(sites.seconds)
    if scenario.peers.across_ms > 0:
        across = ours.positions(peers, seed, across_s=scenario.peers.across_ms / 1000)
        return found.with_latency(across)
    return found


def protocol_of(scenario: "FederatedScenario") -> Any:
    """The protocol that a scenario names.

    Raises InputError: an unknown protocol or parameter, or a value that does not fit.
    """
    assert scenario.peers is not None
    name, _ = named(scenario.peers.protocol, "peers.protocol")
    return made({name: protocol_class(name)}, scenario.peers.protocol, where="peers.protocol")


def run_peers(
    scenario: "FederatedScenario",
    lowered: "Lowered",
    seed: int,
    *,
    reference: bool = False,
    record: bool = False,
) -> "FederatedRun":
    """Simulate a federation without a server.

    Raises InputError: as `overlay_of` and `protocol_of`; what the protocol refuses.
    """
    from mltwin.models.federation.peers.simulate import simulate_peers

    sites, protocol = latencies_of(scenario), protocol_of(scenario)
    overlay = overlay_of(scenario, len(lowered.clients), seed, sites)
    try:
        run = simulate_peers(
            lowered.clients,
            overlay,
            protocol,
            lowered.plan,
            task=lowered.task,
            seed=seed,
            reference=reference,
            record=record,
        )
    except InputError as error:
        raise _within(error) from None
    if sites is not None:
        run.facts["latencies"] = sites.facts
    return run


def check_peers(scenario: "FederatedScenario", lowered: "Lowered", seed: int) -> None:
    """Refuse, before the run, what `run_peers` would.

    Raises InputError: as `run_peers`.
    """
    from mltwin.models.federation.peers.timeline import Setting

    clients = lowered.clients
    overlay, protocol = overlay_of(scenario, len(clients), seed), protocol_of(scenario)
    setting = Setting(clients, overlay, lowered.plan, lowered.task, seed)
    try:
        setting.check()
        protocol.check(setting)
    except InputError as error:
        raise _within(error) from None


def _within(error: InputError) -> InputError:
    """An error of a protocol, with the field that it is of."""
    place = error.where or "protocol"
    if place.split(".")[0] not in ("protocol", "overlay", "weights"):
        return error
    return InputError(error.message, where=f"peers.{place}", mend=error.mend)


def protocol_parameters() -> dict[str, dict[str, Any]]:
    """Parameters of each protocol and their defaults."""
    return {
        name: {field.name: field.default for field in fields(protocol_class(name)) if field.init}
        for name in PROTOCOLS
    }
