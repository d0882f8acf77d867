"""The mirror beside the engine: the same arrivals, the real step times, step by step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .mirror import Mirror, Step
from .steplog import StepLog


@dataclass(frozen=True)
class Match:
    """How many steps of a run the mirror reproduces.

    Attributes:
        steps: steps of the run.
        emissions: those in which exactly the same requests get a token.
        whole: those in which, besides, as many requests run and as many blocks are in use.
        first: the first step that is not whole; -1 if all are.
    """

    steps: int
    emissions: int
    whole: int
    first: int = -1

    @property
    def pct(self) -> float:
        """Share of steps with the same emissions, in per cent."""
        return 100.0 * self.emissions / max(1, self.steps)

    def __add__(self, other: "Match") -> "Match":
        return Match(
            self.steps + other.steps,
            self.emissions + other.emissions,
            self.whole + other.whole,
            self.first if self.first >= 0 else other.first,
        )


def replayed(log: StepLog) -> Iterator[Step]:
    """The mirror's steps under the run's arrivals and step times; as many as the run has."""
    mirror, added = Mirror(log.rules), 0
    for start in log.start:
        while added < len(log.prompt) and log.arrival[added] <= start:
            tokens = log.tokens[added] if log.tokens else None
            mirror.add(added, log.prompt[added], log.output[added], tokens)
            added += 1
        yield mirror.step()


def step_match(log: StepLog) -> Match:
    """Replay a run and count the steps that agree; nothing is set right after a difference."""
    emissions = whole = 0
    first = -1
    rows = zip(replayed(log), log.emitted, log.scheduled, log.blocks, strict=True)
    for number, (step, emitted, scheduled, blocks) in enumerate(rows):
        same = sorted(step.emitted) == emitted
        emissions += same
        if same and step.sequences == scheduled and step.used == blocks:
            whole += 1
        elif first < 0:
            first = number
    return Match(len(log.start), emissions, whole, first)


@dataclass(frozen=True)
class Work:
    """What each step of a run computes (columns), and how long it took.

    ``seconds`` reaches from the look for arrivals to the next one, or to the end of the step where
    the loop waited for an arrival. ``changed``: the step has another number of tokens than the one
    before it.
    """

    tokens: npt.NDArray[np.float64]
    context: npt.NDArray[np.float64]
    pairs: npt.NDArray[np.float64]
    sequences: npt.NDArray[np.float64]
    changed: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]

    @staticmethod
    def joined(parts: "list[Work]") -> "Work":
        """Several runs as one."""
        names = ("tokens", "context", "pairs", "sequences", "changed", "seconds")
        return Work(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def work_of(log: StepLog) -> Work:
    """The work and time of each step of a run."""
    steps = list(replayed(log))
    tokens = np.array([s.tokens for s in steps], float)
    changed = np.ones(len(steps))
    changed[1:] = tokens[1:] != tokens[:-1]
    start, end = np.array(log.start), np.array(log.end)
    seconds = end - start
    following = start[1:] - start[:-1]
    # A longer gap than this is a wait for an arrival, not the loop's own work.
    seconds[:-1] = np.where(following - seconds[:-1] < 0.001, following, seconds[:-1])
    return Work(
        tokens,
        np.array([s.context for s in steps], float),
        np.array([s.pairs for s in steps], float),
        np.array([s.sequences for s in steps], float),
        changed,
        seconds,
    )
