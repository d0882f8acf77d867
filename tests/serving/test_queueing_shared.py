"""Many requests at once: batches as parallel servers or a shared processor, stages in series.

Each test asserts its power too: a service rate that is 3 % wrong (1 % in the slow set) would fail.
"""

from itertools import pairwise

import numpy as np
import pytest
from queue_models import (
    FAST,
    LONG,
    OUTPUT_TOKENS_PER_S,
    PROMPT_TOKENS_PER_S,
    REQUESTS,
    SCV,
    TICKS_PER_OUTPUT_TOKEN,
    TICKS_PER_PROMPT_TOKEN,
    WARM_UP,
    assert_agrees,
    compiled,
    done,
    engine,
    erlang_b,
    erlang_c,
    flat_cells,
    one_at_a_time,
    poisson,
    requests,
    response_s,
    servers,
    service_times,
    shared_processor,
    wait_s,
)

from mltwin.models.serving.hooks import DECODE_ROLE, PREFILL_ROLE
from mltwin.models.serving.simulate import simulate
from mltwin.sim.ticks import TICKS_PER_S, seconds


@pytest.fixture(params=[FAST, pytest.param(LONG, marks=pytest.mark.slow)], ids=["fast", "long"])
def effort(request):
    return request.param


def test_parallel_servers(effort):
    """M/M/4, load 0.8, by a batch of four: Erlang C.

    Starts lie on iteration boundaries, so a request that finds a free place still waits up to
    dt = 1e-4 s: it counts as waiting beyond dt. The mean response is up to dt too long, 0.006 %.
    """
    c, rate = 4, 3.2

    def measure(seed):
        load = servers(poisson(seed, rate), service_times(seed, "exponential"), c)
        outcome = simulate(load)
        waits = wait_s(outcome) > TICKS_PER_OUTPUT_TOKEN / TICKS_PER_S
        return waits.mean(), response_s(outcome).mean()

    def theory(f):
        waits = erlang_c(c, rate * f)
        return waits, f + waits * f / (c - rate * f)

    assert_agrees(measure, theory, effort)


def below_limit(request, replicas, tenants, ctx, params, memory):
    """Accept while fewer than params[0] requests are at the first replica."""
    return 1 if replicas[0].outstanding < params[0] else 0


@pytest.mark.parametrize("law", ["deterministic", "exponential", "hyperexponential"])
def test_loss_does_not_depend_on_the_law_of_service(law, effort):
    """M/G/5/5: Erlang B, whatever the law (Sevastyanov 1957)."""
    c, rate = 5, 4.0

    def measure(seed):
        times = service_times(seed, law)
        load = servers(poisson(seed, rate), times, c, params={"admit": np.array([c])})
        return 1 - done(simulate(load, compiled(admit=below_limit))).mean()

    assert_agrees(measure, lambda f: erlang_b(c, rate * f), effort)


@pytest.mark.parametrize("law", list(SCV))
def test_shared_processor(law, effort):
    """M/G/1 processor sharing, load 0.7: E[T] = E[S] / (1 - rho), whatever the law.

    Kleinrock, Queueing Systems II (1976), section 4.4. N requests share in rounds of N dt, so an
    arrival waits for the rest of a round and its last token for a whole one: below 2 N dt, 0.02 %
    of the mean.
    """
    rate = 0.7

    def measure(seed):
        load = shared_processor(poisson(seed, rate), service_times(seed, law))
        return response_s(simulate(load)).mean()

    assert_agrees(measure, lambda f: f / (1 - rate * f), effort)


def test_shared_processor_is_fair(effort):
    """Processor sharing: E[T | S = x] = x / (1 - rho), short and long alike."""
    rate, sizes_s = 0.7, (0.2, 0.7, 1.5, 100.0)

    def measure(seed):
        times = service_times(seed, "exponential")
        response = response_s(simulate(shared_processor(poisson(seed, rate), times)))
        times = times[WARM_UP:]
        groups = [(times > low) & (times <= high) for low, high in pairwise(sizes_s)]
        return [response[g].mean() / times[g].mean() for g in groups]

    assert_agrees(measure, lambda f: [f / (1 - rate * f)] * 3, effort)


def test_closed_loop(effort):
    """Ten clients, 5 s of thought, one exponential server: mean value analysis.

    Reiser and Lavenberg, JACM 27 (1980). The law of the think time does not matter (a delay
    station), so that it may be constant.
    """
    clients, think_s = 10, 5.0

    def measure(seed):
        load = one_at_a_time(
            np.zeros(REQUESTS),
            service_times(seed, "exponential"),
            concurrency=clients,
            think=int(think_s * TICKS_PER_S),
        )
        return response_s(simulate(load)).mean()

    def theory(f):
        queue = 0.0
        for n in range(1, clients + 1):
            response = f * (1 + queue)
            queue = n * response / (think_s + response)
        return response

    assert_agrees(measure, theory, effort)


def on_the_second(request, replicas, ctx, params, memory):
    return 1


def two_stages(arrival_s, prompt, output, first, second, nic_bytes_per_s, kv_bytes_per_token):
    """Prefill on replica 0, decode on replica 1; each has a NIC."""
    return requests(
        arrival_s,
        prompt,
        output,
        [first, second],
        kind_of=np.array([0, 1]),
        role_of=np.array([PREFILL_ROLE, DECODE_ROLE]),
        nic_bytes_per_s=np.full(2, nic_bytes_per_s),
        kv_bytes_per_token=kv_bytes_per_token,
    )


def test_prefill_and_decode_in_series(effort):
    """Two M/M/1 queues in tandem: the second sees Poisson arrivals (Burke 1956; Jackson 1957).

    Load 0.6 and 0.5; a transfer takes less than 1e-9 s, an iteration of the second stage 1e-4 s.
    """
    rate, second_s = 0.6, 5 / 6

    def measure(seed):
        load = two_stages(
            poisson(seed, rate),
            service_times(seed, "exponential") * PROMPT_TOKENS_PER_S,
            1 + service_times(seed, "exponential", counter=2) * second_s * OUTPUT_TOKENS_PER_S,
            engine(flat_cells(b=TICKS_PER_PROMPT_TOKEN), 1),
            engine(flat_cells(a=TICKS_PER_OUTPUT_TOKEN), 1),
            nic_bytes_per_s=1e16,
            kv_bytes_per_token=1,
        )
        return response_s(simulate(load, compiled(place_decode=on_the_second))).mean()

    def theory(f):
        return f / (1 - rate * f) + second_s * f / (1 - rate * second_s * f)

    assert_agrees(measure, theory, effort)


@pytest.mark.parametrize("law", ["deterministic", "exponential", "hyperexponential"])
def test_transfers_share_a_link(law, effort):
    """KV transfers over one link, load 0.7: M/G/1 processor sharing again.

    Prefill and decode iterations take 1e-6 s. Rates are whole units per tick: 54,975 shared by N
    loses less than N / 54,975, 0.01 % at the mean N of 2.3.
    """
    rate, bytes_per_token = 0.7, 2**20

    def measure(seed):
        instant = engine(flat_cells(a=TICKS_PER_S // 10**6), 4096)
        load = two_stages(
            poisson(seed, rate),
            service_times(seed, law) * PROMPT_TOKENS_PER_S,
            2,
            instant,
            instant,
            nic_bytes_per_s=PROMPT_TOKENS_PER_S * bytes_per_token,
            kv_bytes_per_token=bytes_per_token,
        )
        outcome = simulate(load, compiled(place_decode=on_the_second))
        return seconds(outcome.requests["transfer"][WARM_UP:]).mean()

    assert_agrees(measure, lambda f: f / (1 - rate * f), effort)
