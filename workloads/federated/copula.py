"""Correlation as a choice: who has which speed and which availability, by ranks.

Device speed, data and availability are often paired at random, which users of simulators call
unrealistic. Here the values stay as they were drawn or measured, to the last bit; only who has
which changes (Iman and Conover, Communications in Statistics B 11, 1982): normal scores with the
wanted correlation are drawn for each client, and the client of the k-th score gets the k-th value.
For Spearman's rho the scores correlate by r = 2 sin(pi rho / 6) (Kruskal, JASA 53, 1958).
"""

from collections.abc import Mapping

import numpy as np

from mltwin.sim.errors import InputError

from .draws import COPULA, Array, client_normals, client_uniforms

GIVEN = ("data", "label")
"""What the data fixes: samples of a client, and a score of its labels (say its skew)."""
MOVED = ("speed", "availability")
"""What is dealt to clients: speed (samples a second), availability (part of the time)."""
PAIRS = (
    *("speed_data", "speed_label", "speed_availability"),
    *("availability_data", "availability_label"),
)
"""Keys of a correlation: positive where the faster have more data, are there more, and so on."""


def deal(
    correlation: Mapping[str, float],
    moved: Mapping[str, Array],
    given: Mapping[str, Array],
    *,
    seed: int = 0,
) -> dict[str, Array]:
    """Who gets which: for each of `moved` int64[N], client k has value number order[k].

    What no correlation names stays with its client.

    Args:
        correlation: Spearman's rho by pair, of `PAIRS`; pairs left out are uncorrelated.
        moved: values of `MOVED` to be dealt, float64[N]; the greater, the faster or the more there.
        given: values of `GIVEN`, float64[N].
        seed: of the scores, and of the order of equal values.

    Raises:
        InputError: an unknown pair, a rho outside -1 to 1, correlations that cannot hold together,
            a pair with something that all clients have alike or that is not given.
    """
    rho = _checked(correlation, moved, given)
    names = [name for name in MOVED if any(name in pair for pair in rho)]
    count = len(next(iter(moved.values())))
    dealt = {name: np.arange(count) for name in moved}
    if not names:
        return dealt
    fixed = [name for name in GIVEN if name in given and any(name in pair for pair in rho)]
    who = np.arange(count)
    known = np.column_stack(
        [_scores(given[name], seed, 8 + GIVEN.index(name)) for name in fixed]
        or [np.zeros((count, 0))]
    )
    wanted = np.array([[_score_r(rho, a, b) for b in names] for a in names])
    cross = np.array([[_score_r(rho, a, b) for b in fixed] for a in names]).reshape(len(names), -1)
    between = np.corrcoef(known.T).reshape(len(fixed), len(fixed)) if fixed else np.zeros((0, 0))
    pull = np.linalg.lstsq(between, cross.T, rcond=None)[0].T if fixed else cross
    # What is left of the moved scores' covariance once the given ones are known.
    rest = wanted - pull @ cross.T
    value, vector = np.linalg.eigh(rest)
    if value.min() < -1e-9:
        raise InputError(
            f"the correlations {dict(correlation)} cannot hold together",
            where="correlation",
            mend="make one of them smaller",
        )
    own = np.column_stack([client_normals(seed, COPULA, who, MOVED.index(name)) for name in names])
    scores = known @ pull.T + own @ (vector * np.sqrt(np.maximum(value, 0.0))).T
    for column, name in enumerate(names):
        values = np.argsort(moved[name], kind="stable")
        order = np.empty(count, np.int64)
        order[np.argsort(scores[:, column], kind="stable")] = values
        dealt[name] = order
    return dealt


def _checked(
    correlation: Mapping[str, float], moved: Mapping[str, Array], given: Mapping[str, Array]
) -> dict[str, float]:
    """The correlations that are not 0, under the pairs' own names."""
    import difflib

    found = {}
    for pair, rho in correlation.items():
        name = pair if pair in PAIRS else "_".join(reversed(pair.split("_")))
        if name not in PAIRS:
            close = difflib.get_close_matches(pair, PAIRS, n=1)
            raise InputError(
                f"no pair is called {pair!r}",
                where="correlation",
                mend=f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(PAIRS)}",
            )
        if not -1.0 <= rho <= 1.0:
            raise InputError(f"{pair} is {rho}", where="correlation", mend="give -1 to 1")
        if not rho:
            continue
        for what in name.split("_"):
            values = moved.get(what, given.get(what))
            if values is None:
                raise InputError(
                    f"{pair} needs to know the {what} of clients",
                    where="correlation",
                    mend="give data with classes" if what == "label" else f"leave {pair} out",
                )
            if len(values) < 3 or np.ptp(values) == 0:
                raise InputError(
                    f"{pair} has no meaning: the {what} of all clients is alike",
                    where="correlation",
                    mend=f"leave {pair} out, or choose a law by which clients differ",
                )
        found[name] = float(rho)
    return found


def _score_r(rho: Mapping[str, float], a: str, b: str) -> float:
    if a == b:
        return 1.0
    value = rho.get(f"{a}_{b}", rho.get(f"{b}_{a}", 0.0))
    return float(2.0 * np.sin(np.pi * value / 6.0))


def _scores(values: Array, seed: int, number: int) -> Array:
    """float64[N], normal scores of ranks; equal values in an order drawn by the seed."""
    from scipy.special import ndtri

    count = len(values)
    drawn = client_uniforms(seed, COPULA, np.arange(count), number)
    rank = np.empty(count)
    rank[np.lexsort((drawn, values))] = np.arange(count)
    return np.asarray(ndtri((rank + 0.5) / count))
