"""Noise for privacy: Laplace at the client, Gaussian at the server.

What epsilon a Gaussian run spends is counted by `mltwin.models.federation.accountant`.
"""

from dataclasses import dataclass

import numpy as np

from mltwin.models.federation.hooks import Array, Arrivals, Combine, Server
from mltwin.sim.rng_arrays import SQRT_HALF, log_reduced

from .limits import one_of, within
from .payloads import NOISE, RowCodec, cut, message_uniforms, numbers, same, server_normals
from .registry import named

NORMS = ("l1", "each")


@named(
    "codec",
    "laplace",
    source="Dwork et al., TCC 2006, theorem 1 (the Laplace mechanism), on each update",
)
@dataclass
class Laplace(RowCodec):
    """Laplace noise on each update at the client: the server sees no update without it.

    norm = "l1": an update is scaled to an L1 norm of at most `clip`; two updates differ by at most
    2 clip, and noise of scale 2 clip / epsilon on each entry makes a whole message epsilon-private.
    norm = "each": each entry is clipped to +-clip and made epsilon-private by itself, so a message
    of d entries costs d epsilon. m messages of one client cost m times as much (composition).
    """

    epsilon: float = 1.0
    clip: float = 1.0
    norm: str = "l1"

    def __post_init__(self) -> None:
        within(self, epsilon=(1e-12, 1e12))
        within(self, clip=(1e-12, 1e12))
        one_of(self, "norm", NORMS)

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """4 bytes an entry."""
        return same(clients, 4.0 * numbers(server))

    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """Clipped updates with noise."""
        return laplace_noised(
            server, arrivals, delta, epsilon=self.epsilon, clip=self.clip, norm=self.norm
        )


def laplace_noised(
    server: Server,
    arrivals: Arrivals,
    delta: Array,
    *,
    epsilon: float,
    clip: float,
    norm: str = "l1",
) -> Array:
    """float32[n, d], clipped updates with Laplace noise of scale 2 clip / epsilon (above 0)."""
    rows = np.asarray(delta, np.float64)
    if norm == "l1":
        length = np.abs(rows).sum(axis=1, keepdims=True)
        rows = rows * np.minimum(1.0, clip / np.where(length > 0.0, length, 1.0))
    else:
        rows = np.clip(rows, -clip, clip)
    u = message_uniforms(server, arrivals, rows.shape[1], NOISE) - 0.5
    return np.asarray((rows + laplace_of(u) * (2.0 * clip / epsilon)).astype(np.float32))


def laplace_of(centred: Array) -> Array:
    """Laplace of scale 1 by inversion from uniforms on [-1/2, 1/2): -sign(u) ln(1 - 2 |u|).

    -1/2 itself, one draw in 2^53, is taken as the next one.
    """
    rest = np.maximum(1.0 - 2.0 * np.abs(centred), 2.0**-52)
    fraction, exponent = np.frexp(rest)
    low = fraction < SQRT_HALF
    log = log_reduced(np.where(low, 2.0 * fraction, fraction), exponent - low)
    return np.asarray(-np.sign(centred) * log)


@named(
    "combine",
    "gaussian",
    source="DP-FedAvg: McMahan et al., arXiv 1710.06963, algorithm 1 (flat clipping)",
)
@dataclass
class Gaussian(Combine):
    """DP-FedAvg: clipped updates, equally weighted, and Gaussian noise at the server.

    change = c / m (sum_i clip(D_i) + noise_multiplier clip N(0, I)), c the sum of the strategy's
    coefficients, m `expected` or the number that came. Weights by data would leak sizes, so each
    update counts the same. The guarantee (`accountant.epsilon`) is for clients drawn independently
    with probability q a round and m = q N fixed (`expected`).
    """

    clip: float = 1.0
    noise_multiplier: float = 1.0
    expected: float = 0.0

    def __post_init__(self) -> None:
        within(self, clip=(1e-12, 1e12))
        within(self, noise_multiplier=(0, 1e12))
        within(self, expected=(0, 1e12))

    def combine(self, server: Server, coefficients: Array, deltas: Array) -> Array:
        """float64[d]."""
        total = cut(deltas, self.clip).sum(axis=0)
        noise = server_normals(server, deltas.shape[1], server.version)
        total += self.noise_multiplier * self.clip * noise
        return np.asarray(float(coefficients.sum()) / (self.expected or len(deltas)) * total)
