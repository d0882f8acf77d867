"""The twin's answer: the mirror's steps, each as long as the cost says."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import ARRIVALS, LENGTHS, exponentials, normals

from .cost import StepCost
from .mirror import Mirror, Rules, Step

Array = npt.NDArray[np.float64]
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# Lengths of the runs: log-normal, median and sigma, cut to (least, most) tokens.
PROMPT_TOKENS = (128, 0.6, 16, 512)
OUTPUT_TOKENS = (32, 0.5, 4, 128)
_CAPACITY_REQUESTS = 1000


@dataclass(frozen=True)
class Requests:
    """Tokens and arrival (seconds, ascending) of each request of a run."""

    prompt: npt.NDArray[np.int64]
    output: npt.NDArray[np.int64]
    arrival: Array

    def __len__(self) -> int:
        return len(self.prompt)


@dataclass(frozen=True)
class Served:
    """When requests got their first and last token (seconds), and in how many steps.

    ``busy_s``: seconds spent in steps. Requests that were given up have NaN.
    """

    first: Array
    last: Array
    steps: int = 0
    busy_s: float = 0.0


def draw_requests(requests: int, rate: float, seed: int, part: int = 0) -> Requests:
    """Poisson arrivals at ``rate`` a second with log-normal lengths.

    Draws are keyed by (seed, part): other parts of a seed have other requests; the rate only
    stretches time.

    Raises:
        InputError: no requests, or a rate that is not positive.
    """
    if requests < 1 or not rate > 0:
        raise InputError(f"{requests} requests at {rate} a second", mend="give positive numbers")
    numbers = np.arange(requests)
    return Requests(
        _lengths(normals(seed, LENGTHS, part, 2 * numbers), PROMPT_TOKENS),
        _lengths(normals(seed, LENGTHS, part, 2 * numbers + 1), OUTPUT_TOKENS),
        np.cumsum(exponentials(seed, ARRIVALS, part, numbers)) / rate,
    )


def _lengths(drawn: Array, law: tuple[int, float, int, int]) -> npt.NDArray[np.int64]:
    median, sigma, least, most = law
    drawn = median * np.exp(sigma * drawn)
    return np.clip(np.rint(drawn), least, most).astype(np.int64)


def serve(rules: Rules, requests: Requests, duration: Callable[[Step, bool], float]) -> Served:
    """Run requests through the mirror.

    Args:
        duration: time of a step, given it and whether its number of tokens differs from the one
            before it. In the unit of the arrivals; whole numbers stay whole.
    """
    mirror, n = Mirror(rules), len(requests)
    arrival, prompt, output = (
        values.tolist() for values in (requests.arrival, requests.prompt, requests.output)
    )
    first, last = [float("nan")] * n, [float("nan")] * n
    now, added, before, steps, busy = arrival[0], 0, -1, 0, 0.0
    while added < n or mirror.groups:
        if not mirror.groups and added < n:
            now = max(now, arrival[added])
        while added < n and arrival[added] <= now:
            mirror.add(added, prompt[added], output[added])
            added += 1
        step = mirror.step()
        if step.tokens == 0:
            continue
        spent = duration(step, step.tokens != before)
        now, before = now + spent, step.tokens
        steps, busy = steps + 1, busy + spent
        for request in step.emitted:
            if first[request] != first[request]:
                first[request] = now
            last[request] = now
    return Served(np.array(first), np.array(last), steps, busy)


def predict(rules: Rules, requests: Requests, cost: StepCost) -> Served:
    """What the twin expects of a run."""

    def duration(step: Step, changed: bool) -> float:
        work = cost.base + cost.token * step.tokens + cost.context * step.context
        work += cost.pair * step.pairs + cost.sequence * step.sequences + cost.change * changed
        return cost.scale * work

    return serve(rules, requests, duration)


def capacity(rules: Rules, cost: StepCost, seed: int, part: int = 0) -> float:
    """Requests a second that the engine can finish: a backlog of 1,000, all there at once."""
    drawn = draw_requests(_CAPACITY_REQUESTS, 1.0, seed, part)
    backlog = Requests(drawn.prompt, drawn.output, np.zeros(len(drawn)))
    served = predict(rules, backlog, cost)
    return len(drawn) / float(np.nanmax(served.last))


def latencies(requests: Requests, served: Served) -> dict[str, float]:
    """Mean and quantiles of TTFT and TPOT, seconds: ``ttft_p50`` and so on.

    TPOT leaves the first token out, as vLLM has it; requests of one token have none.
    """
    ttft = served.first - requests.arrival
    several = requests.output > 1
    tpot = (served.last - served.first)[several] / (requests.output[several] - 1)
    found = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        values = values[~np.isnan(values)]
        if len(values):
            found[f"{name}_mean"] = float(values.mean())
            found |= {f"{name}_{q}": float(np.quantile(values, p)) for q, p in QUANTILES.items()}
    return found
