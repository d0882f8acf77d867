"""Counts against what the publishers state."""

import pytest

from mltwin.models.llm import load_model, model_names, parse_config

# Billions of parameters: total and active, and the tolerance of the published figure.
PUBLISHED = {
    "llama-3.1-8b": (8.03, 8.03, 0.001),
    "llama-3.1-70b": (70.55, 70.55, 0.001),
    "llama-2-70b": (68.98, 68.98, 0.001),
    "qwen3-32b": (32.76, 32.76, 0.001),
    "qwen3-30b-a3b": (30.53, 3.35, 0.001),
    "qwen3-235b-a22b": (235.1, 22.2, 0.001),
    "mixtral-8x7b": (46.70, 12.88, 0.001),
    "deepseek-v3": (671.0, 37.5, 0.002),
    "mistral-7b": (7.24, 7.24, 0.001),
    # OpenAI's 5.1B active leaves the embedding out; 5.71B has it in.
    "gpt-oss-120b": (116.8, 5.71, 0.001),
    # Publishers round these: 744B-A40B, 1T-A32B, 230B-A10B (no embeddings), 397B-A17B.
    "deepseek-r1": (671.0, 37.5, 0.002),
    "glm-5": (744.0, 40.0, 0.05),
    "kimi-k2.5": (1026.0, 32.5, 0.02),
    "minimax-m2.5": (229.0, 10.6, 0.05),
    "qwen3.5-397b-a17b": (397.0, 17.0, 0.03),
    "llama-3.1-405b": (405.9, 405.9, 0.001),
    "mistral-large-2407": (122.6, 122.6, 0.001),
    "opt-13b": (12.85, 12.85, 0.002),
    "opt-66b": (65.7, 65.7, 0.002),
}


def test_every_shipped_model_is_checked() -> None:
    assert model_names() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_match_the_published_totals(name: str) -> None:
    total, active, tolerance = PUBLISHED[name]
    model = load_model(name)
    assert model.parameters / 1e9 == pytest.approx(total, rel=tolerance)
    assert model.active_parameters / 1e9 == pytest.approx(active, rel=tolerance)


def test_active_parameters_without_the_embedding() -> None:
    model = load_model("gpt-oss-120b")
    active = model.active_parameters - model.embedding_parameters
    assert active / 1e9 == pytest.approx(5.13, rel=0.001)


@pytest.mark.parametrize(
    ("name", "kv_dtype", "expected"),
    [
        ("llama-3.1-70b", None, 327_680),
        ("llama-3.1-70b", "fp8", 163_840),
        ("llama-3.1-8b", None, 131_072),
        ("deepseek-v3", None, 61 * 576 * 2),
        ("opt-13b", None, 2 * 40 * 5120 * 2),
        ("gpt-oss-120b", "bf16", 2 * 36 * 8 * 64 * 2),
    ],
)
def test_kv_bytes_per_token(name: str, kv_dtype: str | None, expected: int) -> None:
    assert load_model(name).kv_bytes_per_token(kv_dtype) == expected


def test_kv_bytes_per_gpu() -> None:
    llama, deepseek = load_model("llama-3.1-70b"), load_model("deepseek-v3")
    assert llama.kv_bytes_per_token_per_gpu(tp=4) == 327_680 // 4
    assert llama.kv_bytes_per_token_per_gpu(tp=4, pp=2) == 327_680 // 8
    # Beyond 8 key-value heads they are repeated, not split.
    assert llama.kv_bytes_per_token_per_gpu(tp=16) == 327_680 // 8
    # The latent is repeated on every GPU; 61 layers over 2 stages leave 31 on one.
    assert deepseek.kv_bytes_per_token_per_gpu(tp=8) == 61 * 576 * 2
    assert deepseek.kv_bytes_per_token_per_gpu(tp=8, pp=2) == 31 * 576 * 2


def test_weight_bytes_follow_the_stored_formats() -> None:
    llama = load_model("llama-3.1-8b")
    assert llama.weight_bytes == 2 * llama.parameters
    narrow = llama.with_weights("fp8")
    kept = llama.parameters - llama.linear_parameters
    assert narrow.weight_bytes == 2 * kept + llama.linear_parameters
    # The published checkpoint is 65.2 GB: MXFP4 experts, everything else in bfloat16.
    assert load_model("gpt-oss-120b").weight_bytes / 1e9 == pytest.approx(65.2, rel=0.005)
    assert load_model("deepseek-v3").weight_bytes / 1e9 == pytest.approx(673, rel=0.005)


@pytest.mark.parametrize("name", PUBLISHED)
def test_gemms_are_the_linear_parameters(name: str) -> None:
    """The matrices of one GPU add up to the parameters that linear layers hold."""
    model = load_model(name)
    experts = model.moe.experts if model.moe else 0
    size = {"token": 0, "expert": 0, "head": 0}
    for gemm in model.gemms():
        size[gemm.kind] += gemm.n * gemm.k * gemm.count
    router = sum(g.n * g.k * g.count for g in model.gemms() if g.name == "router")
    # Biases, norms of query and key, and the latents' norms are not matrices.
    assert size["token"] - router == pytest.approx(model.linear_parameters, rel=2e-3)
    assert size["expert"] * experts == pytest.approx(model.routed_parameters, rel=2e-3)
    assert size["head"] == model.vocab_size * model.hidden_size


@pytest.mark.parametrize(("name", "tp"), [("llama-3.1-70b", 8), ("deepseek-v3", 8)])
def test_tensor_parallel_gemms_split_the_work(name: str, tp: int) -> None:
    model = load_model(name)
    repeated = {"router", "qkv_down", "query_kv_down"}
    whole = {g.name: g.n * g.k for g in model.gemms()}
    for gemm in model.gemms(tp):
        share = 1 if gemm.name in repeated else tp
        assert gemm.n * gemm.k * share == whole[gemm.name], gemm.name


def test_key_value_heads_are_repeated_beyond_their_number() -> None:
    qkv = load_model("qwen3-30b-a3b").gemms(tp=8)[0]
    assert qkv.n == (32 // 8 + 2 * 1) * 128


def test_untied_and_tied_embeddings() -> None:
    fields = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 100,
        "vocab_size": 1000,
    }
    untied = parse_config(fields)
    tied = parse_config({**fields, "tie_word_embeddings": True})
    assert untied.parameters - tied.parameters == 64 * 1000
    # By hand: embedding and head, norms, attention 4 h^2, gated MLP 3 h I.
    assert untied.parameters == 2 * 64_000 + 5 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 100)
