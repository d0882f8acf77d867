"""One server, one request at a time: the kernel against closed forms.

Each test asserts its power too: a service rate that is 3 % wrong (1 % in the slow set) would fail.
"""

import math

import numpy as np
import pytest
from queue_models import (
    FAST,
    LONG,
    REQUESTS,
    SCV,
    WARM_UP,
    assert_agrees,
    compiled,
    done,
    one_at_a_time,
    poisson,
    response_s,
    service_times,
    wait_s,
)

from mltwin.models.serving.simulate import simulate
from mltwin.sim.rng import TENANTS, integers


@pytest.fixture(params=[FAST, pytest.param(LONG, marks=pytest.mark.slow)], ids=["fast", "long"])
def effort(request):
    return request.param


def mean_wait(rate, scv, service=1.0):
    """Mean wait of an M/G/1 queue (Pollaczek and Khinchine)."""
    load = rate * service
    return load * service * (1 + scv) / (2 * (1 - load))


@pytest.mark.parametrize("law", list(SCV))
def test_mean_response_with_general_service(law, effort):
    """M/D/1, M/M/1 and M/G/1, load 0.7: the Pollaczek-Khinchine formula."""
    rate = 0.7

    def measure(seed):
        load = one_at_a_time(poisson(seed, rate), service_times(seed, law))
        return response_s(simulate(load)).mean()

    assert_agrees(measure, lambda f: f + mean_wait(rate, SCV[law], f), effort)


def test_distribution_of_the_wait(effort):
    """M/M/1: P(W > t) = rho exp(-(mu - lambda) t)."""
    rate, at_s = 0.7, (0.0, 2.0, 6.0)

    def measure(seed):
        load = one_at_a_time(poisson(seed, rate), service_times(seed, "exponential"))
        waits = wait_s(simulate(load))
        return [(waits > t).mean() for t in at_s]

    def theory(f):
        return [rate * f * math.exp(-(1 / f - rate) * t) for t in at_s]

    assert_agrees(measure, theory, effort)


def below_limit(request, replicas, tenants, ctx, params, memory):
    """Accept while fewer than params[0] requests are at the first replica."""
    return 1 if replicas[0].outstanding < params[0] else 0


def test_finite_room(effort):
    """M/M/1/K by an admission policy: loss probability and mean response of the accepted."""
    rate, room = 0.9, 6

    def measure(seed):
        times = service_times(seed, "exponential")
        load = one_at_a_time(poisson(seed, rate), times, params={"admit": np.array([room])})
        outcome = simulate(load, compiled(admit=below_limit))
        served = done(outcome)
        return 1 - served.mean(), response_s(outcome)[served].mean()

    def theory(f):
        weights = [(rate * f) ** k for k in range(room + 1)]
        loss = weights[-1] / sum(weights)
        inside = sum(k * w for k, w in enumerate(weights)) / sum(weights)
        return loss, inside / (rate * (1 - loss))

    assert_agrees(measure, theory, effort)


def most_urgent_first(request, tenants, ctx, params, memory):
    return -float(request.priority)


def test_priority_classes(effort):
    """M/G/1 with three non-preemptive classes: Cobham, Operations Research 2 (1954).

    W_k = W_0 / ((1 - s_k-1)(1 - s_k)), W_0 the mean residual service, s_k the load of the classes
    1 ... k, the most urgent first. Within a class the lower id goes first, which is first come,
    first served.
    """
    rate, law = 0.75, "lognormal"

    def measure(seed):
        classes = integers(seed, TENANTS, np.arange(REQUESTS), 3)
        load = one_at_a_time(
            poisson(seed, rate), service_times(seed, law), priority=classes.astype(np.int32)
        )
        outcome = simulate(load, compiled(priority=most_urgent_first))
        return [wait_s(outcome)[classes[WARM_UP:] == k].mean() for k in (2, 1, 0)]

    def theory(f):
        residual = rate * f * f * (1 + SCV[law]) / 2
        free = [1 - rate * f * k / 3 for k in range(4)]  # of all classes up to the k-th
        return [residual / (free[k] * free[k + 1]) for k in range(3)]

    assert_agrees(measure, theory, effort)


def in_turn(request, replicas, hits, ctx, params, memory):
    return ctx.request % len(replicas)


def test_round_robin_makes_arrivals_regular(effort):
    """Poisson arrivals dealt to two servers in turn: each is an E2/M/1 queue.

    Mean response 1 / (mu (1 - s)), s the root in (0, 1) of s = A(mu (1 - s)), A the transform of
    the Erlang-2 time between arrivals (Kleinrock, Queueing Systems I, 1975, section 6.4).
    """
    rate = 0.8

    def measure(seed):
        times = service_times(seed, "exponential")
        load = one_at_a_time(poisson(seed, 2 * rate), times, kind_of=np.zeros(2, np.int64))
        return response_s(simulate(load, compiled(route=in_turn))).mean()

    def theory(f):
        s = 0.5
        for _ in range(500):
            s = (2 * rate / (2 * rate + (1 - s) / f)) ** 2
        return f / (1 - s)

    assert_agrees(measure, theory, effort)
