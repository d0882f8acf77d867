"""Who takes part in a `FederatedScenario`: speeds, links, availability, energy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S, Clients
from mltwin.sim.errors import InputError

from .federated_data import counts_of, data_seed, examples_of, has_examples
from .federated_specs import made, named, parameters_of
from .fields import Spec, placed
from .text import Cell, Table

if TYPE_CHECKING:
    from mltwin.models.federation.learning.tables import Examples
    from mltwin.models.federation.tables import LinkTraces

    from .federated import FederatedScenario

BYTES_OF_MBIT = 1e6 / 8
_BY_LABEL = "by_label"
_LAWS = ("speed", "availability", "correlation", "down_trace", "up_trace")
_WILD = "*?["


def clients_of(
    scenario: "FederatedScenario", counts: np.ndarray, examples: "Examples | None", seed: int
) -> tuple[Clients, list[str]]:
    """The clients of a run, and remarks on them.

    Raises InputError: an unknown law or parameter, or what a law or the correlation refuses.
    """
    from mltwin.workloads.federated.populations import population, slowed
    from mltwin.workloads.federated.skew import owners

    given = scenario.clients
    own_seed = seed if given.seed is None else given.seed
    try:
        found = population(
            counts,
            speed=_law(scenario, given.speed, "clients.speed"),
            availability=_presence(scenario, examples, seed),
            correlation=given.correlation,
            labels=_labels(scenario, examples),
            energy=given.energy,
            seed=own_seed,
            links=_links(scenario, len(counts), own_seed),
            **{**_columns(scenario), **_radio(scenario, len(counts), own_seed)},
        )
    except InputError as error:
        raise _within(error) from None
    if given.slow_label is not None:
        data = _needed(examples, "clients.slow_label")
        count = min(given.slow_clients, len(found))
        found = slowed(found, owners(data, given.slow_label, count), given.slow_factor)
    remarks = []
    if len(found) != given.count:
        remarks.append(f"The data has {len(found)} clients, {given.count} were asked for.")
    return found, remarks


def _columns(scenario: "FederatedScenario") -> dict[str, Any]:
    """Columns of `Clients` that the scenario gives itself."""
    given = scenario.clients
    found: dict[str, Any] = {
        "latency_s": given.latency_ms / 1000,
        "jitter": given.jitter,
        "failure": given.failure,
    }
    for name in ("down", "up"):
        rate = getattr(given, f"{name}_mbit_per_s")
        if rate is not None:
            found[f"{name}_bytes_per_s"] = rate * BYTES_OF_MBIT
    if given.energy is None:
        for name in ("compute_w", "send_w", "receive_w"):
            found[name] = getattr(given, name)
    return found


def _radio(scenario: "FederatedScenario", clients: int, seed: int) -> dict[str, np.ndarray]:
    """Rates and failures of clients around a radio station; {} where there is none.

    Raises InputError: an unknown parameter, a value out of its range, a client that is never heard.
    """
    from mltwin.policies.federated.wireless import Radio, radio_links

    spec = scenario.clients.radio
    if spec is None:
        return {}
    where = "clients.radio"
    radio = made({"radio": Radio}, {**_whole(spec, Radio), "name": "radio"}, where=where)
    try:
        return radio_links(clients, seed, radio).columns
    except InputError as error:
        raise InputError(error.message, where=where, mend=error.mend) from None


def _links(scenario: "FederatedScenario", clients: int, seed: int) -> "LinkTraces | None":
    """Rates of the clients' links that change; None where all are constant.

    Raises InputError: as `workloads.federated.link_traces`, or links of other kinds beside them.
    """
    from mltwin.workloads.federated.link_traces import link_traces

    specs = {side: getattr(scenario.clients, f"{side}_trace") for side in ("down", "up")}
    given = {side: spec for side, spec in specs.items() if spec is not None}
    for side in given:
        if scenario.peers is not None:
            raise InputError(
                "links that follow traces do not go with 'peers'",
                where=f"clients.{side}_trace",
                mend="leave it out, or leave out `peers`",
            )
    if not given:
        return None
    laws = {side: _law(scenario, spec, f"clients.{side}_trace") for side, spec in given.items()}
    return link_traces(clients, down=laws.get("down"), up=laws.get("up"), seed=seed)


def trace_paths(scenario: "FederatedScenario") -> list[str]:
    """The files that the clients' links follow, as the scenario names their place.

    Raises InputError where there is none.
    """
    from mltwin.workloads.federated.link_traces import trace_files

    found: list[str] = []
    for spec in (scenario.clients.down_trace, scenario.clients.up_trace):
        if isinstance(spec, dict) and "path" in spec:
            given = str(spec["path"])
            root, rest = _rooted(given)
            place = scenario.resolve_path(root)
            files = trace_files(str(place / rest))
            found += [str(Path(root) / file.relative_to(place)) for file in files]
    return found


def _rooted(path: str) -> tuple[str, str]:
    """A path in two: up to its first part with a wildcard, and the rest."""
    parts = Path(path).parts
    wild = next((k for k, part in enumerate(parts) if set(part) & set(_WILD)), len(parts))
    return str(Path(*parts[:wild])), str(Path(*parts[wild:]))


def _whole(spec: Mapping[str, float], kind: Any) -> dict[str, float]:
    """Counts as whole numbers: a field of numbers makes fractions of them."""
    known = parameters_of(kind, frozenset())
    whole = {name for name, default in known.items() if isinstance(default, int)}
    return {k: int(v) if k in whole and v == int(v) else v for k, v in spec.items()}


def _within(error: InputError) -> InputError:
    """An error of the population, with the field that it is of."""
    place = error.where or ""
    if place.replace(":", ".").split(".")[0] in _LAWS:
        return InputError(error.message, where=f"clients.{place}", mend=error.mend)
    return error if place.startswith("clients") else placed(error, "clients")


def _law(scenario: "FederatedScenario", spec: Spec, where: str) -> Spec:
    """A law with its file, or files, found from the scenario's folder."""
    name, given = named(spec, where)
    if "path" in given:
        root, rest = _rooted(str(given["path"]))
        given["path"] = str(scenario.resolve_path(root) / rest)
    return {"name": name, **given}


def _presence(scenario: "FederatedScenario", examples: "Examples | None", seed: int) -> Spec:
    """The law of availability; `bernoulli` may take probabilities that go with labels."""
    where = "clients.availability"
    name, given = named(_law(scenario, scenario.clients.availability, where), where)
    if name == "bernoulli" and given.get("probability") == _BY_LABEL:
        from mltwin.workloads.federated.skew import label_probability

        data = _needed(examples, f"{where}.probability")
        keys = ("alpha", "mean", "least")
        chosen = {key: given.pop(key) for key in keys if key in given}
        given["probability"] = label_probability(data, seed=data_seed(scenario, seed), **chosen)
    return {"name": name, **given}


def _labels(scenario: "FederatedScenario", examples: "Examples | None") -> np.ndarray | None:
    """What correlations with `label` are with: a client's share of a class, or its label skew."""
    from mltwin.workloads.federated.skew import label_share, label_skew

    if not any("label" in pair for pair in scenario.clients.correlation):
        return None
    data = _needed(examples, "clients.correlation")
    label = scenario.clients.label
    return label_skew(data) if label is None else label_share(data, label)


def _needed(examples: "Examples | None", where: str) -> "Examples":
    if examples is None:
        raise InputError(
            "there are no labels", where=where, mend="set model.level to softmax, or leave it out"
        )
    return examples


def laws() -> dict[str, Mapping[str, Callable[..., Any]]]:
    """The laws of speed, of availability and of links that change, by name."""
    from mltwin.workloads.federated.link_traces import LINKS
    from mltwin.workloads.federated.presences import PRESENCES
    from mltwin.workloads.federated.speeds import SPEEDS

    return {"speed": SPEEDS, "availability": PRESENCES, "down_trace, up_trace": LINKS}


def laws_table() -> Table:
    """The laws that clients may follow, with their parameters."""
    rows: list[list[Cell]] = []
    breaks = set()
    for kind, known in laws().items():
        for name, law in known.items():
            about = " ".join((law.__doc__ or "").strip().split("\n\n")[0].split())
            told = parameters_of(law, frozenset({"clients", "seed"}))
            rows.append([kind, name, about, ", ".join(_told(*pair) for pair in told.items())])
        breaks.add(len(rows) - 1)
    return Table(["field", "law", "what", "parameters"], rows, breaks=breaks - {len(rows) - 1})


def _told(name: str, default: Any) -> str:
    if isinstance(default, type):  # inspect.Parameter.empty
        return name
    return f"{name}={default:g}" if isinstance(default, float) else f"{name}={default}"


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def clients_table(scenario: "FederatedScenario", seed: int) -> Table:
    """Quantiles over the clients of a scenario and seed: data, speed, links, availability.

    Raises InputError: as `clients_of`.
    """
    from mltwin.workloads.federated.presences import duty_of

    examples = examples_of(scenario, seed) if has_examples(scenario) else None
    counts = counts_of(scenario, seed) if examples is None else examples.samples
    clients, _ = clients_of(scenario, counts, examples, seed)
    there = clients.availability
    columns = {
        "samples": clients.samples,
        "ms a sample": 1000 * clients.s_per_sample,
        "down (Mbit/s)": clients.down_bytes_per_s / BYTES_OF_MBIT,
        "up (Mbit/s)": clients.up_bytes_per_s / BYTES_OF_MBIT,
        "there (share)": duty_of(there),
        "stay (s)": (there.end - there.begin) / TICKS_PER_S,
        "training (W)": clients.compute_w,
        "sending (W)": clients.send_w,
    }
    rows: list[list[Cell]] = []
    for name, values in columns.items():
        if len(values) and np.isfinite(values).all():
            found = np.quantile(np.asarray(values, float), QUANTILES)
            rows.append([name, *found.tolist(), float(np.mean(values))])
        else:
            rows.append([name, *[None] * (len(QUANTILES) + 1)])
    heads = ["", *(f"{100 * q:g} %" for q in QUANTILES), "mean"]
    title = f"{len(clients):,} clients of {scenario.label}"
    caption = "-: unlimited, or always there"
    if clients.links is not None:
        caption += "; means of links that follow traces"
    return Table(heads, rows, title=title, caption=caption)
