"""Federated LoRA on a linear task that can be solved by hand: what aggregation noise costs.

Client k wants the weight T_k = T + h E_k: a common target T of low rank and its own part E_k of the
same size, h the heterogeneity. For inputs x ~ N(0, I) and squared error its population loss is
1/2 |W + B_k A_k - T_k|^2 (Frobenius), with W what the server has so far; the gradients are
(W + B A - T_k) A' for B and B' (W + B A - T_k) for A. So the only randomness is in the targets and
in the first A, all keyed by a seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

from .adapters import PAPER_RANKS, Adapter, Array, aggregate, noise, wanted

_TARGET, _OWN, _FIRST = 1 << 40, 1 << 41, 1 << 42


@dataclass(frozen=True)
class Round:
    """After one round.

    Attributes:
        number: from 1.
        error: |W - mean_k T_k| / |mean_k T_k|, 1 at the start; W with the server's adapter.
        noise: |aggregate - wanted| / |wanted| of this round's adapters.
        up_numbers, down_numbers: that travelled this round, all clients.
    """

    number: int
    error: float
    noise: float
    up_numbers: int
    down_numbers: int


def tune(
    method: str,
    *,
    ranks: Sequence[int] = PAPER_RANKS,
    rounds: int = 10,
    steps: int = 20,
    lr: float = 0.05,
    inputs: int = 64,
    outputs: int = 64,
    target_rank: int = 8,
    heterogeneity: float = 0.5,
    seed: int = 0,
) -> list[Round]:
    """Rounds of federated LoRA by one of `adapters.METHODS`; equal weights.

    FLoRA folds the stacked adapter into W and every client starts a new one (A normal, B zero). For
    the averages all start from one adapter, and get the average back cut to their rank.

    Args:
        ranks: one a client.
        steps, lr: full gradient steps of a client a round.
        target_rank: of T, whose singular values are 1; E_k is scaled to |T|.

    Raises InputError: a rank that the matrix does not have, or what `aggregate` refuses.
    """
    if not ranks or not 1 <= min(ranks) <= max(ranks) <= min(inputs, outputs):
        raise InputError(f"ranks {list(ranks)} of {outputs} x {inputs}", where="adapters.ranks")
    targets = _targets(len(ranks), inputs, outputs, target_rank, heterogeneity, seed)
    mean_target = np.add.reduce(targets, axis=0) / len(targets)
    weights = [1.0 / len(ranks)] * len(ranks)
    base = np.zeros((outputs, inputs))
    held = None if method == "flora" else _fresh(max(ranks), inputs, outputs, 0, 1, seed)
    done: list[Round] = []
    for number in range(1, rounds + 1):
        trained = []
        for k, rank in enumerate(ranks):
            start = held.cut(rank) if held else _fresh(rank, inputs, outputs, k, number, seed)
            trained.append(_trained(base, start, targets[k], steps, lr))
        made = aggregate(method, trained, weights)
        if method == "flora":
            base = base + made.product
            now = base
        else:
            held = made
            now = base + made.product
        off = noise(method, trained, weights)
        own = [one.rank * (inputs + outputs) for one in trained]
        down = sum(own) * (len(ranks) if method == "flora" else 1)
        done.append(
            Round(
                number,
                _size(now - mean_target) / _size(mean_target),
                _size(off) / _size(wanted(trained, weights)),
                sum(own),
                down,
            )
        )
    return done


def _size(matrix: Array) -> float:
    return float(np.sqrt((matrix * matrix).sum()))


def _normal(seed: int, entity: int, rows: int, columns: int) -> Array:
    draws = rng_arrays.normals(seed, rng_arrays.TRAINING, entity, np.arange(rows * columns))
    return np.asarray(draws.reshape(rows, columns))


def _targets(
    clients: int, inputs: int, outputs: int, rank: int, heterogeneity: float, seed: int
) -> Array:
    left = np.linalg.qr(_normal(seed, _TARGET, outputs, rank))[0]
    right = np.linalg.qr(_normal(seed, _TARGET + 1, inputs, rank))[0]
    common = left @ right.T
    own = [_normal(seed, _OWN + k, outputs, inputs) for k in range(clients)]
    return np.array([common + heterogeneity * _size(common) / _size(e) * e for e in own])


def _fresh(rank: int, inputs: int, outputs: int, client: int, number: int, seed: int) -> Adapter:
    a = _normal(seed, _FIRST + (client << 20) + number, rank, inputs) / math.sqrt(inputs)
    return Adapter(a, np.zeros((outputs, rank)))


def _trained(base: Array, start: Adapter, target: Array, steps: int, lr: float) -> Adapter:
    a, b = start.a, start.b
    for _ in range(steps):
        error = base + b @ a - target
        a, b = a - lr * (b.T @ error), b - lr * (error @ a.T)
    return Adapter(a, b)
