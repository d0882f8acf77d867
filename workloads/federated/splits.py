"""Who has which samples: splits of a pool among clients.

    examples = dirichlet(pool, 100, alpha=0.3, seed=1)              # every row with one client
    examples = dirichlet(pool, 10**6, alpha=0.3, samples=20)        # rows shared by a million

Without `samples` a split deals the rows out: each is with exactly one client, and there can be no
more clients than rows. With `samples` (one number, or one of each client: see `sizes`) clients draw
their rows with replacement, so that any number of clients shares one pool. Each client has a sample
or more. All draws are keyed by seed and by row or client.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.learning.tables import Examples
from mltwin.sim.errors import InputError

from .draws import GROUPS, PICK, SHARES, SHUFFLE, data_uniforms, shuffled
from .draws import dirichlet as dirichlet_shares
from .pool import NONE, Pool

Array = npt.NDArray[Any]
Samples = int | npt.ArrayLike | None

_CHUNK = 1 << 14  # clients whose draws are made at once


def iid(pool: Pool, clients: int, *, samples: Samples = None, seed: int = 0) -> Examples:
    """Every client alike: the same number of rows (to one), of any class.

    Raises:
        InputError: no client, more clients than rows to deal out, a client with no samples.
    """
    if samples is None:
        _enough(pool, clients)
        return _dealt(pool, shuffled(seed, SHUFFLE, len(pool)), _even(len(pool), clients), "iid")
    sizes = _sizes(samples, clients)
    first = _first(sizes)
    drawn = np.empty(first[-1], np.int32)
    for low in range(0, clients, _CHUNK):
        high = min(clients, low + _CHUNK)
        u = _keyed(seed, PICK, sizes[low:high], low)
        drawn[first[low] : first[high]] = u * len(pool)
    return pool.examples(first, drawn, {"split": "iid", "split_seed": seed})


def quantity(
    pool: Pool, clients: int, *, sigma: float = 1.0, exponent: float | None = None, seed: int = 0
) -> Examples:
    """Rows dealt out unequally, of any class: shares are log-normal with `sigma`, or Zipf's.

    Args:
        sigma: of the logarithm of the shares (Li et al., "Non-IID data silos", ICDE 2022, skew
            quantities by a Dirichlet law; a log-normal one has no clients of almost nothing).
        exponent: shares are rank**-exponent instead, ranks dealt by the seed.

    Raises:
        InputError: as `iid`; a negative sigma or exponent.
    """
    from . import sizes

    _enough(pool, clients)
    if exponent is None:
        wanted = sizes.log_normal(clients, mean=1e6, sigma=sigma, seed=seed)
    else:
        wanted = sizes.zipf(clients, mean=1e6, exponent=exponent, seed=seed)
    dealt = 1 + _apportioned(wanted, len(pool) - clients)
    facts = {"sigma": sigma} if exponent is None else {"exponent": exponent}
    return _dealt(pool, shuffled(seed, SHUFFLE, len(pool)), dealt, "quantity", **facts)


def dirichlet(
    pool: Pool, clients: int, alpha: float, *, samples: Samples = None, seed: int = 0
) -> Examples:
    """Label skew: the smaller alpha, the fewer classes a client has.

    Dealt out (no `samples`): each class's rows go to clients in shares of Dirichlet(alpha, ...,
    alpha) (Yurochkin et al., ICML 2019); a client left without takes a row from the one with most.
    Drawn: each client's mix of classes is Dirichlet with alpha times the class's share of the pool
    times the number of classes (Hsu et al., arXiv 1909.06335, whose alpha is this one times the
    number of classes), and its rows are drawn from those classes.

    Raises:
        InputError: as `iid`; alpha not above 0; a pool without classes.
    """
    _labelled(pool, "dirichlet")
    if not (np.isfinite(alpha) and alpha > 0):
        raise InputError(f"alpha is {alpha}", where="dirichlet", mend="give more than 0")
    facts = {"split": "dirichlet", "alpha": alpha, "split_seed": seed}
    order, class_first = _by_class(pool, seed)
    order = order.astype(np.int32)
    if samples is None:
        _enough(pool, clients)
        owner = np.empty(len(pool), np.int64)
        for label in range(pool.classes):
            low, high = class_first[label], class_first[label + 1]
            alphas = np.full(clients, alpha)
            shares = dirichlet_shares(seed, SHARES, np.array([label]), alphas)[0]
            cuts = np.rint(np.cumsum(shares) * (high - low)).astype(np.int64)
            cuts[-1] = high - low
            owner[low:high] = np.searchsorted(cuts, np.arange(high - low), side="right")
        _nobody_empty(owner, clients)
        rows = order[np.argsort(owner, kind="stable")]
        first = _first(np.bincount(owner, minlength=clients))
        return pool.examples(first, rows, facts)
    sizes = _sizes(samples, clients)
    first = _first(sizes)
    alphas = alpha * pool.classes * np.diff(class_first) / len(pool)
    drawn = np.empty(first[-1], np.int32)
    there = np.flatnonzero(alphas > 0)
    for low in range(0, clients, _CHUNK):
        high = min(clients, low + _CHUNK)
        shares = np.zeros((high - low, pool.classes))
        shares[:, there] = dirichlet_shares(seed, SHARES, np.arange(low, high), alphas[there])
        u = _keyed(seed, PICK, sizes[low:high], low)
        drawn[first[low] : first[high]] = order[
            _of_classes(u, shares, sizes[low:high], class_first)
        ]
    return pool.examples(first, drawn, facts)


def label_speed(
    pool: Pool,
    s_per_sample: npt.ArrayLike,
    *,
    label: int = 0,
    owners: int = 10,
    seed: int = 0,
) -> Examples:
    """The owners of one class are the slow clients: what staleness hurts most.

    The class's rows are dealt evenly to the `owners` slowest clients, all others evenly to all;
    each row is with one client. The setting of "intertwined" heterogeneity (Wang et al., arXiv
    2309.13536), where an update that is late is the only one that knows its class. To have it by
    degrees, correlate speed and labels (`populations`).

    Args:
        pool: with classes.
        s_per_sample: float[N], how slow each client is.
        label: the class.
        owners: how many clients have it, 1 to N.
        seed: of the order of rows.

    Raises:
        InputError: no such class or number of owners, fewer rows than clients.
    """
    _labelled(pool, "label_speed")
    slow = np.atleast_1d(np.asarray(s_per_sample, np.float64))
    clients = len(slow)
    mine = pool.y == label
    if not (0 <= label < pool.classes and 1 <= owners <= min(clients, int(mine.sum()))):
        raise InputError(
            f"class {label} of {pool.classes}, with {int(mine.sum())} rows, for {owners} owners "
            f"of {clients} clients",
            where="label_speed",
            mend="name a class that is there, and no more owners than it has rows",
        )
    if np.count_nonzero(~mine) < clients:
        raise InputError(
            f"{np.count_nonzero(~mine)} rows of other classes for {clients} clients",
            where="label_speed",
            mend="give fewer clients",
        )
    order = shuffled(seed, SHUFFLE, len(pool))
    owner = np.empty(len(pool), np.int64)
    rest, own = order[~mine[order]], order[mine[order]]
    owner[rest] = np.arange(len(rest)) % clients
    slowest = np.argsort(-slow, kind="stable")[:owners]
    owner[own] = slowest[np.arange(len(own)) % owners]
    rows = np.argsort(owner, kind="stable").astype(np.int32)
    facts = {"split": "label_speed", "label": label, "owners": owners, "split_seed": seed}
    return pool.examples(_first(np.bincount(owner, minlength=clients)), rows, facts)


def shards(pool: Pool, clients: int, *, per_client: int = 2, seed: int = 0) -> Examples:
    """Rows sorted by label, cut into equal shards, so many dealt to each client.

    So a client has at most about `per_client` classes (McMahan et al., AISTATS 2017, section 3).

    Raises:
        InputError: as `iid`; fewer rows than shards; a pool without classes.
    """
    _labelled(pool, "shards")
    count = clients * per_client
    if clients < 1 or per_client < 1 or count > len(pool):
        raise InputError(
            f"{clients} clients with {per_client} shards each of {len(pool)} rows",
            where="shards",
            mend="give at least one of each, and no more shards than rows",
        )
    order, _ = _by_class(pool, seed)
    begin = _first(_even(len(pool), count))
    dealt = shuffled(seed, SHARES, count)
    rows = np.concatenate([order[begin[k] : begin[k + 1]] for k in dealt])
    sizes = np.diff(begin)[dealt].reshape(clients, per_client).sum(axis=1)
    facts = {"split": "shards", "per_client": per_client, "split_seed": seed}
    return pool.examples(_first(sizes), rows.astype(np.int32), facts)


def natural(pool: Pool, clients: int | None = None, *, least: int = 1, seed: int = 0) -> Examples:
    """The clients that the data came from, all of them or so many drawn by the seed.

    Held-out samples keep their client where it is among them. `facts["natural"]` has the clients'
    numbers in the pool.

    Raises:
        InputError: a pool without natural clients; fewer than asked for with `least` samples.
    """
    known = int(pool.group.max()) + 1 if len(pool) else 0
    if known == 0:
        raise InputError(
            f"the data {pool.name!r} has no natural clients",
            where="natural",
            mend="split it with iid, dirichlet or shards",
        )
    counts = np.bincount(pool.group[pool.group >= 0], minlength=known)
    rich = np.flatnonzero(counts >= max(1, least))
    wanted = len(rich) if clients is None else clients
    if not 1 <= wanted <= len(rich):
        raise InputError(
            f"{wanted} clients are asked for, {len(rich)} have {max(1, least)} samples or more",
            where="natural",
            mend="ask for fewer clients, or for fewer samples of each",
        )
    drawn = data_uniforms(seed, GROUPS, rich)
    chosen = np.sort(rich[np.argsort(drawn, kind="stable")[:wanted]])
    number = np.full(known + 1, NONE)  # the last entry: samples of nobody
    number[chosen] = np.arange(wanted)
    owner = number[pool.group]
    rows = np.argsort(owner, kind="stable")[np.count_nonzero(owner < 0) :]
    facts = {"split": "natural", "split_seed": seed, "natural": chosen.tolist()}
    first = _first(counts[chosen])
    return pool.examples(first, rows.astype(np.int32), facts, number[pool.test_group])


def given(pool: Pool, owners: Sequence[Sequence[int]], *, name: str = "given") -> Examples:
    """Rows as they are given: one sequence of pool rows for each client. Raises InputError."""
    sizes = np.array([len(rows) for rows in owners], np.int64)
    flat = np.fromiter((row for rows in owners for row in rows), np.int32, int(sizes.sum()))
    return pool.examples(_first(sizes), flat, {"split": name})


def _labelled(pool: Pool, what: str) -> None:
    if pool.classes < 2:
        raise InputError(
            f"the data {pool.name!r} has no classes",
            where=what,
            mend="split it with iid or natural",
        )


def _enough(pool: Pool, clients: int) -> None:
    if not 1 <= clients <= len(pool):
        raise InputError(
            f"{clients} clients cannot have a row each of {len(pool)}",
            where=f"data {pool.name!r}",
            mend="give 1 client or more, and samples=... to let clients share rows",
        )


def _sizes(samples: Any, clients: int) -> Array:
    sizes = np.asarray(samples)
    if (
        clients < 1
        or sizes.ndim > 1
        or sizes.size not in (1, clients)
        or sizes.dtype.kind not in "iu"
    ):
        raise InputError(
            f"samples of {sizes.size} clients ({sizes.dtype}) for {clients}",
            where="split",
            mend="give one whole number, or one for each client",
        )
    sizes = np.broadcast_to(sizes.astype(np.int64), (clients,))
    if sizes.min() < 1:
        client = int(np.argmin(sizes))
        raise InputError(
            f"client {client} has {sizes[client]} samples",
            where="split",
            mend="give each client one or more",
        )
    return sizes


def _first(sizes: Array) -> Array:
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


def _even(rows: int, parts: int) -> Array:
    sizes = np.full(parts, rows // parts)
    sizes[: rows % parts] += 1
    return sizes


def _apportioned(weights: Array, total: int) -> Array:
    """Whole numbers in proportion to weights that sum to `total` (largest remainders)."""
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(np.int64)
    rest = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole


def _dealt(pool: Pool, order: Array, sizes: Array, name: str, **facts: Any) -> Examples:
    return pool.examples(_first(sizes), order.astype(np.int32), {"split": name, **facts})


def _keyed(seed: int, kind: int, sizes: Array, begin: int) -> Array:
    """One uniform for each sample of clients begin, begin + 1, ...; keyed by client and number."""
    client = np.repeat(np.arange(begin, begin + len(sizes)), sizes)
    number = np.arange(len(client)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return data_uniforms(seed, kind, client, number)


def _by_class(pool: Pool, seed: int) -> tuple[Array, Array]:
    """Rows by class, shuffled within; where each class begins."""
    drawn = data_uniforms(seed, SHUFFLE, np.arange(len(pool)))
    order = np.lexsort((drawn, pool.y))
    return order, _first(np.bincount(pool.y, minlength=pool.classes))


def _of_classes(u: Array, shares: Array, sizes: Array, class_first: Array) -> Array:
    """Places in the order by class: which class, and which row of it, from one uniform each."""
    classes = shares.shape[1]
    upper = np.cumsum(shares, axis=1)
    upper[:, -1] = 1.0
    client = np.repeat(np.arange(len(sizes)), sizes)
    # One search over all clients: their cumulated shares follow each other, client by client.
    keys = (upper + np.arange(len(sizes))[:, None]).ravel()
    cell = np.minimum(
        np.searchsorted(keys, client + u, side="right"), client * classes + classes - 1
    )
    label = cell - client * classes
    # Rounding of client + u may pick the class beside: one that the client has not goes to the
    # client's largest.
    wrong = shares.ravel()[cell] <= 0.0
    if wrong.any():
        label[wrong] = shares.argmax(axis=1)[client[wrong]]
        cell = client * classes + label
    low = upper.ravel()[cell] - shares.ravel()[cell]
    inside = np.clip((u - low) / shares.ravel()[cell], 0.0, 1.0)
    size = np.diff(class_first)[label]
    return class_first[label] + np.minimum((inside * size).astype(np.int64), size - 1)


def _nobody_empty(owner: Array, clients: int) -> None:
    """Give each client without rows one of the client that has most."""
    counts = np.bincount(owner, minlength=clients)
    for client in np.flatnonzero(counts == 0):
        rich = int(counts.argmax())
        row = int(np.flatnonzero(owner == rich)[0])
        owner[row] = client
        counts[rich] -= 1
        counts[client] += 1
