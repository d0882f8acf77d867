"""Traces of presence, the law fitted to them, and the laws that ship."""

import json

import numpy as np
import pytest

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.workloads.federated import fits, renewal, shipped
from mltwin.workloads.federated.presence import DAY_S, Presence

SHIPPED = ("flash-strict", "flash-loose", "fedscale")


def night_traces(count: int, days: int = 4, seed: int = 5) -> Presence:
    """There each evening from about 18:00 for one to four hours, every second phone at noon too."""
    rng = np.random.default_rng(seed)
    traces = []
    for k in range(count):
        begin = np.arange(days) * DAY_S + 18 * 3600 + rng.normal(0, 1800, days)
        end = begin + rng.uniform(1, 4, days) * 3600
        if k % 2:
            noon = np.arange(days) * DAY_S + 12 * 3600 + rng.normal(0, 1800, days)
            begin, end = np.concatenate((begin, noon)), np.concatenate((end, noon + 600))
        order = np.argsort(begin)
        traces.append((begin[order], end[order]))
    return Presence.join(traces, days * DAY_S)


def test_intervals_that_touch_or_overlap_are_joined() -> None:
    made = Presence.join([([30, 0, 10], [40, 10, 20]), ([], []), ([5, 6], [20, 7])], 100.0)
    assert made.begin_s.tolist() == [0, 30, 5] and made.end_s.tolist() == [20, 40, 20]
    assert made.counts.tolist() == [2, 0, 1]
    assert made.duty.tolist() == [0.3, 0.0, 0.15] and made.gaps_s.tolist() == [10]
    assert made.take(np.array([2, 0])).begin_s.tolist() == [5, 0, 30]


def test_by_hour_is_the_mean_part_of_each_hour() -> None:
    made = Presence.join([([1800.0], [2 * 3600.0]), ([0.0], [DAY_S])], np.array([DAY_S, 2 * DAY_S]))
    hours = made.by_hour()
    assert hours[:3] == pytest.approx([1.5 / 3, 2 / 3, 1 / 3])
    assert hours.mean() == pytest.approx((1.5 * 3600 + DAY_S) / (3 * DAY_S))


def test_clients_take_traces_and_keep_the_hour() -> None:
    there = night_traces(50).availability(5000, seed=1)
    assert np.bincount(there.trace).min() > 50
    assert set((there.offset // TICKS_PER_S).tolist()) == {0, 86_400, 2 * 86_400, 3 * 86_400}
    zoned = night_traces(50).availability(5000, seed=1, zones=24)
    assert len(set((zoned.offset % (86_400 * TICKS_PER_S)).tolist())) == 24
    own = night_traces(50).availability(50, shift="none", wrap=False)
    assert own.trace.tolist() == list(range(50)) and not own.period.any() and not own.offset.any()


def test_a_law_gives_back_what_it_was_fitted_to() -> None:
    law = renewal.fit(night_traces(300), counts=2)
    drawn = law.draw(2000, period_s=4 * DAY_S, seed=3)
    true = night_traces(300, seed=6)
    assert drawn.duty.mean() == pytest.approx(true.duty.mean(), rel=0.1)
    assert drawn.counts.mean() == pytest.approx(true.counts.mean(), rel=0.1)
    found = fits.presence_distances(true, drawn)
    # An independent renewal process cannot know that noons and nights take turns.
    assert found["stays"] < 0.15 and found["by_hour"] < 0.15 and found["hours"] < 0.3


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_traces_are_lawful_and_keyed(name: str) -> None:
    law = shipped.presence_law(name)
    one, longer, other = law.draw(40, seed=1), law.draw(90, seed=1), law.draw(40, seed=2)
    rows = longer.first[40]
    assert np.array_equal(one.begin_s, longer.begin_s[:rows])
    assert not np.array_equal(one.begin_s, other.begin_s[: len(one.begin_s)])
    same = one.trace[1:] == one.trace[:-1]
    assert (one.end_s > one.begin_s).all() and one.end_s.max() <= 14 * DAY_S
    assert (one.begin_s[1:][same] > one.end_s[:-1][same]).all()
    assert renewal.PresenceLaw.from_dict(law.to_dict()).to_dict() == law.to_dict()


def test_a_trace_begins_anywhere_in_a_stay() -> None:
    """After the warm-up the law's duty holds from the first hour on."""
    law = shipped.presence_law("fedscale")
    drawn = law.draw(6000, period_s=4 * DAY_S, seed=1)
    at_start = np.mean(drawn.begin_s[drawn.first[:-1]] == 0)
    later = [
        np.mean(np.bincount(drawn.trace[(drawn.begin_s <= t) & (drawn.end_s > t)], minlength=6000))
        for t in (DAY_S, 2 * DAY_S, 3 * DAY_S)
    ]
    assert at_start == pytest.approx(np.mean(later), abs=0.03)


def test_flash_phones_are_there_at_night() -> None:
    hours = shipped.presence_law("flash-strict").draw(4000, seed=1).by_hour()
    assert hours[[23, 0, 1, 2]].min() > 1.8 * hours[[9, 10, 11]].max()


def test_ks_distance() -> None:
    assert fits.ks_distance(np.arange(10), np.arange(10)) == 0
    assert fits.ks_distance(np.arange(10), np.arange(10) + 5) == 0.5
    assert fits.ks_distance(np.zeros(3), np.ones(5)) == 1


@pytest.mark.parametrize("kind", ["presence", "devices", "noise"])
def test_provenance_names_source_licence_and_file(kind: str) -> None:
    stored = json.loads(shipped.FILE.read_text("utf-8"))[kind]
    for name in stored:
        facts = shipped.provenance(kind, name)
        assert facts["source"] and facts["licence"] and len(facts["sha256"]) == 64
        assert "law" not in facts


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: shipped.presence_law("flash"), "no law of presence is called 'flash'; use one of"),
        (lambda: shipped.provenance("speed", "x"), "no kind is called 'speed'"),
        (lambda: shipped.presence_law("fedscale").draw(0), "0 traces of"),
        (lambda: renewal.PresenceLaw.from_dict({"share": [1]}), "is no law of presence"),
        (lambda: renewal.fit(night_traces(3), counts=5), "3 traces for 5 classes"),
        (lambda: night_traces(3).availability(5, shift="hours"), "shift is 'hours'"),
        (lambda: night_traces(3).availability(0), "0 clients, 3 traces"),
    ],
)
def test_what_cannot_be_is_one_line(make, says: str) -> None:
    with pytest.raises(InputError) as found:
        make()
    assert says in str(found.value)


@pytest.mark.data
def test_a_refit_gives_what_ships(data_dir) -> None:
    again = json.loads(fits.to_json(fits.fit_all(data_dir)))
    stored = json.loads(shipped.FILE.read_text("utf-8"))
    assert again.keys() == stored.keys()
    for kind, entries in stored.items():
        for name, entry in entries.items():
            new = again[kind][name]
            assert new["sha256"] == entry["sha256"], (kind, name)
            for key in ("share", "rhythm", "window_s", "spearman"):
                if key in entry.get("law", {}):
                    assert new["law"][key] == pytest.approx(entry["law"][key], rel=1e-3), key
            for key in ("stay_s", "away_s"):
                if key in entry.get("law", {}):
                    assert np.allclose(new["law"][key], entry["law"][key], rtol=1e-3), key
            if "sigma" in entry:
                assert new["sigma"] == pytest.approx(entry["sigma"], rel=1e-3)
            for key, value in entry.get("distances", {}).items():
                assert new["distances"][key] == pytest.approx(value, abs=2e-3), (name, key)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "bound", "by_hour"), [("flash-strict", 0.11, 0.04), ("flash-loose", 0.12, 0.04)]
)
def test_clients_left_out_of_the_fit_are_as_drawn(name, bound, by_hour, data_dir) -> None:
    """Odd users against a law of the even ones; the halves themselves differ by up to 0.085."""
    from mltwin.workloads.federated import flash

    rule = name.removeprefix("flash-")
    path = data_dir / "traces/federated/flash_imc20" / f"ready_{rule}.first70pct_users.json.gz"
    found = fits.fit_presence(flash.read_flash_availability(path), name)
    distances = dict(found["distances"])
    assert distances.pop("by_hour") < by_hour
    assert max(distances.values()) < bound, distances


@pytest.mark.data
def test_fedscale_devices_left_out_are_within_what_sixty_can_tell(data_dir) -> None:
    """Thirty against thirty: Kolmogorov's 5 % bound of 30 against many is 0.248."""
    from mltwin.workloads.federated import fedscale

    base = data_dir / "traces/federated/fedscale_subset"
    devices = fits.fit_devices(
        fedscale.read_fedscale_capacity(base / "client_device_capacity.json"), "fedscale"
    )
    assert max(devices["distances"].values()) < 0.248
