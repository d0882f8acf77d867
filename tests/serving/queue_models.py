"""The serving kernel set up as queues that queueing theory can solve, and how the two are compared.

One second of service is 1e5 prompt tokens of 1e7 ticks (a server that prefills one request at a
time) or 1e4 output tokens of 1e8 ticks (a batch). Loads and services are keyed draws, so every
test sees the same sample on every run.
"""

import functools
import heapq
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mltwin.models.serving.hooks import HOOKS, signature
from mltwin.models.serving.outcome import Outcome
from mltwin.models.serving.tables import DONE, EngineKind, IterationCells, ServingInput
from mltwin.sim.jit import kernel
from mltwin.sim.rng import ARRIVALS, SERVICE, exponentials, normals, uniforms
from mltwin.sim.stats import mean_ci
from mltwin.sim.ticks import seconds, ticks

PROMPT_TOKENS_PER_S, TICKS_PER_PROMPT_TOKEN = 10**5, 10**7
OUTPUT_TOKENS_PER_S, TICKS_PER_OUTPUT_TOKEN = 10**4, 10**8
NO_LIMIT = 2**28
CONFIDENCE = 0.999
REQUESTS = 40_000
WARM_UP = 2000
"""Of them left out at the start: some 50 relaxation times of the slowest queue here."""


class Effort(NamedTuple):
    """How long a test looks, and so how small an error it sees."""

    replications: int
    error: float  # of the service rate, relative; one so large must be noticed


FAST = Effort(20, 0.03)
LONG = Effort(250, 0.01)


def flat_cells(a: int = 0, b: int = 0, per_sequence: int = 0) -> IterationCells:
    """t = a + b tok + per_sequence nseq, everywhere."""
    return IterationCells(
        np.zeros(1, np.int32),
        np.array([0, 2**60]),
        np.array([[a, b, 0, 0]]),
        per_sequence=per_sequence,
    )


def engine(cells: IterationCells, max_batch: int, **options) -> EngineKind:
    """An engine that nothing but max_batch limits."""
    return EngineKind(
        cells,
        **{
            "max_batch": max_batch,
            "max_tokens": NO_LIMIT,
            "blocks": NO_LIMIT,
            "chunked": False,
            **options,
        },
    )


def requests(arrival_s, prompt, output, kinds, **options) -> ServingInput:
    """One replica of the first kind, unless the options say otherwise. Token counts are >= 1."""
    n = len(arrival_s)
    return ServingInput(
        **{
            "arrival": ticks(np.asarray(arrival_s, np.float64)),
            "prompt": whole_tokens(prompt, n),
            "output": whole_tokens(output, n),
            "predicted": np.ones(n, np.int32),
            "kinds": kinds,
            "kind_of": np.zeros(1, np.int64),
            **options,
        }
    )


def whole_tokens(tokens, n: int) -> np.ndarray:
    """int32 token counts, at least 1."""
    rounded = np.maximum(1, np.rint(np.broadcast_to(tokens, n)))
    assert rounded.max() < 2**31
    return rounded.astype(np.int32)


def one_at_a_time(arrival_s, service_s, **options) -> ServingInput:
    """A server of one request at a time: b ticks for each prompt token, a single output token."""
    kind = engine(flat_cells(b=TICKS_PER_PROMPT_TOKEN), 1)
    return requests(arrival_s, service_s * PROMPT_TOKENS_PER_S, 1, [kind], **options)


def servers(arrival_s, service_s, c: int, **options) -> ServingInput:
    """c servers: a batch of c whose iterations take one constant time dt, one token each.

    A request starts at the first iteration boundary at which one of c places is free, at most dt
    after it could in continuous time: dt is 1e-4 s, 1/10,000 of the mean service.
    """
    kind = engine(flat_cells(a=TICKS_PER_OUTPUT_TOKEN), c)
    return requests(arrival_s, 1, service_s * OUTPUT_TOKENS_PER_S, [kind], **options)


def shared_processor(arrival_s, service_s, **options) -> ServingInput:
    """Processor sharing: each of N requests gets a token in an iteration of N dt."""
    kind = engine(flat_cells(per_sequence=TICKS_PER_OUTPUT_TOKEN), 4096)
    return requests(arrival_s, 1, service_s * OUTPUT_TOKENS_PER_S, [kind], **options)


def poisson(seed: int, rate: float) -> np.ndarray:
    """Arrival times in seconds of a Poisson process."""
    return np.cumsum(exponentials(seed, ARRIVALS, np.arange(REQUESTS))) / rate


def service_times(seed: int, law: str, counter: int = 0) -> np.ndarray:
    """Service times with mean 1 s; `SCV` has the squared coefficient of variation of the law."""
    who = np.arange(REQUESTS)
    if law == "deterministic":
        return np.ones(REQUESTS)
    exponential = exponentials(seed, SERVICE, who, counter)
    if law == "exponential":
        return exponential
    if law == "lognormal":  # variance of the logarithm log(1 + scv)
        spread = math.log(1 + SCV["lognormal"])
        z = normals(seed, SERVICE, who, counter)
        return np.exp(math.sqrt(spread) * z - spread / 2)
    if law == "hyperexponential":  # balanced means: each branch carries half the work
        p = 0.5 * (1 + math.sqrt((SCV[law] - 1) / (SCV[law] + 1)))
        short = uniforms(seed, SERVICE, who, counter + 1) < p
        return exponential / np.where(short, 2 * p, 2 * (1 - p))
    raise ValueError(law)


SCV = {"deterministic": 0.0, "exponential": 1.0, "lognormal": 2.0, "hyperexponential": 3.0}


def response_s(outcome: Outcome) -> np.ndarray:
    """Seconds from arrival to end, of all requests after the warm-up."""
    return seconds((outcome.requests["finish"] - outcome.requests["arrival"])[WARM_UP:])


def wait_s(outcome: Outcome) -> np.ndarray:
    """Seconds from arrival to the first batch, of all requests after the warm-up."""
    return seconds((outcome.requests["scheduled"] - outcome.requests["arrival"])[WARM_UP:])


def done(outcome: Outcome) -> np.ndarray:
    """bool: which requests after the warm-up were served."""
    return outcome.requests["state"][WARM_UP:] == DONE


def assert_agrees(
    measure: Callable[[int], Sequence[float] | float],
    theory: Callable[[float], Sequence[float] | float],
    effort: Effort,
) -> None:
    """The t intervals of replications hold the theory, and not that of a slightly wrong rate.

    measure(seed): one or more estimates of one replication. theory(f): what is expected if all
    service times were f times as long. That each interval excludes the theory for
    f = 1 +- effort.error is asserted too: it is the power of the test.
    """
    samples = np.array([np.atleast_1d(measure(seed)) for seed in range(effort.replications)])
    factors = (1.0, 1 - effort.error, 1 + effort.error)
    expected, *wrong = (np.atleast_1d(theory(f)) for f in factors)
    for k, right in enumerate(expected):
        interval = mean_ci(samples[:, k], CONFIDENCE)
        text = f"interval {k} is [{interval.low:.6g}, {interval.high:.6g}]"
        assert interval.low <= right <= interval.high, f"{text}, theory {right:.6g}"
        for other in wrong:
            inside = interval.low <= other[k] <= interval.high
            assert not inside, f"no power: {text}, theory {other[k]:.6g} for a wrong rate"


def compiled(**functions) -> dict:
    """Policies by hook, compiled where Numba is on."""
    assert set(functions) <= set(HOOKS)
    return {hook: _compile(hook, f) for hook, f in functions.items()}


@functools.cache
def _compile(hook: str, function: Callable) -> Callable:
    return kernel(signature(hook))(function)


def ends_lindley(arrival: Sequence[int], service: Sequence[int]) -> list[int]:
    """Ends of service, one server, first come first served (Lindley 1952), in exact integers."""
    ends, free = [], 0
    for a, s in zip(arrival, service, strict=True):
        free = max(int(a), free) + int(s)
        ends.append(free)
    return ends


def ends_kiefer_wolfowitz(arrival: Sequence[int], service: Sequence[int], c: int) -> np.ndarray:
    """Ends of service, c servers, first come first served (Kiefer and Wolfowitz 1955)."""
    free = [0] * c
    ends = []
    for a, s in zip(arrival, service, strict=True):
        end = max(int(a), free[0]) + int(s)
        heapq.heapreplace(free, end)
        ends.append(end)
    return np.array(ends)


def erlang_b(c: int, offered: float) -> float:
    """Share of arrivals lost by c servers without a queue."""
    lost = 1.0
    for k in range(1, c + 1):
        lost = offered * lost / (k + offered * lost)
    return lost


def erlang_c(c: int, offered: float) -> float:
    """Share of arrivals that wait for one of c servers."""
    lost = erlang_b(c, offered)
    return lost / (1 - offered / c * (1 - lost))
