"""GPUs that decode rollouts of reinforcement learning: begun, ended and broken off.

Iterations of a batch are timed by the model of a GPU; between two ends they are skipped in closed
form, as an iteration's time is linear in the context.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from mltwin.models.gpu.iteration import IterationModel

MODEL, GPU = "llama-3.1-8b", "h100-sxm-80gb"
SLOTS = 112  # rollouts of a GPU at a time: its 440,000 tokens of KV cache, at 3,800 each
PROMPT = 512  # tokens


@cache
def decoding() -> tuple[np.ndarray, np.ndarray]:
    """Seconds of an iteration by batch, and by each token of context: float64[SLOTS + 1]."""
    model = IterationModel(MODEL, GPU)
    short, long = 1024, 8192
    sizes = [1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256]
    few = np.array([model.seconds(decode_contexts=[short] * b) for b in sizes])
    many = np.array([model.seconds(decode_contexts=[long] * b) for b in sizes])
    each = (many - few) / ((long - short) * np.array(sizes))
    base = few - each * short * np.array(sizes)
    every = np.arange(SLOTS + 1)
    return np.interp(every, sizes, base), np.interp(every, sizes, each)


@cache
def prefill_s() -> float:
    """Seconds a token of a prompt, or of a cache that is made again."""
    return IterationModel(MODEL, GPU).seconds(prefill_chunks=[(4096, 0)]) / 4096


@dataclass
class Rollout:
    """One answer: tokens to make and made, version of the weights when it began, steps it took."""

    number: int
    tokens: int
    made: int = 0
    version: int = 0
    steps: int = 1


@dataclass
class Worker:
    """A GPU that decodes; `made` counts iterations, so that a rollout ends at a count."""

    now: float = 0.0
    made: int = 0
    context: int = 0
    running: list[tuple[int, int, Rollout]] = field(default_factory=list)

    def seconds(self, iterations: int) -> float:
        """Of so many iterations with what is running: contexts grow by one in each."""
        base, each = decoding()
        n = len(self.running)
        grown = iterations * self.context + n * iterations * (iterations + 1) / 2
        return float(iterations * base[n] + each[n] * grown)

    def until(self, moment: float) -> int:
        """Whole iterations that end by a moment (before the next rollout ends)."""
        low, high = 0, self.running[0][0] - self.made
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high) if self.now + self.seconds(middle) <= moment else (low, middle - 1)
            )
        return low

    def go(self, iterations: int) -> None:
        """Iterations with what is running."""
        self.now += self.seconds(iterations)
        self.made += iterations
        self.context += iterations * len(self.running)

    def begin(self, rollout: Rollout, moment: float) -> None:
        """Take a rollout in, at the end of the iteration in which it comes."""
        if self.running and moment > self.now:
            first = self.running[0][0] - self.made
            self.go(min(self.until(moment) + 1, first))
        self.now = max(self.now, moment) + prefill_s() * (PROMPT + rollout.made)
        self.context += PROMPT + rollout.made
        left = rollout.tokens - rollout.made
        heapq.heappush(self.running, (self.made + left, rollout.number, rollout))

    def next_end(self) -> float:
        """When the next rollout ends."""
        if not self.running:
            return np.inf
        return self.now + self.seconds(self.running[0][0] - self.made)

    def end(self) -> Rollout:
        """Go on to that end."""
        self.go(self.running[0][0] - self.made)
        _, _, rollout = heapq.heappop(self.running)
        rollout.made = rollout.tokens
        self.context -= PROMPT + rollout.tokens
        return rollout

    def stop(self, moment: float) -> list[Rollout]:
        """Break off; what is unfinished keeps what it has made."""
        if self.running:
            self.go(self.until(moment))
        unfinished = [rollout for _, _, rollout in sorted(self.running)]
        for end, _, rollout in self.running:
            rollout.made = rollout.tokens - (end - self.made)
        self.running, self.context, self.now = [], 0, max(self.now, moment)
        return unfinished


@dataclass
class Pool:
    """GPUs that decode, and rollouts that wait for a free slot of one; `version` is that of the
    weights with which rollouts begin."""

    workers: list[Worker]
    waiting: list[Rollout] = field(default_factory=list)
    ends: list[tuple[float, int]] = field(default_factory=list)
    version: int = 0

    @classmethod
    def of(cls, gpus: int, moment: float = 0.0) -> "Pool":
        """So many idle GPUs."""
        return cls([Worker(moment) for _ in range(gpus)])

    def ask(self, rollouts: Sequence[Rollout], moment: float) -> None:
        """Begin rollouts on the GPUs with most room, as far as there is room."""
        self.waiting += rollouts
        by_load = [(len(worker.running), place) for place, worker in enumerate(self.workers)]
        heapq.heapify(by_load)
        while self.waiting and by_load[0][0] < SLOTS:
            load, place = by_load[0]
            self._begin_first(self.workers[place], moment)
            heapq.heapreplace(by_load, (load + 1, place))
        self.ends = [(worker.next_end(), place) for place, worker in enumerate(self.workers)]
        heapq.heapify(self.ends)

    def _begin_first(self, worker: Worker, moment: float) -> None:
        rollout = self.waiting.pop(0)
        if rollout.made == 0:
            rollout.version = self.version
        worker.begin(rollout, moment)

    def next_end(self) -> float:
        """When the next rollout ends."""
        return self.ends[0][0]

    def end(self) -> Rollout:
        """The rollout that ends next; its place goes to the first that waits."""
        moment, place = self.ends[0]
        worker = self.workers[place]
        done = worker.end()
        if self.waiting:
            self._begin_first(worker, moment)
        heapq.heapreplace(self.ends, (worker.next_end(), place))
        return done

    def stop(self, moment: float) -> list[Rollout]:
        """Break all off: those begun and those that waited, in the order of their prompts."""
        left = [r for worker in self.workers for r in worker.stop(moment)] + self.waiting
        return sorted(left, key=lambda r: r.number)
