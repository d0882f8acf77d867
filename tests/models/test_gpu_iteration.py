"""Iteration times: composition, lowering, and the laws both must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.gpu import IterationModel, load_profile, lowering_error
from mltwin.models.gpu.iteration import make_batch, prefill_pairs
from mltwin.models.gpu.table import MAX_CONTEXT_SUM
from mltwin.models.llm import load_model
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

H100, A100 = "h100-sxm-80gb", "a100-sxm-80gb"

# Model, GPU, tp, pp, and the p95 of the lowering error that is promised.
CASES = [
    ("llama-3.1-8b", H100, 1, 1, 0.015),
    # FlashAttention-2 beside a prompt takes as long as the longest context, which no sum tells.
    ("llama-3.1-8b", A100, 1, 1, 0.06),
    ("llama-3.1-70b", H100, 4, 1, 0.01),
    # A micro-batch of half the tokens: prefill attention bends more in what one prompt holds.
    ("llama-3.1-70b", H100, 4, 2, 0.015),
    ("llama-2-70b", A100, 8, 1, 0.12),
    ("qwen3-30b-a3b", H100, 1, 1, 0.01),
    ("gpt-oss-120b", H100, 2, 1, 0.01),
    ("deepseek-v3", H100, 8, 2, 0.01),
    ("opt-13b", A100, 1, 1, 0.06),
    # One sum of contexts does not tell how many tokens a window of 4096 cuts off.
    ("mistral-7b", H100, 1, 1, 0.12),
]
IDS = [f"{name}-{gpu[:4]}-tp{tp}-pp{pp}" for name, gpu, tp, pp, _ in CASES]


@pytest.fixture(scope="module")
def llama() -> IterationModel:
    return IterationModel("llama-3.1-8b", H100)


@pytest.fixture(scope="module")
def llama_table(llama: IterationModel):
    return llama.lower(8192, 8192)


@pytest.mark.parametrize(("name", "gpu", "tp", "pp", "promised"), CASES, ids=IDS)
def test_lowering_loses_little(name: str, gpu: str, tp: int, pp: int, promised: float) -> None:
    model = IterationModel(name, gpu, tp=tp, pp=pp)
    error = lowering_error(model, model.lower(8192, 8192), batches=300, seed=7)
    print(name, error)
    assert error.p95 < promised
    assert error.p50 < 0.01


@pytest.mark.parametrize(("name", "gpu", "tp", "pp", "promised"), CASES, ids=IDS)
def test_tables_never_fall_as_tokens_are_added(
    name: str, gpu: str, tp: int, pp: int, promised: float
) -> None:
    table = IterationModel(name, gpu, tp=tp, pp=pp).lower(4096, 8192)
    tok = np.arange(1, 4097)[:, None]
    knots = np.unique(np.concatenate((table.context_knots[:-1], table.context_knots[1:-1] - 1)))
    ctx = np.concatenate((knots, knots + 17, [MAX_CONTEXT_SUM]))[None, :]
    # Of pure decode more sequences of one sum may be faster than few long ones, so it has no such
    # rule in tokens; in context both rise.
    assert table.evaluate(tok, ctx, prefill=False).min() >= 1
    times = table.evaluate(tok, ctx, prefill=True)
    assert times.min() >= 1
    # Rounding to whole ticks may lose some where a row ends.
    assert (np.diff(times, axis=0) / times[1:]).min() >= -2e-5


def test_time_grows_with_context_and_work(llama_table) -> None:
    ctx = np.unique(np.geomspace(1, MAX_CONTEXT_SUM, 4000).astype(np.int64))
    for tok in (1, 64, 256, 2048):
        times = llama_table.evaluate(tok, ctx)
        # Rounding b to whole ticks may lose a tick a token where one column ends.
        assert np.diff(times).min() >= -(10**6)
        assert times[-1] > times[0]
    assert llama_table.per_work > 0
    assert llama_table.per_sequence > 0


@settings(max_examples=60)
@given(
    contexts=st.integers(200, 4000),
    sequences=st.integers(1, 256),
)
def test_pure_decode_is_lowered_closely(contexts: int, sequences: int) -> None:
    model = _cached_model()
    table = _cached_table()
    exact = ticks(model.seconds((), [contexts] * sequences))
    lowered = int(table.evaluate(sequences, contexts * sequences, sequences))
    assert lowered == pytest.approx(exact, rel=0.02)


@settings(max_examples=40)
@given(chunk=st.integers(300, 8000), before=st.integers(0, 8000), decodes=st.integers(0, 128))
def test_mixed_batches_are_lowered_closely(chunk: int, before: int, decodes: int) -> None:
    model, table = _cached_model(), _cached_table()
    exact = ticks(model.seconds([(chunk, before)], [1000] * decodes))
    lowered = table.evaluate(
        chunk + decodes, 1000 * decodes, decodes + 1, prefill_pairs(chunk, before), True
    )
    assert int(lowered) == pytest.approx(exact, rel=0.04)


_CACHE: dict[str, object] = {}


def _cached_model() -> IterationModel:
    if "model" not in _CACHE:
        _CACHE["model"] = IterationModel("llama-3.1-8b", H100)
    return _CACHE["model"]  # type: ignore[return-value]


def _cached_table():
    if "table" not in _CACHE:
        _CACHE["table"] = _cached_model().lower(8192, 8192)
    return _CACHE["table"]


def test_lowering_is_deterministic(llama: IterationModel, llama_table) -> None:
    again = IterationModel("llama-3.1-8b", H100).lower(8192, 8192)
    assert np.array_equal(again.cells, llama_table.cells)
    assert np.array_equal(again.token_row, llama_table.token_row)


@pytest.mark.parametrize(("tokens", "context"), [(1, 1), (2, 5), (16, 100), (300, 131072)])
def test_tables_of_any_size(llama: IterationModel, tokens: int, context: int) -> None:
    table = llama.lower(tokens, context)
    assert table.max_tokens == tokens
    exact = ticks(llama.seconds((), [min(100, context)]))
    assert int(table.evaluate(1, min(100, context), 1)) == pytest.approx(exact, rel=0.02)


def test_prefill_pairs_count_the_mask() -> None:
    for chunk, before, window in [(1, 0, 0), (5, 3, 0), (5, 3, 4), (3, 9, 4), (8, 0, 3), (4, 2, 9)]:
        counted = sum(
            1
            for query in range(before, before + chunk)
            for key in range(query + 1)
            if not window or query - key < window
        )
        assert prefill_pairs(chunk, before, window) == counted


def test_batch_sums_respect_windows() -> None:
    batch = make_batch((0, 4), [(5, 3), (2, 0)], [1, 4, 9])
    assert batch.tokens == 10
    assert batch.sequences == 5
    assert batch.context == {0: 14, 4: 9}
    assert batch.longest == {0: 9, 4: 4}
    assert batch.pairs == {0: 33, 4: prefill_pairs(5, 3, 4) + 3}


def test_the_memory_roof_bounds_decoding(llama: IterationModel) -> None:
    """One token cannot be made faster than the weights can be read at the data sheet's rate."""
    read = llama.model.weight_bytes - 2 * llama.model.embedding_parameters
    floor = read / llama.profile.facts.hbm_bandwidth
    assert floor < llama.seconds((), [1]) < 2 * floor


def test_the_compute_roof_bounds_prefill(llama: IterationModel) -> None:
    peak = llama.profile.facts.peak_flops["bfloat16"]
    layers = llama.model.parameters - 2 * llama.model.embedding_parameters
    floor = 2 * layers * 8192 / peak
    assert floor < llama.seconds([(8192, 0)]) < 2 * floor


def test_more_gpus_are_faster_but_less_than_in_proportion() -> None:
    one, four = (IterationModel("llama-3.1-8b", H100, tp=tp) for tp in (1, 4))
    for batch in ([(4096, 0)], ()), ((), [1000] * 64):
        ratio = one.seconds(*batch) / four.seconds(*batch)
        assert 1 < ratio < 4


def test_a_full_pipeline_takes_all_layers_at_a_share_of_the_batch() -> None:
    flat, piped = (IterationModel("llama-3.1-70b", H100, tp=4, pp=pp) for pp in (1, 2))
    contexts = [1000] * 64
    host = flat.host_s + 64 * flat.sequence_s
    half = flat.seconds((), contexts[:32]) - flat.host_s - 32 * flat.sequence_s
    hop = piped.seconds((), contexts) - host - half
    assert 1e-5 < hop < 5e-5


def test_narrow_weights_are_faster_to_decode() -> None:
    plain = IterationModel("llama-3.1-8b", H100)
    for dtype in ("fp8", "int4"):
        narrow = IterationModel("llama-3.1-8b", H100, dtype=dtype)
        assert narrow.seconds((), [500]) < plain.seconds((), [500])
    eight = IterationModel("llama-3.1-8b", H100, kv_dtype="fp8")
    assert eight.seconds((), [8000] * 64) < plain.seconds((), [8000] * 64)


def test_what_was_not_measured_is_said() -> None:
    assert not IterationModel("llama-3.1-8b", H100).notes
    assert any("int4" in note for note in IterationModel("llama-3.1-8b", H100, dtype="int4").notes)
    assert any("576" in note for note in IterationModel("deepseek-v3", H100, tp=8, pp=2).notes)
    assert any("fp8" in note for note in IterationModel("llama-3.1-8b", A100, dtype="fp8").notes)


def test_a_window_bounds_the_cost_of_context() -> None:
    windowed = IterationModel("mistral-7b", H100)
    assert windowed.seconds((), [4096] * 8) == windowed.seconds((), [30000] * 8)
    assert windowed.seconds((), [2048] * 8) < windowed.seconds((), [4096] * 8)


def test_a_launch_floor_bounds_the_gpu_part() -> None:
    eager = IterationModel("llama-3.1-8b", H100, launch_floor_s=0.03)
    assert eager.seconds((), [100]) == pytest.approx(0.03 + eager.host_s + eager.sequence_s)
    graph = IterationModel("llama-3.1-8b", H100)
    assert eager.seconds([(8192, 0)]) == graph.seconds([(8192, 0)])


def test_host_overheads_are_added() -> None:
    default = IterationModel("llama-3.1-8b", H100)
    bare = IterationModel("llama-3.1-8b", H100, host_overhead_s=0.0, sequence_overhead_s=0.0)
    gap = default.seconds((), [100] * 10) - bare.seconds((), [100] * 10)
    assert gap == pytest.approx(default.profile.host.iteration_s + 10 * default.sequence_s)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tp": 3}, "tp=3 does not divide"),
        ({"tp": 16}, "all-reduce over tp=16 is not measured"),
        ({"dtype": "fp3"}, "unknown number format 'fp3'"),
        ({"kv_dtype": "int4"}, "KV cache of int4"),
    ],
)
def test_impossible_replicas(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IterationModel("llama-3.1-8b", H100, **arguments)


def test_a_cache_format_that_was_not_measured() -> None:
    with pytest.raises(InputError, match="fp8 KV cache is not measured on a100"):
        IterationModel("llama-3.1-8b", A100, kv_dtype="fp8")


def test_impossible_batches(llama: IterationModel) -> None:
    with pytest.raises(InputError, match="at least one token"):
        llama.seconds()
    with pytest.raises(InputError, match="prefill chunks"):
        llama.seconds([(0, 10)])
    with pytest.raises(InputError, match="decode context 0"):
        llama.seconds((), [5, 0])
    with pytest.raises(InputError, match="max_tokens 0"):
        llama.lower(0, 10)


def test_power_is_none_where_nothing_is_known_of_it() -> None:
    a100 = IterationModel("llama-3.1-70b", A100, tp=4).power_w()
    assert a100["decode"] is not None and a100["idle"] is None
    assert 4 * 100 < a100["decode"] < 4 * 400
    # Of the H100 none was recorded: the A100's share of TDP, and the profile says so.
    h100 = IterationModel("llama-3.1-70b", H100, tp=4).power_w()
    assert h100["decode"] == pytest.approx(a100["decode"] * 700 / 400, rel=1e-3)
    assert "share of TDP" in load_profile(H100).power.source
    assert h100["tdp"] == 4 * 700
    assert IterationModel("llama-3.1-70b", "b200", tp=4).power_w()["decode"] is None


def test_models_and_profiles_are_taken_as_objects_too() -> None:
    by_name = IterationModel("llama-3.1-8b", H100)
    by_object = IterationModel(load_model("llama-3.1-8b"), load_profile(H100))
    assert by_name.seconds((), [77]) == by_object.seconds((), [77])
