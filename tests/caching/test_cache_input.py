"""What people type wrong: each is told in one line, or taken as it was meant."""

import numpy as np
import pytest

import mltwin as mt
from mltwin.cache_curves import miss_ratio_curve
from mltwin.cache_policies import choose_eviction
from mltwin.cache_replay import replay_cache
from mltwin.cache_shelf import eviction_table, object_traces_table, open_objects, size_of
from mltwin.plots import figure_bytes
from mltwin.policies import list_policies
from mltwin.workloads.objects import ObjectTrace, zipf

TRACE = zipf(100, 2_000, 0.8, seed=1)
TIMED = TRACE.changed(arrival=np.arange(2_000) * 10**9)
SIZED = TRACE.changed(size_bytes=1_000 + TRACE.ids.astype(np.int64))


@pytest.mark.parametrize(
    ("text", "unit", "told"),
    [
        ("64MiB", "objects", "counts bytes"),
        ("5B", "objects", "counts bytes"),
        ("1.5", "objects", "no whole number"),
        ("0%", "objects", "less than 1"),
        ("0.5B", "bytes", "less than 1"),
        ("10 apples", "bytes", "no capacity"),
        ("1e999", "bytes", "no capacity"),
    ],
)
def test_capacities_that_cannot_be(text, unit, told):
    with pytest.raises(mt.InputError, match=told):
        size_of(text, SIZED, unit)


def test_capacities_are_exact():
    assert size_of("99999999999999999999", TRACE, "objects") == 99_999_999_999_999_999_999
    assert size_of("10k", TRACE, "objects") == 10_000
    assert size_of("0.1%", TRACE, "objects") == 1


def test_a_capacity_may_be_text_in_python_too():
    run, same = (replay_cache(TRACE, "lru", room) for room in ("10%", TRACE.unique // 10))
    assert (run.capacity, run.hits) == (same.capacity, same.hits)
    curves = miss_ratio_curve(SIZED, "lru", ["1%", "20kB"], unit="bytes")
    assert curves["lru"].capacities[1] == 20_000
    with pytest.raises(mt.InputError, match="from chunks"):
        replay_cache(TRACE.chunks(500), "lru", "10%")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"policy": None}, "None names no policy"),
        ({"policy": {"name": "lru_k", "k": "two"}}, "'two' is no number"),
        ({"policy": {"name": "lru_k", "k": float("nan")}}, "k = nan is no number"),
        ({"policy": {"name": "hyperbolic", "samples": float("nan")}}, "samples = nan is no number"),
        ({"ttl_s": -1}, "no time above 0"),
        ({"ttl_s": float("nan")}, "no time above 0"),
        ({"max_objects": 0}, "less than 1"),
        ({"trace": [1, 2, 3]}, "no object trace"),
        ({"trace": np.array([1, 2, 3])}, "no object trace"),
        ({"trace": 5}, "no object trace"),
    ],
)
def test_replays_that_cannot_be(change, told):
    given = {"trace": TIMED, "policy": "lru", **change}
    trace, policy = given.pop("trace"), given.pop("policy")
    with pytest.raises(mt.InputError, match=told):
        replay_cache(trace, policy, 10, **given)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"policies": []}, "no policies"),
        ({"policies": ["lru", "siev"]}, "did you mean 'sieve'"),
        ({"sample": "a"}, "no share"),
        ({"sample": 0}, "no share"),
        ({"sample": 2.0}, "no share"),
        ({"unit": "byte"}, "did you mean 'bytes'"),
    ],
)
def test_curves_that_cannot_be(change, told):
    with pytest.raises(mt.InputError, match=told):
        miss_ratio_curve(TRACE, **{"policies": "lru", "capacities": [10], **change})


def test_a_score_is_taken_where_a_name_is():
    score = next(p for p in list_policies("evict_object") if p.name == "oldest")
    curves = miss_ratio_curve(TRACE, [score, "fifo"], [10, 50])
    assert curves["oldest"].miss_ratio.tolist() == curves["fifo"].miss_ratio.tolist()
    assert choose_eviction(choose_eviction(score)).name == "oldest"
    with pytest.raises(mt.InputError, match="did you mean 'fifo'"):
        curves["fifoo"]


def test_a_sample_says_how_sure_it_is():
    curves = miss_ratio_curve(TRACE, ["lru", "sieve"], [10, 50], sample=0.25)
    table = curves.table()
    assert table.columns == ["capacity (objects)", "lru", "±", "sieve", "±"]
    assert [row[2] for row in table.rows] == curves["lru"].error.tolist()
    assert all(column in (1, 3) for _, column in table.best)
    whole = miss_ratio_curve(TRACE, "lru", [10, 50]).table()
    assert whole.columns == ["capacity (objects)", "lru"] and "±" not in whole.caption


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_prices_that_cannot_be(price):
    curves = miss_ratio_curve(TRACE, "lru", [10])
    with pytest.raises(mt.InputError, match="no price"):
        curves.cheapest(dollars_per_unit=price, dollars_per_miss=1.0)


@pytest.mark.parametrize(
    ("trace", "unit", "tick"), [(TRACE, "objects", "10"), (SIZED, "bytes", "B")]
)
def test_axes_are_plain_numbers(trace, unit, tick):
    picture = miss_ratio_curve(trace, "lru", unit=unit).plot()
    figure_bytes(picture, "svg")  # ticks are made when it is drawn
    shown = [label.get_text() for label in picture.axes[0].get_xticklabels()]
    assert any(tick in text for text in shown) and not any("$" in text for text in shown)


def test_every_policy_is_listed():
    names = [row[0] for row in eviction_table().rows]
    assert {p.name for p in list_policies("evict_object")} < set(names)
    assert all(choose_eviction(name).name == name for name in names)


def test_traces_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLTWIN_CACHE", str(tmp_path))
    monkeypatch.delenv("MLTWIN_DATA", raising=False)
    with pytest.raises(mt.InputError, match=r"did you mean 'zipf-0\.8'"):
        open_objects("zipf-0.7")
    with pytest.raises(mt.InputError, match="mltwin cache fetch lirs-loop"):
        open_objects("lirs-loop")
    (tmp_path / "zipf-0.7").write_text("1\n2\n1\n")
    assert open_objects("zipf-0.7").requests == 3
    places = {row[0]: row[2] for row in object_traces_table().rows}
    assert (places["zipf-1.0"], places["lirs-loop"]) == ("shipped", "fetch")
    assert places["cloudphysics"] == "by hand"


def test_no_sizes_have_no_footprint():
    assert TRACE.describe()["footprint_bytes"] is None
    assert SIZED.describe()["footprint_bytes"] == SIZED.footprint_bytes
    assert isinstance(SIZED, ObjectTrace)


@pytest.mark.parametrize(
    ("tier", "told"),
    [
        ({"capacity": "64MiB"}, r"tiers\.0\.capacity: .* write capacity = 67108864 and workload"),
        ({"capacity": "10%"}, r"tiers\.0\.capacity: .* write share = 0\.1"),
        ({"capacity": "10 apples"}, r"tiers\.0\.capacity: '10 apples' is no capacity"),
        ({"share": 0.1, "eviction": "seive"}, r"^tiers\.0\.eviction: .* did you mean 'sieve'"),
        ({"share": 0.1, "eviction": {"name": "lru", "k": 2}}, r"^tiers\.0\.eviction\.k: "),
        ({"share": 0.1, "admission": "sizee"}, r"^tiers\.0\.admission: "),
    ],
)
def test_scenarios_name_the_tier(tier, told):
    with pytest.raises(mt.InputError, match=told):
        mt.Scenario.parse({"system": "caching", "tiers": [tier]}).check()


def test_one_bracket_is_told():
    with pytest.raises(mt.InputError, match=r"tiers: is one table .* write \[\[tiers\]\]"):
        mt.Scenario.parse({"system": "caching", "tiers": {"share": 0.1}})
