"""Codecs, noise and zeroth-order rounds inside runs: bytes, paired draws, and what is learned."""

import numpy as np
import pytest
from codec_case import Desk

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.learning.softmax import SoftmaxTask
from mltwin.models.federation.learning.tables import Examples
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients, Plan
from mltwin.policies.federated.randomness import round_direction
from mltwin.policies.federated.registry import built_in, make
from mltwin.sim import rng

FEATURES, CLASSES, SAMPLES = 20, 4, 40


def _examples(clients=8) -> Examples:
    count = clients * SAMPLES
    y = (np.arange(count) // 7) % CLASSES
    noise = rng.normals(4, rng.POLICY, 0, np.arange(count * FEATURES)).reshape(count, -1)
    x = noise + 2.0 * np.eye(CLASSES, FEATURES)[y]
    first = np.arange(0, count + 1, SAMPLES)
    return Examples.make(x, y, first, np.arange(count), x[:80], y[:80], classes=CLASSES)


DATA = _examples()
CLIENTS = Clients.make(DATA.samples, s_per_sample=1e-3, up_bytes_per_s=1e4)
PARAMETERS = (FEATURES + 1) * CLASSES


def _run(codec=None, combine=None, strategy=None, versions=60, **more):
    policies = Policies(
        make("strategy", strategy or {"name": "fedavg", "clients": 6}),
        codec=make("codec", codec) if codec else None,
        combine=make("combine", combine) if combine else None,
    )
    plan = Plan(steps=5, batch=8, lr=0.1, versions=versions)
    return simulate(CLIENTS, policies, plan, task=SoftmaxTask(DATA), seed=2, **more)


LEARNS = {
    "uniform": {"bits": 3},
    "qsgd": {},
    "adaptive_bits": {"min_bits": 2, "max_bits": 6},
    "laplace": {"epsilon": 400.0, "clip": 20.0},
    "top_k": {"share": 0.1},
    "random_k": {"share": 0.2},
    "sign": {},
    "ferret": {"bases": 24},
}
FEW = {"one_byte": {}, "seed_sign": {"size": 0.05}}


def test_all_codecs_are_tried_here() -> None:
    assert set(built_in("codec")) == {*LEARNS, *FEW, "sized"}


@pytest.mark.parametrize("name", sorted({**LEARNS, **FEW}))
def test_sizes_of_steady_codecs_do_not_change(name: str) -> None:
    codec = make("codec", {"name": name, **LEARNS.get(name, {})})
    desk = Desk(SoftmaxTask(DATA), Plan(versions=10), clients=CLIENTS)
    sizes = []
    for version in (0, 4, 9):
        desk.version = version
        sizes.append(codec.up_bytes(desk, np.arange(8)).tolist())
    assert codec.steady == (sizes[0] == sizes[1] == sizes[2])


@pytest.mark.parametrize("name", sorted({**LEARNS, **FEW}))
def test_a_codec_learns_with_the_bytes_that_it_says(name: str) -> None:
    spec = {"name": name, **LEARNS.get(name, {}), **FEW.get(name, {})}
    run, plain = _run(spec), _run()
    sent, whole = run.evaluations["up_bytes"][-1], plain.evaluations["up_bytes"][-1]
    assert run.complete and not run.violations
    assert whole == 60 * 6 * 4 * PARAMETERS
    assert sent < whole or name == "laplace"
    assert run.end < plain.end or name == "laplace"
    start, end = run.evaluations["accuracy"][[0, -1]]
    assert end > (0.8 if name in LEARNS else start + 0.1)
    assert (run.evaluations["down_bytes"] == plain.evaluations["down_bytes"]).all()


@pytest.mark.parametrize("name", ["uniform", "top_k", "ferret", "laplace"])
def test_the_readable_twin_decodes_the_same(name: str) -> None:
    fast, twin = (_run(name, versions=5, reference=r) for r in (False, True))
    assert (fast.weights == twin.weights).all()


@pytest.mark.parametrize("spec", [*sorted({**LEARNS, **FEW}), {"name": "ferret", "blocks": 4}])
@pytest.mark.filterwarnings("error")
def test_a_run_that_diverges_ends_with_a_line(spec) -> None:
    plan = Plan(steps=5, batch=8, lr=1e38, versions=9)
    made = make("codec", spec)
    policies = Policies(make("strategy", {"name": "fedavg", "clients": 6}), codec=made)
    run = simulate(CLIENTS, policies, plan, task=SoftmaxTask(DATA), seed=2)
    assert not run.complete
    assert "not finite: lower the learning rate" in run.ended


def test_codecs_need_no_model_to_cost_time() -> None:
    plan = Plan(versions=10, model_bytes=4e6)
    plain, packed = (
        simulate(
            CLIENTS, Policies(make("strategy", {"name": "fedavg", "clients": 4}), codec=c), plan
        )
        for c in (None, make("codec", {"name": "uniform", "bits": 4}))
    )
    assert plain.evaluations["up_bytes"][-1] == 40 * 4e6
    assert packed.evaluations["up_bytes"][-1] == 40 * (5e5 + 8)
    assert packed.end < plain.end


def test_fedbuff_takes_codecs_too() -> None:
    run = _run({"name": "top_k", "share": 0.1}, strategy={"name": "fedbuff", "buffer": 3})
    assert run.complete and run.evaluations["accuracy"][-1] > 0.6


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "gaussian", "clip": 1.0, "noise_multiplier": 0.05},
        {"name": "majority", "size": 0.03},
    ],
)
def test_combines_learn(spec: dict) -> None:
    run = _run(combine=spec)
    assert run.evaluations["accuracy"][-1] > 0.8


def test_more_noise_learns_less() -> None:
    reached = [
        _run(combine={"name": "gaussian", "noise_multiplier": z}).evaluations["loss"][-1]
        for z in (0.0, 1.0, 10.0)
    ]
    assert reached[0] < reached[1] < reached[2]


@pytest.mark.parametrize("name", ["fedkseed", "feedsign"])
def test_zeroth_order_learns_from_a_few_bytes(name: str) -> None:
    size = {"fedkseed": 0.3, "feedsign": 0.05}[name]
    rule = {"name": name, "clients": 6, "probes": 16, "server_lr": size}
    run = _run(strategy=rule, versions=100)
    message = {"fedkseed": 64.0, "feedsign": 2.0}[name]
    assert run.evaluations["up_bytes"][-1] == 100 * 6 * message
    assert run.evaluations["accuracy"][-1] > 0.7
    start, end = run.evaluations["loss"][[0, -1]]
    assert end < 0.8 * start


def test_a_probe_is_the_slope_of_the_loss() -> None:
    """On quadratics the two-point estimate is exact: g = <mean gradient, z>."""
    curvature, centre = (
        np.array([[1.0, 2.0, 0.5], [3.0, 1.0, 1.0]]),
        np.array([[1, 0, 2], [0, 1, 1]]),
    )
    task = QuadraticTask(curvature, centre)
    clients = Clients.make([3, 3])
    rule = {"name": "fedkseed", "clients": 2, "server_lr": 0.1, "radius": 0.5}
    run = simulate(clients, Policies(make("strategy", rule)), Plan(versions=1), task=task, seed=4)

    class Desk:
        seed = 4

    way = round_direction(Desk(), 0, 3)
    gradient = (curvature * (0.0 - centre)).mean(axis=0)
    assert run.weights == pytest.approx(-0.1 * (gradient @ way) * way)
