"""Clients of a federation: devices, links and availability by law, and how they go together.

    clients = population(examples.samples, speed="fedscale", availability="flash_strict", seed=1)
    clients = population(
        examples.samples,
        speed={"name": "log_normal", "sigma": 1.0},
        correlation={"speed_data": 0.5, "speed_label": -0.8},
        labels=skew.label_share(examples, 3),
        seed=1,
    )

Laws of speed are in `speeds`, of availability in `presences`; a law is a name, or a mapping with
`name` and its parameters.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import Availability, Clients
from mltwin.sim.errors import InputError

from .arguments import check_kinds
from .copula import GIVEN, deal
from .devices import Array, Devices
from .energy import with_energy
from .presences import PRESENCES, duty_of
from .speeds import SPEEDS

Law = str | Mapping[str, Any]


def population(
    samples: npt.ArrayLike,
    *,
    speed: Law = "homogeneous",
    availability: Law = "always",
    correlation: Mapping[str, float] | None = None,
    labels: npt.ArrayLike | None = None,
    energy: str | None = None,
    seed: int = 0,
    **columns: Any,
) -> Clients:
    """Clients by their laws, checked.

    Args:
        samples: int[N], data of each client (say `examples.samples`).
        speed: law of seconds per sample, and of links where it has them; one of `SPEEDS`.
        availability: one of `PRESENCES`.
        correlation: Spearman's rho by pair (`copula.PAIRS`): "speed_data", "speed_label",
            "speed_availability", "availability_data", "availability_label". A device moves as a
            whole, its links with it.
        labels: float[N], the score of each client's labels that a correlation is with (say
            `skew.label_skew`).
        energy: radio, for watts and memory by class ("wifi", "lte", "3g": `energy.with_energy`).
        seed: of all draws; each client's are its own.
        columns: further columns of `Clients.make`: latency_s, jitter, failure, or rates and watts
            in place of those of the law.

    Raises:
        InputError: an unknown law or parameter, or what the law, the correlation or `Clients.make`
            refuses.
    """
    counts = np.atleast_1d(np.asarray(samples, np.int64))
    count = len(counts)
    devices = law_of(SPEEDS, speed, count, where="speed", seed=seed)
    there = law_of(PRESENCES, availability, count, where="availability", seed=seed)
    if correlation:
        scores = {"data": counts.astype(float)}
        if labels is not None:
            scores["label"] = _scores(labels, count)
        devices, there = correlated(devices, there, correlation, scores, seed=seed)
    rates = {
        "s_per_sample": devices.s_per_sample,
        "down_bytes_per_s": devices.down_bytes_per_s,
        "up_bytes_per_s": devices.up_bytes_per_s,
    }
    facts = {"speed": speed, "availability": availability, "correlation": dict(correlation or {})}
    made = Clients.make(counts, **{**rates, **columns}, availability=there, facts=facts)
    return made if energy is None else with_energy(made, radio=energy)


def correlated(
    devices: Devices,
    there: Availability,
    correlation: Mapping[str, float],
    given: Mapping[str, Array],
    *,
    seed: int = 0,
) -> tuple[Devices, Availability]:
    """The same devices and the same availabilities, dealt to clients by the correlation.

    Args:
        devices, there: of N clients.
        correlation: as `population`.
        given: "data" and "label" of each client, float64[N], as far as they are known.
        seed: of the scores.

    Raises:
        InputError: as `copula.deal`.
    """
    unknown = [name for name in given if name not in GIVEN]
    if unknown:
        raise InputError(f"{unknown[0]!r} is not known", where="correlation", mend=f"give {GIVEN}")
    moved = {"speed": 1.0 / devices.s_per_sample, "availability": duty_of(there)}
    orders = deal(correlation, moved, given, seed=seed)
    who, when = orders["speed"], orders["availability"]
    dealt = replace(there, trace=there.trace[when], offset=there.offset[when])
    return devices.take(who), dealt


def slowed(clients: Clients, who: npt.ArrayLike, factor: float) -> Clients:
    """The clients, those named slower by a factor: with `skew.owners`, the stale owners of a class.

    Raises InputError: a client that is not there, a factor that is not above 0.
    """
    rows = np.atleast_1d(np.asarray(who, np.int64))
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(clients):
        raise InputError(f"a client of {len(clients)} that is not there", where="slowed")
    if not 0.0 < factor < np.inf:
        raise InputError(f"factor is {factor}", where="slowed", mend="give more than 0")
    speed = clients.s_per_sample.copy()
    speed[rows] *= factor
    return clients.changed(s_per_sample=speed)


def law_of(
    laws: Mapping[str, Callable[..., Any]], law: Law, clients: int, *, where: str, seed: int
) -> Any:
    """What the law of a name makes for so many clients.

    Raises InputError: an unknown name or parameter, a missing one, or what the law refuses.
    """
    import difflib

    given = {"name": law} if isinstance(law, str) else dict(law)
    name = str(given.pop("name", ""))
    if name not in laws:
        close = difflib.get_close_matches(name, laws, n=1)
        raise InputError(
            f"no law is called {name!r}",
            where=where,
            mend=f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(laws)}",
        )
    known = inspect.signature(laws[name]).parameters
    own = [key for key in known if key not in ("clients", "seed")]
    for key in given:
        if key not in own:
            raise InputError(
                f"{name} has no parameter {key!r}",
                where=where,
                mend=f"it takes {', '.join(own) or 'none'}",
            )
    for key in own:
        if known[key].default is inspect.Parameter.empty and key not in given:
            raise InputError(f"{name} needs {key!r}", where=where, mend=f"give {key}")
    check_kinds(laws[name], given, where=where)
    try:
        return laws[name](clients, seed=seed, **given)
    except (TypeError, ValueError, OverflowError, MemoryError) as wrong:
        raise InputError(f"{name}: {wrong}", where=where, mend="check its values") from None


def _scores(labels: npt.ArrayLike, count: int) -> Array:
    found = np.asarray(labels, np.float64)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise InputError(
            f"labels of shape {found.shape} for {count} clients",
            where="labels",
            mend="give one finite number for each client",
        )
    return found
