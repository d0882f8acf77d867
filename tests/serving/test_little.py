"""Operational laws: Little, utilisation, flow balance, exact on every run, and PASTA in the mean.

Over a run that starts and ends empty, the integral of the number present is the sum of the times
present, as integers: the event log on one side, the outcome's columns on the other.
"""

import numpy as np
import pytest
from queue_models import (
    FAST,
    TICKS_PER_OUTPUT_TOKEN,
    TICKS_PER_PROMPT_TOKEN,
    assert_agrees,
    erlang_c,
    one_at_a_time,
    poisson,
    servers,
    service_times,
    shared_processor,
)
from rich_cases import CASES

from mltwin.models.serving import outcome as events
from mltwin.models.serving.simulate import simulate
from mltwin.models.serving.tables import CANCELLED, DONE, REFUSED, REMOTE, SWAPPED, WAITING

EVERY_CASE = pytest.mark.parametrize("name", list(CASES))
ENDS = (events.REFUSE, events.FINISH, events.CANCEL)


def integral(times, steps, until):
    """Sum over time of a count that starts at 0 and changes by steps, exact; ticks."""
    present = np.cumsum(steps)
    gaps = np.diff(np.append(times, until))
    assert present.min() >= 0
    return sum(int(n) * int(gap) for n, gap in zip(present, gaps, strict=True))


def steps_of(log, up, down):
    """Times and +1 / -1 of the events of the log that are of these kinds."""
    step = np.isin(log["kind"], up).astype(int) - np.isin(log["kind"], down).astype(int)
    return log["time"][step != 0], step[step != 0]


@EVERY_CASE
def test_little_over_the_whole_system(name):
    """Requests present, by the log; sojourn times, by the columns: equal to the tick."""
    outcome = CASES[name](120, 1).run(log=True)
    times, steps = steps_of(outcome.log, (events.ARRIVE,), ENDS)
    sojourns = outcome.requests["finish"] - outcome.requests["arrival"]
    assert steps.sum() == 0
    assert integral(times, steps, outcome.totals["end"]) == int(sojourns.sum()) > 0


@pytest.mark.parametrize("name", ["chunked_recompute", "closed_static", "scored_cache", "lightllm"])
def test_little_over_the_queue(name):
    """Requests queued, first stays apart from those after a pre-emption: first ones are columns."""
    outcome = CASES[name](120, 1).run(log=True)
    log = outcome.log
    first = np.zeros(len(log), bool)  # the first admission of each request
    admits = np.flatnonzero(log["kind"] == events.ADMIT)
    first[admits[np.unique(log["entity"][admits], return_index=True)[1]]] = True
    step = (log["kind"] == events.QUEUE).astype(int) - first
    waits = outcome.requests["scheduled"] - outcome.requests["arrival"]
    assert integral(log["time"], step, outcome.totals["end"]) == int(waits.sum()) > 0


@EVERY_CASE
def test_flow_balance(name):
    """What comes in goes out: requests, admissions, hand-overs, transfers, tokens."""
    case = CASES[name](120, 1)
    outcome = case.run(log=True)
    log, requests = outcome.log, outcome.requests
    count = np.bincount(log["kind"], minlength=len(events.EVENT_NAMES))
    state = requests["state"]
    for kind, code, total in (
        (events.FINISH, DONE, "done"),
        (events.REFUSE, REFUSED, "refused"),
        (events.CANCEL, CANCELLED, "cancelled"),
    ):
        assert count[kind] == np.sum(state == code) == outcome.totals[total]
    assert count[events.ARRIVE] == len(state) == sum(count[kind] for kind in ENDS)
    assert count[events.FIRST] == np.sum(requests["first"] >= 0)
    assert count[events.PREEMPT] == requests["preempted"].sum()
    assert count[events.PREEMPT] == outcome.replicas["preemptions"].sum()
    assert count[events.TRANSFER_START] == outcome.totals["flows"]
    waited = (log["kind"] == events.CANCEL) & np.isin(log["value"], (WAITING, SWAPPED, REMOTE))
    if count[events.LOST] == 0:
        into = count[events.QUEUE] + count[events.PREEMPT]
        assert into == count[events.ADMIT] + count[events.TRANSFER_START] + waited.sum()
    if count[events.LOST] == count[events.PREEMPT] == 0:  # so that each request is prefilled once
        made = outcome.replicas["decode_tokens"].sum() + count[events.FIRST]
        assert made == requests["generated"].sum()
    assert np.all(requests["generated"][state == DONE] == case.inp.output[state == DONE])
    assert outcome.gaps.sum() == np.sum(np.maximum(0, requests["generated"].astype(int) - 1))


def loaded(kind, seed, law="exponential"):
    """A queue at load 0.7, or 0.8 with four servers."""
    if kind == "four servers":
        return servers(poisson(seed, 3.2), service_times(seed, law), 4)
    make = one_at_a_time if kind == "one server" else shared_processor
    return make(poisson(seed, 0.7), service_times(seed, law))


@pytest.mark.parametrize("kind", ["one server", "four servers", "shared processor"])
def test_utilisation_law(kind):
    """Servers held busy, times the time, are the work that came, to the tick."""
    inp = loaded(kind, 1, "lognormal")
    columns = simulate(inp).replicas
    busy = int(columns["busy_prefill"][0] + columns["busy_decode"][0])
    if kind == "one server":
        assert busy == int(inp.prompt.sum(dtype=np.int64)) * TICKS_PER_PROMPT_TOKEN
    else:
        tokens = int(inp.output.sum(dtype=np.int64))
        assert columns["sequences"][0] == tokens
        if kind == "shared processor":
            assert busy == tokens * TICKS_PER_OUTPUT_TOKEN
        else:
            assert busy == columns["iterations"][0] * TICKS_PER_OUTPUT_TOKEN


@pytest.mark.parametrize("kind", ["one server", "four servers", "shared processor"])
def test_mean_number_in_system(kind):
    """L, a time average of the log after a warm-up, is lambda W of theory (3 % of power)."""

    def measure(seed):
        log = simulate(loaded(kind, seed), log=True).log
        times, steps = steps_of(log, (events.ARRIVE,), ENDS)
        start, end = times[4000], times[-4000]
        inside = (times >= start) & (times < end)
        present = np.cumsum(steps)[inside]
        return np.average(present, weights=np.diff(np.append(times[inside], end)).astype(float))

    def theory(f):
        if kind != "four servers":
            return 0.7 * f / (1 - 0.7 * f)
        return 3.2 * f + erlang_c(4, 3.2 * f) * 3.2 * f / (4 - 3.2 * f)

    assert_agrees(measure, theory, FAST)


def test_arrivals_see_time_averages():
    """M/M/1: P(N = n) = (1 - rho) rho^n, in time and as Poisson arrivals find it (Wolff 1982)."""
    rate, most = 0.7, 4

    def measure(seed):
        log = simulate(loaded("one server", seed), log=True).log
        times, steps = steps_of(log, (events.ARRIVE,), ENDS)
        present = np.cumsum(steps)
        lasted = np.diff(times).astype(float)
        in_time = [np.sum(lasted[present[:-1] >= n]) / lasted.sum() for n in range(1, most)]
        found = present[steps > 0] - 1
        return [*in_time, *((found >= n).mean() for n in range(1, most))]

    assert_agrees(measure, lambda f: 2 * [(rate * f) ** n for n in range(1, most)], FAST)


def test_four_servers_are_busy_by_the_load():
    """The mean number of busy servers is the offered load (3 % of power)."""

    def measure(seed):
        outcome = simulate(loaded("four servers", seed))
        return outcome.replicas["sequences"][0] * TICKS_PER_OUTPUT_TOKEN / outcome.totals["end"]

    assert_agrees(measure, lambda f: 3.2 * f, FAST)
