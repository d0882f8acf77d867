"""Traces drawn from CacheBench's distributions."""

import json

import numpy as np
import pytest
from scipy import stats

from mltwin.sim.errors import InputError
from mltwin.workloads.objects import cachebench, open_objects

CONFIG = {"getRatio": 0.6, "setRatio": 0.2, "delRatio": 0.1, "loneGetRatio": 0.1, "numKeys": 99}
POP = {"oneHits": 0.1, "popularityBuckets": [1, 3, 10], "popularityWeights": [50, 30, 20]}
SIZES = {"valSizeRange": [100, 5000], "valSizeRangeProbability": [3, 1]}


def folder(path, config=CONFIG, pop=POP, sizes=SIZES):
    path.mkdir(exist_ok=True)
    named = {**config, "popDistFile": "p.json", "valSizeDistFile": "s.json"}
    (path / "config.json").write_text(json.dumps({"test_config": named}))
    (path / "p.json").write_text(json.dumps(pop))
    (path / "s.json").write_text(json.dumps(sizes))
    return path


def test_draws_follow_the_histograms(tmp_path):
    trace = cachebench(folder(tmp_path / "toy"), 50_000, seed=1)
    keys = trace.keys[trace.ids]
    lone = keys >= 14
    assert stats.binomtest(int(lone.sum()), 50_000, 0.1).pvalue > 1e-3
    assert np.unique(keys[lone]).size == lone.sum() and (trace.op[lone] == 0).all()
    counts = np.bincount(keys[~lone], minlength=14)
    share = np.repeat([50 / 1, 30 / 3, 20 / 10], [1, 3, 10]) / 100
    assert stats.chisquare(counts, share * counts.sum()).pvalue > 1e-3
    operations = np.bincount(trace.op, minlength=3)
    assert stats.chisquare(operations, np.array([0.7, 0.2, 0.1]) * 50_000).pvalue > 1e-3
    sizes = np.zeros(trace.objects, np.int64)
    sizes[trace.ids] = trace.size_bytes
    assert np.array_equal(sizes[trace.ids], trace.size_bytes)
    small = int((sizes == 100).sum())
    assert small + int((sizes == 5000).sum()) == trace.objects
    assert stats.binomtest(small, trace.objects, 0.75).pvalue > 1e-3


def test_draws_are_keyed(tmp_path):
    place = folder(tmp_path / "toy")
    short, long = cachebench(place, 100, seed=2), cachebench(place, 300, seed=2)
    assert np.array_equal(long.op[:100], short.op)
    assert np.array_equal(long.size_bytes[:100], short.size_bytes)
    assert open_objects(place, seed=2, requests=100).equals(short)
    assert not cachebench(place, 100, seed=3).equals(short)
    with pytest.raises(InputError, match="no option 'columns'"):
        open_objects(place, columns={})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pop": {**POP, "popularityWeights": [1, 2]}}, "has 3 values, popularityWeights 2"),
        ({"pop": {**POP, "popularityBuckets": [0, 3, 1]}}, r"popularityBuckets\[0\] = 0"),
        ({"pop": {**POP, "popularityBuckets": [1, 2.5, 1]}}, r"popularityBuckets\[1\] = 2.5"),
        ({"pop": {"oneHits": 1}}, "has no 'popularityBuckets'"),
        ({"pop": [1]}, "is not a JSON object"),
        ({"sizes": {**SIZES, "valSizeRangeProbability": [0, 0]}}, "are all 0"),
        ({"sizes": {**SIZES, "valSizeRangeProbability": [-1, 2]}}, r"Probability\[0\] = -1"),
        ({"sizes": {**SIZES, "valSizeRange": ["a", 2]}}, r"valSizeRange\[0\] = a"),
        ({"config": {**CONFIG, "addChainedRatio": 0.1}}, "chained items are not modelled"),
        ({"config": {"getRatio": -1}}, "give numbers >= 0"),
        ({"config": {}}, "one of them above 0"),
    ],
)
def test_other_configurations_are_refused(tmp_path, change, told):
    with pytest.raises(InputError, match=told):
        cachebench(folder(tmp_path / "toy", **change), 10)


def test_files_that_are_missing_or_no_json(tmp_path):
    place = folder(tmp_path / "toy")
    (place / "p.json").write_text("{")
    with pytest.raises(InputError, match=r"p\.json: is not JSON"):
        cachebench(place)
    (place / "p.json").unlink()
    with pytest.raises(InputError, match="no such file"):
        cachebench(place)
    with pytest.raises(InputError, match="requests = 0"):
        cachebench(folder(tmp_path / "toy"), 0)


@pytest.mark.data
@pytest.mark.parametrize("name", ["cdn", "graph_cache_leader_fbobj", "kvcache_reg"])
def test_published_distributions(data_dir, name):
    place = data_dir / "traces/cache/cachebench_meta/hit_ratio" / name
    config = json.loads((place / "config.json").read_text())["test_config"]
    pop = json.loads((place / "pop.json").read_text())
    sizes = json.loads((place / "sizes.json").read_text())
    n = 200_000
    trace = cachebench(place, n, seed=1)
    keys = trace.keys[trace.ids]
    objects = sum(pop["popularityBuckets"])
    ratios = {name: config[name] for name in ("getRatio", "setRatio", "delRatio", "loneGetRatio")}
    lone = ratios["loneGetRatio"] / sum(ratios.values())
    assert stats.binomtest(int((keys >= objects).sum()), n, lone).pvalue > 1e-3
    head = np.cumsum(pop["popularityBuckets"])[len(pop["popularityBuckets"]) // 2]
    share = sum(pop["popularityWeights"][: len(pop["popularityWeights"]) // 2 + 1])
    inside = keys[keys < objects]
    p = share / sum(pop["popularityWeights"])
    assert stats.binomtest(int((inside < head).sum()), inside.size, p).pvalue > 1e-3
    weights = np.array(sizes["valSizeRangeProbability"], float)
    values = np.array(sizes["valSizeRange"], float)
    mean = (weights * values).sum() / weights.sum()
    spread = np.sqrt((weights * (values - mean) ** 2).sum() / weights.sum() / trace.objects)
    found = np.zeros(trace.objects)
    found[trace.ids] = trace.size_bytes
    assert abs(found.mean() - mean) < 4 * spread
