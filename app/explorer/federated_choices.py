"""The choices of the federated page, and the scenarios that they stand for."""

import pprint
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mltwin import InputError, Scenario
from mltwin.federated import FederatedScenario
from mltwin.fields import close_to

from .field_page import Fields, paths_of, usual_choices
from .safe import check_scenario

PEERS = "peers: "
"""Begins the names of methods without a server."""
MAX_METHODS, MAX_SEEDS, MAX_CLIENTS = 6, 10, 20_000
MIN_ALPHA, MAX_ALPHA = 0.01, 10.0
"""Of the Dirichlet split."""
MAX_SAMPLES = 200_000_000
"""Samples that clients of all runs may train on, tuning included."""
CONSTANT = "constant"
"""Links of clients whose rates do not change."""
OVERLAYS = ("ring", "torus", "complete", "star", "exponential", "regular")
TUNE: Mapping[str, tuple[str, Sequence[float]] | None] = {
    "nothing": None,
    "step of the clients": ("training.lr", (0.03, 0.1, 0.3)),
    "step of the server": ("strategy.server_lr", (0.1, 0.3, 1.0)),
}
"""What may be chosen for each method before they are ranked: a field and its values."""
_TUNING_RUNS = 9
_LEARNING = ("softmax", "mlp")
_WITHOUT_OVERLAY = "modest"
_AGAIN = re.compile(r"(.+) ([2-9])")
Parameters = dict[str, Any]

FIELDS: Fields = {
    "Clients": {
        "clients.count": {"kind": "slider", "low": 10, "high": 2000, "step": 10,
                          "label": "Clients"},
        "clients.speed": {"kind": "select", "label": "Speeds"},
        "clients.availability": {"kind": "select", "label": "When they are there"},
        "training.interruption": {"label": "Work of a client that leaves"},
        "clients.failure": {"kind": "slider", "low": 0.0, "high": 0.5, "step": 0.01,
                            "label": "Dispatches that fail"},
        "clients.jitter": {"kind": "slider", "low": 0.0, "high": 2.0, "step": 0.05,
                           "label": "Jitter of compute (sigma)"},
        "clients.energy": {"kind": "select", "choices": ["wifi", "lte", "3g"], "label": "Radio"},
    },
    "Data and model": {
        "dataset.source": {"kind": "select", "label": "Data"},
        "model.level": {"kind": "select", "label": "Model",
                        "choices": [*_LEARNING, "quadratic", "time"]},
        "model.megabytes": {"kind": "slider", "low": 0.1, "high": 100.0, "step": 0.1,
                            "label": "Size of a transfer (MB)"},
    },
    "Training": {
        "training.steps": {"kind": "slider", "low": 1, "high": 100, "label": "Local steps"},
        "training.batch": {"kind": "slider", "low": 1, "high": 100,
                           "label": "Samples of a step"},
        "training.lr": {"kind": "number", "step": 0.01, "label": "Step of the clients"},
        "target.accuracy": {"kind": "slider", "low": 0.3, "high": 0.99, "step": 0.01,
                            "label": "Target accuracy"},
        "stop.updates": {"kind": "slider", "low": 200, "high": 20_000, "step": 100,
                         "label": "Updates of a run"},
    },
}  # fmt: skip
_USUAL = {
    "clients.speed": "fedscale",
    "clients.energy": "wifi",
    "model.megabytes": 1.0,
    "target.accuracy": 0.8,
    "stop.updates": 3000,
}
DEFAULTS: dict[str, Any] = {
    "methods": ["fedavg", "fedbuff", "fedasync"],
    "parameters": {},
    "links": CONSTANT,
    "overlay": "ring",
    "split": "dirichlet",
    "alpha": 0.1,
    "tune": "nothing",
    "seeds": 3,
    **usual_choices(FederatedScenario().changed(_USUAL), FIELDS),
}


def methods() -> dict[str, str]:
    """What may be compared: each strategy and each protocol of peers, with a line on it."""
    from mltwin.federated import strategies

    found = {str(row[1]): str(row[2]) for row in strategies("strategy").rows}
    return found | {f"{PEERS}{row[1]}": str(row[2]) for row in strategies("protocol").rows}


def base_of(method: str) -> str:
    """What a method is: `fedprox` of `fedprox 2`, which is it once more with other parameters."""
    again = _AGAIN.fullmatch(method)
    return again[1] if again else method


def once_more(method: str, chosen: Sequence[str]) -> str:
    """The name under which a method is compared once more, beside those that are chosen."""
    base = base_of(method)
    return next(name for k in range(2, MAX_METHODS + 2) if (name := f"{base} {k}") not in chosen)


def has_overlay(methods: Sequence[str]) -> bool:
    """Whether any method is of peers that talk to neighbours."""
    mine = [base_of(name) for name in methods if name.startswith(PEERS)]
    return any(name != PEERS + _WITHOUT_OVERLAY for name in mine)


def parameters_of(method: str) -> Parameters:
    """The parameters of a method that a form can show, with their defaults.

    Raises InputError: an unknown method.
    """
    from mltwin.federated_peers import protocol_parameters
    from mltwin.federated_specs import policy_entry

    method = base_of(method)
    _refuse_unknown(method, methods(), "methods")
    if method.startswith(PEERS):
        found = protocol_parameters()[method.removeprefix(PEERS)]
    else:
        found = policy_entry("strategy", method, Path).parameters
    return {name: value for name, value in found.items()
            if isinstance(value, bool | int | float | str)}  # fmt: skip


def given_parameters(choices: Mapping[str, Any], method: str) -> Parameters:
    """The parameters of a method that a visitor changed.

    Raises InputError: one that the method has not, or a value of another kind.
    """
    given = choices["parameters"].get(method, {})
    if not isinstance(given, Mapping):
        raise InputError("is no table", where=f"parameters.{method}")
    known = parameters_of(method)
    found: Parameters = {}
    for name, value in given.items():
        _refuse_unknown(name, known, f"parameters.{method}")
        default = known[name]
        whole = isinstance(default, float) and type(value) is int
        if not whole and type(value) is not type(default):
            raise InputError(
                f"{str(value)[:40]!r} is no {type(default).__name__}",
                where=f"parameters.{method}.{name}",
            )
        found[name] = float(value) if whole else value
    return found


def speeds() -> tuple[str, ...]:
    """Laws of the clients' speeds; none that needs a file."""
    return _laws("speed")


def presences() -> tuple[str, ...]:
    """Laws of when clients are there."""
    return _laws("availability")


def links() -> tuple[str, ...]:
    """What the clients' links may be like: constant, or drawn from a chain."""
    return (CONSTANT, *_laws("down_trace, up_trace"))


def _laws(kind: str) -> tuple[str, ...]:
    from mltwin.federated_clients import laws

    return tuple(name for name in laws()[kind] if name not in ("file", "files"))


def sources() -> tuple[str, ...]:
    """Data sets that need no file."""
    from mltwin.federated_data import datasets

    return tuple(name for name in datasets() if name != "arrays")


def splits() -> tuple[str, ...]:
    """How data may be dealt out."""
    from mltwin.federated_data import splits as known

    return tuple(known())


def is_learning(choices: Mapping[str, Any]) -> bool:
    """Whether the model learns from samples, so that it has an accuracy."""
    return choices["model.level"] in _LEARNING


def scenarios(choices: Mapping[str, Any]) -> list[Scenario]:
    """One scenario for each method, named after it.

    Raises InputError: a name that is not offered, or more work than the explorer does.
    """
    _check_names(choices)
    base = _base(choices)
    found = [
        check_scenario({**base, "name": method, **_of_method(choices, method)})
        for method in choices["methods"]
    ]
    _refuse_twins(found)
    _check_work(choices)
    return found


def _refuse_twins(found: Sequence[Scenario]) -> None:
    """Raises InputError: two methods that are one."""
    first: dict[str, str] = {}
    for one in found:
        other = first.setdefault(one.hash, one.name)
        if other != one.name:
            raise InputError(
                f"is the same as {other!r}", where=one.name, mend="change one of its parameters"
            )


def _base(choices: Mapping[str, Any]) -> dict[str, Any]:
    """What all methods have in common."""
    data: dict[str, Any] = {"system": "federated"}
    for path in paths_of(FIELDS):
        section, _, name = path.partition(".")
        data.setdefault(section, {})[name] = choices[path]
    if choices["links"] != CONSTANT:
        data["clients"].update(down_trace=choices["links"], up_trace=choices["links"])
    alpha = choices["alpha"]
    split = choices["split"]
    data["dataset"]["split"] = {"name": split, "alpha": alpha} if split == "dirichlet" else split
    if not is_learning(choices):
        del data["target"], data["dataset"]
    return data


def _of_method(choices: Mapping[str, Any], method: str) -> dict[str, Any]:
    given, base = given_parameters(choices, method), base_of(method)
    if base.startswith(PEERS):
        peers: dict[str, Any] = {"protocol": {"name": base.removeprefix(PEERS), **given}}
        return {"peers": peers | ({"overlay": choices["overlay"]} if has_overlay([base]) else {})}
    return {"strategy": {"name": base, **given}}


def _check_names(choices: Mapping[str, Any]) -> None:
    chosen = choices["methods"]
    if not all(isinstance(name, str) for name in chosen) or len(set(chosen)) < len(chosen):
        raise InputError("is no list of different names", where="methods")
    if not 1 <= len(chosen) <= MAX_METHODS:
        raise InputError(
            f"{len(chosen)} methods", where="methods", mend=f"choose 1 to {MAX_METHODS}"
        )
    known = methods()
    for name in chosen:
        _refuse_unknown(base_of(name), known, "methods")
    for place, offered in (
        ("clients.speed", speeds()),
        ("clients.availability", presences()),
        ("links", links()),
        ("dataset.source", sources()),
        ("split", splits()),
        ("overlay", OVERLAYS),
        ("tune", tuple(TUNE)),
    ):
        _refuse_unknown(choices[place], offered, place)
    if choices["links"] != CONSTANT and any(name.startswith(PEERS) for name in chosen):
        raise InputError(
            "peers have links of constant rates", where="links",
            mend="choose constant links, or methods with a server",
        )  # fmt: skip


def _refuse_unknown(name: str, known: Any, where: str) -> None:
    if name not in known:
        raise InputError(
            f"{name[:40]!r} is not offered here", where=where, mend=close_to(name[:40], known)
        )


def _check_work(choices: Mapping[str, Any]) -> None:
    """Raises InputError for more than the explorer runs."""
    seeds, count = choices["seeds"], choices["clients.count"]
    if not 1 <= seeds <= MAX_SEEDS:
        raise InputError(f"{seeds} seeds", where="seeds", mend=f"choose 1 to {MAX_SEEDS}")
    if count > MAX_CLIENTS:
        raise InputError(
            f"{count:,} clients are more than the explorer runs", where="clients.count",
            mend=f"ask for at most {MAX_CLIENTS:,}, or use the command line",
        )  # fmt: skip
    if not MIN_ALPHA <= choices["alpha"] <= MAX_ALPHA:
        raise InputError(
            f"{choices['alpha']:g} is beyond {MIN_ALPHA:g} to {MAX_ALPHA:g}", where="alpha"
        )
    runs = len(choices["methods"]) * (seeds + (_TUNING_RUNS if TUNE[choices["tune"]] else 0))
    each = choices["stop.updates"] * choices["training.steps"] * max(choices["training.batch"], 1)
    if runs * each > MAX_SAMPLES:
        raise InputError(
            f"{runs * each:,} samples in all are more than the explorer trains on",
            where="stop.updates", mend="choose fewer updates, seeds, local steps or methods",
        )  # fmt: skip


def command_words(choices: Mapping[str, Any], files: Sequence[str]) -> list[str]:
    """`fed compare`, its files and options, as both the page and a reader run them."""
    words = ["fed", "compare", *files, "--seeds", str(choices["seeds"])]
    tuned = TUNE[choices["tune"]]
    if tuned is not None:
        words += ["--tune", f"{tuned[0]}={','.join(f'{value:g}' for value in tuned[1])}"]
    return words


def file_of(method: str) -> str:
    """What the file of a method's scenario is called."""
    return f"{method.replace(PEERS, 'peers-').replace(' ', '-')}.toml"


def python_of(found: Sequence[Scenario], choices: Mapping[str, Any]) -> str:
    """A script that makes the comparison and draws its learning curves."""
    own = ("strategy", "peers", "name")
    shared = {k: v for k, v in found[0].data(full=False).items() if k not in own}
    changes = {
        one.name: {k: v for k, v in one.data(full=False).items() if k in own[:2]} for one in found
    }
    tuned = TUNE[choices["tune"]]
    more = "" if tuned is None else f", tune={{{tuned[0]!r}: {list(tuned[1])!r}}}"
    lines = [
        "import mltwin as mt",
        "",
        f"base = mt.federated.Scenario.parse(\n{_written(shared)}\n)",
        f"methods = (\n{_written(changes)}\n)",
        "scenarios = {name: base.changed(own) for name, own in methods.items()}",
        f"found = mt.federated.compare(scenarios, seeds={choices['seeds']}{more})",
        "print(found)",
    ]
    if choices["model.level"] != "time":
        lines.append('found.plot("federated.png")')
    return "\n".join(lines) + "\n"


def _written(data: Mapping[str, Any]) -> str:
    return pprint.pformat(data, indent=1, width=88, sort_dicts=False)
