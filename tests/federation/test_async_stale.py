"""Updates of any staleness: gradient inversion, its switch and its cost."""

import async_case as case
import numpy as np
import pytest

from mltwin.models.federation.hooks import Local, Policies
from mltwin.models.federation.learning.softmax import SoftmaxTask
from mltwin.models.federation.learning.tables import Examples
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients
from mltwin.policies.federated import inversion
from mltwin.policies.federated.inversion import Dummies
from mltwin.policies.federated.registry import make
from mltwin.sim.errors import InputError

FEATURES, CLASSES = 6, 3


def blobs(clients=8, seed=0, samples=30):
    """Classes around their own centres; the last two clients have all of class 2, and only it."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CLASSES, FEATURES))
    labels = np.concatenate([rng.integers(0, 2, (clients - 2) * samples), np.full(2 * samples, 2)])
    test = np.repeat(np.arange(CLASSES), 100)

    def near(y):
        return centres[y] + 0.7 * rng.normal(size=(len(y), FEATURES))

    first = np.arange(clients + 1) * samples
    rows = np.arange(clients * samples)
    return Examples.make(
        near(labels), labels, first, rows, near(test), test, classes=CLASSES, name="blobs"
    )


EXAMPLES = blobs()
TASK = SoftmaxTask(EXAMPLES)
SLOW = Clients.make(EXAMPLES.samples, s_per_sample=[1e-3] * 6 + [12.3e-3] * 2)


def learn(spec, versions=60, **options):
    given = case.plan(steps=5, batch=10, lr=0.2, versions=versions, evaluate_every=10)
    strategy = make("strategy", {"name": "stale", "buffer": 6, **spec})
    run = simulate(SLOW, Policies(strategy), given, task=TASK, **options)
    assert run.violations == []
    return run, strategy


def dummies(rng, count):
    x = np.c_[rng.normal(size=(count, FEATURES)), np.ones(count)]
    return Dummies(x, rng.normal(size=(count, CLASSES)))


def test_derivatives_through_local_training_are_those_of_differences():
    rng = np.random.default_rng(1)
    model = rng.normal(size=(FEATURES + 1, CLASSES))
    direction = rng.normal(size=model.shape)
    start = dummies(rng, 4)

    def value(x, logits):
        data = Dummies(x, inversion._softmax(logits))
        return (inversion._path(model, data, 3, 0.4)[-1][0] * direction).sum()

    data = Dummies(start.x, inversion._softmax(start.y))
    path = inversion._path(model, data, 3, 0.4)
    for place, slope in enumerate(inversion._slopes(path, data, direction, 0.4)):
        for index in np.ndindex(slope.shape):
            sides = []
            for change in (1e-5, -1e-5):
                moved = [start.x.copy(), start.y.copy()]
                moved[place][index] += change
                sides.append(value(*moved))
            assert slope[index] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-8)


def test_local_training_is_that_of_the_task():
    """On a client's own data with hard labels: the update of full-batch steps."""
    rng = np.random.default_rng(2)
    model = rng.normal(size=TASK.parameters)
    rows = EXAMPLES.row[EXAMPLES.first[3] : EXAMPLES.first[4]]
    data = Dummies(
        np.c_[EXAMPLES.x[rows], np.ones(len(rows))].astype(float),
        np.eye(CLASSES)[EXAMPLES.y[rows]],
    )
    client = np.array([3])
    slope = TASK.gradients(model, client)[0]
    np.testing.assert_allclose(
        inversion.local_training(model, data, 1, 0.3), -0.3 * slope, rtol=1e-4, atol=1e-6
    )


def test_inversion_finds_data_that_gives_the_update():
    rng = np.random.default_rng(3)
    model = rng.normal(size=(FEATURES + 1) * CLASSES)
    secret = dummies(rng, 20)
    hidden = Dummies(secret.x, inversion._softmax(4 * secret.y))
    update = inversion.local_training(model, hidden, 5, 0.2)
    options = {"steps": 5, "lr": 0.2, "rate": 0.1}
    found = [
        np.abs(
            inversion.local_training(
                model,
                inversion.invert(model, update, dummies(rng, 20), iterations=count, **options),
                5,
                0.2,
            )
            - update
        ).sum()
        / np.abs(update).sum()
        for count in (1, 300)
    ]
    assert found[1] < 0.05 < 0.5 < found[0]


def sent(model, clients):
    """Full-batch updates of clients from a model."""
    zeros = np.zeros(len(clients), np.int64)
    versions = model.astype(np.float32)[None]
    local = Local(lr=0.2, batch=0)
    steps = np.full(len(clients), 5)
    return TASK.train(versions, zeros, clients, zeros, steps, local, 1).delta.astype(float)


def test_inverted_updates_are_nearer_to_the_fresh_ones_than_the_stale_ones_are():
    """What the method claims, of a slow client that has a class to itself; mean of five starts."""
    slow, others = np.array([7]), np.arange(6)
    ratios = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        held = weights = 0.3 * rng.normal(size=TASK.parameters)
        update = sent(held, slow)[0]
        for _ in range(10):
            weights = weights + 0.85 * sent(weights, others).mean(axis=0) + 0.15 * update
        fresh = sent(weights, slow)[0]
        options = {"steps": 5, "lr": 0.2, "iterations": 300, "rate": 0.1}
        made = inversion.invert(held, update, dummies(rng, 32), **options)
        estimate = inversion.local_training(weights, made, 5, 0.2)
        ratios.append(np.abs(estimate - fresh).sum() / np.abs(update - fresh).sum())
    assert np.mean(ratios) < 0.85


def test_inversion_is_left_when_it_does_worse():
    spec = {"correct": "inversion", "iterations": 20}
    never, keeps = learn({**spec, "margin": 0.0})
    _, leaves = learn({**spec, "margin": 1e6})
    assert keeps.switched == -1 and leaves.switched > 0
    # The first comparison is at the second update of a slow client.
    assert leaves.switched < 30
    direct, _ = learn({"correct": "direct"})
    assert (never.weights != direct.weights).any()
    _, by_version = learn({**spec, "margin": 0.0, "switch_after": 25})
    assert by_version.switched >= 25


def test_inversion_keeps_the_server_busy():
    """Each step with stale updates comes so much later for each of them."""
    spec = {"correct": "inversion", "margin": 0.0, "iterations": 5}
    quick, _ = learn(spec, versions=14)
    slow, _ = learn({**spec, "inversion_s": 0.01}, versions=14)
    # 12 steps of the six fast clients, 0.05 s apart; at 0.615 s the slow two come, 12 versions old.
    assert quick.versions["time"].tolist()[11:] == [600_000_000, 650_000_000, 700_000_000]
    assert slow.versions["time"].tolist()[11:13] == [600_000_000, 670_000_000]
    direct, _ = learn({"correct": "direct", "inversion_s": 0.01}, versions=14)
    assert direct.end == quick.end
    timed = simulate(
        SLOW,
        Policies(make("strategy", {"name": "stale", "buffer": 6, "correct": "inversion",
                                   "inversion_s": 0.01, "switch_after": 1000})),
        case.plan(steps=5, batch=10, versions=14, model_bytes=4.0 * TASK.parameters),
    )  # fmt: skip
    assert timed.end == slow.end


def test_the_same_run_twice_is_the_same():
    runs = [learn({"correct": "inversion", "iterations": 20})[0] for _ in range(2)]
    assert (runs[0].weights == runs[1].weights).all()
    strategy = make(
        "strategy", {"name": "stale", "buffer": 6, "correct": "inversion", "iterations": 20}
    )
    given = case.plan(steps=5, batch=10, lr=0.2, versions=60, evaluate_every=10)
    for _ in range(2):  # one object, used again
        again = simulate(SLOW, Policies(strategy), given, task=TASK)
        assert (again.weights == runs[0].weights).all()


def test_inversion_of_another_model_is_refused():
    spec = {"name": "stale", "correct": "inversion"}
    with pytest.raises(InputError, match="inversion is for softmax regression"):
        case.run(spec, case.equal_clients(), case.plan(), case.quadratics())


def recall(weights, label):
    """Share of the held-out samples of a class that are found."""
    matrix = weights.reshape(FEATURES + 1, CLASSES)
    found = (EXAMPLES.test_x @ matrix[:-1] + matrix[-1]).argmax(axis=1)
    return (found[EXAMPLES.test_y == label] == label).mean()


def test_without_the_stale_updates_the_class_of_the_slow_clients_is_lost():
    """Class 2 is with the slow clients alone."""
    direct, _ = learn({"correct": "direct"}, versions=150)
    dropped = {"name": "fedbuff", "buffer": 6, "concurrency": 0, "max_staleness": 3}
    given = case.plan(steps=5, batch=10, lr=0.2, versions=150)
    without = case.run(dropped, SLOW, given, TASK)
    assert recall(direct.weights, 2) > 0.6
    assert recall(without.weights, 2) < 0.1
    assert without.totals["discarded"] > 10


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("correct", ["weighted", "dc_asgd"])
def test_a_run_that_diverges_ends_with_a_line(correct):
    spec = {"name": "stale", "buffer": 3, "correct": correct, "after": 1}
    clients = Clients.make(np.full(8, 50), s_per_sample=np.linspace(1e-3, 9e-3, 8))
    run = case.run(spec, clients, case.plan(versions=3000, lr=40.0), case.quadratics())
    assert "not finite: lower the learning rate" in run.ended and not run.complete
