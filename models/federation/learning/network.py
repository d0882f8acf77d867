"""Dense networks on the compiled kernels, over threads: the body of `SoftmaxTask` and `MlpTask`."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Local, Updates
from mltwin.sim.errors import InputError

from . import kernel
from .classifier import Classifier, rows_of
from .descent import Rule
from .panels import layer_table
from .tables import Examples

Array = npt.NDArray[Any]

# Numbers to multiply that are worth a thread's start (some 30 us of work).
_WORTH_A_THREAD = 2_000_000


class NetworkTask(Classifier):
    """A network of dense layers that learns in compiled code.

    Results are the same bits whatever the threads, and as `plain.PlainNetwork` gives.

    Args:
        examples, hidden, l2: as of `Classifier`.
        threads: most that are used at a time.

    Raises:
        InputError: as of `Classifier`; no thread.
    """

    def __init__(
        self,
        examples: Examples,
        hidden: Sequence[int] = (),
        l2: float = 0.0,
        threads: int = 1,
    ) -> None:
        super().__init__(examples, hidden, l2)
        if threads < 1:
            raise InputError(f"threads is {threads}", where="task")
        self.threads = threads
        self._samples = float(examples.samples.mean())
        self._layers = layer_table(self.layout.sizes)
        self._data = (
            _given(examples.x, np.float32).reshape(-1),
            _given(examples.y, np.int32),
            _given(examples.first, np.int64),
            _given(examples.row, np.int32),
        )

    def train(
        self,
        versions: Array,
        which: Array,
        clients: Array,
        dispatches: Array,
        steps: Array,
        local: Local,
        seed: int,
    ) -> Updates:
        """Local training of n dispatches, as `hooks.Task.train` says."""
        count = len(clients)
        rule = self._rule(local, count)
        lr = np.full(count, local.lr, np.float32)
        held, who, numbers, taken = (
            _given(column, np.int64) for column in (which, clients, dispatches, steps)
        )
        delta = np.empty((count, self.parameters), np.float32)
        loss, squared = np.empty(count), np.empty(count)
        models = _given(versions, np.float32)

        def part(begin: int, end: int) -> None:
            kernel.train(
                self._layers,
                *self._data,
                models,
                held,
                who,
                numbers,
                taken,
                lr,
                rule,
                seed,
                begin,
                end,
                delta,
                loss,
                squared,
            )

        work = (local.batch or self._samples) * self.parameters
        self._in_parts(part, count, work * int(taken.max(initial=0)))
        return Updates(delta, loss, squared)

    def _rule(self, local: Local, count: int) -> Rule:
        size = self.parameters
        correction = np.zeros((0, size), np.float32)
        if local.correction is not None:
            correction = np.atleast_2d(_given(local.correction, np.float32))
        anchor = np.zeros(0, np.float32)
        if local.anchor is not None:
            anchor = _given(local.anchor, np.float32)
        if correction.shape[1] != size or len(correction) not in (0, 1, count):
            raise InputError(f"a correction {correction.shape} of {count} updates of {size}")
        if anchor.shape not in ((0,), (size,)):
            raise InputError(f"an anchor {anchor.shape} of {size} parameters")
        return Rule(
            int(local.batch),
            np.float32(self.l2),
            np.float32(local.prox),
            np.float32(local.momentum),
            float(local.clip),
            correction,
            anchor,
        )

    def _in_parts(self, part: Callable[[int, int], None], count: int, work: float) -> None:
        """Call part(begin, end) for all of range(count), on threads where the work is worth it.

        Args:
            work: numbers to multiply, of one.
        """

        def quietly(ends: tuple[int, int]) -> None:
            with np.errstate(all="ignore"):  # without the compiler NumPy would warn
                part(*ends)

        parts = int(max(1, min(self.threads * 4, count, count * work / _WORTH_A_THREAD)))
        if self.threads == 1 or parts == 1:
            quietly((0, count))
            return
        edges = [count * k // parts for k in range(parts + 1)]
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(quietly, itertools.pairwise(edges)))

    def losses(self, weights: Array, clients: Array) -> Array:
        """float64[n], mean loss of a model on all data of each client."""
        rows, owner = rows_of(self.examples, clients)
        losses, _, _ = self._evaluated(weights, *self._data[:2], rows, 0)
        counts = self.examples.samples[np.asarray(clients, np.int64)]
        return np.bincount(owner, losses, len(clients)) / counts

    def gradients(self, weights: Array, clients: Array) -> Array:
        """float32[n, d], full gradient of a model on the data of each client."""
        chosen, single = _given(clients, np.int64), _given(weights, np.float32)
        found = np.empty((len(chosen), self.parameters), np.float32)

        def part(begin: int, end: int) -> None:
            kernel.gradients(
                self._layers, *self._data, single, np.float32(self.l2), chosen, begin, end, found
            )

        self._in_parts(part, len(chosen), self._samples * self.parameters)
        return found

    def test_samples(self, weights: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """float32[m] losses, bool[m] whether the class was found, float32[m, classes] logits."""
        return self._evaluated(
            weights,
            _given(x, np.float32).reshape(-1),
            _given(y, np.int32),
            np.arange(len(y), dtype=np.int32),
            self.examples.classes,
        )

    def _evaluated(
        self, weights: Array, x: Array, y: Array, rows: Array, scored: int
    ) -> tuple[Array, Array, Array]:
        single = _given(weights, np.float32)
        losses, right = np.empty(len(rows), np.float32), np.empty(len(rows), np.bool_)
        scores = np.empty((len(rows), scored), np.float32)

        def part(begin: int, end: int) -> None:
            kernel.evaluate(self._layers, single, x, y, rows, begin, end, losses, right, scores)

        self._in_parts(part, len(rows), self.parameters)
        return losses, right, scores


def _given(values: Any, kind: type) -> Array:
    """As a kernel wants it: contiguous, of its type, writable."""
    array: Array = np.ascontiguousarray(values, kind)
    return array if array.flags.writeable else array.copy()
