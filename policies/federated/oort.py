"""Oort: clients that teach much and take little time, with room for those not yet seen."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Server, Updates

from .limits import within
from .registry import named
from .selection import Drawing, expected_s

Array = npt.NDArray[Any]


@named(
    "selection", "oort", source="Lai et al. 2021 (OSDI), algorithm 1; code SymbioticLab/FedScale"
)
@dataclass
class Oort(Drawing):
    """Clients that teach much and take little time, with room for those not yet seen.

    U_i = |B_i| sqrt(mean of squared losses), cut to a quantile `clip` and scaled to 0 ... 1 over
    the idle clients, + sqrt(0.1 ln R / R_i), times (T / t_i)^`penalty` where t_i > T: R the
    round (versions so far + 1), R_i the round in which the client was last heard of, t_i the
    duration that was observed. Of the round's places a share epsilon (`explore`, times `decay` a
    choice, at least `least`) goes to clients never tried, drawn in proportion to
    (T / t_i)^`penalty` as expected; the others are drawn in proportion to utility from those above
    `cutoff` times the utility of the last that would fit.

    Pacer: T is the `threshold` quantile of durations (expected where none was observed). Every
    `pace` rounds the utility that came in the last `pace` rounds is compared with the `pace`
    before: nearly the same (10 %) moves the threshold up by `pace_step`, a change of more than 5
    times down.

    Faults of FedScale's code that are not repeated: the utility is of the last mini-batch only
    (issue 249; here of all local samples), the pool of candidates is at least 10 times the places
    whatever `cutoff` says, and it fails where all clients tried fit. A client whose work was lost
    counts as tried, with utility 0. Blacklists are left out (off by default there). Without a model
    a client's utility is its number of samples.

    Attributes:
        explore, decay, least: share of places for clients never tried.
        penalty: exponent alpha of slowness.
        clip: quantile at which utilities are cut.
        cutoff: c, how far below the last that fits a client may be.
        threshold: first quantile of T.
        pace, pace_step: rounds and change of the quantile of the pacer.
    """

    explore: float = 0.9
    decay: float = 0.98
    least: float = 0.2
    penalty: float = 2.0
    clip: float = 0.9
    cutoff: float = 0.95
    threshold: float = 0.3
    pace: int = 20
    pace_step: float = 0.05

    _share: float = field(init=False, repr=False, default=0.0)
    _quantile: float = field(init=False, repr=False, default=0.0)
    _utility: Any = field(init=False, repr=False, default=None)
    _heard: Any = field(init=False, repr=False, default=None)
    _duration: Any = field(init=False, repr=False, default=None)
    _gained: Any = field(init=False, repr=False, default=None)
    _paced: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("explore", "decay", "least", "clip", "cutoff", "threshold"), (0, 1))
        within(self, **shares, penalty=(0, 100), pace=(1, 2**31), pace_step=(0, 1))

    def forget(self, server: Server) -> None:
        """Nobody tried; durations as the plan has them."""
        count = len(server.clients)
        self._share, self._quantile = self.explore, self.threshold
        self._utility = np.zeros(count)
        self._heard = np.zeros(count, np.int64)  # round, from 1; 0: never
        self._duration = expected_s(server, np.arange(count))
        self._gained, self._paced = {}, 0

    def report(self, server: Server, arrivals: Arrivals, updates: Updates | None) -> None:
        """Remember utilities and durations; losses have no utility."""
        self.at_run(server)
        clients, number = arrivals.client, server.version + 1
        samples = server.clients.samples[clients]
        if updates is not None:
            utility = samples * np.sqrt(updates.squared)
        else:
            utility = np.where(arrivals.status == 0, samples, 0.0)
        self._utility[clients] = utility
        self._heard[clients] = number
        done = arrivals.status == 0
        spent = (arrivals.arrived - arrivals.sent)[done] / 1e9
        self._duration[clients[done]] = spent
        self._gained[number] = self._gained.get(number, 0.0) + float(np.sum(utility))

    def choose(self, server: Server, count: int) -> Array:
        """Exploited, then explored clients."""
        self.at_run(server)
        idle = server.idle()
        self._pace(server.version + 1)
        preferred = float(np.quantile(self._duration, self._quantile))
        tried = self._heard[idle] > 0
        known, unknown = idle[tried], idle[~tried]
        explored = min(len(unknown), max(round(count * self._share), count - len(known)))
        self._share = max(self._share * self.decay, self.least)
        exploited = min(count - explored, len(known))
        chosen = [self._exploit(server, known, exploited, preferred)]
        chosen.append(self.drawn(server, unknown, self._speed(unknown, preferred), explored))
        return np.concatenate(chosen)

    def _exploit(self, server: Server, known: Array, count: int, preferred: float) -> Array:
        scores = self.scores(known, server.version + 1, preferred)
        if count < len(known):
            last = np.partition(scores, -count)[-count] if count else np.inf
            inside = scores >= self.cutoff * last
            known, scores = known[inside], scores[inside]
        return self.drawn(server, known, np.maximum(scores, 1e-300), count)

    def scores(self, known: Array, number: int, preferred: float) -> Array:
        """float64[n], what clients that were tried are worth in a round."""
        utility = self._utility[known]
        if len(utility):
            utility = np.minimum(utility, np.quantile(utility, self.clip))
            low, high = utility.min(), utility.max()
            utility = (utility - low) / (high - low) if high > low else np.ones(len(utility))
        uncertain = np.sqrt(0.1 * np.log(number) / np.maximum(self._heard[known], 1))
        return (utility + uncertain) * self._speed(known, preferred)

    def _speed(self, clients: Array, preferred: float) -> Array:
        """(T / t_i)^penalty, at most 1."""
        duration = np.maximum(self._duration[clients], 1e-9)
        return np.minimum(1.0, np.maximum(preferred, 1e-9) / duration) ** self.penalty

    def _pace(self, number: int) -> None:
        """Move the quantile of T where a pace of rounds has ended."""
        if number < 2 * self.pace + 1 or (number - 1) // self.pace == self._paced:
            return
        self._paced = (number - 1) // self.pace
        gained = [
            sum(self._gained.get(one, 0.0) for one in range(first, first + self.pace))
            for first in (number - 2 * self.pace, number - self.pace)
        ]
        moved = abs(gained[1] - gained[0])
        if moved <= 0.1 * gained[0]:
            self._quantile = min(1.0, self._quantile + self.pace_step)
        elif moved >= 5 * gained[0]:
            self._quantile = max(self.pace_step, self._quantile - self.pace_step)
        for old in [one for one in self._gained if one < number - 2 * self.pace]:
            del self._gained[old]
