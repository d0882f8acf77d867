"""Fields of a federation that are given and mean nothing beside others: a remark on each."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .federated_fields import LEVEL_FIELDS
from .federated_specs import named

if TYPE_CHECKING:
    from mltwin.models.federation.hooks import Policies, Strategy

    from .federated import FederatedScenario

Rule = tuple[str, Sequence[str]]
"""Why fields mean nothing, and which."""

_DATA = tuple(
    f"dataset.{name}" for name in ("source", "split", "samples", "swap_share", "swap_clients")
)
_RATE = ("training.lr", "training.lr_decay", "training.lr_decay_every")
_KINDS = ("selection", "codec", "attack", "combine")
SERVERS = (
    "servers",
    "dollars_per_server_hour",
    "server_w",
    "dollars_per_gb_down",
    "dollars_per_gb_up",
    "dollars_per_kwh",
)
"""Fields of `costs` that are about a server."""
_BROKER = tuple(f"aggregation.broker_{name}" for name in ("gb_per_s", "cores", "gb"))
_TREE = tuple(
    f"aggregation.{name}" for name in ("leaves", "placement", "reuse", "node_updates", "pass_s")
)
_AHEAD = ("aggregation.fan_in", "aggregation.ewma")
_BETWEEN = ("aggregation.latency_s", "aggregation.dollars_per_off_node_gb")
_STARTS = ("aggregation.cold_start_s", "aggregation.keep_alive_s")


def unused(scenario: "FederatedScenario", policies: "Policies") -> list[str]:
    """One line for each reason for which fields of a scenario are not used.

    A field counts as given where it differs from its default, so that a scenario that was saved in
    full says the same as the one it was saved from.
    """
    found = []
    for why, paths in _rules(scenario, policies):
        given = [path for path in paths if _is_given(scenario, path)]
        if given:
            found.append(f"Not used, as {why}: {', '.join(given)}.")
    return found


def _is_given(scenario: "FederatedScenario", path: str) -> bool:
    here: Any = scenario
    *steps, last = path.split(".")
    for step in steps:
        here = getattr(here, step)
        if here is None:
            return False
    default: Any = type(here).model_fields[last].default
    given: Any = getattr(here, last)
    return bool(given != default)


def _rules(scenario: "FederatedScenario", policies: "Policies") -> Iterator[Rule]:
    yield from _of_model(scenario)
    yield from _of_fields(scenario)
    if scenario.peers is not None:
        yield "peers have no server to pay", tuple(f"costs.{name}" for name in SERVERS)
    else:
        yield from _of_strategy(scenario, policies)
    yield from _of_service(scenario)


def _of_model(scenario: "FederatedScenario") -> Iterator[Rule]:
    level = scenario.model.level
    others = [name for name, levels in LEVEL_FIELDS.items() if level not in levels]
    model = tuple(f"model.{name}" for name in others)
    data = tuple(path for path in _DATA if path != "dataset.samples")
    if level == "time":
        kinds = () if scenario.peers else ("attack", "combine")
        why = "nothing is learned (model.level = 'time')"
        yield why, (*data, *model, *_RATE, *kinds)
        return
    yield f"a model of level {level!r} has none", model
    if level == "quadratic":
        yield "a quadratic model has no samples to learn from", data


def _of_fields(scenario: "FederatedScenario") -> Iterator[Rule]:
    """Fields that only mean something beside another of their section."""
    clients, dataset, training = scenario.clients, scenario.dataset, scenario.training
    if clients.slow_label is None:
        yield "there is no clients.slow_label", ("clients.slow_clients", "clients.slow_factor")
    if dataset.swap_share == 0:
        yield "dataset.swap_share is 0", ("dataset.swap_clients",)
    if training.epochs is not None:
        yield "training.epochs takes their place", ("training.steps",)
    watts = (clients.compute_w, clients.send_w, clients.receive_w)
    if clients.energy is None and not any(watts):
        yield "clients draw no watts (give clients.energy)", ("costs.dollars_per_client_kwh",)


def _of_strategy(scenario: "FederatedScenario", policies: "Policies") -> Iterator[Rule]:
    name, _ = named(scenario.strategy, "strategy")
    strategy, selection = policies.strategy, policies.selection
    rates = _RATE if "lr" in strategy.ignores else ()
    paths = [kind if kind in _KINDS else f"training.{kind}" for kind in sorted(strategy.ignores)]
    yield f"{name} settles it itself", tuple(dict.fromkeys((*paths, *rates)))
    takes_all = selection is not None and selection.fills and "selection" not in strategy.ignores
    if takes_all and _asks_all(strategy, scenario.clients.count):
        yield f"{name} asks all of the {scenario.clients.count} clients", ("selection",)


def _asks_all(strategy: "Strategy", clients: int) -> bool:
    """Whether as many clients are asked for at a time as there are."""
    asked = [getattr(strategy, name, None) for name in ("clients", "concurrency", "most_at_work")]
    return any(isinstance(one, int) and (one == 0 or one >= clients) for one in asked)


def _of_service(scenario: "FederatedScenario") -> Iterator[Rule]:
    """Fields of the section `aggregation` that its design has no use for."""
    if scenario.aggregation is None:
        return
    from .federated_aggregation import service_of

    service: Any = service_of(scenario.aggregation)
    tree = service.levels > 1
    if not tree:
        between = () if service.hops == "broker" else _BETWEEN
        ahead = () if service.scaling == "ewma" else _AHEAD
        yield "one aggregator does it all", (*_TREE, *between, *ahead)
    elif service.scaling == "fixed":
        yield "leaves are always on", ("aggregation.fan_in", "aggregation.reuse")
    else:
        yield "leaves come as they are needed", ("aggregation.leaves",)
    if service.scaling == "fixed":
        yield "instances are always on", _STARTS
    if tree and service.placement != "pack":
        yield "updates are spread over nodes", ("aggregation.node_updates",)
    if tree and service.scaling != "ewma":
        yield "leaves do not follow the average queue", ("aggregation.ewma",)
    if service.hops != "broker":
        yield "there is no broker", (*_BROKER, "aggregation.sidecar_gb_per_s")
    if tree and service.hops != "shared":
        yield "nodes share no memory", ("aggregation.pass_s",)
