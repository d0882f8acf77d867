"""The system `expert-cache` in the house: files, runs, comparison, sweep, store, errors."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mltwin as mt
from mltwin.experts import ExpertScenario
from mltwin.experts_result import ExpertResult, violations
from mltwin.experts_run import lower, model_shape
from mltwin.models.experts.routing import routes

SMALL = {
    "routing.steps": 20,
    "model.layers": 4,
    "model.experts": 8,
    "model.experts_per_token": 2,
    "model.expert_mb": 50.0,
    "model.other_gb": 1.0,
}


def small(**more: object) -> ExpertScenario:
    return ExpertScenario().changed(SMALL | {k.replace("__", "."): v for k, v in more.items()})


def test_the_default_runs_and_breaks_no_law() -> None:
    result = ExpertScenario().run()
    assert isinstance(result, ExpertResult) and not result.violations
    assert result.metrics["tokens"] == 200
    assert result.digest == ExpertScenario().run().digest
    assert result.digest != ExpertScenario().run(1).digest


@pytest.mark.parametrize("policy", ["lru", "lfu", "static", "belady", "layer", "random"])
def test_the_reference_gives_the_same_result(policy: str) -> None:
    scenario = small(
        policy=policy,
        routing__batch=4,
        micro_batches=2,
        regroup=True,
        predictor__kind="given",
        predictor__time_us=50.0,
        predictor__lookahead=2,
        link__streams=2,
        memory__dram_share=0.5,
    )
    fast, plain = scenario.run(3), scenario.run(3, reference=True)
    assert fast.digest == plain.digest and fast.metrics == plain.metrics
    assert not fast.violations


def test_it_is_stored_compared_and_swept(tmp_path: Path) -> None:
    base = small(name="lru")
    folder = base.run(2).save(tmp_path)
    back = mt.Result.load(folder)
    assert isinstance(back, ExpertResult) and back.metrics == base.run(2).metrics
    compared = mt.compare([base, small(policy="layer", name="layer")], seeds=range(2))
    assert "output_throughput" in compared.table().markdown()
    swept = mt.sweep(base, {"memory.hbm_share": [0.25, 0.5, 1.0]}, seeds=2, workers=1)
    hits = [row["hit_ratio"] for row in swept.means().to_dict("records")]
    assert hits[0] < hits[1] < hits[2]
    base.run().plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "experts.toml"
    path.write_text('system = "expert-cache"\npolicy = "lfu"\n[routing]\nsteps = 5\n')
    scenario = mt.Scenario.load(path)
    assert isinstance(scenario, ExpertScenario)
    scenario.save(tmp_path / "again.toml")
    assert mt.Scenario.load(tmp_path / "again.toml") == scenario


def test_bytes_of_mixtral() -> None:
    """176,160,768 parameters an expert (3 x 4096 x 14336), 32 x 8 of them in 16 bits."""
    shape, _ = model_shape(ExpertScenario())
    assert (shape.layers, shape.experts, shape.chosen) == (32, 8, 2)
    assert shape.expert_bytes == 2 * 3 * 4096 * 14336
    result = ExpertScenario().changed({"memory.hbm_experts": 64, "routing.steps": 1}).run()
    routed = 256 * shape.expert_bytes
    saved = 0.75 * routed / (routed + shape.other_bytes)
    assert result.metrics["memory_saved_ratio"] == pytest.approx(saved)
    four_bits, _ = model_shape(ExpertScenario().set("model.quantisation", "int4"))
    assert four_bits.expert_bytes < 0.27 * shape.expert_bytes


def test_load_times_follow_the_link() -> None:
    """50 MB: 10 us + 50e6 / 54e9 s from DRAM; two streams have half the bandwidth each."""
    from_dram = 10_000 + round(50e6 / 54)
    assert set(lower(small(), 0).plan.load_ticks.tolist()) == {from_dram}
    halved = lower(small(link__streams=2), 0).plan.load_ticks
    assert set(halved.tolist()) == {10_000 + round(2 * 50e6 / 54)}
    mixed = lower(small(memory__dram_share=0.75), 0).plan
    ssd = 100_000 + round(50e6 / 20)
    assert sorted(set(mixed.load_ticks.tolist())) == [from_dram, ssd]
    assert (mixed.load_ticks == ssd).sum() == 8
    assert mixed.uses[mixed.load_ticks == ssd].max() <= mixed.uses[mixed.load_ticks < ssd].min()


def test_given_times_are_taken() -> None:
    plan = lower(small(compute__layer_us=7.0, compute__expert_us=3.0), 0).plan
    assert set(plan.dense_ticks.tolist()) == {7000} and set(plan.entry_ticks.tolist()) == {3000}


def test_all_resident_is_the_roofline_alone() -> None:
    result = small(memory__hbm_share=1.0, memory__preload=True).run()
    assert result.metrics["stall_share"] == 0 and result.metrics["hit_ratio"] == 1
    expected = result.metrics["resident_throughput"]
    assert result.metrics["output_throughput"] == pytest.approx(expected)


def write_trace(path: Path, found: np.ndarray) -> None:
    tokens, layers, chosen = found.shape
    frame = pd.DataFrame(
        {
            "token": np.repeat(np.arange(tokens), layers),
            "layer": np.tile(np.arange(layers) + 3, tokens),  # the first three have no experts
            **{f"expert{i}": found[:, :, i].ravel() for i in range(chosen)},
        }
    )
    if path.suffix == ".parquet":
        frame.to_parquet(path)
        return
    frame["experts"] = [" ".join(map(str, row)) for row in found.reshape(-1, chosen)]
    frame[["token", "layer", "experts"]].sample(frac=1, random_state=0).to_csv(path, index=False)


@pytest.mark.parametrize("name", ["routes.parquet", "routes.csv"])
def test_a_trace_gives_the_same_run_as_what_it_was_written_from(name: str, tmp_path: Path) -> None:
    base = small()
    r = base.routing
    found = routes(0, steps=20, batch=1, layers=4, experts=8, chosen=2, skew=r.skew,
                   token_correlation=r.token_correlation, layer_correlation=r.layer_correlation,
                   topics=r.topics, topic_strength=r.topic_strength,
                   output_tokens=r.output_tokens)  # fmt: skip
    write_trace(tmp_path / name, found[:, 0])
    read = base.set("routing.trace", str(tmp_path / name))
    read.check()
    assert read.run().digest == base.run().digest
    assert read.run().trace_sha256 == base.run().trace_sha256


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token,layer,expert0\n", "has no rows"),
        ("token,expert0\n0,1\n", "has no column 'layer'"),
        ("token,layer\n0,1\n", "no expert columns"),
        ("token,layer,expert0,expert1\n0,0,x,1\n", "'x' in row 1 is not a whole number"),
        ("token,layer,expert0,expert1\n0,0,1,1\n", "row 1 names an expert twice"),
        ("token,layer,expert0,expert1\n0,0,-1,1\n", "expert -1 in row 1"),
        ("token,layer,experts\n0,0,1 2\n1,0,1\n", "rows name 1 to 2 experts"),
        ("token,layer,expert0,expert1\n0,0,1,2\n1,1,1,2\n", "token 0, layer 1 is missing"),
        ("token,layer,expert0,expert1\n0,0,1,2\n", "has 1 layers, the model 4"),
    ],
)
def test_bad_traces_are_told(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(mt.InputError, match=said) as caught:
        small(routing__trace=str(tmp_path / "bad.csv")).run()
    assert "bad.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("policy", "lruu", "policy: .*did you mean 'lru'"),
        ("model.name", "mixtrall", "model.name: .*did you mean 'mixtral-8x7b'"),
        ("model.name", "llama-3.1-8b", "has no experts"),
        ("model.layers", 3, "'experts' is missing"),
        ("compute.gpu", "h1000", "compute.gpu: no GPU profile"),
        ("routing.trace", "nothing.csv", "routing.trace: no file"),
        ("routing.token_correlation", 0.9, "at most 1 together"),
        ("memory.hbm_gb", 0.001, "hold no expert"),
        ("routing.steps", 10_000_000, "do not fit into memory"),
        ("predictor.lookahead", -1, "give 0 layers or more"),
    ],
)
def test_bad_fields_are_told(field: str, value: object, said: str) -> None:
    with pytest.raises(mt.InputError, match=said):
        scenario = ExpertScenario().set(field, value)
        scenario.check()
        scenario.run()


def test_laws_can_be_broken() -> None:
    result = small().run()
    facts = {**result.facts, "totals": {**result.facts["totals"], "loaded": 1, "stalled": 5}}
    assert len(violations(result.tables, facts)) >= 3


def test_regrouping_needs_fewer_experts_a_pass() -> None:
    base = small(routing__batch=16, micro_batches=4, routing__topic_strength=1.0,
                 routing__skew=1.5, routing__steps=100, model__experts=32)  # fmt: skip
    plain, grouped = (base.set("regroup", on).run().metrics for on in (False, True))
    assert grouped["experts_per_visit"] < 0.95 * plain["experts_per_visit"]
    assert grouped["tokens"] == plain["tokens"]


def test_a_timeline_shows_work_and_loads(tmp_path: Path) -> None:
    result = small(predictor__kind="given", link__streams=2).run()
    timeline = result.timeline()
    frame = timeline.frame((0.0, 0.05))
    assert {"dense", "expert", "stalled", "on demand", "prefetch"} >= set(frame["kind"])
    gpu = frame[frame["kind"].isin(["dense", "expert", "stalled"])].sort_values("start_s")
    assert np.allclose(gpu["end_s"][:-1], gpu["start_s"][1:])  # the GPU does one thing at a time
    assert not timeline.save(tmp_path / "experts.json.gz")
    assert result.timeline(window_s=(0.0, 0.01)).chart() is not None
