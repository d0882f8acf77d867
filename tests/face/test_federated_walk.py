"""What a newcomer types wrong in a federation, and what odd runs say of themselves."""

from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.metrics import direction
from mltwin.models.federation.learning.classifier import Evaluated

SMALL = {
    "clients.count": 12,
    "dataset.source": {"name": "gaussians", "samples": 300},
    "stop.versions": 6,
}


def small(**changes: object) -> mt.FederatedScenario:
    more = {key.replace("__", "."): value for key, value in changes.items()}
    return mt.federated.Scenario().changed({**SMALL, **more})


def peers(protocol: object, **changes: object) -> mt.FederatedScenario:
    return small(peers={"protocol": protocol, "overlay": "complete"}, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset.source": {"name": "gaussians", "samples": 10**12}}, "numbers at most"),
        ({"dataset.source": {"name": "gaussians", "features": 10**9}}, "numbers at most"),
        ({"dataset.source": {"name": "gaussians", "samples": "x"}}, "samples is 'x'; give a whole"),
        ({"dataset.source": "synthetic", "clients.count": 10**6}, "numbers at most"),
        ({"dataset.split": {"name": "dirichlet", "alpha": "x"}}, "split.alpha: .* give a number"),
        ({"clients.speed": {"name": "homogeneous", "s_per_sample": True}}, "speed.s_per_sample"),
        ({"clients.availability": {"name": "bernoulli", "probability": "x"}}, "check its values"),
        ({"clients.availability": {"name": "bernoulli", "slots": 10**9}}, "stays in all traces"),
        ({"clients.availability": {"name": "markov", "period_days": 1e300}}, "lower pool"),
        ({"clients.availability": {"name": "markov", "pool": 0}}, "pool is 0"),
        ({"clients.availability": {"name": "cyclic", "period_s": 1e300}}, "cyclic: cannot convert"),
        ({"clients.label": 3}, "no correlation with it"),
        ({"clients.radio": {"bandwith_hz": 1e5}}, "did you mean 'bandwidth_hz'"),
        ({"clients.radio": {"draws": 1.5}}, "draws is 1.5; give a whole number"),
        ({"clients.radio": {"threshold": 1e9}}, "clients.radio: client 0, .* is never heard"),
        ({"clients.radio": {}, "clients.failure": 0.1}, "clients.failure: a radio link says it"),
        ({"selection": {"name": "participation", "chance": 0.5}}, "chance as a list of numbers"),
        ({"codec": {"name": "sized", "up": 3}}, "codec.up: sized takes up as a list"),
        ({"strategy": {"name": "stale", "buffer": 50, "restart": "at step"}}, "give at most 12"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(changes: dict[str, object], said: str) -> None:
    with pytest.raises(mt.InputError, match=said) as told:
        small().changed(changes).run()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("protocol", "changes", "said"),
    [
        ({"name": "matchmaking", "pairs": "x"}, {}, "pairs is 'x'; give a whole number"),
        ({"name": "dpsgd", "round_s": "x"}, {}, "peers.protocol.round_s"),
        ("modest", {"clients.count": 5}, "peers.protocol.sample: sample is 13; give 1 to 5"),
        ("gossip", {"clients.failure": 1.0}, "no update ever comes; give less than 1, or until_s"),
        ("dpsgd", {"clients.availability": "cyclic"}, "peers.protocol: peers of D-PSGD wait"),
    ],
)
def test_peers_are_checked_before_they_run(
    protocol: object, changes: dict[str, object], said: str
) -> None:
    scenario = peers(protocol).changed(changes)
    for wrong in (scenario.check, scenario.run):
        with pytest.raises(mt.InputError, match=said):
            wrong()


def test_matchmaking_needs_no_number_of_versions() -> None:
    timed = peers("matchmaking", stop__versions=None, stop__until_s=0.3, training__evaluate_every=4)
    result = timed.run()
    assert result.metrics["versions"] == 6 and not result.violations
    assert result.tables["evaluations"]["version"].tolist() == [0, 4, 6]


@pytest.mark.filterwarnings("error")
def test_gossip_that_diverges_says_so_without_a_warning() -> None:
    result = peers("gossip", model__level="quadratic", training__lr=1e6, stop__versions=60).run()
    assert any("lower the learning rate" in note for note in result.notes)


def test_rounds_whose_losses_a_server_never_learns_of_need_a_deadline() -> None:
    def lossy(**more: object) -> mt.Result:
        return small(clients__failure=0.4, **more).run()

    stuck = lossy(training__detect_s="never")
    assert any("the server never learns of it: give detect_s or a deadline" in note
               for note in stuck.notes)  # fmt: skip
    assert not stuck.facts["complete"] and not stuck.violations and not lossy().notes
    late = lossy(
        training__detect_s="never", strategy={"name": "fedavg", "clients": 8, "deadline_s": 0.1}
    )
    assert late.facts["complete"] and not late.notes


@pytest.mark.parametrize("strategy", ["fedbuff", "fedasync", "stale", "async"])
@pytest.mark.parametrize("level", ["time", "quadratic"])
def test_no_version_is_made_of_losses_alone(strategy: str, level: str) -> None:
    scenario = small(
        strategy=strategy, model__level=level, clients__failure=0.9, stop__versions=20,
        clients__jitter=0.5,
    )  # fmt: skip
    result = scenario.run()
    used = result.tables["versions"]["used"]
    assert len(used) and (used > 0).all() and not result.violations


def test_the_end_of_inversion_is_told() -> None:
    stale = {"name": "stale", "correct": "inversion", "after": 1, "iterations": 5, "buffer": 3}
    result = small(strategy=stale, clients__speed="exponential", stop__versions=30).run()
    left = result.facts["run"]["inversion_left_at"]
    assert f"Updates were inverted until version {left}." in result.notes and 0 < left <= 30


def test_whole_numbers_are_as_good_as_fractions() -> None:
    def run(size: float) -> mt.Result:
        return small(codec={"name": "seed_sign", "size": size}).run()

    assert run(2).digest == run(2.0).digest


def test_radio_links_make_near_clients_fast_and_sure() -> None:
    def run(**radio: float) -> mt.Result:
        return small(clients__radio=radio, model__level="time", stop__versions=40).run()

    wide, narrow = run(), run(bandwidth_hz=1e5)
    assert wide.metrics["duration_s"] < narrow.metrics["duration_s"]
    near, far = run(radius_m=100.0, far_m=3000.0), run(radius_m=3000.0, far_m=3000.0)
    assert near.metrics.get("lost_share", 0.0) < far.metrics["lost_share"]


class _Halves(Evaluated):
    """Every sample has the loss 0.5."""

    def __init__(self, examples: object) -> None:
        self.examples = examples  # type: ignore[assignment]

    def test_samples(self, weights: object, x: np.ndarray, y: np.ndarray) -> tuple:
        return np.full(len(y), 0.5, np.float32), np.ones(len(y), bool), np.zeros((len(y), 2))


def test_losses_of_clients_without_held_out_data_keep_their_fractions() -> None:
    from mltwin.federated_data import examples_of

    examples = examples_of(small(clients__count=31, dataset__samples=3), 0)
    assert (examples.samples % 2).all() and not (examples.test_client >= 0).any()
    assert (_Halves(examples).client_metrics(np.zeros(1))["loss"] == 0.5).all()


def test_an_error_in_a_users_file_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from mltwin.models.federation.hooks import Strategy\n\n\n"
        "class Mine(Strategy):\n"
        "    def start(self, server):\n        server.dispatch(server.idle())\n\n"
        "    def arrived(self, server, arrivals):\n        return 1 / 0\n"
    )
    with pytest.raises(mt.InputError, match=r"mine\.py, line 9, in arrived: ZeroDivisionError"):
        small(strategy=f"{file}:Mine").run()


def test_more_of_the_good_is_better_and_said_so() -> None:
    base = small(model__level="time", clients__up_mbit_per_s=1.0).run()
    faster = small(model__level="time", clients__up_mbit_per_s=10.0).run()
    assert faster.metrics["duration_s"] < base.metrics["duration_s"]
    assert base.metrics["up_gb"] == faster.metrics["up_gb"]
    ways = {name: direction(name) for name in small(target__accuracy=0.3).run().metrics}
    less = ("final_loss", "time_to_accuracy_s", "bytes_to_accuracy", "mean_staleness", "dollars",
            "wasted_share", "lost_share", "client_hours", "unused_clients_share")  # fmt: skip
    more = ("final_accuracy", "updates_per_s", "participation_jain", "client_accuracy_worst_tenth")
    assert {ways[name] for name in less} == {"lower"}
    assert {ways[name] for name in more} == {"higher"}


def test_latencies_that_a_file_lacks_are_told(tmp_path: Path) -> None:
    file = tmp_path / "ms.csv"
    file.write_text("0,nan,3\n1,0,nan\n3,nan,0\n")
    (note,) = peers("gossip", **{"peers.latency_file": str(file)}).run().notes
    assert (
        note == "Latencies that ms.csv lacks: 1 taken from the way back, 2 from the median of all."
    )
