"""Admission: which missed objects may enter the cache at all."""

import math
from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.rng import POLICY, keyed_uniform

from .sketch import sketch_add, sketch_count
from .tables import ALWAYS, BY_CHANCE, BY_SIZE, NONE, SECOND_HIT


@handler
def note_request(S: Any, x: Any) -> None:
    """What an admission policy learns from each request: TinyLFU counts it."""
    if len(S.sketch) > 1 and S.par[0].admission > SECOND_HIT:
        sketch_add(S, x)


@handler
def admits(S: Any, x: Any, size: int, victim: Any) -> bool:
    """Whether x may enter; `victim` would leave for it, NONE if nothing has to.

    - size: objects up to a size (the classical size threshold of web caches);
    - probability: a keyed coin, for large objects less often if asked, exp(-size / scale)
      (AdaptSize without its tuning: Berger, Sitaraman, Harchol-Balter, NSDI 2017, section 3);
    - second hit: only at the second miss within a window of misses (Maggs, Sitaraman,
      "Algorithmic nuggets in content delivery", CCR 45, 2015, section 4.2);
    - TinyLFU: only if asked for more often than its victim (Einziger, Friedman, Manes, ACM TOS 13,
      2017, section 3.1).
    """
    settings = S.par[0]
    kind = settings.admission
    if kind == ALWAYS:
        return True
    if kind == BY_SIZE:
        return size <= settings.max_size
    if kind == BY_CHANCE:
        chance = settings.chance
        if settings.by_size:
            chance *= math.exp(-size / settings.scale)
        totals = S.tot[0]
        return keyed_uniform(settings.seed, POLICY, np.int64(x), totals.misses) < chance
    if kind == SECOND_HIT:
        return _second_miss(S, x)
    totals = S.tot[0]
    fits = totals.used + size <= settings.capacity and totals.resident < settings.max_objects
    if victim == NONE or fits:
        return True
    return sketch_count(S, x) > sketch_count(S, victim)


@handler
def _second_miss(S: Any, x: Any) -> bool:
    if S.seen[x]:
        return True
    totals = S.tot[0]
    totals.first_misses += 1
    if totals.first_misses > S.par[0].window:
        S.seen[:] = 0
        totals.first_misses = 1
    S.seen[x] = 1
    return False
