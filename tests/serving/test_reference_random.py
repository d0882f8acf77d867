"""The SimPy twin on random cases: what is conserved, and that the checks notice if it is not."""

from collections import Counter

import pytest
from hand_cases import events
from random_cases import ENGINES, random_case

from mltwin.models.serving.outcome import (
    EVENT_NAMES,
    FINISH,
)
from mltwin.models.serving.reference import Simulation, simulate
from mltwin.models.serving.reference_memory import Memory


@pytest.mark.parametrize("first", range(0, 300, 25))
def test_random_cases_conserve_everything(first):
    """Blocks, requests, tokens, bytes and counters, after every event; and all come to an end."""
    for seed in range(first, first + 25):
        inp, policies = random_case(seed)
        o = simulate(inp, policies)
        ended = o.totals["done"] + o.totals["refused"] + o.totals["cancelled"]
        assert ended == len(inp.arrival), f"seed {seed}"
        done = o.requests["generated"] == inp.output
        assert done.sum() == o.totals["done"], f"seed {seed}"


def test_random_cases_meet_every_event_and_engine():
    """What the cases are for: no kind of event is rare among 100 of them."""
    met: Counter[str] = Counter()
    engines = set()
    for seed in range(100):
        inp, policies = random_case(seed)
        log = simulate(inp, policies, check=False).log
        met.update(EVENT_NAMES[k] for k in set(log.kind.tolist()))
        engines.add(list(ENGINES)[seed % len(ENGINES)])
    assert min(met[name] for name in EVENT_NAMES) >= 10, met
    assert engines == set(ENGINES)


def test_the_same_case_gives_the_same_bits():
    for seed in (3, 11, 62):
        one, other = (simulate(*random_case(seed), check=check) for check in (True, False))
        assert one.differences(other) == []
        assert one.log.tobytes() == other.log.tobytes()


@pytest.mark.parametrize(
    ("owner", "method", "spoiled"),
    [
        (Memory, "release", lambda self, request: self.holdings.pop(request)),
        (Memory, "_pin", lambda self, name: self.evictable.pop(name, None)),
        (Simulation, "assign", lambda self, q, r: setattr(q, "replica", r)),
    ],
)
def test_the_checks_notice_what_is_lost(monkeypatch, owner, method, spoiled):
    """A block not given back, a reference not counted, a request not assigned."""
    monkeypatch.setattr(owner, method, spoiled)
    with pytest.raises(AssertionError):
        for seed in range(20):
            simulate(*random_case(seed))


def test_finish_is_the_last_event_of_a_request():
    inp, policies = random_case(5)
    o = simulate(inp, policies)
    for time, i, _ in events(o, FINISH):
        assert time == o.requests["finish"][i]
        assert time >= o.requests["first"][i] >= o.requests["arrival"][i]
