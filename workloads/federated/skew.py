"""What a split did to labels: who owns a class, how skewed a client is; labels that are swapped."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.learning.tables import Examples
from mltwin.sim.errors import InputError

from .draws import SHARES, SWAP, Array, data_uniforms, dirichlet

_WEIGHTS_ROW = 1 << 40  # beyond every client's row of shares


def label_counts(examples: Examples) -> Array:
    """int64[N, classes], samples of each class that each client has. Raises InputError."""
    if examples.classes < 2:
        raise InputError("there are no classes", where=f"data {examples.name!r}")
    owner = np.repeat(np.arange(examples.clients), examples.samples)
    cell = owner * examples.classes + examples.y[examples.row]
    counts = np.bincount(cell, minlength=examples.clients * examples.classes)
    return counts.reshape(examples.clients, examples.classes)


def label_share(examples: Examples, label: int) -> Array:
    """float64[N], part of a client's samples that have a label. Raises InputError."""
    return label_counts(examples)[:, _label(examples, label)] / examples.samples


def label_skew(examples: Examples) -> Array:
    """float64[N], total variation distance of a client's mix of classes from that of all."""
    counts = label_counts(examples)
    mix = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(0.5 * np.abs(mix - counts.sum(axis=0) / counts.sum()).sum(axis=1))


def owners(examples: Examples, label: int, count: int) -> Array:
    """int64[count], the clients with most samples of a class, most first.

    Who is made slow in studies of "intertwined heterogeneity", where the stale clients are the
    owners of one class (Wang et al., arXiv 2309.13536). Raises InputError: no such class, no such
    number of clients.
    """
    if not 1 <= count <= examples.clients:
        raise InputError(f"{count} of {examples.clients} clients", where="owners")
    have = label_counts(examples)[:, _label(examples, label)]
    return np.argsort(-have, kind="stable")[:count]


def label_probability(
    examples: Examples, *, mean: float = 0.1, least: float = 0.02, alpha: float = 0.1, seed: int = 0
) -> Array:
    """float64[N], probability that a client takes part, correlated with its labels.

    FedAU's protocol: weights of classes are drawn from Dirichlet(alpha), a client's probability is
    the inner product of its mix of classes with them, scaled so that a client of an even mix has
    `mean`, and cut to `least` and 1 (Wang and Ji, "A lightweight method for tackling unknown
    participation statistics in federated averaging", ICLR 2024, section 6). The cut lifts the mean
    a little. Raises InputError: no classes, or a value that is none.
    """
    if not (0.0 < least <= mean <= 1.0 and alpha > 0):
        raise InputError(
            f"mean {mean}, least {least}, alpha {alpha}",
            where="label_probability",
            mend="give 0 < least <= mean <= 1 and alpha above 0",
        )
    counts = label_counts(examples)
    alphas = np.full(examples.classes, alpha)
    weight = dirichlet(seed, SHARES, np.array([_WEIGHTS_ROW]), alphas)[0]
    mix = counts / counts.sum(axis=1, keepdims=True)
    return np.clip(mix @ weight * examples.classes * mean, least, 1.0)


def swap_labels(
    examples: Examples, share: float, clients: npt.ArrayLike, *, seed: int = 0
) -> Examples:
    """The same split, with labels of some clients swapped: class k with class C - 1 - k.

    Of each named client round(share * samples) samples, those of smallest keyed draws, have
    swapped labels: 0 leaves the data as it is, 1 sets these clients against the others. FedStale
    (Rodio and Neglia, 2024) measures heterogeneity by a share of swapped labels; which classes it
    swaps was not to be had, this rule is ours.

    Raises:
        InputError: a share outside 0 to 1, a client that is not there, no classes.
    """
    if not 0.0 <= share <= 1.0:
        raise InputError(f"share is {share}", where="swap_labels", mend="give 0 to 1")
    if examples.classes < 2:
        raise InputError("there are no classes", where=f"data {examples.name!r}")
    who = np.atleast_1d(np.asarray(clients, np.int64))
    if len(who) and not 0 <= who.min() <= who.max() < examples.clients:
        raise InputError(f"a client of {examples.clients} that is not there", where="swap_labels")
    swapped = np.zeros(len(examples.row), bool)
    for client in who:
        low, high = int(examples.first[client]), int(examples.first[client + 1])
        drawn = data_uniforms(seed, SWAP, int(client), np.arange(high - low))
        chosen = np.argsort(drawn, kind="stable")[: round(share * (high - low))]
        swapped[low + chosen] = True
    rows, place = np.unique(examples.row[swapped], return_inverse=True)
    row = examples.row.copy()
    row[swapped] = len(examples.y) + place
    facts: dict[str, Any] = {**examples.facts, "swapped_share": share, "swapped_clients": len(who)}
    return replace(
        examples,
        x=np.concatenate((examples.x, examples.x[rows])),
        y=np.concatenate((examples.y, examples.classes - 1 - examples.y[rows])),
        row=row,
        facts=facts,
    )


def _label(examples: Examples, label: int) -> int:
    if not 0 <= label < examples.classes:
        raise InputError(f"class {label} of {examples.classes}", where=f"data {examples.name!r}")
    return label
