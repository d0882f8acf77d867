"""Data to learn from that needs no download, and a user's own.

    pool = digits(seed=1)                     # 1,797 images of 8 x 8, 10 classes
    examples = splits.dirichlet(pool, 100, alpha=0.3, seed=1)

Real data comes with scikit-learn and statsmodels (`pip install mltwin[federated]`): `digits`,
`wine`, `breast_cancer`, `rand_hie`. Drawn data needs neither: `gaussians`, and `synthetic`, the
Synthetic(alpha, beta) of FedProx. `from_files.arrays` reads a user's file.
"""

from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .draws import AUGMENT, data_normals, data_uniforms
from .pool import NONE, Array, Pool

HIE_FEATURES = (
    *("coins", "black", "income", "xage", "female", "educdec", "num", "disea", "child", "lfam"),
    *("lpi", "idp", "logc", "fmde", "hlthg", "hlthf", "hlthp", "linc"),
)
"""Columns of RAND HIE that a model learns from: plan, person and health at enrolment."""

HIE_TARGETS = {"any_expense": "binexp", "visits": "mdvis"}


def digits(*, held_out: float = 0.2, seed: int = 0, copies: int = 0, noise: float = 0.0) -> Pool:
    """Handwritten digits, 8 x 8 pixels scaled to [0, 1], 10 classes (Alpaydin and Kaynak 1998).

    Args:
        held_out: share of the 1,797 images kept for tests.
        copies: of each image to train on, each moved by a pixel along or across (or both), so that
            thousands of clients have images of their own; held-out images have none.
        noise: standard deviation added to the pixels of copies.

    Raises:
        InputError: scikit-learn is missing; a negative number of copies.
    """
    images, labels = _sklearn("digits")
    pool = Pool.make(
        images / 16.0,
        labels,
        classes=10,
        held_out=held_out,
        standardise=False,
        seed=seed,
        name="digits",
        facts={"source": "scikit-learn, load_digits", "copies": copies},
    )
    return _moved(pool, copies, noise, seed) if copies else pool


def wine(*, held_out: float = 0.2, seed: int = 0) -> Pool:
    """Three cultivars by 13 measurements, 178 samples (Forina et al.), standardised.

    Raises InputError: scikit-learn is missing.
    """
    features, labels = _sklearn("wine")
    facts = {"source": "scikit-learn, load_wine"}
    return Pool.make(
        features, labels, classes=3, held_out=held_out, seed=seed, name="wine", facts=facts
    )


def breast_cancer(*, held_out: float = 0.2, seed: int = 0) -> Pool:
    """Malignant or benign by 30 measurements, 569 samples (Street et al. 1993), standardised.

    Raises InputError: scikit-learn is missing.
    """
    features, labels = _sklearn("breast_cancer")
    facts = {"source": "scikit-learn, load_breast_cancer"}
    return Pool.make(
        features, labels, classes=2, held_out=held_out, seed=seed, name="breast_cancer", facts=facts
    )


def rand_hie(
    *,
    clients: str = "person",
    target: str = "any_expense",
    held_out: float = 0.2,
    seed: int = 0,
) -> Pool:
    """RAND Health Insurance Experiment: 20,190 person-years with natural clients (Newhouse 1993).

    Args:
        clients: "person" (5,912 with at most five years each) or "site" (6 places).
        target: "any_expense" (two classes) or "visits" (a regression on outpatient visits).
        held_out: share of each client's years; a client with fewer than three keeps them all.

    18 features, standardised; the four rows with a missing value are left out.

    Raises:
        InputError: statsmodels is missing; another kind of client or target.
    """
    column = {"person": "zper", "site": "site"}.get(clients)
    if column is None:
        raise InputError(f"clients is {clients!r}", where="rand_hie", mend="use 'person' or 'site'")
    if target not in HIE_TARGETS:
        raise InputError(
            f"target is {target!r}", where="rand_hie", mend=f"use one of {', '.join(HIE_TARGETS)}"
        )
    table = _rand_hie_table()
    complete = table[[*HIE_FEATURES, HIE_TARGETS[target], column]].dropna()
    names, groups = np.unique(complete[column].to_numpy(), return_inverse=True)
    return Pool.make(
        complete[list(HIE_FEATURES)].to_numpy(),
        complete[HIE_TARGETS[target]].to_numpy(),
        classes=2 if target == "any_expense" else 0,
        group=groups,
        names=tuple(str(int(name)) for name in names),
        held_out=held_out,
        seed=seed,
        name="rand_hie",
        facts={"source": "statsmodels, randhie.csv", "clients": clients, "target": target},
    )


def _sklearn(name: str) -> tuple[Array, Array]:
    try:
        from sklearn import datasets
    except ImportError:
        raise _missing(name, "scikit-learn") from None
    features, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    return np.asarray(features, np.float64), np.asarray(labels)


def _rand_hie_table() -> Any:
    """The whole CSV of statsmodels; its own loader gives ten columns of it."""
    from importlib.util import find_spec
    from pathlib import Path

    import pandas as pd

    found = find_spec("statsmodels")
    if found is None or found.origin is None:
        raise _missing("rand_hie", "statsmodels")
    path = Path(found.origin).parent / "datasets" / "randhie" / "src" / "randhie.csv"
    if not path.is_file():
        raise InputError(
            "this statsmodels ships no RAND HIE",
            where=str(path),
            mend="pip install 'statsmodels>=0.14.4'",
        )
    return pd.read_csv(path)


def _missing(name: str, package: str) -> InputError:
    return InputError(
        f"the data {name!r} comes with {package}, which is not installed",
        where="datasets",
        mend="pip install mltwin[federated]",
    )


_MOVES = np.array([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)])


def _moved(pool: Pool, copies: int, noise: float, seed: int) -> Pool:
    """The pool with moved copies of its images after its own."""
    if copies < 0 or noise < 0:
        raise InputError(
            f"copies is {copies}, noise {noise}", where="digits", mend="give 0 or more"
        )
    images = pool.x.reshape(-1, 8, 8)
    count = len(images) * copies
    source = np.tile(np.arange(len(images)), copies)
    move = (data_uniforms(seed, AUGMENT, np.arange(count)) * len(_MOVES)).astype(np.int64)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    made = np.empty((count, 8, 8), np.float32)
    for number, (down, right) in enumerate(_MOVES):
        of = move == number
        made[of] = framed[source[of], 1 - down : 9 - down, 1 - right : 9 - right]
    flat = made.reshape(count, 64)
    if noise:
        cells = np.arange(count)[:, None] * 64 + np.arange(64)
        flat = np.clip(flat + noise * data_normals(seed, AUGMENT, cells, 1), 0.0, 1.0)
    return pool.more(flat, pool.y[source], np.full(count, NONE), {"noise": noise})
