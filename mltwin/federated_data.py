"""Who has what data in a `FederatedScenario`, and the model that learns from it."""

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import CONTENT, normals, uniforms

from .federated_specs import from_file, made, named, parameters_of
from .text import Table

if TYPE_CHECKING:
    from mltwin.models.federation.learning.tables import Examples

    from .federated import FederatedScenario

SAMPLES = 100
"""Of each client where nothing is learned from data and none are given."""
MOST_NUMBERS = 2**30
"""Samples of all clients, parameters of a model, or numbers of all quadratics."""
_OWN = frozenset({"seed", "clients", "pool", "samples"})
"""Parameters of splits and laws that the scenario gives elsewhere."""
_CURVATURE, _CENTRE = 1 << 40, 1 << 41


def datasets() -> Mapping[str, Callable[..., Any]]:
    """What makes the data of a name."""
    from mltwin.workloads.federated import datasets as ours
    from mltwin.workloads.federated.drawn import gaussians, synthetic
    from mltwin.workloads.federated.from_files import arrays

    return {
        "gaussians": gaussians,
        "synthetic": synthetic,
        "digits": ours.digits,
        "wine": ours.wine,
        "breast_cancer": ours.breast_cancer,
        "rand_hie": ours.rand_hie,
        "arrays": arrays,
    }


def splits() -> Mapping[str, Callable[..., Any]]:
    """What splits data among clients, by name."""
    from mltwin.workloads.federated import splits as ours

    names = ("iid", "dirichlet", "shards", "quantity", "natural")
    return {name: getattr(ours, name) for name in names}


def sizes() -> Mapping[str, Callable[..., Any]]:
    """Laws of how many samples each client has."""
    from mltwin.workloads.federated import sizes as ours

    return {"log_normal": ours.log_normal, "zipf": ours.zipf}


def has_examples(scenario: "FederatedScenario") -> bool:
    """Whether the model learns from samples (time only and quadratics do not)."""
    return scenario.model.level in ("softmax", "mlp", "torch")


def data_seed(scenario: "FederatedScenario", seed: int) -> int:
    """The seed of data and split in a run."""
    return seed if scenario.dataset.seed is None else scenario.dataset.seed


def samples_of(scenario: "FederatedScenario", seed: int) -> Any:
    """`dataset.samples` as a split takes it: a number, int64[N], or None.

    Raises InputError: an unknown law, or what it refuses.
    """
    given, count = scenario.dataset.samples, scenario.clients.count
    if given is None:
        return None
    if isinstance(given, dict):
        found = made(sizes(), given, count, where="dataset.samples", own=_OWN, seed=seed)
        total = int(found.sum())
    else:
        found, total = given, given * count
    if total > MOST_NUMBERS:
        raise InputError(
            f"{total:,} samples in all", where="dataset.samples",
            mend=f"give fewer: {MOST_NUMBERS:,} at most",
        )  # fmt: skip
    return found


def pool_of(scenario: "FederatedScenario", seed: int) -> Any:
    """The data before it is split.

    Raises InputError: an unknown name or parameter, a missing package, a bad file.
    """
    spec = scenario.dataset.source
    name, given = named(spec, "dataset.source")
    known = datasets()
    more: dict[str, Any] = {"seed": data_seed(scenario, seed)}
    own = {"seed"}
    if name == "synthetic":  # its clients are natural ones
        own.add("clients")
        more["clients"] = scenario.clients.count
    elif name == "arrays" and "path" in given:
        spec = {**given, "name": name, "path": str(scenario.resolve_path(str(given["path"])))}
    if name in known and "seed" not in parameters_of(known[name], frozenset()):
        del more["seed"]
    return made(known, spec, where="dataset.source", own=frozenset(own), **more)


def examples_of(scenario: "FederatedScenario", seed: int) -> "Examples":
    """The data of the clients of a run.

    Raises InputError: as `pool_of`; a split that does not fit the data or the number of clients.
    """
    from mltwin.workloads.federated.skew import swap_labels

    pool = pool_of(scenario, seed)
    own_seed = data_seed(scenario, seed)
    name, _ = named(scenario.dataset.split, "dataset.split")
    known = splits()
    count: int | None = scenario.clients.count
    more: dict[str, Any] = {"seed": own_seed}
    samples = samples_of(scenario, own_seed)
    if name in known and "samples" in parameters_of(known[name], frozenset()):
        more["samples"] = samples
    elif samples is not None:
        raise InputError(
            f"the split {name!r} says itself how many each client has",
            where="dataset.samples",
            mend="leave it out, or split with iid or dirichlet",
        )
    if name == "natural":
        there = len(np.unique(pool.group[pool.group >= 0]))
        count = min(scenario.clients.count, there) if there else None
    found: Examples = made(
        known, scenario.dataset.split, pool, count, where="dataset.split", own=_OWN, **more
    )
    if scenario.dataset.swap_share > 0:
        swapped = round(scenario.dataset.swap_clients * found.clients)
        last = np.arange(found.clients - swapped, found.clients)
        found = swap_labels(found, scenario.dataset.swap_share, last, seed=own_seed)
    return found


def counts_of(scenario: "FederatedScenario", seed: int) -> np.ndarray:
    """int64[N], samples of each client where there are no examples.

    Raises InputError: as `samples_of`.
    """
    given = samples_of(scenario, data_seed(scenario, seed))
    return np.broadcast_to(np.asarray(SAMPLES if given is None else given, np.int64),
                           (scenario.clients.count,)).copy()  # fmt: skip


def task_of(
    scenario: "FederatedScenario", examples: "Examples | None", share: np.ndarray, seed: int
) -> Any:
    """The model and how it learns; None where only time is simulated.

    Raises InputError: data without classes, a module that is not there, a missing package.
    """
    model = scenario.model
    if model.level == "time":
        return None
    if model.level == "quadratic":
        return quadratic(scenario, share, data_seed(scenario, seed))
    assert examples is not None
    if model.level == "softmax":
        from mltwin.models.federation.learning.softmax import SoftmaxTask

        return SoftmaxTask(examples, l2=model.l2)
    if model.level == "mlp":
        from mltwin.models.federation.learning.mlp import MlpTask

        units = [examples.x.shape[1], *model.hidden, examples.classes]
        _refuse_size(sum(a * b for a, b in itertools.pairwise(units)), "model.hidden")
        return MlpTask(examples, hidden=tuple(model.hidden), l2=model.l2)
    from mltwin.models.federation.learning.torch_task import TorchTask

    resolve = scenario.resolve_path
    factory, _ = from_file(str(model.module), resolve, "model.module")
    loss = None if model.loss is None else from_file(model.loss, resolve, "model.loss")[0]
    return TorchTask(factory, examples, loss)


def quadratic(scenario: "FederatedScenario", share: np.ndarray, seed: int) -> Any:
    """Quadratic losses of all clients: diagonal curvatures whose logarithms are uniform between
    those of 1 / condition and 1, optima normal around 0."""
    from mltwin.models.federation.learning.quadratic import QuadraticTask

    model = scenario.model
    _refuse_size(len(share) * model.parameters, "model.parameters")
    who, coordinate = np.arange(len(share))[:, None], np.arange(model.parameters)
    drawn = uniforms(seed, CONTENT, who, _CURVATURE + coordinate)
    curvature = model.condition ** -np.asarray(drawn, float)
    centre = model.spread * normals(seed, CONTENT, who, _CENTRE + coordinate)
    return QuadraticTask(curvature, centre, model.noise, share)


def _refuse_size(numbers: int, where: str) -> None:
    if numbers > MOST_NUMBERS:
        raise InputError(
            f"{numbers:,} numbers", where=where, mend=f"give fewer: {MOST_NUMBERS:,} at most"
        )


def describe_split(examples: "Examples") -> dict[str, Any]:
    """What a split looks like: sizes, classes of a client, how far its mix is from that of all."""
    from mltwin.workloads.federated.skew import label_counts, label_skew

    counts = examples.samples
    found: dict[str, Any] = {
        "data": examples.name,
        "features": int(examples.x.shape[1]),
        "classes": examples.classes,
        "clients": examples.clients,
        "rows": len(examples.y),
        "held out": len(examples.test_y),
        "samples": int(counts.sum()),
        "samples of a client, least": int(counts.min()),
        "samples of a client, median": float(np.median(counts)),
        "samples of a client, most": int(counts.max()),
    }
    if examples.classes >= 2:
        theirs = label_counts(examples)
        found["classes of a client, median"] = float(np.median((theirs > 0).sum(axis=1)))
        found["label skew, mean"] = float(label_skew(examples).mean())
        shares = theirs.sum(axis=0) / theirs.sum()
        found["rarest class"] = float(shares.min())
        found["commonest class"] = float(shares.max())
    return found


def split_table(scenario: "FederatedScenario", seed: int) -> Table:
    """The split of a scenario and seed as a table.

    Raises InputError: nothing is learned from data, or as `examples_of`.
    """
    if not has_examples(scenario):
        raise InputError(
            f"a model of level {scenario.model.level!r} has no data",
            where="model.level",
            mend="set it to softmax",
        )
    rows: list[list[Any]] = [
        [key, value] for key, value in describe_split(examples_of(scenario, seed)).items()
    ]
    return Table(["property", "value"], rows, title=scenario.label)
