"""How many samples each client has: laws to give as `samples` to a split."""

import numpy as np

from mltwin.sim.errors import InputError

from .draws import SIZES, Array, client_normals, client_uniforms

_MOST = 2.0**53


def log_normal(
    clients: int, *, mean: float, sigma: float = 1.0, least: int = 1, seed: int = 0
) -> Array:
    """int64[clients], log-normal of this mean; at least `least` each.

    Raises InputError: no client, a mean below 1, a negative sigma.
    """
    _check(clients, mean, sigma, "sigma")
    z = client_normals(seed, SIZES, np.arange(clients))
    drawn = mean * np.exp(sigma * z - sigma * sigma / 2.0)
    return _whole(drawn, least)


def zipf(
    clients: int, *, mean: float, exponent: float = 1.0, least: int = 1, seed: int = 0
) -> Array:
    """int64[clients], in proportion to rank**-exponent, ranks dealt by the seed; of this mean.

    Raises InputError: no client, a mean below 1, a negative exponent.
    """
    _check(clients, mean, exponent, "exponent")
    rank = np.empty(clients)
    drawn = client_uniforms(seed, SIZES, np.arange(clients))
    rank[np.argsort(drawn, kind="stable")] = np.arange(1, clients + 1)
    share = rank**-exponent
    return _whole(share / share.mean() * mean, least)


def _whole(drawn: Array, least: int) -> Array:
    """int64[...]. Raises InputError: more than a client can have."""
    most = float(drawn.max())
    if not most < _MOST:
        raise InputError(f"a client of {most:.3g} samples", where="sizes", mend="lower the mean")
    return np.maximum(np.rint(drawn), least).astype(np.int64)


def _check(clients: int, mean: float, spread: float, what: str) -> None:
    if not (clients >= 1 and np.isfinite(mean) and mean >= 1):
        raise InputError(
            f"{clients} clients of mean {mean}", where="sizes", mend="give 1 or more of both"
        )
    if not (np.isfinite(spread) and spread >= 0):
        raise InputError(f"{what} is {spread}", where="sizes", mend="give 0 or more")
