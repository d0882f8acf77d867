"""Dense networks on the compiled kernels, over threads: the body of `SoftmaxTask` and `MlpTask`."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Local, Updates
from mltwin.sim.errors import InputError
from mltwin.sim.jit import JIT_DISABLED

from . import kernel
from .classifier import Classifier, rows_of
from .descent import Rule
from .panels import layer_table
from .tables import Examples

Array = npt.NDArray[Any]

# Numbers to multiply that are worth a thread's start (some 30 us of work).
_WORTH_A_THREAD = 2_000_000
# Numbers to multiply in one call of a kernel, well within a second: a key that stops the run is
# heard between calls. A step costs as much as so many at least.
_AT_ONCE, _A_STEP = 1_000_000_000, 1_000


class NetworkTask(Classifier):
    """A network of dense layers that learns in compiled code.

    Results are the same bits whatever the threads, and as `plain.PlainNetwork` gives.

    Args:
        examples, hidden, l2: as of `Classifier`.
        threads: most that are used at a time.

    Raises:
        InputError: as of `Classifier`; no thread.
    """

    separable = True

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
        self._most = int(examples.samples.max())
        self._layers = layer_table(self.layout.sizes)
        self._nothing = np.zeros((0, self.parameters), np.float32)
        self._spare: list[tuple[Array, Array]] = []
        self._stopped = False
        self._data = (
            _given(examples.x, np.float32).reshape(-1),
            _given(examples.y, np.int32),
            _given(examples.first, np.int64),
            _given(examples.row, np.int32),
        )

    def _workspace(self) -> tuple[Array, Array]:
        return kernel.workspace(self._layers, self._most)

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
        rule, corrections, anchor, adapt = self._rule(local, count)
        lr = np.full(count, local.lr, np.float32)
        held, who, numbers, taken = (
            _given(column, np.int64) for column in (which, clients, dispatches, steps)
        )
        delta = np.empty((count, self.parameters), np.float32)
        loss, squared, factor = np.empty(count), np.empty(count), np.empty(count)
        models = _given(versions, np.float32)
        of_a_step = max((local.batch or self._samples) * self.parameters, _A_STEP)
        work = of_a_step * float(taken.sum())
        most = max(1, int(_AT_ONCE / of_a_step))

        def part(begin: int, end: int, room: tuple[Array, Array]) -> None:
            for piece in _pieces(taken, begin, end, most):
                if self._stopped:
                    return
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
                    corrections,
                    anchor,
                    adapt,
                    seed,
                    *piece,
                    *room,
                    delta,
                    loss,
                    squared,
                    factor,
                )

        self._in_parts(part, count, work)
        return Updates(delta, loss, squared)

    def _rule(self, local: Local, count: int) -> tuple[Rule, Array, Array, Array]:
        """The rule, float32[0, 1 or n, d] corrections, float32[0 or d] anchor and adapt."""
        correction = self._nothing
        if local.correction is not None:
            correction = np.atleast_2d(_given(local.correction, np.float32))
            if correction.shape[1:] != (self.parameters,) or len(correction) not in (0, 1, count):
                raise InputError(
                    f"a correction {correction.shape} of {count} updates of {self.parameters}"
                )
        anchor = self._vector("an anchor", local.anchor)
        adapt = self._vector("a direction to adapt by", local.adapt)
        rule = Rule(
            int(local.batch),
            np.float32(self.l2),
            np.float32(local.prox),
            np.float32(local.momentum),
            float(local.clip),
            float(local.pull),
            len(correction) > 0,
            len(anchor) > 0,
            len(adapt) > 0,
        )
        return rule, correction, anchor, adapt

    def _vector(self, name: str, values: Array | None) -> Array:
        if values is None:
            return self._nothing.reshape(-1)
        given = _given(values, np.float32)
        if given.shape != (self.parameters,):
            raise InputError(f"{name} {given.shape} of {self.parameters} parameters")
        return given

    def _in_parts(self, part: Callable[..., None], count: int, work: float) -> None:
        """Call part(begin, end, workspace) for all of range(count), on threads if worth it.

        Args:
            work: numbers to multiply, of all.
        """

        def alone(ends: tuple[int, int]) -> None:
            room = self._spare.pop() if self._spare else self._workspace()
            if JIT_DISABLED:
                with np.errstate(all="ignore"):
                    part(*ends, room)
            else:
                part(*ends, room)
            self._spare.append(room)

        self._stopped = False
        wanted = work / _AT_ONCE
        if self.threads > 1:
            wanted = max(wanted, min(self.threads * 4, work / _WORTH_A_THREAD))
        parts = int(min(count, wanted))
        if parts <= 1:
            alone((0, count))
            return
        edges = itertools.pairwise([count * k // parts for k in range(parts + 1)])
        if self.threads == 1:
            for ends in edges:
                alone(ends)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                list(pool.map(alone, edges))
            except BaseException:
                self._stopped = True  # or the pool would wait for all that is under way
                raise

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

        def part(begin: int, end: int, room: tuple[Array, Array]) -> None:
            kernel.gradients(
                self._layers,
                *self._data,
                single,
                np.float32(self.l2),
                chosen,
                begin,
                end,
                *room,
                found,
            )

        self._in_parts(part, len(chosen), len(chosen) * self._samples * self.parameters)
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

        def part(begin: int, end: int, room: tuple[Array, Array]) -> None:
            kernel.evaluate(
                self._layers, single, x, y, rows, begin, end, *room, losses, right, scores
            )

        self._in_parts(part, len(rows), float(len(rows)) * self.parameters)
        return losses, right, scores


def _given(values: Any, kind: type) -> Array:
    """As a kernel wants it: contiguous, of its type, writable."""
    array: Array = np.ascontiguousarray(values, kind)
    return array if array.flags.writeable else array.copy()


def _pieces(steps: Array, begin: int, end: int, most: int) -> Iterator[tuple[int, int, int, int]]:
    """Calls of `kernel.train`: first and last dispatch, first and last step, `most` steps a call.

    A dispatch of more steps is several calls of its own.
    """
    if steps[begin:end].sum() <= most:
        yield begin, end, 0, most
        return
    while begin < end:
        total = np.cumsum(steps[begin:end])
        fit = int(np.searchsorted(total, most, "right"))
        if fit:
            yield begin, begin + fit, 0, most
        else:
            for step in range(0, int(steps[begin]), most):
                yield begin, begin + 1, step, step + most
        begin += max(fit, 1)
