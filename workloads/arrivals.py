"""Synthetic arrival times.

Every process is a sequence of gaps of mean 1, keyed by request, on a clock that runs at the
intensity (time change of a renewal process). So request i's gap is the same at every rate, and
two policies, or two rates, see the same draws.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, TypeAdapter, model_validator

from mltwin.sim import rng_arrays as rng
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .intervals import gamma_gaps
from .spec import Spec, checked

# Fewer are drawn sooner than a compiler is loaded.
_WORTH_COMPILED = 10_000

Clock = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Renewal(Spec):
    """Constant rate: `poisson`; `gamma` with `burstiness` (vLLM's: 1 is Poisson, below is burstier,
    CV = burstiness**-0.5); `deterministic`, all gaps equal."""

    process: Literal["poisson", "gamma", "deterministic"]
    rate_per_s: PositiveFloat
    burstiness: PositiveFloat = 1.0

    def mean_rate_per_s(self) -> float:
        """Requests a second in the long run."""
        return self.rate_per_s

    def clock(self, seed: int) -> Clock:
        """Operational time (expected requests so far) to seconds."""
        return lambda amount: amount / self.rate_per_s


class Profile(Spec):
    """Rates that follow one another in steps of `step_s` and begin anew after the last."""

    process: Literal["profile"]
    rates_per_s: list[Annotated[float, Field(ge=0)]] = Field(min_length=1)
    step_s: PositiveFloat
    burstiness: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _some_rate(self) -> "Profile":
        if not sum(self.rates_per_s) > 0:
            raise ValueError("one rate must be above 0")
        return self

    def mean_rate_per_s(self) -> float:
        """Mean over one round of the profile."""
        return sum(self.rates_per_s) / len(self.rates_per_s)

    def clock(self, seed: int) -> Clock:
        """Operational time to seconds."""
        rates = np.array(self.rates_per_s)
        edges = self.step_s * np.arange(rates.size + 1)
        amounts = np.concatenate([[0.0], np.cumsum(rates * self.step_s)])

        def seconds(amount: NDArray[np.float64]) -> NDArray[np.float64]:
            rounds = np.floor(amount / amounts[-1])
            return rounds * edges[-1] + np.interp(amount - rounds * amounts[-1], amounts, edges)

        return seconds


class Diurnal(Spec):
    """Rate `rate_per_s * (1 + amplitude * cos(2 pi (t - peak_s) / period_s))`."""

    process: Literal["diurnal"]
    rate_per_s: PositiveFloat
    amplitude: float = Field(default=0.5, ge=0, le=1)
    period_s: PositiveFloat = 86_400.0
    peak_s: float = 0.0
    burstiness: PositiveFloat = 1.0

    def mean_rate_per_s(self) -> float:
        """Mean over a period."""
        return self.rate_per_s

    def clock(self, seed: int) -> Clock:
        """Operational time to seconds: bisection of the integral of the rate."""
        omega = 2.0 * math.pi / self.period_s
        swing = self.rate_per_s * self.amplitude / omega
        offset = swing * math.sin(-omega * self.peak_s)

        def seconds(amount: NDArray[np.float64]) -> NDArray[np.float64]:
            middle = amount / self.rate_per_s
            low = np.maximum(middle - self.period_s, 0.0)
            high = middle + self.period_s
            for _ in range(60):
                middle = 0.5 * (low + high)
                wave = swing * np.sin(omega * (middle - self.peak_s)) - offset
                early = self.rate_per_s * middle + wave < amount
                low, high = np.where(early, middle, low), np.where(early, high, middle)
            return 0.5 * (low + high)

        return seconds


class Markov(Spec):
    """Two-state Markov-modulated Poisson process: rates and mean sojourns of both states.

    It starts in a state drawn from the long-run shares.
    """

    process: Literal["mmpp"]
    rates_per_s: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
    mean_s: tuple[PositiveFloat, PositiveFloat]
    burstiness: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _some_rate(self) -> "Markov":
        if not sum(self.rates_per_s) > 0:
            raise ValueError("one rate must be above 0")
        return self

    def mean_rate_per_s(self) -> float:
        """Rates weighted by the long-run share of each state."""
        weighted = sum(r * m for r, m in zip(self.rates_per_s, self.mean_s, strict=True))
        return weighted / sum(self.mean_s)

    def clock(self, seed: int) -> Clock:
        """Operational time to seconds along a path of sojourns, drawn as far as is needed."""
        first = int(rng.uniforms(seed, rng.ARRIVALS, 0, 1) >= self.mean_s[0] / sum(self.mean_s))

        def seconds(amount: NDArray[np.float64]) -> NDArray[np.float64]:
            switches = 64
            while True:
                steps = np.arange(switches)
                state = (steps + first) % 2
                stay = rng.exponentials(seed, rng.ARRIVALS, steps, 2) * np.take(self.mean_s, state)
                edges = np.concatenate([[0.0], np.cumsum(stay)])
                grown = np.cumsum(stay * np.take(self.rates_per_s, state))
                if grown[-1] > amount.max(initial=0.0):
                    return np.interp(amount, np.concatenate([[0.0], grown]), edges)
                switches *= 2

        return seconds


Arrivals = Annotated[Renewal | Profile | Diurnal | Markov, Field(discriminator="process")]
_ADAPTER: TypeAdapter[Renewal | Profile | Diurnal | Markov] = TypeAdapter(Arrivals)


def arrival_spec(spec: Mapping[str, Any] | Spec) -> Renewal | Profile | Diurnal | Markov:
    """A checked process from a dict such as `{"process": "poisson", "rate_per_s": 2.0}`."""
    return checked(_ADAPTER, spec, "arrivals")


def arrival_ticks(spec: Mapping[str, Any] | Spec, count: int, seed: int) -> NDArray[np.int64]:
    """The first `count` arrivals in ticks, non-decreasing. Raises InputError beyond 106 days."""
    process = arrival_spec(spec)
    if process.process == "poisson" and process.burstiness == 1.0 and count >= _WORTH_COMPILED:
        drawn = _poisson_ticks(process.rate_per_s, count, seed)
        if drawn is not None:
            return drawn
    amount = np.cumsum(_gaps(process, np.arange(count), seed))
    when = process.clock(seed)(amount)
    try:
        return np.maximum.accumulate(ticks(when)) if count else np.empty(0, np.int64)
    except ValueError as wrong:
        raise InputError(
            f"{count} requests need too long ({wrong})", where="arrivals", mend="raise the rate"
        ) from None


def _poisson_ticks(rate_per_s: float, count: int, seed: int) -> NDArray[np.int64] | None:
    """The same in one compiled pass; None where it cannot tell or must not be."""
    from mltwin.sim.renewal import poisson_ticks

    if not 0 <= seed < 1 << 63:
        return None
    when = np.empty(count, np.int64)
    return when if poisson_ticks(seed, rate_per_s, when) == count else None


def arrivals_until(
    spec: Mapping[str, Any] | Spec, duration_s: float, seed: int
) -> NDArray[np.int64]:
    """All arrivals before `duration_s`, in ticks."""
    process = arrival_spec(spec)
    expected = process.mean_rate_per_s() * duration_s
    count = int(expected + 6.0 * math.sqrt(expected / min(process.burstiness, 1.0)) + 16)
    end = int(ticks(float(duration_s)))
    while True:
        when = arrival_ticks(process, count, seed)
        if when[-1] >= end:
            return when[: np.searchsorted(when, end, side="left")]
        count *= 2


def _gaps(process: Any, index: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Gaps of mean 1 of the requests `index`."""
    if process.process == "deterministic":
        return np.ones(index.size)
    if process.burstiness == 1.0:
        return rng.exponentials(seed, rng.ARRIVALS, index)
    return gamma_gaps(rng.uniforms(seed, rng.ARRIVALS, index), process.burstiness)
