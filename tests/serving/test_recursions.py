"""Paths, not averages: first come, first served, request by request, in exact integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_models import (
    OUTPUT_TOKENS_PER_S,
    TICKS_PER_OUTPUT_TOKEN,
    ends_kiefer_wolfowitz,
    ends_lindley,
    engine,
    flat_cells,
    poisson,
    requests,
    servers,
    service_times,
)

from mltwin.models.serving.simulate import simulate
from mltwin.models.serving.tables import IterationCells
from mltwin.sim.errors import KernelError
from mltwin.sim.ticks import seconds

REQUEST = st.tuples(st.integers(0, 400_000), st.integers(1, 300), st.integers(1, 60))
LOADS = st.lists(REQUEST, min_size=1, max_size=25)
COEFFICIENTS = st.tuples(
    st.integers(1, 10**6), st.integers(0, 999), st.integers(0, 99), st.integers(0, 9)
)


def serve_alone(load, cells, mixed):
    """A server of one request at a time, and its input. load: gaps in us, prompts, outputs."""
    gaps, prompt, output = (np.array(column) for column in zip(*load, strict=True))
    arrival_s = seconds(np.cumsum(gaps) * 10**6)
    inp = requests(arrival_s, prompt, output, [engine(cells, 1, mixed=mixed)])
    return inp, simulate(inp)


def service_alone(cells, prompt, output):
    """Ticks to serve one request by itself: its prefill, then one iteration for each token."""
    prefill = cells.evaluate(prompt, 0, 1, prompt * (prompt + 1) // 2)
    decode = (cells.evaluate(1, prompt + k, 1, 0) for k in range(1, output))
    return prefill + sum(decode)


def curved(coefficients, per_work):
    """Two rows of token counts and three context columns."""
    a, b, c, d = coefficients
    cells = [(a + 7 * k, b, c + k, d) for k in range(6)]
    rows = np.repeat(np.arange(2, dtype=np.int32), [20, 1])
    knots = np.array([0, 50, 200, 2**60])
    return IterationCells(rows, knots, np.array(cells), per_sequence=11, per_work=per_work)


@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "split"])
@given(LOADS, COEFFICIENTS, st.integers(0, 5))
def test_one_server_is_lindleys_recursion(mixed, load, coefficients, per_work):
    """Every end of service, to the tick, with prefill, decode and curved iteration times."""
    cells = curved(coefficients, per_work)
    inp, outcome = serve_alone(load, cells, mixed)
    service = [
        service_alone(cells, int(p), int(o)) for p, o in zip(inp.prompt, inp.output, strict=True)
    ]
    assert outcome.requests["finish"].tolist() == ends_lindley(inp.arrival, service)
    assert outcome.replicas["busy_prefill"][0] + outcome.replicas["busy_decode"][0] == sum(service)


@given(LOADS, COEFFICIENTS, st.tuples(*[st.floats(0.25, 1)] * 4))
def test_a_faster_gpu_delays_nobody(load, coefficients, factors):
    """One request at a time, first come, first served: no request ends later.

    This is so by Lindley's recursion, which increases in every service time. It is no theorem for
    batches, where who shares an iteration with whom may change for the worse.
    """
    faster = tuple(int(c * f) for c, f in zip(coefficients, factors, strict=True))
    ends = [
        serve_alone(load, curved(c, 2), True)[1].requests["finish"] for c in (coefficients, faster)
    ]
    assert np.all(ends[1] <= ends[0])


@pytest.mark.parametrize("law", ["exponential", "hyperexponential"])
@pytest.mark.parametrize(("c", "load"), [(2, 0.9), (3, 0.8), (16, 0.95)])
def test_a_batch_of_c_lies_between_two_queues_of_c_servers(c, load, law):
    """Kiefer-Wolfowitz with service s, and with s + dt: each end lies between the two.

    A batch starts requests at iteration boundaries only, at most dt after a server would, and the
    recursion increases in the service times; so for every request, by induction,
    end(s) <= end in the batch <= end(s + dt).
    """
    inp = servers(poisson(3, load * c), service_times(3, law), c)
    dt = TICKS_PER_OUTPUT_TOKEN
    ends = simulate(inp).requests["finish"]
    service = inp.output.astype(np.int64) * dt
    low = ends_kiefer_wolfowitz(inp.arrival, service, c)
    high = ends_kiefer_wolfowitz(inp.arrival, service + dt, c)
    assert np.all(low <= ends)
    assert np.all(ends <= high)
    assert np.mean(ends > low) > 0.3  # the bounds are two, so both can fail
    assert np.mean(seconds(high - low)) < 0.05


def test_more_than_two_to_the_31_iterations():
    """1e9 tokens each, one after another. Iterations below 4 ms get that far in 100 days."""
    inp = requests(np.zeros(3), 1, 10**9, [engine(flat_cells(a=1000), 1)])
    assert simulate(inp).requests["finish"].tolist() == [10**12, 2 * 10**12, 3 * 10**12]


def test_a_shared_processor_is_fair_in_every_round():
    """Five requests that arrive together and differ by one token end one round after another."""
    cells = flat_cells(per_sequence=1000)
    output = np.array([3, 1, 2, 5, 4])
    inp = requests(np.zeros(5), 1, output, [engine(cells, 8)])
    ends = simulate(inp).requests["finish"]
    rounds = np.cumsum([0, 5, 4, 3, 2, 1]) * 1000
    assert ends.tolist() == rounds[output].tolist()
    assert OUTPUT_TOKENS_PER_S * TICKS_PER_OUTPUT_TOKEN == 10**12


def test_the_clock_does_not_overflow():
    """231 days are too many: one clear error, not a clock that has gone round."""
    inp = requests(np.zeros(1), 1, 2 * 10**9, [engine(flat_cells(a=10**10), 1)])
    with pytest.raises(KernelError, match="past day 96"):
        simulate(inp)
    inp = requests(np.zeros(1), 1, 10**6, [engine(flat_cells(a=10**12), 1)])
    assert simulate(inp).requests["finish"].tolist() == [10**18]
