"""From a `FederatedScenario` to clients, model, policies and plan; from a run to a result."""

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.tables import Clients, Plan
from mltwin.sim.errors import InputError, MltwinError

from .federated_aggregation import check_service, service_of
from .federated_clients import clients_of, trace_paths
from .federated_data import counts_of, examples_of, has_examples, task_of
from .federated_network import network_of
from .federated_result import FederatedResult
from .federated_specs import from_file, is_file, named, policy_entry, policy_of
from .federated_unused import SERVERS, unused

if TYPE_CHECKING:
    from mltwin.models.federation.learning.tables import Examples
    from mltwin.models.federation.outcome import FederatedRun

    from .federated import FederatedScenario
    from .scenario import Scenario

KINDS = ("strategy", "selection", "codec", "attack", "combine")
VERSIONS, VERSIONS_TO_TARGET = 100, 10_000
"""Of a run without any limit; of one that only a target would end."""
MOST_EVALUATED = 20_000
"""Clients: of more, the last model is not evaluated on the data of each."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """A scenario as the simulation takes it.

    Attributes:
        clients, policies, plan: see `mltwin.models.federation`.
        task: the model; None: only time.
        examples: the data, None where there is none.
        facts: for the result.
    """

    clients: Clients
    policies: Policies
    plan: Plan
    task: Any
    examples: "Examples | None"
    facts: dict[str, Any]


def run_federated(
    scenario: "FederatedScenario", seed: int, *, reference: bool = False, record: bool = False
) -> FederatedResult:
    """Simulate a scenario once.

    Raises InputError: see `FederatedScenario.simulate`.
    """
    lowered = lower(scenario, seed)
    try:
        run = _simulated(scenario, lowered, seed, reference=reference, record=record)
    except MltwinError:
        raise
    except Exception as error:
        told = _blamed(error, scenario)
        if told is None:
            raise
        raise told from error
    facts = {**lowered.facts, **_of_run(run, lowered)}
    return FederatedResult.of(run, lowered.clients, facts, _personal(run, lowered))


def _simulated(
    scenario: "FederatedScenario", lowered: "Lowered", seed: int, *, reference: bool, record: bool
) -> "FederatedRun":
    if scenario.peers is not None:
        from .federated_peers import run_peers

        return run_peers(scenario, lowered, seed, reference=reference, record=record)
    from mltwin.models.federation.simulate import simulate

    return simulate(
        lowered.clients,
        lowered.policies,
        lowered.plan,
        task=lowered.task,
        seed=seed,
        network=network_of(scenario, len(lowered.clients)),
        reference=reference,
        record=record,
    )


def _blamed(error: Exception, scenario: "FederatedScenario") -> InputError | None:
    """What a user's file did wrong, with its line; None: the error is not of such a file."""
    files = {str(scenario.resolve_path(name).resolve()): name for name in _files(scenario)}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        name = files.get(str(Path(frame.filename).resolve()))
        if name is not None:
            where = f"{name}, line {frame.lineno}, in {frame.name}"
            return InputError(f"{type(error).__name__}: {error}", where=where, mend="mend the file")
    return None


def lower(scenario: "FederatedScenario", seed: int) -> Lowered:
    """All that a scenario and seed stand for.

    Raises InputError: see `FederatedScenario.simulate`.
    """
    examples = examples_of(scenario, seed) if has_examples(scenario) else None
    counts = counts_of(scenario, seed) if examples is None else examples.samples
    clients, remarks = clients_of(scenario, counts, examples, seed)
    task = task_of(scenario, examples, clients.share, seed)
    policies = policies_of(scenario)
    found = {
        "costs": _prices(scenario),
        "targets": {
            name: value for name, value in scenario.target.model_dump().items() if value is not None
        },
        "level": scenario.model.level,
        "parameters": 0 if task is None else int(task.parameters),
        "data": None if examples is None else examples.name,
        "protocol": "" if scenario.peers is None else named(scenario.peers.protocol, "peers")[0],
        "remarks": [*remarks, *unused(scenario, policies)],
        "sources": sources_of(scenario),
    }
    return Lowered(clients, policies, plan_of(scenario), task, examples, found)


def _prices(scenario: "FederatedScenario") -> dict[str, Any]:
    """Prices and watts of the server's side; peers have none, and pay for the clients' energy."""
    prices = scenario.costs.model_dump()
    if scenario.peers is None:
        return prices
    return prices | dict.fromkeys(SERVERS, 0.0)


def policies_of(scenario: "FederatedScenario") -> Policies:
    """The policies that a scenario names.

    Raises InputError: an unknown name or parameter, or a mistake in a user's file.
    """
    found = {}
    for kind in KINDS:
        spec = getattr(scenario, kind)
        if spec is not None:
            found[kind] = policy_of(kind, spec, scenario.resolve_path)
    return Policies(**found)


def plan_of(scenario: "FederatedScenario") -> Plan:
    """What clients are asked to do, and when it ends."""
    training, stop, model = scenario.training, scenario.stop, scenario.model
    size = model.megabytes
    if size is None and model.level == "time":
        size = 1.0
    versions = stop.versions
    if stop.until_s is None and versions is None and stop.updates is None:
        versions = VERSIONS_TO_TARGET if stop.at_target else VERSIONS
    return Plan(
        steps=training.steps,
        batch=training.batch,
        lr=training.lr,
        epochs=training.epochs,
        lr_decay=training.lr_decay,
        lr_decay_every=training.lr_decay_every,
        model_bytes=None if size is None else 1e6 * size,
        compute_factor=model.compute_factor,
        overhead_s=training.overhead_s,
        interruption=training.interruption,
        detect_s=None if training.detect_s == "never" else training.detect_s,
        aggregate_s=training.aggregate_s,
        aggregate_s_per_update=training.aggregate_s_per_update,
        aggregation=service_of(scenario.aggregation),
        until_s=stop.until_s,
        versions=versions,
        updates=stop.updates,
        target=scenario.target.accuracy if stop.at_target else None,
        evaluate_every=training.evaluate_every,
    )


def sources_of(scenario: "FederatedScenario") -> dict[str, str]:
    """SHA-256 of each file that the run depends on: policies, data, traces of clients."""
    import hashlib

    found = {}
    for file in sorted(set(_files(scenario))):
        path = scenario.resolve_path(file)
        if path.is_file():
            found[file] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _files(scenario: "FederatedScenario") -> Iterator[str]:
    """Every file that a scenario names."""
    policies = [named(spec, kind)[0] for kind in KINDS if (spec := getattr(scenario, kind))]
    for name in (*policies, scenario.model.module or "", scenario.model.loss or ""):
        if is_file(name):
            yield name.rpartition(":")[0]
    for spec in (scenario.dataset.source, scenario.clients.speed, scenario.clients.availability):
        if isinstance(spec, dict) and "path" in spec:
            yield str(spec["path"])
    yield from trace_paths(scenario)
    if scenario.peers is not None and scenario.peers.latency_file is not None:
        yield scenario.peers.latency_file
    if scenario.network is not None and isinstance(scenario.network.topology, dict):
        yield str(scenario.network.topology.get("file", ""))


def _of_run(run: "FederatedRun", lowered: Lowered) -> dict[str, Any]:
    """What the metrics need of a run besides its tables."""
    made = run.versions["version"]
    plan = lowered.plan
    size = 4.0 * lowered.facts["parameters"] if plan.model_bytes is None else plan.model_bytes
    live = run.totals.get("versions_live_most", 0)
    return {
        "versions": int(made[-1]) if len(made) else 0,
        "server_gb": live * size / 1e9 if live else None,
        "run": _plain(run.facts),
    }


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's facts is JSON data and short: numbers, texts, tables of these."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found[str(name)] = _plain(value)
        elif isinstance(value, np.generic):
            found[str(name)] = value.item()
        elif isinstance(value, bool | int | float | str):
            found[str(name)] = value
    return found


def _personal(run: "FederatedRun", lowered: Lowered) -> Mapping[str, np.ndarray]:
    """Metrics of the last model on each client's data, where the task tells them."""
    task, weights = lowered.task, run.weights
    few = len(lowered.clients) <= MOST_EVALUATED
    if weights is None or not few or not np.isfinite(weights).all():
        return {}
    tell = getattr(task, "client_metrics", None)
    if tell is None:
        return {}
    found = tell(weights)
    return {name: found[name] for name in ("loss", "accuracy") if name in found}


def check_names(scenario: "FederatedScenario") -> None:
    """Make everything but the run itself.

    Raises InputError for the first that is wrong.
    """
    if scenario.model.module is not None:
        from_file(scenario.model.module, scenario.resolve_path, "model.module")
    lowered = lower(scenario, scenario.seed)
    if scenario.peers is not None:
        from .federated_peers import check_peers

        check_peers(scenario, lowered, scenario.seed)
        return
    network_of(scenario, len(lowered.clients))
    lowered.policies.strategy.check(lowered.clients, lowered.plan)
    check_service(lowered)


def has_field(scenario: "Scenario", path: str) -> bool:
    """Whether a dotted path is a field of a scenario, or a parameter of its policies.

    Raises InputError: a policy that is not known.
    """
    kind, _, rest = path.partition(".")
    if kind in KINDS:
        spec = getattr(scenario, kind)
        if spec is None or not rest or getattr(scenario, "peers", None) is not None:
            return False
        entry = policy_entry(kind, named(spec, kind)[0], scenario.resolve_path)
        return rest in entry.parameters
    try:
        here: Any = scenario
        for part in path.split("."):
            here = here[part] if isinstance(here, dict) else getattr(here, part)
    except (AttributeError, KeyError, TypeError):
        raise InputError("there is no such field", where=path, mend="check the path") from None
    return True
