"""A twin that follows its original: drift of a deployment, from a run or from its metrics.

What drifts is little: the GPU's speed against the profile (``scale``: clocks, power caps, another
driver), the host's overhead per iteration, and the KV blocks that the engine really has.
:func:`follow_run` replays a measured run and fits them to its requests' TPOT and TTFT;
:func:`follow_metrics` reads scrapes of vLLM's metrics page, whose intervals are a straight line in
the same unknowns (:mod:`mltwin.calibration.update`). Requests are split by time into blocks; every
other block is only scored, never fitted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mltwin.calibration.update import MAX_HOST_ERROR_S, MAX_SCALE_ERROR, Drift, estimate_drift
from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from mltwin.scenario import Scenario
    from mltwin.serving import ServingScenario
    from mltwin.serving_run import Lowered
    from mltwin.workloads.read_vllm import MeasuredRun

Array = npt.NDArray[np.float64]
BLOCKS = 10
GROUP = 10
TRUST = {"tpot": 1.0, "ttft": 0.2}
"""Weights of the residuals: who arrives just before an iteration ends and who just after is
chance, so that means of TTFT scatter several times as much as those of TPOT."""
LEAST_REQUESTS = 50
SCALES = (0.25, 4.0)
FULL = 0.95
METRICS = ("ttft", "tpot", "e2e")


@dataclass(frozen=True)
class Update:
    """What a measured run says about a scenario.

    Attributes:
        pool: the pool that was updated.
        drift: the parameters and their standard errors.
        kv_blocks: blocks that the engine has, None where the data do not tell.
        before, after: mean absolute and signed error (fractions) of the means of each metric on
            requests that were not fitted; empty from metrics pages.
        notes: what could not be told, and why.
    """

    pool: str
    drift: Drift
    kv_blocks: int | None
    before: dict[str, float]
    after: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def changes(self) -> dict[str, float | int]:
        """Scenario fields and their new values."""
        found: dict[str, float | int] = {}
        place = f"cluster.{self.pool}"
        if "scale" in self.drift.fitted:
            found[f"{place}.time_scale"] = round(self.drift.scale, 4)
        if "host_s" in self.drift.fitted:
            found[f"{place}.host_overhead_ms"] = round(self.drift.host_s * 1e3, 4)
        if self.kv_blocks is not None:
            found[f"{place}.kv_blocks"] = self.kv_blocks
        return found

    def rows(self) -> list[tuple[str, float | int, float | None]]:
        """(field, value, standard error in the field's unit) of each change."""
        errors = {"time_scale": self.drift.scale_error, "host_overhead_ms": self.drift.host_error_s}
        return [
            (name, value, _in_unit(errors.get(name.rsplit(".", 1)[1]), name))
            for name, value in self.changes().items()
        ]

    def data(self) -> dict[str, Any]:
        """Everything as plain numbers and texts."""
        return {
            "pool": self.pool,
            "fields": {n: {"value": v, "standard_error": e} for n, v, e in self.rows()},
            "before": self.before,
            "after": self.after,
            "notes": self.notes,
        }


def _in_unit(error: float | None, name: str) -> float | None:
    return None if error is None else error * 1e3 if name.endswith("_ms") else error


def apply_update(scenario: "Scenario", update: Update) -> "Scenario":
    """The scenario with the update's fields set."""
    changed = scenario
    for name, value in update.changes().items():
        changed = changed.set(name, value)
    return changed


def follow_run(
    scenario: "ServingScenario",
    run: "MeasuredRun",
    *,
    pool: str | None = None,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> Update:
    """Fit a scenario's drifting parameters to a measured run of the same deployment.

    Args:
        scenario: the deployment as it is believed to be; its workload is replaced by the run's.
        run: requests with TTFT, TPOT and E2E.
        pool: which pool drifts (default: the only one).
        seed: of policies that draw.
        progress: called with (share, text).

    Raises:
        InputError: several pools and none named, too few requests, a run without timings, data
            that identify nothing, or a fit that does not improve on requests it has not seen.
    """
    name = _pool(scenario, pool)
    _check_run(run)
    replay = _Replay(scenario, run, name, seed)
    fitted = _odd_blocks(len(run.trace))
    start = np.array([1.0, replay.times.host_s])
    before = replay.errors(replay.simulate(*start), ~fitted)
    blocks, note = _fit_blocks(replay, fitted)
    replay.blocks = blocks or replay.blocks
    drift = _fit_drift(replay, fitted, progress)
    after = replay.errors(replay.simulate(drift.scale, drift.host_s, blocks), ~fitted)
    if _overall(after) >= _overall(before):
        raise InputError(
            f"the profile is as good as a fit: error {_overall(before):.1%} before, "
            f"{_overall(after):.1%} after, on requests not fitted",
            mend="keep the scenario as it is",
        )
    notes = [text for text in (drift.kept, note) if text]
    return Update(name, drift, blocks, before, after, notes)


def _pool(scenario: "ServingScenario", pool: str | None) -> str:
    names = list(scenario.cluster)
    if pool is None and len(names) > 1:
        raise InputError(f"the scenario has pools {names}", mend="name the one that drifts")
    if pool is not None and pool not in names:
        raise InputError(f"no pool {pool!r}", mend=f"use one of {names}")
    return pool or names[0]


def _check_run(run: "MeasuredRun") -> None:
    if run.ttft_s is None or run.tpot_s is None or run.e2e_s is None:
        raise InputError(
            "the run lacks TTFT, TPOT or E2E",
            where=run.trace.source,
            mend="measure it with streaming and save the details",
        )
    if len(run.trace) < LEAST_REQUESTS:
        raise InputError(
            f"{len(run.trace)} requests", where=run.trace.source,
            mend=f"give at least {LEAST_REQUESTS}",
        )  # fmt: skip


def _blocks(requests: int) -> npt.NDArray[np.int64]:
    """Which of ``BLOCKS`` blocks of consecutive requests each request is in."""
    return np.arange(requests) * BLOCKS // requests


def _odd_blocks(requests: int) -> npt.NDArray[np.bool_]:
    """True for the requests of every other block."""
    return _blocks(requests) % 2 == 0


class _Replay:
    """The measured requests through the scenario, with other parameters each time."""

    def __init__(
        self, scenario: "ServingScenario", run: "MeasuredRun", pool: str, seed: int
    ) -> None:
        from mltwin.serving_cluster import pool_times
        from mltwin.serving_run import lower

        self.run = run
        self.group = max(1, min(GROUP, len(run.trace) // (4 * BLOCKS)))
        self.pool = list(scenario.cluster).index(pool)
        self.times = pool_times(scenario, pool)
        plain = scenario.set(f"cluster.{pool}.time_scale", 1.0)
        self.lowered: Lowered = lower(plain, seed, trace=run.trace)
        self.cells = self.lowered.input.kinds[self.pool].cells
        self.blocks = self.lowered.input.kinds[self.pool].blocks
        self.measured = {
            "ttft": np.asarray(run.ttft_s),
            "tpot": np.asarray(run.tpot_s),
            "e2e": np.asarray(run.e2e_s),
        }

    def simulate(self, scale: float, host_s: float, blocks: int | None = None) -> dict[str, Array]:
        """Seconds of each metric and request; NaN where a request did not finish."""
        from mltwin.models.serving.simulate import simulate
        from mltwin.serving_cluster import rescaled

        kinds = list(self.lowered.input.kinds)
        kinds[self.pool] = replace(
            kinds[self.pool],
            cells=rescaled(self.cells, self.times, scale, host_s),
            blocks=blocks or self.blocks,
        )
        outcome = simulate(
            replace(self.lowered.input, kinds=kinds),
            {hook: policy.compiled() for hook, policy in self.lowered.policies.items()},
        )
        self.peak = float(np.max(outcome.replicas["peak_blocks"])) / (blocks or self.blocks)
        return _latencies_s(outcome.requests)

    def residuals(self, simulated: dict[str, Array], rows: npt.NDArray[np.bool_]) -> Array:
        """Log of simulated over measured means of TPOT, then TTFT, over groups of neighbours.

        A single request's TTFT jumps by an iteration when it just misses one: only means move
        smoothly with the parameters.
        """
        parts = []
        for metric in TRUST:
            ours, real = simulated[metric][rows], self.measured[metric][rows]
            both = np.isfinite(ours) & np.isfinite(real)
            starts = np.arange(0, len(ours), self.group)
            counts = np.maximum(np.add.reduceat(both, starts), 1)
            means = [
                np.add.reduceat(np.where(both, values, 0.0), starts) / counts
                for values in (ours, real)
            ]
            usable = (means[0] > 0) & (means[1] > 0)
            ratio = np.log(np.where(usable, means[0] / means[1], 1))
            parts.append(TRUST[metric] * np.where(usable, ratio, 0.0))
        return np.concatenate(parts)

    def errors(self, simulated: dict[str, Array], rows: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Relative error of the mean of each metric over the rows."""
        found = {}
        for metric in METRICS:
            ours, real = simulated[metric][rows], self.measured[metric][rows]
            both = np.isfinite(ours) & np.isfinite(real)
            found[metric] = float(ours[both].mean() / real[both].mean() - 1)
        return found


def _latencies_s(requests: Any) -> dict[str, Array]:
    from mltwin.models.serving.tables import DONE

    arrival, first, finish, made = (
        np.asarray(requests[name], np.float64)
        for name in ("arrival", "first", "finish", "generated")
    )
    done = np.asarray(requests["state"]) == DONE
    gaps = np.where(made > 1, made - 1, np.nan)
    values = {"ttft": first - arrival, "tpot": (finish - first) / gaps, "e2e": finish - arrival}
    return {name: np.where(done, value * 1e-12, np.nan) for name, value in values.items()}


def _overall(errors: dict[str, float]) -> float:
    return float(np.mean([abs(e) for e in errors.values()]))


def _fit_drift(
    replay: _Replay, fitted: npt.NDArray[np.bool_], progress: Callable[[float, str], None] | None
) -> Drift:
    """Robust least squares of the residuals; what is not sure falls back to the profile's."""
    host = replay.times.host_s
    values, errors = _least_squares(replay, fitted, [1.0, host], (True, True), progress)
    if errors[0] <= MAX_SCALE_ERROR * values[0] and errors[1] <= MAX_HOST_ERROR_S:
        return Drift(values[0], values[1], errors[0], errors[1], ("scale", "host_s"))
    values, errors = _least_squares(replay, fitted, [1.0, host], (True, False), progress)
    if errors[0] <= MAX_SCALE_ERROR * values[0]:
        why = "host overhead and scale cannot be told apart in this run: the overhead is kept"
        return Drift(values[0], host, errors[0], 0.0, ("scale",), why)
    raise InputError(
        f"the run cannot identify the scale (standard error {errors[0]:.0%})",
        where=replay.run.trace.source,
        mend="measure longer, or at several loads",
    )


# Sizes of a step: the simplex starts three of them wide and ends at a fiftieth.
LOOK = np.array([0.03, 1.5e-4])
LEAST = np.array([SCALES[0], 0.0])
MOST = np.array([SCALES[1], 0.1])
MAX_REPLAYS = 120
SHARES = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5)
"""Numbers of KV blocks that are tried, as shares of the scenario's."""


def _least_squares(
    replay: _Replay,
    rows: npt.NDArray[np.bool_],
    start: list[float],
    free: tuple[bool, bool],
    progress: Callable[[float, str], None] | None,
) -> tuple[list[float], list[float]]:
    """Values of (scale, host seconds) and their standard errors.

    The errors are a jackknife over blocks of requests (Efron and Tibshirani, An Introduction to
    the Bootstrap, section 11.5): requests of a block share their queue and do not count as
    independent.
    """
    chosen = np.flatnonzero(free)
    blocks = _blocks(len(rows))
    held = np.unique(blocks[rows])
    at = _minimum(replay, rows, np.array(start), chosen)[0]
    without = []
    for i, block in enumerate(held):
        without.append(_minimum(replay, rows & (blocks != block), at, chosen)[0])
        if progress:
            progress((i + 1) / len(held), f"fit {i + 2} of {len(held) + 1}")
    spread = np.array(without) - np.mean(without, axis=0)
    errors = np.sqrt((len(held) - 1) / len(held) * (spread**2).sum(axis=0))
    return [float(v) for v in at], [float(v) for v in errors]


def _minimum(
    replay: _Replay, rows: npt.NDArray[np.bool_], start: Array, chosen: npt.NDArray[np.intp]
) -> tuple[Array, float]:
    """The parameters of least soft-L1 cost (scale 0.1) over the rows, and that cost.

    Nelder and Mead's simplex (Computer Journal 7, 1965) asks for no slopes: a replay is a step
    function of its parameters on small scales.
    """
    from scipy.optimize import minimize

    def cost(x: Array) -> float:
        values = start.copy()
        values[chosen] = x * LOOK[chosen]
        residual = replay.residuals(replay.simulate(float(values[0]), float(values[1])), rows)
        return float(np.sum(np.sqrt(1 + (residual / 0.1) ** 2) - 1))

    # The cost has small steps along a narrow valley (a faster GPU and a slower host that make the
    # same TPOT), where a simplex shrinks too early: look along it, and start again from the best.
    at = start[chosen] / LOOK[chosen]
    bounds = np.column_stack([LEAST[chosen], MOST[chosen]]) / LOOK[chosen][:, None]
    for width in (3.0, -2.0, 1.0, 0.5):
        if len(chosen) == 2:
            at = min(_along_valley(replay, at, bounds), key=cost)
        found = minimize(
            cost,
            at,
            method="Nelder-Mead",
            bounds=bounds,
            options={
                "initial_simplex": np.vstack([at, at + width * np.eye(len(chosen))]),
                "maxfev": MAX_REPLAYS,
                "xatol": 0.02,
                "fatol": 1e-6,
            },
        )
        at = found.x
    best = start.copy()
    best[chosen] = found.x * LOOK[chosen]
    return best, float(found.fun)


def _along_valley(replay: _Replay, at: Array, bounds: Array) -> list[Array]:
    """Points of about equal TPOT around ``at``, itself first (in steps of ``LOOK``)."""
    tpot = float(np.nanmean(replay.measured["tpot"]))
    line = np.array([1.0, -tpot * LOOK[0] / LOOK[1]])
    offsets = sorted(np.linspace(-2.0, 2.0, 25), key=abs)
    return [np.clip(at + t * line, bounds[:, 0], bounds[:, 1]) for t in offsets]


def _fit_blocks(replay: _Replay, rows: npt.NDArray[np.bool_]) -> tuple[int | None, str]:
    """KV blocks that fit best, each with the drift that suits them, where the run ever filled
    them; else None and why."""
    start = np.array([1.0, replay.times.host_s])
    replay.simulate(*start)
    if replay.peak < FULL:
        return None, f"KV blocks not told: the run never held more than {replay.peak:.0%} of them"
    known, costs = replay.blocks, {}
    for share in SHARES:
        replay.blocks = int(known * share)
        costs[share] = _minimum(replay, rows, start, np.arange(2))[1]
    replay.blocks = known
    best = min(costs, key=lambda share: (costs[share], abs(share - 1)))
    if costs[best] > 0.95 * costs[1.0]:
        return None, "KV blocks kept: no other number fits better by 5 %"
    return int(known * best), ""


def follow_metrics(
    scenario: "ServingScenario", scrapes: Sequence[str | Path], *, pool: str | None = None
) -> Update:
    """Fit a scenario's drifting parameters to scrapes of a live vLLM's metrics page.

    Each interval between two scrapes gives the mean time between output tokens at a mean batch
    and context: points of a line in scale and host overhead. KV blocks are read, not fitted.

    Raises:
        InputError: scrapes that are no metrics pages or hold too little, or loads that identify
            nothing.
    """
    from mltwin.calibration.prometheus import cache_config, intervals, read_scrapes
    from mltwin.serving_cluster import pool_times

    name = _pool(scenario, pool)
    times = pool_times(scenario, name)
    pages = read_scrapes(scrapes)
    found = [i for i in intervals(pages) if i.context is not None and i.running >= 1]
    if not found:
        raise InputError(
            "no interval with requests running and the cache's size told",
            where=pages[0].where,
            mend="scrape under load, from a vLLM that reports vllm:cache_config_info",
        )
    gpu = np.array([_gpu_seconds(times, i) for i in found])
    gap = np.array([i.gap_s for i in found])
    host_part = times.sequence_s * np.array([i.running for i in found])
    drift = estimate_drift(gpu, gap - host_part, times.host_s, np.array([i.gaps for i in found]))
    config = cache_config(pages[-1])
    before = {"tpot": float(np.mean((gpu + times.host_s + host_part) / gap - 1))}
    after = {"tpot": float(np.mean((drift.scale * gpu + drift.host_s + host_part) / gap - 1))}
    notes = [drift.kept] if drift.kept else []
    notes.append("errors are those of the intervals that were fitted")
    return Update(name, drift, config.blocks if config else None, before, after, notes)


def _gpu_seconds(times: Any, interval: Any) -> float:
    """The profile's GPU time of an interval's mean iteration: decodes, and prefill besides."""
    running = max(1, round(interval.running))
    contexts = np.full(running, max(1, round(interval.context / running)))
    prefill = round(interval.tokens - running)
    chunks = [(prefill, 0)] if prefill >= 1 else []
    whole = float(times.seconds(chunks, contexts))
    return whole - times.host_s - times.sequence_s * (running + len(chunks))


def follow_files(
    scenario: "Scenario",
    paths: Sequence[str | Path],
    *,
    pool: str | None = None,
    benchmark: int | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Update:
    """`follow_run` with one file of a measured run, `follow_metrics` with several scrapes.

    Args:
        benchmark: which one of a GuideLLM report.

    Raises:
        InputError: as those two, and for a file that is neither.
    """
    from mltwin.serving import ServingScenario
    from mltwin.workloads import read_measured

    if not isinstance(scenario, ServingScenario):
        raise InputError(f"a {scenario.system} scenario", mend="only serving can be followed")
    if not paths:
        raise InputError("no measurements", mend="give a measured run, or scrapes of /metrics")
    if len(paths) > 1:
        return follow_metrics(scenario, paths, pool=pool)
    options: dict[str, Any] = {} if benchmark is None else {"benchmark": benchmark}
    return follow_run(scenario, read_measured(paths[0], **options), pool=pool, progress=progress)
