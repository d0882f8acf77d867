"""Drawn data: Gaussian classes of any size, and the Synthetic(alpha, beta) of FedProx."""

import numpy as np

from mltwin.sim.errors import InputError

from .draws import FEATURES, LABELS, SIZES, WEIGHTS, data_normals
from .pool import Pool

SYNTHETIC_CLASSES, SYNTHETIC_FEATURES = 10, 60
MOST_NUMBERS = 2**29
"""Features of all rows of drawn data."""


def gaussians(
    samples: int = 2000,
    *,
    classes: int = 10,
    features: int = 32,
    distance: float = 3.0,
    held_out: float = 0.2,
    seed: int = 0,
) -> Pool:
    """Classes as clouds: unit variance around centres that lie `distance` from the origin.

    For two classes the best accuracy is Phi(half the distance of their centres).

    Raises:
        InputError: fewer samples than classes, fewer than two classes or one feature.
    """
    if not (classes >= 2 and features >= 1 and samples >= max(2, classes) and distance >= 0):
        raise InputError(
            f"{samples} samples of {classes} classes in {features} features at {distance}",
            where="gaussians",
            mend="give two classes or more, a feature, and a sample of each class",
        )
    _fits(max(samples, classes), features, "gaussians")
    labels = np.arange(samples) % classes
    cells = np.arange(classes)[:, None] * features + np.arange(features)
    centres = data_normals(seed, WEIGHTS, cells)
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    rows = np.arange(samples, dtype=np.int64)[:, None] * features + np.arange(features)
    x = centres[labels] + data_normals(seed, FEATURES, rows)
    return Pool.make(
        x,
        labels,
        classes=classes,
        held_out=held_out,
        standardise=False,
        seed=seed,
        name="gaussians",
        facts={"source": "drawn", "distance": distance},
    )


def synthetic(
    alpha: float = 1.0,
    beta: float = 1.0,
    *,
    clients: int = 30,
    held_out: float = 0.2,
    seed: int = 0,
    same: bool = False,
) -> Pool:
    """Synthetic(alpha, beta): each client has a model and inputs of its own.

    y = argmax(W_k x + b_k) with W_k, b_k ~ N(u_k, 1), u_k ~ N(0, alpha); x ~ N(v_k, S) with
    S_jj = j**-1.2, v_k ~ N(B_k, 1), B_k ~ N(0, beta); 60 features, 10 classes, sizes
    50 + floor(LogNormal(4, 2)), capped at 10,000 here. alpha is how much models differ, beta how
    much inputs do; `same` gives all clients one model and v = 0, the paper's IID case. Source: Li
    et al., FedProx, MLSys 2020, section 5.1 (alpha and beta are variances).

    Raises:
        InputError: a negative variance, no client.
    """
    if not (alpha >= 0 and beta >= 0 and clients >= 1):
        raise InputError(
            f"alpha {alpha}, beta {beta}, {clients} clients",
            where="synthetic",
            mend="give variances of 0 or more and a client",
        )
    who = np.arange(clients)
    d, c = SYNTHETIC_FEATURES, SYNTHETIC_CLASSES
    size = np.minimum(np.exp(4.0 + 2.0 * data_normals(seed, SIZES, who)), 9950.0)
    sizes = 50 + size.astype(np.int64)
    _fits(int(sizes.sum()), d, "synthetic")
    group = np.repeat(who, sizes)
    centre = (beta**0.5) * data_normals(seed, WEIGHTS, who, 1)[:, None]
    means = centre + data_normals(seed, WEIGHTS, who[:, None] * d + np.arange(d), 2)
    model = np.zeros(clients, np.int64) if same else who
    drift = (0.0 if same else alpha**0.5) * data_normals(seed, WEIGHTS, who, 3)
    spread = np.arange(1, d + 1) ** -0.6
    rows = np.arange(len(group), dtype=np.int64)[:, None] * d + np.arange(d)
    x = (0.0 if same else means[group]) + spread * data_normals(seed, FEATURES, rows)
    y = np.empty(len(group), np.int64)
    ends = np.cumsum(sizes)
    for client in who:
        of = slice(ends[client] - sizes[client], ends[client])
        cells = model[client] * (d + 1) * c + np.arange((d + 1) * c)
        weights = drift[client] + data_normals(seed, LABELS, cells).reshape(d + 1, c)
        y[of] = (x[of] @ weights[:d] + weights[d]).argmax(axis=1)
    return Pool.make(
        x,
        y,
        classes=c,
        group=group,
        names=tuple(f"client {k}" for k in who),
        held_out=held_out,
        standardise=False,
        seed=seed,
        name=f"synthetic({alpha:g},{beta:g})",
        facts={"source": "drawn", "alpha": alpha, "beta": beta, "same": same},
    )


def _fits(rows: int, features: int, where: str) -> None:
    if rows * features > MOST_NUMBERS:
        raise InputError(
            f"{rows:,} rows of {features:,} features",
            where=where,
            mend=f"give fewer: {MOST_NUMBERS:,} numbers at most",
        )
