"""Byzantine clients: what some of them send in place of their updates.

Which clients are Byzantine is drawn once a run: floor(`fraction` N) of them, the same for all
attacks under one seed. They take the time of honest clients. Attackers that know more see the
honest updates of the same call of the server (those that are trained together). The papers' rules
are given as commonly stated; the papers were not read again.
"""

import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Attack, Server, Updates
from mltwin.sim import rng_arrays

from .limits import part, within
from .registry import named

Array = npt.NDArray[Any]

_WHO = 1 << 40
"""Counter of the draw that makes clients Byzantine."""


@dataclass
class Byzantine(Attack):
    """An attack by a part of the clients.

    Attributes:
        fraction: of the clients, rounded down.
    """

    fraction: float = 0.2
    _run: Any = field(init=False, repr=False, default=None)
    _bad: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        within(self, fraction=(0, 1))

    def bad(self, server: Server) -> Array:
        """bool[N], who is Byzantine."""
        if self._run is not server:
            count = len(server.clients)
            draws = rng_arrays.uniforms(server.seed, rng_arrays.CLIENTS, np.arange(count), _WHO)
            self._run, self._bad = server, np.zeros(count, bool)
            self._bad[np.argsort(draws, kind="stable")[: part(self.fraction, count)]] = True
        return np.asarray(self._bad)

    def apply(self, server: Server, arrivals: Arrivals, updates: Updates) -> Updates:
        """The updates, those of Byzantine clients replaced."""
        bad = self.bad(server)[arrivals.client]
        if not bad.any():
            return updates
        delta = updates.delta.copy()
        delta[bad] = self.forged(server, arrivals.where(bad), delta[bad], delta[~bad])
        return replace(updates, delta=delta)

    def forged(self, server: Server, arrivals: Arrivals, own: Array, honest: Array) -> Array:
        """float32[n, d] (or a row), what Byzantine clients send.

        Args:
            server, arrivals: theirs.
            own: float32[n, d], what they should have sent.
            honest: float32[m, d], updates of the others.
        """
        raise NotImplementedError


@named("attack", "zero", source="this project: free riders")
@dataclass
class Zero(Byzantine):
    """Updates of nothing but zeros: free riders."""

    def forged(self, server: Server, arrivals: Arrivals, own: Array, honest: Array) -> Array:
        """0."""
        return np.zeros_like(own)


@named("attack", "sign_flip", source="Li et al. 2019 (AAAI, RSA), section 4")
@dataclass
class SignFlip(Byzantine):
    """Their own updates turned round: -`scale` D_i.

    Attributes:
        scale: of the turned update.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, scale=(0, 1e9))

    def forged(self, server: Server, arrivals: Arrivals, own: Array, honest: Array) -> Array:
        """-scale D_i."""
        return -np.float32(self.scale) * own


@named("attack", "gaussian", source="Blanchard et al. 2017 (NeurIPS), section 5")
@dataclass
class Gaussian(Byzantine):
    """Independent normal noise in place of an update, drawn anew for each dispatch.

    Attributes:
        sigma: standard deviation of each parameter's noise.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, sigma=(0, 1e9))

    def forged(self, server: Server, arrivals: Arrivals, own: Array, honest: Array) -> Array:
        """sigma z, keyed by (seed, client, dispatch, parameter)."""
        width = own.shape[1]
        counters = arrivals.dispatch[:, None] * width + np.arange(width) + 2 * _WHO
        noise = rng_arrays.normals(
            server.seed, rng_arrays.CLIENTS, arrivals.client[:, None].astype(np.int64), counters
        )
        return (self.sigma * noise).astype(np.float32)


@named("attack", "little_is_enough", source="Baruch et al. 2019 (NeurIPS), algorithm 3")
@dataclass
class LittleIsEnough(Byzantine):
    """All send the honest mean less so many deviations, few enough to pass as honest.

    mean - z deviation, parameter by parameter. n updates of which f are Byzantine: s = floor(n / 2
    + 1) - f honest ones must side with them for a majority, z = Phi^-1((n - f - s) / (n - f)) as in
    the paper, 0 where that is not positive.

    Attributes:
        z: in place of the paper's choice; 0: that.
    """

    z: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, z=(0, 1e6))

    def forged(self, server: Server, arrivals: Arrivals, own: Array, honest: Array) -> Array:
        """mean - z deviation; their own updates where nobody is honest."""
        if not len(honest):
            return own
        mean = mean_of(honest)
        deviation = np.sqrt(mean_of((honest - mean) ** 2))
        return np.asarray(mean - self.factor(len(honest), len(own)) * deviation)

    def factor(self, honest: int, bad: int) -> float:
        """z for so many honest and Byzantine updates."""
        if self.z:
            return self.z
        supporters = math.floor((honest + bad) / 2 + 1) - bad
        share = (honest - supporters) / honest
        return max(0.0, NormalDist().inv_cdf(share)) if 0.0 < share < 1.0 else 0.0


@named("attack", "inner_product", source="Xie, Koyejo and Gupta 2019 (UAI), section 4")
@dataclass
class InnerProduct(Byzantine):
    """All send the honest mean turned round: -`epsilon` mean; small ones pass as honest.

    Attributes:
        epsilon: length of what is sent, in honest means.
    """

    epsilon: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, epsilon=(0, 1e9))

    def forged(self, server: Server, arrivals: Arrivals, own: Array, honest: Array) -> Array:
        """-epsilon mean; their own updates turned round where nobody is honest."""
        return -self.epsilon * (mean_of(honest) if len(honest) else own)


def mean_of(rows: Array) -> Array:
    """float64[d], the mean of rows, added from the first to the last."""
    return np.asarray(np.add.reduce(rows, axis=0, dtype=np.float64) / len(rows))
