"""All-to-all of experts: DeepEP's dispatch and combine, fitted to measured tables.

Every rank sends each of its tokens to the ranks that hold the token's experts and gets their
results back (DeepSeek-V3, arXiv 2412.19437, section 3.2). ``normal`` kernels, for prefills, send a
token once to each rank that needs it; ``ll`` (low latency), for decodes, once for each expert.
Over NVLink the law is

    t = (start^p + move^p)^(1/p),   start = a + d E,
    move = T (u + H (v + (w + z / E) r)) slow(s),   slow(s) = (1 + (s0 / s)^q)^(1/q) for normal

T tokens a rank, H hidden size, E experts, s multiprocessors given to the exchange, r what a token
is sent to: the expected number of distinct ranks (normal), or its experts (ll). Over RDMA few
points are published: bytes over a bandwidth that is interpolated in the logarithm of the ranks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .shipped import read_law, shipped_names

Array = npt.NDArray[np.float64]

HALVES = ("dispatch", "combine")
MODES = ("normal", "ll")
WIDTH = {"dispatch": 1 + 4 / 128, "combine": 2.0}
"""Bytes of a number: FP8 with a scale of 4 bytes for 128 of them; BF16."""
MOST_NODES = 4
"""Nodes that a token is sent to at most (DeepSeek-V3, section 2.1.2)."""
GPUS_PER_NODE = 8


def distinct(chosen: npt.ArrayLike, experts: npt.ArrayLike, places: npt.ArrayLike) -> Array:
    """Expected number of distinct places among ``places`` equal ones that hold a token's
    ``chosen`` of ``experts`` experts, drawn without replacement."""
    k, e, m = np.broadcast_arrays(
        np.asarray(chosen, float), np.asarray(experts, float), np.asarray(places, float)
    )
    missed = np.ones(k.shape)
    for i in range(int(k.max(initial=0))):
        left = np.maximum(e - e / m - i, 0) / np.maximum(e - i, 1)
        missed = np.where(i < k, missed * left, missed)
    return np.asarray(m * (1 - missed))


@dataclass(frozen=True)
class ExchangeLaw:
    """Dispatch or combine over NVLink; letters as in the module's formula.

    Attributes:
        per_expert: r is a token's experts (ll); else distinct ranks (normal).
        ranks: of the measured exchange.
        start_s, expert_s: a, d.
        token_s, byte_s, sent_s, crowd_s: u, v, w, z.
        power: p.
        sms, sharpness: s0, q; 0: no such factor.
        tokens, log_ratio: median over the shapes of the log of measured over law.
    """

    per_expert: bool
    ranks: int
    start_s: float
    expert_s: float
    token_s: float
    byte_s: float
    sent_s: float
    crowd_s: float
    power: float
    sms: float = 0.0
    sharpness: float = 1.0
    tokens: tuple[float, ...] = ()
    log_ratio: tuple[float, ...] = ()

    def seconds(
        self,
        tokens: npt.ArrayLike,
        hidden: npt.ArrayLike,
        chosen: npt.ArrayLike,
        experts: npt.ArrayLike,
        sms: npt.ArrayLike = 24,
    ) -> Array:
        """Seconds for ``tokens`` a rank; shapes broadcast."""
        t, h, k, e = (np.asarray(x, float) for x in (tokens, hidden, chosen, experts))
        sent = k if self.per_expert else distinct(k, e, self.ranks)
        start = self.start_s + self.expert_s * e
        each = self.token_s + h * (self.byte_s + (self.sent_s + self.crowd_s / e) * sent)
        slow = 1.0
        if self.sms:
            share = self.sms / np.asarray(sms, float)
            slow = (1 + share**self.sharpness) ** (1 / self.sharpness)
        law = (start**self.power + (t * each * slow) ** self.power) ** (1 / self.power)
        if not self.tokens:
            return np.asarray(law)
        x = np.interp(np.log(np.maximum(t, 1e-9)), np.log(self.tokens), self.log_ratio)
        return np.asarray(law * np.exp(x))


@dataclass(frozen=True)
class RdmaRate:
    """Bandwidth of one half over several nodes.

    Attributes:
        ranks, bytes_per_s: measured points, ranks rising.
        start_s: of the same half over NVLink, where known.
    """

    ranks: tuple[int, ...]
    bytes_per_s: tuple[float, ...]
    start_s: float = 0.0

    def rate(self, ranks: int) -> float:
        """Bytes a second, straight in the logarithms, constant beyond."""
        x = np.log(np.asarray(self.ranks, float))
        return float(np.exp(np.interp(np.log(ranks), x, np.log(self.bytes_per_s))))


@dataclass(frozen=True, eq=False)
class ExchangeModel:
    """DeepEP on one kind of server.

    Attributes:
        name: see :func:`exchange_models`.
        laws: ``<half>.<mode>``, over NVLink.
        rdma: the same, over several nodes.
        origin: for each of them file, sha256, rows and ``median_pct``, the median error in percent
            on shapes (NVLink) or numbers of ranks (RDMA) left out in turn.
    """

    name: str
    laws: Mapping[str, ExchangeLaw]
    rdma: Mapping[str, RdmaRate]
    origin: tuple[Mapping[str, Any], ...] = ()

    def seconds(
        self,
        half: str,
        tokens: npt.ArrayLike,
        hidden: int,
        chosen: int,
        experts: int,
        *,
        mode: str = "normal",
        ranks: int | None = None,
        sms: int = 24,
    ) -> Array:
        """Seconds of one half.

        Args:
            half: ``dispatch`` or ``combine``.
            tokens: of one rank, any shape.
            chosen, experts: experts of a token, and routed experts in all.
            mode: ``normal`` or ``ll``.
            ranks: None: those of the measured NVLink domain; more: over RDMA.
            sms: multiprocessors given to ``normal`` kernels.

        Raises:
            InputError: an unknown half or mode, or what was not measured.
        """
        key = f"{half}.{mode}"
        law, rdma = self.laws.get(key), self.rdma.get(key)
        if half not in HALVES or mode not in MODES or (law is None and rdma is None):
            raise InputError(
                f"no {key} on {self.name}", mend=f"known: {', '.join({**self.laws, **self.rdma})}"
            )
        wanted = ranks if ranks is not None else law.ranks if law is not None else 0
        if law is not None and wanted == law.ranks:
            return law.seconds(tokens, hidden, chosen, experts, sms)
        if rdma is None or wanted < rdma.ranks[0]:
            known = [str(law.ranks)] if law is not None else []
            known += [f"{rdma.ranks[0]} and more"] if rdma is not None else []
            raise InputError(
                f"{key} over {wanted} ranks is not measured on {self.name}",
                where="ranks",
                mend=f"known: {', '.join(known)}",
            )
        moved = np.asarray(tokens, float) * sent_bytes(half, mode, hidden, chosen, experts, wanted)
        return np.asarray(rdma.start_s + moved / rdma.rate(wanted))

    def to_json(self) -> str:
        """As text."""
        parts = {
            "name": self.name,
            "origin": [dict(o) for o in self.origin],
            "laws": {k: vars(v) for k, v in self.laws.items()},
            "rdma": {k: vars(v) for k, v in self.rdma.items()},
        }
        return json.dumps(parts, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "exchange model") -> "ExchangeModel":
        """The inverse of :meth:`to_json`; InputError if it is no such text."""
        try:
            raw = json.loads(text)
            laws = {k: ExchangeLaw(**_tuples(v)) for k, v in raw["laws"].items()}
            rdma = {k: RdmaRate(**_tuples(v)) for k, v in raw["rdma"].items()}
            return cls(str(raw["name"]), laws, rdma, tuple(raw["origin"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not an exchange model ({error!r})", where=where) from None


def sent_bytes(half: str, mode: str, hidden: int, chosen: int, experts: int, ranks: int) -> float:
    """Bytes of one token over RDMA: once for each of its experts (ll), or once for each of the
    nodes that it goes to, at most four (normal)."""
    copies = float(chosen)
    if mode == "normal":
        nodes = max(1, ranks // GPUS_PER_NODE)
        copies = float(distinct(chosen, experts, min(nodes, MOST_NODES)))
    return hidden * WIDTH[half] * copies


def _tuples(raw: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}


def exchange_models() -> tuple[str, ...]:
    """Names of the models that ship with the package."""
    return shipped_names("exchange")


def load_exchange(name: str) -> ExchangeModel:
    """A model by name, or from a file of :meth:`ExchangeModel.to_json`.

    Raises:
        InputError: there is none, or the file holds something else.
    """
    return ExchangeModel.from_json(*read_law("exchange", name, "exchange model"))
