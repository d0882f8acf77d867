"""Which values are frequent among clients that tell nobody theirs: local differential privacy.

Each client sends one report that is epsilon-private by itself. Three frequency oracles, and a
search by prefixes for domains too large to list. n clients, k values, f a value's frequency; an
estimate is (C - q) / (p - q) with C the share of reports that support a value, p the chance that
its own client's report does and q that another's does (Wang, Blocki, Li and Jha, "Locally
differentially private protocols for frequency estimation", USENIX Security 2017, section 3):

====== =============================================== ======================= ====================
oracle report                                          p                       q
====== =============================================== ======================= ====================
krr    one value (k-ary randomised response)           e / (e + k - 1)         1 / (e + k - 1)
oue    k bits (optimised unary encoding)               1 / 2                   1 / (e + 1)
olh    a value below g, and a hash (local hashing)     e / (e + g - 1)         1 / g
====== =============================================== ======================= ====================

with e = exp(epsilon) and g the whole number nearest to e + 1. All are unbiased, with variance
[q (1 - q) + f (p - q)(1 - p - q)] / (n (p - q)^2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]

ORACLES = ("krr", "oue", "olh")
SEED_BYTES = 4
"""Of the hash that an OLH report names."""
_AT_ONCE = 1 << 16  # what passes fit in a cache


@dataclass(frozen=True)
class Oracle:
    """A frequency oracle.

    Attributes:
        name: one of `ORACLES`.
        epsilon: privacy of one report.
        domain: k, values 0 ... k - 1.
    """

    name: str
    epsilon: float
    domain: int

    def __post_init__(self) -> None:
        if self.name not in ORACLES:
            raise InputError(
                f"unknown oracle {self.name!r}", mend=f"use one of {', '.join(ORACLES)}"
            )
        most = 2**31 if self.name == "krr" else 2**62
        if not 0.0 < self.epsilon <= 20.0 or not 2 <= self.domain <= most:
            raise InputError(
                f"epsilon {self.epsilon}, domain {self.domain}",
                where=self.name,
                mend=f"give epsilon above 0, at most 20, and 2 to {most} values",
            )

    @property
    def hashed(self) -> int:
        """g of olh, else k."""
        return round(math.exp(self.epsilon)) + 1 if self.name == "olh" else self.domain

    @property
    def chances(self) -> tuple[float, float]:
        """(p, q)."""
        e = math.exp(self.epsilon)
        if self.name == "oue":
            return 0.5, 1.0 / (e + 1.0)
        size = self.hashed
        q = 1.0 / (e + size - 1.0) if self.name == "krr" else 1.0 / size
        return e / (e + size - 1.0), q

    def variance(self, clients: int, frequency: float = 0.0) -> float:
        """Of the estimate of a value's frequency.

        For a rare value: krr (k - 2 + e) / ((e - 1)^2 n), oue and olh 4 e / ((e - 1)^2 n).
        """
        p, q = self.chances
        spread = q * (1.0 - q) + frequency * (p - q) * (1.0 - p - q)
        return spread / (clients * (p - q) ** 2)

    @property
    def report_bytes(self) -> int:
        """Of one client's report."""
        if self.name == "oue":
            return -(-self.domain // 8)
        bits = max(1, math.ceil(math.log2(self.hashed)))
        return -(-bits // 8) + (SEED_BYTES if self.name == "olh" else 0)

    def estimate(
        self,
        values: Array,
        seed: int,
        *,
        among: Array | None = None,
        clients: Array | None = None,
    ) -> Array:
        """float64[m], estimated frequencies of values from one report of each client.

        Args:
            values: int[n], each client's.
            among: int[m], whose frequencies; None: of all k.
            clients: int[n], their numbers, the keys of their draws; None: 0, 1, ...

        Raises InputError: no client, or a value outside the domain.
        """
        held = np.asarray(values, np.int64)
        if not len(held) or held.min() < 0 or held.max() >= self.domain:
            raise InputError(
                f"values must be within 0 ... {self.domain - 1} and of one client at least",
                where=self.name,
            )
        asked = np.arange(self.domain) if among is None else np.asarray(among, np.int64)
        who = np.arange(len(held)) if clients is None else np.asarray(clients, np.int64)
        count = {"krr": self._krr, "oue": self._oue, "olh": self._olh}[self.name]
        p, q = self.chances
        return np.asarray((count(held, who, seed, asked) / len(held) - q) / (p - q))

    def _krr(self, held: Array, who: Array, seed: int, asked: Array) -> Array:
        sent = _responded(held, who, self.domain, self.chances[0], seed)
        sent.sort()
        return np.searchsorted(sent, asked, "right") - np.searchsorted(sent, asked, "left")

    def _oue(self, held: Array, who: Array, seed: int, asked: Array) -> Array:
        p, q = self.chances
        counts = np.zeros(len(asked), np.int64)
        for rows in _pieces(len(held), len(asked)):
            draws = rng_arrays.uniform_of(_bits(seed, rng_arrays.PRIVACY, who[rows], asked))
            said = draws < q
            own = held[rows, None] == asked
            said[own] = draws[own] < p
            counts += said.sum(axis=0)
        return counts

    def _olh(self, held: Array, who: Array, seed: int, asked: Array) -> Array:
        own = self._hash(rng_arrays.bits(seed, rng_arrays.CONTENT, who, held)).astype(np.int64)
        sent = _responded(own, who, self.hashed, self.chances[0], seed).astype(np.uint64)
        counts = np.zeros(len(asked), np.int64)
        for rows in _pieces(len(held), len(asked)):
            hashes = self._hash(_bits(seed, rng_arrays.CONTENT, who[rows], asked))
            counts += (hashes == sent[rows, None]).sum(axis=0)
        return counts

    def _hash(self, bits: Array) -> Array:
        """Values below g from random bits: a client's own hash of a value, by its key."""
        return ((bits >> np.uint64(33)) * np.uint64(self.hashed)) >> np.uint64(31)


def _bits(seed: int, stream: int, clients: Array, values: Array) -> Array:
    """uint64[n, m], bits of the keys (seed, stream, client, value)."""
    one = np.ones((1, 1), np.uint64)
    words = one * np.uint64(seed), one * np.uint64(stream)
    who, what = clients.astype(np.uint64)[:, None], values.astype(np.uint64)[None, :]
    return np.asarray(rng_arrays.keyed_hash(*words, who, what))


def _responded(held: Array, clients: Array, size: int, p: float, seed: int) -> Array:
    """int64[n], the value with chance p, else one of the size - 1 others evenly."""
    draws = rng_arrays.uniforms(seed, rng_arrays.PRIVACY, clients, 0)
    other = rng_arrays.integers(seed, rng_arrays.PRIVACY, clients, size - 1, 1)
    return np.where(draws < p, held, other + (other >= held))


def _pieces(clients: int, columns: int) -> list[Array]:
    rows = max(1, _AT_ONCE // max(columns, 1))
    return [np.arange(a, min(a + rows, clients)) for a in range(0, clients, rows)]


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        values: int64[top], most frequent first.
        frequencies: float64[top], estimated.
        report_bytes: of one client.
    """

    values: Array
    frequencies: Array
    report_bytes: float


def top_values(values: Array, oracle: Oracle, top: int, seed: int) -> Found:
    """The `top` values of greatest estimate, of the whole domain."""
    estimates = oracle.estimate(values, seed)
    order = np.argsort(-estimates, kind="stable")[:top]
    return Found(order, estimates[order], float(oracle.report_bytes))


def prefixes(
    values: Array,
    bits: int,
    epsilon: float,
    top: int,
    seed: int,
    *,
    oracle: str = "olh",
    step_bits: int = 4,
    first_bits: int = 0,
    keep: int = 0,
) -> Found:
    """The `top` values of a domain of 2^bits, prefix by prefix.

    The prefix extending method (Wang, Li and Jha, "Locally differentially private heavy hitter
    identification", arXiv 1708.06674): clients are dealt to as many groups as there are prefix
    lengths; each reports the prefix of its group's length, once. The server extends the `keep` best
    prefixes of one group by every ending of `step_bits` and asks the next group about those alone.

    Args:
        first_bits: length of the first prefix; 0: the smallest that holds `keep` values and leaves
            whole steps.
        keep: prefixes that go on; 0: 2 top.

    Raises InputError: fewer clients than groups, a length that does not fit, more than 62 bits.
    """
    keep = keep or 2 * top
    if not 1 <= step_bits <= bits <= 62 or top < 1:
        raise InputError(f"bits {bits}, step_bits {step_bits}, top {top}", where="prefixes")
    if not first_bits:
        first_bits = min(bits, max(1, math.ceil(math.log2(keep))))
        first_bits = bits - (bits - first_bits) // step_bits * step_bits
    lengths = list(range(first_bits, bits + 1, step_bits))
    if not lengths or lengths[-1] != bits or len(values) < len(lengths):
        raise InputError(
            f"{len(values)} clients, prefixes of {lengths} of {bits} bits",
            where="prefixes",
            mend="bits - first_bits must be a multiple of step_bits; give a client a group",
        )
    held = np.asarray(values, np.int64)
    group = np.argsort(
        rng_arrays.uniforms(seed, rng_arrays.SELECTION, np.arange(len(held))), kind="stable"
    )
    candidates = np.arange(1 << first_bits)
    best, sent = np.zeros(0, np.int64), 0.0
    estimates = np.zeros(0)
    for i, length in enumerate(lengths):
        members = np.sort(group[i :: len(lengths)])
        teller = Oracle(oracle, epsilon, 1 << length)
        sent += teller.report_bytes * len(members)
        told = teller.estimate(
            held[members] >> (bits - length), seed, among=candidates, clients=members
        )
        order = np.argsort(-told, kind="stable")[: top if length == bits else keep]
        best, estimates = candidates[order], told[order]
        candidates = ((best[:, None] << step_bits) + np.arange(1 << step_bits)).ravel()
    return Found(best, estimates, sent / len(held))


def precision_at(found: Array, values: Array, top: int) -> float:
    """Share of the `top` truly most frequent values that were found (ties by lower value)."""
    distinct, counts = np.unique(np.asarray(values), return_counts=True)
    true = distinct[np.argsort(-counts, kind="stable")[:top]]
    return len(np.intersect1d(true, np.asarray(found)[:top])) / len(true)


@dataclass(frozen=True)
class Point:
    """One row of `precision_by_epsilon`."""

    oracle: str
    epsilon: float
    precision: float
    report_bytes: float


def precision_by_epsilon(
    values: Array,
    bits: int,
    epsilons: Sequence[float],
    *,
    oracles: Sequence[str] = ORACLES,
    top: int = 10,
    seed: int = 0,
) -> list[Point]:
    """Precision of the top values against epsilon: each oracle on the whole domain of 2^bits, and
    `prefixes` under the name "prefixes" (with olh)."""
    rows = []
    for epsilon in epsilons:
        for name in oracles:
            found = top_values(values, Oracle(name, epsilon, 1 << bits), top, seed)
            share = precision_at(found.values, values, top)
            rows.append(Point(name, epsilon, share, found.report_bytes))
        found = prefixes(values, bits, epsilon, top, seed)
        share = precision_at(found.values, values, top)
        rows.append(Point("prefixes", epsilon, share, found.report_bytes))
    return rows
