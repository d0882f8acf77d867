"""Fits of mixed attention, of the sampler and launches, and of power: known parameters come
back, in spite of outliers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mltwin.calibration import fit, read
from mltwin.calibration.fit.host import SamplerCost
from mltwin.calibration.fit.power import MODELS, PowerLaw
from mltwin.models.gpu import IterationModel, load_profile
from mltwin.models.gpu.lowering import lower
from mltwin.models.gpu.operators import MixedCost
from mltwin.sim.errors import InputError

TRUTH = MixedCost(
    power=4.0, chain_s=1.8e-10, overhead_s=6e-6, crowd=1.1, item_tokens=130.0, empty_s=4e-7,
    bandwidth=1.3e12, sms=188, l2_bytes=1.3e8,
)  # fmt: skip
GPU = {"sms": 188, "bandwidth": 1.6e12, "l2_bytes": 1.3e8}


def with_outliers(seconds: np.ndarray, share: int = 19) -> np.ndarray:
    """Every 19th time doubled, all of them jittered by 1 %."""
    rng = np.random.default_rng(3)
    noisy = seconds * np.exp(rng.normal(0, 0.01, len(seconds)))
    noisy[::share] *= 2
    return noisy


def ragged_calls(cost: MixedCost, outliers: bool = True) -> pd.DataFrame:
    """Rows as :func:`fit.mixed_rows` gives them."""
    names = ["prefill_tokens", "prefill_context", "decodes", "decode_context", "kv_heads"]
    values = [[16, 64, 256, 512, 2048], [0, 1024, 8192], [1, 4, 16, 64, 128],
              [16, 128, 1024, 4096, 16384], [4, 8]]  # fmt: skip
    rows = pd.MultiIndex.from_product(values, names=names).to_frame(index=False)
    chunk, before = rows["prefill_tokens"], rows["prefill_context"]
    pairs = chunk * (before + chunk / 2)
    rows["prefill_s"] = 6e-6 + pairs * 5e-11 + 1.8e-10 * 128 * (before + chunk)
    rows["decode_s"] = 8e-6 + 1e-12 * rows["decodes"] * rows["decode_context"] * 4096
    rows = rows.assign(heads=32, head_dim=128)
    exact = fit.mixed_seconds(cost, rows)
    return rows.assign(seconds=with_outliers(exact) if outliers else exact)


def test_a_ragged_call() -> None:
    names = ("chain_s", "crowd", "item_tokens", "empty_s", "bandwidth", "power", "overhead_s")
    exact, _ = fit.fit_mixed(ragged_calls(TRUTH, outliers=False), **GPU)
    for name in names:
        assert getattr(exact, name) == pytest.approx(getattr(TRUTH, name), rel=1e-3), name
    found, error = fit.fit_mixed(ragged_calls(TRUTH), **GPU)
    # The overhead is in the prefill's time too, so little depends on it.
    for name in names[:-1]:
        assert getattr(found, name) == pytest.approx(getattr(TRUTH, name), rel=0.05), name
    assert (found.sms, found.l2_bytes) == (188, 1.3e8)
    assert error.median < 0.015 and error.held_rows > 0
    assert fit.fit_mixed(ragged_calls(TRUTH), **GPU) == (found, error)


def test_overlap_alone() -> None:
    rows = ragged_calls(TRUTH)
    rows["seconds"] = with_outliers(fit.mixed_seconds(MixedCost(2.5), rows))
    found, error = fit.fit_overlap(rows)
    assert found.power == pytest.approx(2.5, rel=0.05)
    assert found.chain_s == 0 and error.median < 0.015


def test_the_halves_of_a_mixed_call() -> None:
    table = pd.DataFrame(
        [(64, 0, 0, 0, 2e-5), (64, 0, 0, 0, 4e-5), (0, 0, 8, 1024, 1e-5), (64, 0, 8, 1024, 5e-5),
         (64, 512, 8, 1024, 6e-5)],
        columns=["prefill_tokens", "prefill_context", "decodes", "decode_context", "seconds"],
    )  # fmt: skip
    rows = fit.mixed_rows(table, heads=32, kv_heads=8, head_dim=128)
    # The last call's chunk was not measured alone; of the first two the median counts.
    assert len(rows) == 1
    assert rows.iloc[0][["prefill_s", "decode_s", "seconds"]].tolist() == pytest.approx(
        [3e-5, 1e-5, 5e-5]
    )
    with pytest.raises(InputError, match="no call with a chunk and decodes"):
        fit.mixed_rows(table[:3], heads=32, kv_heads=8, head_dim=128)


def test_the_chain_of_a_gpu_whose_mixed_calls_were_not_measured() -> None:
    values = [[1, 2], [256, 512, 1024, 2048, 4096, 8192], [1, 2, 4, 8, 16, 32]]
    names = ["batch", "tokens", "heads"]
    rows = pd.MultiIndex.from_product(values, names=names).to_frame(index=False)
    rows = rows.assign(kv_heads=1, head_dim=128)
    busy = rows["batch"] * rows["heads"] * rows["tokens"] / 64 / 188
    exact = 7e-6 + 2.4e-10 * 128 * rows["tokens"] * np.maximum(1.0, busy)
    rows["seconds"] = with_outliers(exact.to_numpy())
    chain, error = fit.fit_chain(rows, sms=188)
    assert chain.chain_s == pytest.approx(2.4e-10, rel=0.03)
    assert chain.overhead_s == pytest.approx(7e-6, rel=0.05)
    assert error.median < 0.02
    other = fit.transfer_mixed(TRUTH, chain, bandwidth=8e11, of_bandwidth=1.6e12, l2_bytes=5e7)
    assert (other.chain_s, other.sms, other.l2_bytes) == (chain.chain_s, 188, 5e7)
    assert other.bandwidth == pytest.approx(6.5e11) and other.crowd == TRUTH.crowd
    with pytest.raises(InputError, match="give at least 8"):
        fit.fit_chain(rows[rows["tokens"] < 512], sms=1)


def test_what_a_ragged_call_cannot_be() -> None:
    call = {"tokens": 512, "chunk": 512, "heads": 32, "kv_heads": 8, "head_dim": 128}
    number = np.array([0.0, 0.5, 1, 8, 64, 256])
    times = TRUTH.seconds(1e-4, 5e-5, sequences=number, context=number * 2000, longest=2000, **call)
    assert times[0] == 1e-4  # without decodes it is the prefill
    assert np.all(np.diff(times) > 0)
    # A longer one among them, or longer contexts, never make it shorter; nor a smaller L2.
    longest = TRUTH.seconds(1e-4, 0, sequences=8, context=16000, longest=[2000, 9000], **call)
    assert longest[1] > longest[0]
    small = dataclasses.replace(TRUTH, l2_bytes=1e7)
    many = {"sequences": 128, "context": 128 * 2000, "longest": 2000}
    assert small.seconds(1e-4, 0, **many, **call) > TRUTH.seconds(1e-4, 0, **many, **call)


def test_a_chunk_after_cached_tokens_passes_all_their_keys() -> None:
    before = np.array([0.0, 1000, 20000])
    pairs = 100 * before + 100 * 101 / 2
    times = TRUTH.prefill(2e-5, 100, pairs, 100, 128)
    assert times[0] == 2e-5
    assert times[2] == pytest.approx(6e-6 + 1.8e-10 * 128 * (20100 + 0.5))
    narrow = TRUTH.prefill(2e-5, 100, pairs, 100, 128, 1024)
    assert narrow[2] == pytest.approx(6e-6 + 1.8e-10 * 128 * (1024 + 64))
    assert TRUTH.prefill(0.0, 0, 0, 0, 128) == 0
    assert MixedCost().prefill(2e-5, 100, 2e6, 100, 128) == 2e-5


@pytest.fixture(scope="module")
def rtx() -> IterationModel:
    """An 8-billion model on a GPU with ragged calls."""
    profile = load_profile("rtx-pro-6000")
    operators = dataclasses.replace(profile.operators, mixed=TRUTH)
    return IterationModel("llama-3.1-8b", dataclasses.replace(profile, operators=operators))


def test_iterations_hold_the_ragged_call(rtx: IterationModel) -> None:
    chunks, contexts = [(512, 0)], [2000] * 64
    layers = rtx.model.layers
    alone = [rtx.breakdown(*part)["attention"] / layers for part in (([(512, 0)], []),
                                                                      ([], contexts))]  # fmt: skip
    both = rtx.breakdown(chunks, contexts)["attention"] / layers
    expected = TRUTH.seconds(*alone, 512, 64, 64 * 2000, 2000, 512, 32, 8, 128)
    assert both == pytest.approx(float(expected), rel=1e-6)
    assert both > sum(alone)
    short = rtx.breakdown([(64, 32768)], [])["attention"] / layers
    assert short == pytest.approx(6e-6 + 1.8e-10 * 128 * (32768 + 64.5))
    # An fp8 cache is served by other kernels, each half by itself.
    fp8 = IterationModel("llama-3.1-8b", rtx.profile, kv_dtype="fp8")
    halves = [fp8.breakdown(*part)["attention"] for part in ((chunks, []), ([], contexts))]
    assert fp8.breakdown(chunks, contexts)["attention"] == pytest.approx(sum(halves))


def test_tables_of_the_ragged_call(rtx: IterationModel) -> None:
    """At a typical batch (contexts near 1024, chunk of 512) the table is the model."""
    table = lower(rtx, max_tokens=2048, max_context=8192, max_decode=128)
    for number in (16, 64, 128):
        exact = rtx.seconds([(512, 0)], [1024] * number)
        ticks = table.evaluate(512 + number, 1024 * number, number + 1, 512 * 513 // 2, True)
        assert int(ticks) * 1e-12 == pytest.approx(exact, rel=0.02)


def test_a_sampler() -> None:
    truth = SamplerCost(2.5e-5, 1.9, 3.0, 1.6e12)
    number = np.tile(2.0 ** np.arange(0, 9), 4)
    rows = pd.DataFrame({"sequences": number, "vocabulary": np.repeat([32e3, 128e3], 18)})
    rows["seconds"] = with_outliers(truth.seconds(rows["sequences"], rows["vocabulary"]), 7)
    found, error = fit.fit_sampler(rows, bandwidth=1.6e12)
    assert found.base_s == pytest.approx(truth.base_s, rel=0.05)
    assert found.passes == pytest.approx(truth.passes, rel=0.05)
    assert error.median < 0.05
    with pytest.raises(InputError, match="3 timings of the sampler"):
        fit.fit_sampler(rows[:3], bandwidth=1.6e12)


def test_launches_of_small_kernels() -> None:
    kernels = pd.DataFrame(
        {"operator": ["rope"] * 3 + ["gemm"], "tokens": [1, 2, 4, 1], "tp": 1,
         "seconds": [2e-6, 2e-6, 3e-6, 5e-5]}
    )  # fmt: skip
    launched = kernels.assign(seconds=[2e-5, 2.2e-5, 2.1e-5, 6e-5])
    found = fit.launch_times(launched, kernels)
    assert found["operator"].tolist() == ["rope"]  # the GEMM is no small kernel
    row = found.iloc[0]
    assert (row["points"], row["launched_s"]) == (3, pytest.approx(2.1e-5))
    assert row["gap_s"] == pytest.approx(1.8e-5)
    with pytest.raises(InputError, match="no operator with a small kernel"):
        fit.launch_times(launched[3:], kernels)


def runs(law: PowerLaw) -> pd.DataFrame:
    """Runs as Splitwise measured them, with the power that a law says."""
    names = ["tp", "prompt_tokens", "batch"]
    table = pd.MultiIndex.from_product(
        [[1, 2, 4, 8], [128, 512, 2048], [1, 4, 16]], names=names
    ).to_frame(index=False)
    table = table.assign(model="llama2-70b", gpu="gpu", output_tokens=128, power=0.5)
    size = MODELS["llama2-70b"].parameters
    table["prompt_s"] = 0.05 + 2 * size * table["prompt_tokens"] * table["batch"] / (
        table["tp"] * 1.5e14
    )
    table["token_s"] = 0.02 + 2 * size / (table["tp"] * 1.5e12)
    rows = fit.power_rows(table, "gpu", bandwidth=2e12, flops=3e14)
    return rows.assign(power=fit.average_watts(law, rows) / 400)


def test_power() -> None:
    truth = PowerLaw(370.0, 0.5, 1.6, 400.0)
    rows = runs(truth)
    rows["power"] = with_outliers(rows["power"].to_numpy(), 11)
    found, error = fit.fit_power(rows, 400.0)
    assert found.busy_w == pytest.approx(truth.busy_w, rel=0.03)
    assert found.exponent == pytest.approx(truth.exponent, rel=0.1)
    assert found.compute_weight == pytest.approx(truth.compute_weight, rel=0.15)
    assert error.median < 0.02 and error.held_rows > 0
    assert found.watts(0.0, 1.0) == found.busy_w
    assert found.scaled(800.0).watts(0.5) == pytest.approx(2 * found.watts(0.5), rel=1e-3)


def test_power_that_cannot_be_fitted() -> None:
    rows = runs(PowerLaw(370.0, 0.5, 1.6, 400.0))
    with pytest.raises(InputError, match="give at least 8 runs whose uses differ"):
        fit.fit_power(rows[rows["tp"] == 2], 400.0)
    with pytest.raises(InputError, match="no run of 'h100'"):
        fit.power_rows(rows, "h100", bandwidth=1, flops=1)
    with pytest.raises(InputError, match="model 'x'; known are"):
        fit.power_rows(rows.assign(model="x"), "gpu", bandwidth=1, flops=1)


@pytest.mark.data
def test_mixed_calls_of_measured_gpus(data_dir) -> None:
    """What FlashAttention-2 does to decodes beside a chunk, against the two forms without it."""
    folders = read.layer_folders(data_dir)
    folders = folders[folders["gpu"] == "RTX4090"]
    folder = folders["folder"].iloc[0]
    shape = read.read_layer_shape(folder.parent / "meta.yaml")
    rows = fit.mixed_rows(
        read.read_mixed_attention(read.layer_file(folder, "attention")),
        heads=shape.heads, kv_heads=shape.kv_heads, head_dim=128,
    )  # fmt: skip
    cost, error = fit.fit_mixed(rows, sms=128, bandwidth=1.008e12, l2_bytes=72 * 2**20)
    assert error.median < 0.06
    assert 0.9 < cost.crowd < 1.3
    plain = np.abs((rows["prefill_s"] + rows["decode_s"]) / rows["seconds"] - 1)
    assert plain.median() > 0.3
    assert fit.fit_overlap(rows)[1].median > 0.2


@pytest.mark.data
def test_power_of_a_measured_gpu(data_dir) -> None:
    path = read.source_path(data_dir, "splitwise/perf_model.csv")
    facts = load_profile("a100-sxm-80gb").facts
    rows = fit.power_rows(
        read.read_splitwise(path), "a100-80gb",
        bandwidth=facts.hbm_bandwidth, flops=facts.peak_flops["bfloat16"],
    )  # fmt: skip
    law, error = fit.fit_power(rows, facts.tdp_w)
    assert error.median < 0.03
    assert 0.8 < law.busy_w / facts.tdp_w < 1.05
    # Fitted on two splits, told of the third.
    for split in sorted(set(rows["tp"])):
        other, _ = fit.fit_power(rows[rows["tp"] != split], facts.tdp_w)
        some = rows[rows["tp"] == split]
        missed = fit.average_watts(other, some) / (some["power"] * facts.tdp_w) - 1
        assert np.abs(missed).median() < 0.06
