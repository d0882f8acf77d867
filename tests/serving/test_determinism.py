"""Same input, same bits: whatever the threads, the process, the compiler, the cuts, the watchers.

Every case of `rich_cases` is compared by a hash over all columns of its outcome, and of its event
log where both sides keep one.
"""

import json
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import rich_cases
from rich_cases import CASES, compiled, outcome_digest

from mltwin.models.serving.defaults import default_functions
from mltwin.models.serving.kernel import FINISHED, RUNNING, advance
from mltwin.models.serving.outcome import EVENT_NAMES, ITERATION
from mltwin.models.serving.state import make_state
from mltwin.sim.executors import map_runs
from mltwin.sim.rng import POLICY, integers
from mltwin.sim.runspec import array_digest
from mltwin.sim.ticks import NEVER

N = 60
EVERY_CASE = pytest.mark.parametrize("name", list(CASES))
SETTINGS = [
    {"NUMBA_DISABLE_JIT": "1", "PYTHONHASHSEED": "0"},
    {"NUMBA_DISABLE_JIT": "0", "PYTHONHASHSEED": "1"},
    {"NUMBA_DISABLE_JIT": "0", "PYTHONHASHSEED": "random"},
]


@pytest.fixture(scope="module")
def here():
    """Digest of each case in this process."""
    return rich_cases.digests(N)


def test_the_cases_meet_every_kind_of_event():
    """Or else the tests below would say less than they seem to."""
    seen = set()
    for make in CASES.values():
        case = make(120, 1)
        case.inp.skip = False
        seen |= set(case.run(log=True).log["kind"].tolist())
    assert {EVENT_NAMES[k] for k in range(len(EVENT_NAMES)) if k not in seen} == set()


def test_the_digest_sees_one_tick():
    case = CASES["disaggregated"](N, 1)
    outcome = case.run(log=True)
    before = outcome_digest(outcome), outcome_digest(outcome, log=True)
    outcome.log["time"][-1] += 1
    assert outcome_digest(outcome) == before[0]
    assert outcome_digest(outcome, log=True) != before[1]
    outcome.requests["finish"][7] += 1
    assert outcome_digest(outcome) != before[0]


def digest_of(key):
    name, seed = key
    return outcome_digest(CASES[name](200, seed).run(log=True), log=True)


@pytest.mark.parametrize("workers", [1, 4])
def test_threads(workers):
    """Sixteen inputs by one and by four threads, twice over, in another order."""
    keys = [(name, seed) for seed in (1, 2) for name in CASES]
    alone = {key: digest_of(key) for key in keys}
    mixed = keys[::-1] + keys
    together = map_runs(digest_of, mixed, executor="threads", workers=workers)
    assert [outcome.get() for outcome in together] == [alone[key] for key in mixed]
    assert len(set(alone.values())) == len(keys)


def test_a_spawned_process(here):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(rich_cases.digests, (N,)) == here


def test_other_interpreters(here):
    """Without the compiler, and under other seeds of Python's hashes."""
    command = [sys.executable, rich_cases.__file__, str(N)]
    started = [
        subprocess.Popen(
            command, env={**os.environ, **setting}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for setting in SETTINGS
    ]
    for setting, process in zip(SETTINGS, started, strict=True):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{setting}: {err.decode()[-2000:]}"
        assert json.loads(out) == here, setting


@EVERY_CASE
def test_watchers_change_nothing(name):
    """Event log, batch log, checks after every event, progress: on or off."""
    make = CASES[name]
    plain = make(N, 1).run()
    ticks = []
    watched = [
        make(N, 1).run(log=True),
        make(N, 1).run(batches=True),
        make(N, 1).run(check=True),
        make(N, 1).run(log=True, check=True, progress=lambda share, now: ticks.append(now)),
    ]
    assert len(ticks) >= 2
    assert [outcome_digest(o) for o in watched] == [outcome_digest(plain)] * len(watched)
    assert outcome_digest(watched[0], log=True) == outcome_digest(watched[3], log=True)
    assert all(o.counters == plain.counters for o in watched)


@EVERY_CASE
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_skipping_changes_nothing(name, seed):
    """Identical iterations skipped or taken one by one: same columns, same log without them."""
    outcomes = []
    for skip in (True, False):
        case = CASES[name](N, seed)
        case.inp.skip = skip
        outcome = case.run(log=True)
        outcome.log = outcome.log[outcome.log["kind"] != ITERATION]
        outcomes.append(outcome)
    skipped, stepped = outcomes
    assert not skipped.differences(stepped)
    assert np.array_equal(skipped.log, stepped.log)
    if name != "scored_cache":  # its keys change with every iteration, which turns skipping off
        assert skipped.counters["plans"] < stepped.counters["plans"]


def state_of(case):
    functions = {**default_functions(), **compiled(case.policies)}
    return make_state(case.inp, functions, log=1 << 14)


def tables_digest(S):
    """Every table of the state, scratch included."""
    names = ("req", "info", "rep", "replicas", "tenants", "glob", "gaps", "finish_heap", "timers")
    names += ("flows", "links", "slots", "holders", "map_block", "residues", "log", "pending")
    return array_digest(*(np.asarray(getattr(S, name)) for name in names))


@EVERY_CASE
def test_cuts_change_nothing(name):
    """`advance` cut at every event, a tick before and after, and at 500 random ticks."""
    S = state_of(CASES[name](N, 1))
    assert advance(S, NEVER - 1) == FINISHED
    whole = tables_digest(S)
    end = int(S.glob[0].now)
    times = np.unique(S.log["time"][: S.log_count[0]])
    random = integers(1, POLICY, np.arange(500), 2**30) * (end >> 30)
    for cuts in (times, np.unique([times - 1, times + 1]), np.sort(random)):
        S = state_of(CASES[name](N, 1))
        for cut in cuts[(cuts >= 0) & (cuts < end)]:
            assert advance(S, int(cut)) == RUNNING
            assert S.glob[0].now <= cut
        assert advance(S, NEVER - 1) == FINISHED
        assert tables_digest(S) == whole


@EVERY_CASE
def test_the_past_does_not_depend_on_the_future(name):
    """The log of a run stopped at t is the log of the whole run up to t."""
    whole = CASES[name](N, 1).run(log=True).log
    for share in (0.1, 0.5, 0.9):
        until = int(whole["time"][int(share * len(whole))])
        part = CASES[name](N, 1).run(log=True, until=until).log
        assert np.array_equal(part, whole[whole["time"] <= until])


@EVERY_CASE
def test_the_input_is_not_written_to(name):
    """The same input object serves many runs."""
    case = CASES[name](N, 1)
    assert outcome_digest(case.run()) == outcome_digest(case.run())
