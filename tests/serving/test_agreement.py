"""Kernel == SimPy reference, event for event; skipping on == skipping off; both checked throughout.

The cases of `random_cases` cover every engine preset's flags, both pre-emptions, disaggregation,
prefix caching with every eviction, timeouts, failures, scaling, sessions, closed loops and ties.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest
from random_cases import random_case

from mltwin.models.serving import reference
from mltwin.models.serving.hooks import signature
from mltwin.models.serving.outcome import EVENT_NAMES, ITERATION
from mltwin.models.serving.simulate import simulate
from mltwin.policies import Policy
from mltwin.sim.errors import KernelError
from mltwin.sim.jit import kernel

CASES, CHUNK = 1000, 50
CHUNKS = range(0, CASES, CHUNK)


@cache
def compiled(hook, function):
    if isinstance(function, Policy):
        return function.compiled()
    return kernel(signature(hook))(function)


def first_difference(mine, theirs):
    """Where two outcomes differ, in words: columns, totals, gaps and the event log."""
    found = mine.differences(theirs)
    a, b = ([tuple(int(v) for v in row) for row in o.log] for o in (mine, theirs))
    at = next(
        (k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    if at < max(len(a), len(b)):
        named = [[(t, EVENT_NAMES[k], e, v) for t, k, e, v in log[at : at + 3]] for log in (a, b)]
        found.append(f"log row {at}: {named[0]} != {named[1]}")
    return found


def run(engine, inp, policies, **options):
    """The outcome, or the words of the error."""
    try:
        return engine(inp, policies, log=True, **options)
    except KernelError as error:
        return str(error)


def without_iterations(outcome):
    return dataclasses.replace(outcome, log=outcome.log[outcome.log["kind"] != ITERATION])


@pytest.mark.parametrize("first", CHUNKS)
def test_kernel_equals_reference(first):
    for seed in range(first, first + CHUNK):
        inp, policies = random_case(seed)
        inp = dataclasses.replace(inp, skip=False)
        mine = run(simulate, inp, {h: compiled(h, f) for h, f in policies.items()})
        theirs = run(reference.simulate, inp, policies, check=False)
        assert isinstance(mine, str) == isinstance(theirs, str), (seed, mine, theirs)
        if not isinstance(mine, str):
            assert first_difference(mine, theirs) == [], f"seed {seed}"


@pytest.mark.parametrize("first", [10_000 + c for c in CHUNKS])
def test_skipping_changes_nothing(first):
    skipped = 0
    for seed in range(first, first + CHUNK):
        inp, policies = random_case(seed)
        functions = {h: compiled(h, f) for h, f in policies.items()}
        on, off = (
            run(simulate, dataclasses.replace(inp, skip=skip), functions) for skip in (True, False)
        )
        assert isinstance(on, str) == isinstance(off, str), (seed, on, off)
        if not isinstance(on, str):
            on, off = without_iterations(on), without_iterations(off)
            assert first_difference(on, off) == [], f"seed {seed}"
            skipped += off.counters["plans"] - on.counters["plans"]
    assert skipped > 0, "nothing was skipped: the test shows nothing"


@pytest.mark.parametrize("first", range(20_000, 20_100, 25))
def test_conservation_at_every_event(first):
    for seed in range(first, first + 25):
        inp, policies = random_case(seed)
        functions = {h: compiled(h, f) for h, f in policies.items()}
        inp = dataclasses.replace(inp, skip=bool(seed % 2))
        checked = run(simulate, inp, functions, check=True)
        if isinstance(checked, str):
            assert "conservation" not in checked, (seed, checked)
        else:
            assert first_difference(checked, run(simulate, inp, functions)) == []


def test_cases_reach_what_they_should():
    """The agreement is about something: the cases pre-empt, transfer, hit, cancel and fail."""
    counts = dict.fromkeys(EVENT_NAMES, 0)
    hits = evictions = swaps = wanted = 0
    for seed in range(150):
        inp, policies = random_case(seed)
        outcome = run(simulate, inp, {h: compiled(h, f) for h, f in policies.items()})
        if isinstance(outcome, str):
            continue
        hits += outcome.totals["hit_tokens"]
        evictions += outcome.totals["evictions"]
        wanted += outcome.totals["evictions"] if inp.count_wanted else 0
        swaps += any(k.preemption for k in inp.kinds)
        for kind, n in zip(*np.unique(outcome.log["kind"], return_counts=True), strict=True):
            counts[EVENT_NAMES[kind]] += int(n)
    assert all(n > 20 for n in counts.values()), counts
    assert hits > 0 and evictions > 0 and swaps > 0 and wanted > 100
