"""How a peer averages what it receives: mixing matrices, and how fast they bring peers together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .overlay import Edges, Overlay

Array = npt.NDArray[Any]

WEIGHTS = ("metropolis", "uniform")
_DENSE = 3000


@dataclass(frozen=True, eq=False)
class Mixing:
    """The mixing matrix W of one phase: models become W @ models.

    Attributes:
        matrix: scipy CSR array [N, N]; row i weighs what peer i has and receives, and sums to 1.
        doubly: whether columns sum to 1 too, so that the mean of all models stays.
    """

    matrix: Any
    doubly: bool

    def apply(self, models: Array) -> Array:
        """float64[N, d]: row by row in ascending order of peers."""
        return np.asarray(self.matrix @ models)


def mixing(edges: Edges, weights: str = "metropolis") -> Mixing:
    """W of the edges of one phase.

    "metropolis": W_ij = 1 / (1 + max(d_i, d_j)) (Xiao and Boyd, "Fast linear iterations for
    distributed averaging", 2004, section 4.2), doubly stochastic on any symmetric graph.
    "uniform": equal weight for what a peer has and receives, 1 / (1 + received).

    Raises:
        InputError: unknown weights; metropolis over edges without their opposite.
    """
    from scipy.sparse import coo_array, eye_array

    if weights not in WEIGHTS:
        raise InputError(f"unknown weights {weights!r}: {', '.join(WEIGHTS)}", where="weights")
    count = len(edges.first) - 1
    sender, receiver = edges.source.astype(np.int64), edges.to.astype(np.int64)
    degree = edges.in_degree
    if weights == "metropolis":
        if not edges.symmetric:
            raise InputError(
                "metropolis weights need an overlay whose edges go both ways",
                where="weights",
                mend='use weights = "uniform"',
            )
        values = 1.0 / (1.0 + np.maximum(degree[sender], degree[receiver]))
    else:
        values = 1.0 / (1.0 + degree[receiver])
    own = 1.0 - np.bincount(receiver, values, minlength=count)
    matrix = coo_array((values, (receiver, sender)), shape=(count, count)).tocsr()
    whole = (matrix + eye_array(count).tocsr().multiply(own[:, None])).tocsr()
    whole.sort_indices()
    doubly = bool(np.allclose(np.asarray(whole.sum(axis=0)).ravel(), 1.0, atol=1e-12))
    return Mixing(whole, doubly)


def phases(overlay: Overlay, weights: str = "metropolis") -> list[Mixing]:
    """W of each phase of an overlay. Raises InputError as `mixing`."""
    return [mixing(edges, weights) for edges in overlay.phases]


def contraction(overlay: Overlay, weights: str = "metropolis") -> float:
    """By how much the distance of all models from their mean shrinks over one pass of the phases.

    The largest singular value of W_m ... W_1 - 11'/N. Of one symmetric W this is the second
    largest absolute eigenvalue, and 1 minus it the spectral gap (Boyd et al., "Randomized gossip
    algorithms", 2006, section II).

    Raises InputError: as `mixing`, and beyond 3,000 peers, where the matrix would not be small.
    """
    count = overlay.peers
    if count > _DENSE:
        raise InputError(f"the spectrum of {count} peers: at most {_DENSE}", where="overlay.peers")
    product = np.eye(count)
    for mix in phases(overlay, weights):
        product = mix.apply(product)
    return float(np.linalg.norm(product - 1.0 / count, 2))


def spectral_gap(overlay: Overlay, weights: str = "metropolis") -> float:
    """1 - `contraction`. Raises InputError as it does."""
    return 1.0 - contraction(overlay, weights)
