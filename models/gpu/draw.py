"""A profile drawn from the error of its fit: one of the GPUs that the measurements allow.

A fit's error on shapes it has not seen changes little from row to row of one shape: a kernel that
the model thinks 3 % too fast is so at every batch of about that size. So a draw multiplies the
times of each (operator, shape) with one factor exp(s z). Shapes are (n, k) of a GEMM, (hidden,
width, experts, chosen) of experts, (heads, key-value heads, head size) of decode attention, (heads,
head size) of prefill, the number of GPUs of a collective. GEMMs and experts have two factors, since
kernels for few rows are others than those for many; the second counts for the time that rows beyond
``FEW`` add. So times that never fall with the batch still never do, and a drawn profile lowers as
any other.

The scale s is the larger of an operator's ``sigma`` and ``median`` on held-out rows
(:class:`mltwin.models.gpu.profile.Provenance`): with a handful of held-out shapes sigma alone can
come out far too small. z is keyed by (seed, draw, profile, operator, shape) and follows Student's t
of 3 degrees of freedom, scaled to hold 68 % within 1, since the errors of shapes have such tails
(:func:`mltwin.validation.coverage.kernel_coverage` checks it).

Errors of single kernels average out over an iteration; what they have in common does not: clocks
and versions of another campaign, what runs between the kernels. So all times on one GPU and engine
share a factor as well, one for decode and one for prefill (``COMPOSITION_SIGMA``), as wide as
whole deployments differ from what their kernels add up to.

What is not measured is drawn log-normal with an assumed scale: the host's overheads
(``HOST_SIGMA``), operators without held-out rows (``ASSUMED_SIGMA``), measured tables
(``TABLE_SIGMA``), and more where an operator stands in for other weights or another head size
(``STAND_IN_SIGMA``). A row of provenance with the same name (``host``, ``composition.decode``, ..)
takes the place of an assumption.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import FITS, normals

from . import draw_operators as drawn
from .draw_operators import Array, Source
from .profile import Provenance

HOST_SIGMA = 0.3
"""Of the host's overheads where the profile has no row ``host``: an assumption, they are not
measured."""
ASSUMED_SIGMA = 0.2
"""Of an operator of a fitted profile that has no row of its own (it was assumed, not fitted)."""
STAND_IN_SIGMA = 0.1
"""More where an operator stands in for other weights or another head size."""
TABLE_SIGMA = ((0.9, 0.05), (0.5, 0.1), (0.25, 0.2), (0.0, 0.4))
"""Of measured tables, which keep no held-out rows: (confidence of at least, sigma), assumed."""
COMPOSITION_SIGMA = {"composition.decode": 0.1, "composition.prefill": 0.2}
"""Of whole iterations against those of real deployments: how far the median TPOT and TTFT of 18
families (GPU, engine, model, precision) of known protocol lie from the prediction by measured
tables, 68 % of them, log-normal; runs of the development fifth of aiconfigurator's sample
(:func:`mltwin.validation.silicon_rows.development`). TTFT holds more than prefill, so its scale is
rather too wide."""
MOST_DRAWS = 10_000
MOST_LOG = math.log(10.0)
"""No factor is beyond ten, either way."""
SPREAD_68 = 1.1889
"""Student's t of 3 degrees of freedom lies within so much in 68 % of all cases."""
SCALES_95 = 2.677
"""And within so many times that in 95 %."""


@dataclass(frozen=True)
class Draw:
    """The keyed factors of one draw of one profile.

    Attributes:
        profile: name of what is drawn; two profiles have errors of their own.
        index, seed: which draw, of which set of draws.
        fitted: error scale by operator.
        assumed: by operator where not fitted, and of what whole iterations have in common.
        otherwise: of all other operators.
    """

    profile: str
    index: int
    seed: int
    fitted: Mapping[str, float]
    assumed: Mapping[str, float]
    otherwise: float

    def factor(self, operator: str, *shape: Any, part: str = "", stands_in: bool = False) -> Array:
        """The factor of a shape; of sizes that are arrays each shape has its own.

        Args:
            operator: as provenance names it.
            shape: sizes, broadcast together.
            part: of the operator's times, where it has several factors.
            stands_in: the operator was measured for something else.
        """
        if all(np.ndim(size) == 0 for size in shape):
            return np.asarray(self._one(operator, part, [float(v) for v in shape], stands_in))
        sizes = np.broadcast_arrays(*(np.asarray(size, float) for size in shape))
        rows = np.stack([size.ravel() for size in sizes], axis=1)
        unique, of = np.unique(rows, axis=0, return_inverse=True)
        found = np.array([self._one(operator, part, row, stands_in) for row in unique.tolist()])
        return np.asarray(found[of.ravel()].reshape(sizes[0].shape))

    def _one(self, operator: str, part: str, shape: list[float], stands_in: bool) -> float:
        sizes = ",".join(f"{size:.17g}" for size in shape)
        log = self._log(operator, f"{part}/{sizes}")
        if stands_in:
            log += STAND_IN_SIGMA * self._normals(operator, f"{part}/{sizes}/stands in")[0]
        family = operator.partition(".")[0]
        if family not in ("host", "mixed"):
            prefill = part == drawn.MANY_ROWS or family in ("prefill", "mla_prefill")
            log += self._log("composition.prefill" if prefill else "composition.decode", "")
        return math.exp(min(max(log, -MOST_LOG), MOST_LOG))

    def _log(self, operator: str, shape: str) -> float:
        first, *others = self._normals(operator, shape)
        if operator not in self.fitted:
            return self.assumed.get(operator, self.otherwise) * first
        tail = math.sqrt(sum(other * other for other in others) / 3)
        return self.fitted[operator] / SPREAD_68 * first / max(tail, 1e-3)

    def _normals(self, operator: str, shape: str) -> list[float]:
        return _keyed(f"{self.profile}/{operator}/{shape}", self.seed, self.index)


@functools.lru_cache(maxsize=65_536)
def _keyed(name: str, seed: int, index: int) -> list[float]:
    """Four standard normals of what a name stands for, in one draw: one, and three for tails."""
    entity = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    found: list[float] = normals(seed, FITS, entity, 4 * index + np.arange(4)).tolist()
    return found


def error_scale(row: Provenance) -> float:
    """The log error within which 68 % of the shapes of an operator lie."""
    return max(row.sigma, row.median) if row.sigma > 0 else 0.0


def draw(profile: Any, index: int, seed: int = 0, *, confidence: float = 1.0) -> Any:
    """The ``index``-th profile drawn from the error of ``profile``.

    Args:
        profile: a GpuProfile, or a profile of measured tables.
        index: which draw, from 0.
        seed: of the set of draws: equal arguments give equal profiles, in any process.
        confidence: of measured tables for what they are asked (1: all shapes measured), which
            chooses their error scale (``TABLE_SIGMA``); fitted profiles state their own.

    Returns:
        A profile of the same class, whose operators have the same methods. Facts (memory,
        bandwidth of links) and watts are not drawn. A row of provenance with sigma 0 says that
        an operator is exact.

    Raises:
        InputError: nothing that could be drawn from: timings without a profile, or a profile
            that states no error; a negative index or seed, a confidence outside [0, 1].
    """
    if index < 0 or seed < 0:
        raise InputError(f"draw {index} of seed {seed}", mend="count from 0")
    fitted, otherwise = _scales(profile, confidence)
    assumed = {"host": HOST_SIGMA, **COMPOSITION_SIGMA}
    made = Draw(_full_name(profile), index, seed, fitted, assumed, otherwise)
    # The host's three overheads share one processor.
    host = float(made.factor("host"))
    times = {name: host * getattr(profile.host, name) for name in _HOST_TIMES}
    return _changed(
        profile,
        host=_changed(profile.host, **times),
        operators=_operators(profile.operators, made),
    )


def error_bar_draws(
    profile: Any, count: int, seed: int = 0, *, confidence: float = 1.0
) -> Iterator[Any]:
    """``count`` profiles drawn from the error of ``profile``; see :func:`draw`.

    Raises:
        InputError: as :func:`draw`, or a count that is not 1 to ``MOST_DRAWS``.
    """
    if not 1 <= count <= MOST_DRAWS:
        raise InputError(f"{count} draws", mend=f"ask for 1 to {MOST_DRAWS}")
    return (draw(profile, index, seed, confidence=confidence) for index in range(count))


_HOST_TIMES = ("iteration_s", "sequence_s", "hop_s")


def _full_name(profile: Any) -> str:
    """Name and engine: kernels of another engine have errors of their own."""
    return f"{getattr(profile, 'name', '')}/{getattr(profile, 'engine', '')}"


def _scales(profile: Any, confidence: float) -> tuple[dict[str, float], float]:
    """Error scale by fitted operator, and that of the others."""
    name = getattr(profile, "name", "these timings")
    if not hasattr(profile, "operators") or not hasattr(profile, "host"):
        raise InputError(
            f"{name} is not a GPU profile: timings as given have no fitted error to draw from",
            mend="leave the error bars out, or use a profile",
        )
    rows = tuple(getattr(profile, "provenance", ()))
    fitted = [row for row in rows if isinstance(row, Provenance)]
    if fitted:
        return {row.operator: error_scale(row) for row in fitted}, ASSUMED_SIGMA
    if hasattr(profile, "answers"):
        if not 0 <= confidence <= 1:
            raise InputError(f"confidence {confidence}", mend="give a number in [0, 1]")
        return {}, next(sigma for least, sigma in TABLE_SIGMA if confidence >= least)
    raise InputError(
        f"GPU profile {name} states no error of its fit (its provenance is empty): there is "
        "nothing to draw error bars from",
        mend="leave the error bars out, or use a profile that `mltwin calibrate fit` made",
    )


_WAYS: dict[str, tuple[Any, str]] = {
    "gemm": (drawn.Gemm, "gemm"),
    "decode": (drawn.Decode, "decode"),
    "prefill": (drawn.Prefill, "prefill"),
    "all_reduce": (drawn.Collective, "all_reduce"),
    "elementwise": (drawn.Elementwise, "elementwise"),
    "moe": (drawn.Moe, "moe"),
    "mixed": (drawn.Mixed, "mixed"),
    "collectives": (drawn.Collective, "nccl"),
    "mla_decode": (drawn.MlaDecode, "mla_decode"),
    "mla_prefill": (drawn.MlaPrefill, "mla_prefill"),
    "linear_attention": (drawn.LinearAttention, "linear_attention"),
    "moe_exchange": (drawn.Exchange, "moe_exchange"),
}
"""By field of the operators: what draws it, and how provenance calls it."""


def _operators(operators: Any, made: Draw) -> Any:
    """The operators, each of them behind the factors of a draw."""
    found = {
        field: _wrapped(getattr(operators, field), way, made, name)
        for field, (way, name) in _WAYS.items()
        if getattr(operators, field, None) is not None
    }
    return _changed(operators, **found)


def _wrapped(cost: Any, way: Any, made: Draw, name: str) -> Any:
    """A cost, or a mapping of costs, behind factors; names as provenance spells them."""
    if isinstance(cost, Mapping):
        return {key: _wrapped(one, way, made, f"{name}.{key}") for key, one in cost.items()}
    return way(cost, Source(made, name))


def _changed(thing: Any, **fields: Any) -> Any:
    """A copy with other fields, of a dataclass or of any object."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return dataclasses.replace(thing, **fields)
    import copy

    other = copy.copy(thing)
    for name, value in fields.items():
        setattr(other, name, value)
    return other
