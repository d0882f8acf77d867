"""What a difference means: regression, improved, same or inconclusive, among many asked at once.

Three questions are asked of each metric of each scenario: is it worse by more than its tolerance,
is it better by more, is it within? Each is answered yes where a one-sided t-test says so (the last
by two of them: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987), corrected
over all metrics and scenarios by Holm's procedure. So with a family-wise level of 5 % the chance
that a metric is wrongly called a regression, in the whole check, is at most 5 %, however many there
are and however they depend on each other; the same holds of "improved", and of "same".

A check may look again with more seeds. The level is then shared out equally over the looks that
could be made (Bonferroni), which keeps the chance over all of them. At a later look only what is
still open is tested again, as if the rest had failed: Holm's steps are then those of a family with
large p-values put in, which can only take verdicts away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mltwin.inference import holm

from .difference import Difference
from .tolerances import Direction, Tolerance

Verdict = Literal["regression", "improved", "same", "inconclusive"]
_KINDS: tuple[Verdict, ...] = ("regression", "improved", "same")


@dataclass(frozen=True)
class Question:
    """One metric of one scenario: its difference, and what to hold it against."""

    difference: Difference
    direction: Direction
    tolerance: Tolerance

    @property
    def margin(self) -> float:
        """The tolerance in the units of the difference: 0 where there is nothing to relate to."""
        fits = self.tolerance.relative == self.difference.relative
        return self.tolerance.size if fits else 0.0

    def p_values(self) -> tuple[float, float, float]:
        """Of regression, improved and same: small where that is sure."""
        above, below = self.difference.above(self.margin), self.difference.below(-self.margin)
        within = max(self.difference.below(self.margin), self.difference.above(-self.margin))
        if self.difference.error == 0:
            within = 0.0 if abs(self.difference.centre) <= self.margin else 1.0
        if self.direction == "steady":
            return min(1.0, 2 * min(above, below)), 1.0, within
        worse, better = (above, below) if self.direction == "lower" else (below, above)
        return worse, better, within


@dataclass(frozen=True)
class Answer:
    """A verdict with the interval that it was read from.

    The interval is that of Holm's step: wholly beyond the tolerance for a regression or an
    improvement, wholly within it for "same".
    """

    verdict: Verdict
    low: float
    high: float


def decide(questions: Sequence[Question], level: float, family: int) -> list[Answer]:
    """Answer questions that belong to a family of so many; level is the family's.

    Raises ValueError for a family smaller than the questions asked.
    """
    if family < len(questions):
        raise ValueError(f"{len(questions)} questions in a family of {family}")
    if not questions:
        return []
    table = np.array([q.p_values() for q in questions])
    tails = np.empty_like(table)
    yes = np.empty(table.shape, bool)
    for kind in range(len(_KINDS)):
        yes[:, kind], tails[:, kind] = _stepped(table[:, kind], level, family)
    return [_answer(q, yes[i], tails[i]) for i, q in enumerate(questions)]


def _stepped(p: np.ndarray, level: float, family: int) -> tuple[np.ndarray, np.ndarray]:
    """Which are rejected, and the level at which each was tested: the first failing step's else."""
    adjusted = holm(np.append(p, np.ones(family - len(p))))[: len(p)]
    rejected = adjusted <= level
    rank = np.empty(len(p))
    rank[np.argsort(p, kind="stable")] = np.arange(len(p))
    last = min(int(rejected.sum()), family - 1)
    return rejected, level / (family - np.where(rejected, rank, last))


def _answer(question: Question, yes: np.ndarray, tails: np.ndarray) -> Answer:
    sure = np.flatnonzero(yes)
    kind = int(sure[0]) if len(sure) else None
    if question.direction == "steady":
        tails = tails / [2, 1, 1]  # a move to either side was asked about
    tail = float(tails.min()) if kind is None else float(tails[kind])
    return Answer(
        "inconclusive" if kind is None else _KINDS[kind], *question.difference.interval(tail)
    )
