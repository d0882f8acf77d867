"""Gradient coding over rounds: redundant work, so that a gradient needs not all workers at once.

A master wants the gradients of jobs 0, 1, ... of n workers; job t is begun in round t and must be
known after round t + T. A round has a straggler pattern: workers later than (1 + mu) times the
fastest. If the pattern of the last rounds is one that the code bears, the round ends there (or when
all are in) and what the stragglers did is lost; else the master waits: for all, as the authors'
programs do, or only until the pattern is borne.

- `uncoded`: all workers, T = 0.
- `gc(s)` (Tandon et al., ICML 2017): any n - s workers, load (s + 1) / n, T = 0.
- `sr_sgc(B, W, lambda)`: selective repeat. As GC with s = ceil(B lambda / (W - 1 + B)); of v > s
  stragglers of round t, v - s do their task again in round t + B in place of their new one.
- `m_sgc(B, W, lambda)`: multiplexed. A worker's share of a job is W - 1 plain parts and B coded
  ones over W - 1 + B rounds; a plain part that was lost is done again in a coded one's place, where
  the n - lambda others carry the coded part.

(Krishnan, Ebrahimi and Khisti, Sequential Gradient Coding for Straggler Mitigation, ICLR 2023,
arXiv 2211.13802, sections 2 and 3.) Both bear patterns of the (B, W, lambda)-bursty model: within
any W rounds at most lambda workers straggle, and a worker's first and last time among them are less
than B rounds apart.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import NETWORK, SERVICE, normals, uniforms

KINDS = ("uncoded", "gc", "sr_sgc", "m_sgc")


@dataclass(frozen=True)
class Code:
    """A code of n workers.

    Attributes:
        kind: one of `KINDS`.
        n: workers.
        load: share of a whole gradient that each worker computes in a round.
        rounds_late: T, rounds between a job's begin and its gradient at most.
        s: stragglers of a round that are borne without repetition (gc, sr_sgc).
        burst, window, spread: B, W and lambda (sr_sgc, m_sgc).
    """

    kind: str
    n: int
    load: float
    rounds_late: int = 0
    s: int = 0
    burst: int = 0
    window: int = 0
    spread: int = 0

    @property
    def label(self) -> str:
        """As in the paper: GC(15), SR-SGC(2, 3, 23), M-SGC(1, 2, 27)."""
        if self.kind == "uncoded":
            return "uncoded"
        if self.kind == "gc":
            return f"GC({self.s})"
        name = "SR-SGC" if self.kind == "sr_sgc" else "M-SGC"
        return f"{name}({self.burst}, {self.window}, {self.spread})"


def uncoded(n: int) -> Code:
    """Every worker computes its n-th."""
    return Code("uncoded", n, 1 / n)


def gc(n: int, s: int) -> Code:
    """Gradient coding that bears s stragglers of each round.

    Raises InputError unless 0 <= s < n.
    """
    if not 0 <= s < n:
        raise InputError(f"GC of {s} stragglers among {n} workers", mend="give 0 to n - 1")
    return Code("gc", n, (s + 1) / n, s=s)


def sr_sgc(n: int, burst: int, window: int, spread: int) -> Code:
    """Selective repeat for (B, W, lambda) = (burst, window, spread).

    Raises InputError unless burst divides window - 1 and spread is 1 to n.
    """
    if burst < 1 or window <= burst or (window - 1) % burst or not 1 <= spread <= n:
        raise InputError(
            f"SR-SGC({burst}, {window}, {spread}) of {n} workers",
            mend="let B divide W - 1, and lambda be 1 to n",
        )
    s = math.ceil(burst * spread / (window - 1 + burst))
    return Code("sr_sgc", n, min(s + 1, n) / n, burst, min(s, n - 1), burst, window, spread)


def m_sgc(n: int, burst: int, window: int, spread: int) -> Code:
    """Multiplexed for (B, W, lambda) = (burst, window, spread).

    Raises InputError unless 1 <= burst < window and spread is 1 to n.
    """
    if not 1 <= burst < window or not 1 <= spread <= n:
        raise InputError(
            f"M-SGC({burst}, {window}, {spread}) of {n} workers",
            mend="let B be 1 to W - 1, and lambda 1 to n",
        )
    slots = window - 1 + burst
    if spread == n:
        load = slots / (n * (window - 1))
    else:
        load = (spread + 1) * slots / (n * (burst + (window - 1) * (spread + 1)))
    return Code("m_sgc", n, load, window - 2 + burst, 0, burst, window, spread)


@dataclass(frozen=True, eq=False)
class CodedRun:
    """Rounds of a code.

    Attributes:
        duration_s: float64[R].
        straggled: bool[R, n], whose work of a round was lost.
        waited: bool[R], whether the master waited longer than (1 + mu) times the fastest.
        decoded: bool[jobs], whether each gradient was known T rounds later.
    """

    duration_s: np.ndarray
    straggled: np.ndarray
    waited: np.ndarray
    decoded: np.ndarray

    @property
    def total_s(self) -> float:
        """Of all rounds."""
        return float(self.duration_s.sum())


def run_code(
    code: Code,
    delays_s: np.ndarray,
    jobs: int,
    *,
    mu: float = 1.0,
    gradient_s: float = 0.0,
    measured_load: float = 0.0,
    wait: str = "all",
    check: bool = True,
) -> CodedRun:
    """Rounds 0 ... jobs + T - 1 under measured or drawn delays.

    Args:
        code: with its load.
        delays_s: float64[at least jobs + T, n], of each round and worker at `measured_load`.
        jobs: gradients wanted.
        mu: who takes longer than (1 + mu) times the fastest straggles.
        gradient_s: seconds of computation of a whole gradient on one worker; a code of load L adds
            (L - measured_load) of it to each delay, as the authors do.
        measured_load: at which the delays were measured.
        wait: where the pattern is not borne, "all": for everybody; "enough": for the next worker,
            and so on, until it is.
        check: see whether each job can be decoded; else `decoded` is empty.

    Raises InputError: too few rounds or workers, or an unknown way to wait.
    """
    rounds = jobs + code.rounds_late
    if len(delays_s) < rounds or delays_s.shape[1] != code.n:
        raise InputError(
            f"delays of {delays_s.shape[0]} rounds and {delays_s.shape[1]} workers, "
            f"{code.label} of {jobs} jobs needs {rounds} and {code.n}",
            mend="give more rounds, or fewer jobs",
        )
    if wait not in ("all", "enough"):
        raise InputError(f"unknown way to wait {wait!r}", mend="give all or enough")
    delay = delays_s[:rounds] + (code.load - measured_load) * gradient_s
    straggled = np.zeros((rounds, code.n), bool)
    waited = np.zeros(rounds, bool)
    duration = np.empty(rounds)
    for t in range(rounds):
        limit = float(delay[t].min()) * (1 + mu)
        late = delay[t] > limit
        duration[t] = min(limit, float(delay[t].max()))
        if not borne(code, straggled[:t], late):
            waited[t] = True
            late, duration[t] = _wait(code, straggled[:t], delay[t], late, wait)
        straggled[t] = late
    decoded = [is_decoded(code, straggled, job) for job in range(jobs if check else 0)]
    return CodedRun(duration, straggled, waited, np.array(decoded, bool))


def _wait(
    code: Code, before: np.ndarray, delay: np.ndarray, late: np.ndarray, wait: str
) -> tuple[np.ndarray, float]:
    """Who is late after waiting, and how long the round is."""
    if wait == "all":
        return np.zeros_like(late), float(delay.max())
    still = late.copy()
    for worker in np.argsort(delay, kind="stable"):
        if late[worker]:
            still[worker] = False
            if borne(code, before, still):
                return still, float(delay[worker])
    return still, float(delay.max())


def borne(code: Code, before: np.ndarray, late: np.ndarray) -> bool:
    """Whether a code bears these stragglers after those of the rounds before (bool[t, n])."""
    if code.kind == "uncoded":
        return not late.any()
    if code.kind == "gc":
        return int(late.sum()) <= code.s
    t = len(before)
    recent = before[max(0, t + 1 - code.window) :]
    if int((recent.any(axis=0) | late).sum()) > code.spread:
        return False
    # A worker that straggled B rounds ago or earlier, within the window, must not do so again.
    old = before[max(0, t + 1 - code.window) : max(0, t + 1 - code.burst)]
    return not (old.any(axis=0) & late).any()


def is_decoded(code: Code, straggled: np.ndarray, job: int) -> bool:
    """Whether the gradient of a job is known after round job + T."""
    if code.kind in ("uncoded", "gc"):
        return int(straggled[job].sum()) <= code.s
    if code.kind == "sr_sgc":
        return _repeated(code, straggled, job) >= code.n - code.s
    return _multiplexed(code, straggled, job)


def _repeated(code: Code, straggled: np.ndarray, job: int) -> int:
    """Results of a job that came in its round or, done again, B rounds later."""
    # Who was busy with an earlier job's repetition in this round did not do this job's task.
    missing = straggled[job].copy()
    if job >= code.burst:
        missing |= _repeats(code, straggled, job - code.burst)
    again = _repeats(code, straggled, job, missing) & ~straggled[job + code.burst]
    return int((~missing).sum() + again.sum())


def _repeats(
    code: Code, straggled: np.ndarray, job: int, missing: np.ndarray | None = None
) -> np.ndarray:
    """bool[n]: who does a job's task again, B rounds later: the first v - s that are missing."""
    if missing is None:
        missing = straggled[job].copy()
        if job >= code.burst:
            missing |= _repeats(code, straggled, job - code.burst)
    chosen = np.zeros_like(missing)
    count = int(missing.sum()) - code.s
    if count > 0:
        chosen[np.flatnonzero(missing)[:count]] = True
    return chosen


def _multiplexed(code: Code, straggled: np.ndarray, job: int) -> bool:
    """All plain parts of every worker, and n - lambda results of each coded part."""
    plain = np.zeros(code.n, np.int64)
    need = code.window - 1
    for slot in range(need + code.burst):
        came = ~straggled[job + slot]
        coded = plain >= need  # has all its plain parts: does the coded one of this slot
        if slot >= need and int((coded & came).sum()) < code.n - code.spread:
            return False
        plain += came & ~coded
    return bool((plain >= need).all())


def codes_to_try(n: int, rounds_late: int, most: int) -> Iterator[Code]:
    """All codes that bear at most `most` workers and are at most so many rounds late."""
    for s in range(1, most + 1):
        yield gc(n, s)
    for spread in range(1, most + 1):
        for burst in range(1, rounds_late + 1):
            for window in range(burst + 1, rounds_late + 3, burst):
                yield sr_sgc(n, burst, window, spread)
        for window in range(2, rounds_late + 2):
            for burst in range(1, min(window, rounds_late - window + 3)):
                yield m_sgc(n, burst, window, spread)


def best_code(
    codes: Iterable[Code], total_s: Callable[[Code], float]
) -> dict[str, tuple[Code, float]]:
    """The fastest code of each kind, by seconds of a run: `{"gc": (code, seconds), ...}`."""
    best: dict[str, tuple[Code, float]] = {}
    for code in codes:
        seconds = total_s(code)
        if code.kind not in best or seconds < best[code.kind][1]:
            best[code.kind] = (code, seconds)
    return best


def gilbert_elliott(
    seed: int, rounds: int, workers: int, *, enter: float, leave: float
) -> np.ndarray:
    """bool[rounds, workers]: stragglers of two-state chains (Gilbert; Elliott).

    A worker that is well straggles in the next round with probability `enter`, one that straggles
    is well again with `leave`; the first round is of the stationary law, enter / (enter + leave).

    Raises InputError unless both are within 0 ... 1 and one is positive.
    """
    if not (0 <= enter <= 1 and 0 <= leave <= 1 and enter + leave > 0):
        raise InputError(f"chances of {enter} and {leave}", mend="give both within 0 and 1")
    workers_of = np.arange(workers)
    found = np.empty((rounds, workers), bool)
    state = uniforms(seed, NETWORK, workers_of, 0) < enter / (enter + leave)
    for t in range(rounds):
        if t:
            draw = uniforms(seed, NETWORK, workers_of, t)
            state = np.where(state, draw >= leave, draw < enter)
        found[t] = state
    return found


def drawn_delays(
    seed: int, straggling: np.ndarray, *, usual_s: float, sigma: float, factor: float
) -> np.ndarray:
    """float64[rounds, workers]: lognormal around `usual_s`, times `factor` for stragglers."""
    rounds, workers = straggling.shape
    number = np.arange(rounds * workers).reshape(rounds, workers)
    spread = np.exp(sigma * normals(seed, SERVICE, number))
    return np.asarray(usual_s * spread * np.where(straggling, factor, 1.0))


def gc_round_mean_s(n: int, s: int, fixed_s: float, drawn_s: float) -> float:
    """Mean round of GC that waits for the fastest n - s under shifted exponential work.

    Each n-th of a gradient takes fixed + exponential(drawn); a worker has s + 1 of them at one
    speed: (s + 1) (fixed + drawn (H_n - H_s)) (Lee et al., IEEE Trans. Inf. Theory 64(3), 2018).
    """
    harmonic = sum(1 / k for k in range(s + 1, n + 1))
    return (s + 1) * (fixed_s + drawn_s * harmonic)
