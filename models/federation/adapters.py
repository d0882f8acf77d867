"""Aggregating LoRA adapters of different ranks: FLoRA's stacking, FedIT's averages, zero padding.

Client k trains an adapter B_k A_k of rank r_k on a weight W; p_k is its weight. What is wanted is
sum_k p_k B_k A_k. Stacking gives exactly that (FLoRA: Wang et al., arXiv 2409.05976, section 3, and
its code, model_aggregation.py); the average of the factors gives (sum p_k B_k)(sum p_k A_k), which
holds the cross terms p_j p_k B_j A_k (FedIT: Zhang et al., arXiv 2305.05644), and padding lower
ranks with zeros averages in the same way (HetLoRA's form without its pruning).

Matrices are float64; A is [r, inputs], B is [outputs, r].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.adapters.sizes import adapter_parameters
from mltwin.models.llm import Model
from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]

METHODS = ("flora", "fedit", "zero_pad")
PAPER_RANKS = (64, 32, 16, 16, 8, 8, 4, 4, 4, 4)
"""Ranks of FLoRA's 10 clients (its code)."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Factors of one adapter: `a` [r, inputs], `b` [outputs, r]."""

    a: Array
    b: Array

    @property
    def rank(self) -> int:
        """r."""
        return len(self.a)

    @property
    def product(self) -> Array:
        """float64[outputs, inputs], B A."""
        return np.asarray(self.b @ self.a)

    def cut(self, rank: int) -> "Adapter":
        """Its first `rank` components."""
        return Adapter(self.a[:rank], self.b[:, :rank])


def wanted(adapters: Sequence[Adapter], weights: Sequence[float]) -> Array:
    """float64[outputs, inputs], sum_k p_k B_k A_k."""
    total = np.zeros((len(adapters[0].b), adapters[0].a.shape[1]))
    for p, adapter in zip(weights, adapters, strict=True):
        total += p * adapter.product
    return total


def stacked(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """FLoRA: A = [p_1 A_1; ...; p_K A_K], B = [B_1, ..., B_K], of rank sum r_k; exact.

    Only one factor is weighted: weights on both would count p_k^2.
    """
    a = np.concatenate([p * one.a for p, one in zip(weights, adapters, strict=True)])
    return Adapter(a, np.concatenate([one.b for one in adapters], axis=1))


def averaged(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """FedIT: the mean of A and the mean of B.

    Raises InputError: the ranks differ.
    """
    ranks = {one.rank for one in adapters}
    if len(ranks) > 1:
        raise InputError(
            f"the ranks differ: {sorted(ranks)}",
            where="fedit",
            mend="give all clients one rank, or use flora or zero_pad",
        )
    return zero_padded(adapters, weights)


def zero_padded(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """The mean of A and of B, all padded with zeros to the greatest rank."""
    rank = max(one.rank for one in adapters)
    a = np.zeros((rank, adapters[0].a.shape[1]))
    b = np.zeros((len(adapters[0].b), rank))
    for p, one in zip(weights, adapters, strict=True):
        a[: one.rank] += p * one.a
        b[:, : one.rank] += p * one.b
    return Adapter(a, b)


def aggregate(method: str, adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """The server's adapter by one of `METHODS`.

    Raises InputError: an unknown method, no clients, or FedIT with different ranks.
    """
    _check_method(method)
    if not adapters:
        raise InputError("there is no adapter", where=method)
    if method == "flora":
        return stacked(adapters, weights)
    return (averaged if method == "fedit" else zero_padded)(adapters, weights)


def noise(method: str, adapters: Sequence[Adapter], weights: Sequence[float]) -> Array:
    """float64[outputs, inputs], what aggregation adds to what is wanted; 0 for FLoRA.

    For averages, with A and B the means and weights that sum to 1, it is
    -sum_k p_k (B_k - B)(A_k - A).
    """
    return aggregate(method, adapters, weights).product - wanted(adapters, weights)


@dataclass(frozen=True)
class Traffic:
    """What travels in one round.

    Attributes:
        up_bytes: from each client: its own factors.
        down_bytes: to each client.
        server_bytes: of the adapter that the server makes.
    """

    up_bytes: tuple[float, ...]
    down_bytes: tuple[float, ...]
    server_bytes: float


def traffic(
    method: str,
    ranks: Sequence[int],
    model: Model,
    targets: Sequence[str] = ("q", "v"),
    *,
    number_bytes: float = 2.0,
) -> Traffic:
    """Bytes of one round on a language model.

    Every client gets, under FLoRA, the stack of all sum r_k (it folds that into its weights and
    starts a new adapter); under FedIT the averages; under zero padding the first r_k components,
    which is all that its own adapter can hold.

    Raises InputError: an unknown method, no rank, different ranks for FedIT, or what
    `adapter_parameters` refuses.
    """
    _check_method(method)
    if not ranks or (method == "fedit" and len(set(ranks)) > 1):
        raise InputError(f"ranks {list(ranks)}", where=method, mend="see averaged")

    def size(rank: int) -> float:
        return adapter_parameters(model, rank, targets) * number_bytes

    up = tuple(size(rank) for rank in ranks)
    if method == "flora":
        return Traffic(up, (sum(up),) * len(ranks), sum(up))
    return Traffic(up, up, size(max(ranks)))


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise InputError(
            f"unknown method {method!r}", where="adapters", mend=f"use one of {', '.join(METHODS)}"
        )
