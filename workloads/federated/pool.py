"""A pool of labelled samples with some held out, before it is split among clients."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.learning.tables import Examples
from mltwin.sim.errors import InputError

from .draws import HELD_OUT, data_uniforms

Array = npt.NDArray[Any]

NONE = -1


@dataclass(frozen=True, eq=False)
class Pool:
    """n samples to train on, others held out; made by `make` or by one of `datasets`.

    Attributes:
        x: float32[n, features]; y: int32[n], or float32[n] targets of a regression.
        classes: number of classes, 0 for a regression.
        group: int32[n], the client that a sample belongs to by nature, NONE where there is none.
        test_x, test_y, test_group: the same of held-out samples.
        names: of natural clients, where they have any.
        name: where the data is from.
        facts: how it was made.
    """

    x: Array
    y: Array
    classes: int
    group: Array
    test_x: Array
    test_y: Array
    test_group: Array
    names: tuple[str, ...] = ()
    name: str = "data"
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        classes: int,
        group: npt.ArrayLike | None = None,
        names: tuple[str, ...] = (),
        held_out: float = 0.2,
        standardise: bool = True,
        seed: int = 0,
        name: str = "data",
        facts: dict[str, Any] | None = None,
    ) -> "Pool":
        """Hold out a share of samples, chosen by (seed, row), and scale features.

        With natural clients the share is taken of each of them, and each keeps one or more.
        Scaling subtracts the mean and divides by the standard deviation of what is trained on, so
        nothing is learned of the held-out samples; a constant feature becomes 0.

        Raises:
            InputError: a share outside [0, 1), fewer than two samples, values that are not finite.
        """
        where = f"data {name!r}"
        features = np.asarray(x, np.float64)
        labels = np.asarray(y)
        if features.ndim != 2 or len(features) != len(labels) or len(features) < 2:
            raise InputError(
                f"features {features.shape} and labels {labels.shape}",
                where=where,
                mend="give two samples or more, one row each",
            )
        if not 0.0 <= held_out < 1.0:
            raise InputError(f"held_out is {held_out}", where=where, mend="give 0 to below 1")
        bad = np.argwhere(~np.isfinite(features))
        if len(bad):
            row, column = bad[0].tolist()
            raise InputError(f"x[{row}, {column}] is {features[row, column]}", where=where)
        groups = np.full(len(labels), NONE) if group is None else np.asarray(group)
        test = _held_out(groups.astype(np.int64), held_out, seed)
        if standardise:
            features = _standardised(features, ~test)
        kind = np.int32 if classes else np.float32
        return cls(
            features[~test].astype(np.float32),
            labels[~test].astype(kind),
            int(classes),
            groups[~test].astype(np.int32),
            features[test].astype(np.float32),
            labels[test].astype(kind),
            groups[test].astype(np.int32),
            names,
            name,
            {"held_out": held_out, "seed": seed, **(facts or {})},
        )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def features(self) -> int:
        """Columns of x."""
        return int(self.x.shape[1])

    def examples(
        self,
        first: Array,
        row: Array,
        facts: dict[str, Any],
        test_client: Array | None = None,
    ) -> Examples:
        """The pool with its rows given to clients: what learns."""
        return Examples.make(
            self.x,
            self.y,
            first,
            row,
            self.test_x,
            self.test_y,
            classes=self.classes,
            test_client=test_client,
            name=self.name,
            facts={**self.facts, **facts},
        )

    def more(self, x: Array, y: Array, group: Array, facts: dict[str, Any]) -> "Pool":
        """With further samples to train on; those held out stay."""
        return replace(
            self,
            x=np.concatenate((self.x, np.asarray(x, np.float32))),
            y=np.concatenate((self.y, np.asarray(y, self.y.dtype))),
            group=np.concatenate((self.group, np.asarray(group, np.int32))),
            facts={**self.facts, **facts},
        )


def _held_out(groups: Array, share: float, seed: int) -> Array:
    """bool[n]: of each group the round(share * size) samples of smallest draws, but not all."""
    drawn = data_uniforms(seed, HELD_OUT, np.arange(len(groups)))
    order = np.lexsort((drawn, groups))
    _, first, size = np.unique(groups[order], return_index=True, return_counts=True)
    rank = np.arange(len(groups)) - np.repeat(first, size)
    wanted = np.minimum(np.rint(share * size), size - 1)
    test = np.zeros(len(groups), bool)
    test[order] = rank < np.repeat(wanted, size)
    return test


def _standardised(features: Array, kept: Array) -> Array:
    mean, spread = features[kept].mean(axis=0), features[kept].std(axis=0)
    flat = spread <= 1e-12 * np.maximum(1.0, np.abs(mean))
    return np.where(flat, 0.0, (features - mean) / np.where(flat, 1.0, spread))
