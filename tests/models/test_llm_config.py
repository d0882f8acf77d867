"""Reading Hugging Face configs, and refusing wrong ones."""

import json

import pytest

from mltwin.models.llm import load_model, parse_config
from mltwin.sim.errors import InputError

SMALL = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 100,
    "vocab_size": 1000,
}


def test_a_file_a_folder_and_a_dict_are_the_same(tmp_path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))
    from_folder, from_file = load_model(folder), load_model(folder / "config.json")
    assert from_folder == from_file
    assert from_folder.name == "tiny"
    assert load_model(SMALL).parameters == from_file.parameters


def test_nested_text_config_wins_over_the_wrapper() -> None:
    wrapped = {"model_type": "wrapper", "torch_dtype": "float16", "text_config": SMALL}
    model = parse_config(wrapped)
    assert model.hidden_size == 64
    assert model.dtype == "float16"


@pytest.mark.parametrize("field", ["hidden_size", "num_attention_heads", "vocab_size"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InputError, match=f"'{field}' is missing"):
        parse_config({k: v for k, v in SMALL.items() if k != field})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("hiden_size", "hidden_size"),
        ("num_hiden_layers", "num_hidden_layers"),
        ("num_key_value_head", "num_key_value_heads"),
        ("sliding_windows", "sliding_window"),
    ],
)
def test_a_misspelt_field_gets_a_suggestion(wrong: str, right: str) -> None:
    fields = {**{k: v for k, v in SMALL.items() if k != right}, wrong: 4}
    with pytest.raises(InputError, match=f"'{wrong}'; did you mean '{right}'"):
        parse_config(fields)


@pytest.mark.parametrize("value", [0, -1, 2.5, "64", True, [64]])
def test_a_size_must_be_a_positive_integer(value: object) -> None:
    with pytest.raises(InputError, match="hidden_size"):
        parse_config({**SMALL, "hidden_size": value})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"num_key_value_heads": 3}, "not a multiple"),
        ({"num_attention_heads": 5}, "give 'head_dim'"),
        ({"torch_dtype": "float7"}, "float7"),
        ({"quantization_config": {"quant_method": "magic"}}, "magic"),
        ({"quantization_config": "fp8"}, "not an object"),
        ({"kv_lora_rank": 16}, "qk_rope_head_dim"),
        ({"num_experts": 8}, "num_experts_per_tok"),
        ({"num_experts": 2, "num_experts_per_tok": 4}, "4 experts per token of 2"),
        ({"sliding_window": 8, "layer_types": ["full_attention"]}, "layer_types"),
    ],
)
def test_contradictions_are_refused(extra: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config({**SMALL, **extra})


def test_unknown_names_and_broken_files(tmp_path) -> None:
    with pytest.raises(InputError, match=r"did you mean 'llama-3\.1-70b'"):
        load_model("llama-3.1-7b")
    broken = tmp_path / "config.json"
    broken.write_text('{"hidden_size": 64,')
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        load_model(broken)
    broken.write_text("[1, 2]")
    with pytest.raises(InputError, match="not a JSON object"):
        load_model(broken)
    with pytest.raises(InputError, match="no model"):
        load_model(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("extra", "windows"),
    [
        ({}, (0, 0, 0, 0)),
        ({"sliding_window": 8}, (8, 8, 8, 8)),
        ({"sliding_window": None}, (0, 0, 0, 0)),
        ({"sliding_window": 8, "use_sliding_window": False}, (0, 0, 0, 0)),
        ({"sliding_window": 8, "sliding_window_pattern": 2}, (8, 0, 8, 0)),
        ({"model_type": "gemma2", "sliding_window": 8}, (8, 0, 8, 0)),
        ({"model_type": "qwen2", "sliding_window": 8, "max_window_layers": 3}, (0, 0, 0, 8)),
        (
            {"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"] * 2},
            (0, 8, 0, 8),
        ),
    ],
)
def test_sliding_windows(extra: dict, windows: tuple[int, ...]) -> None:
    assert parse_config({**SMALL, **extra}).windows == windows


@pytest.mark.parametrize(
    ("quant", "expected"),
    [
        ({"quant_method": "fp8"}, ("fp8", "fp8")),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("fp8_block", "fp8_block")),
        ({"quant_method": "awq", "bits": 4}, ("int4", "int4")),
        ({"quant_method": "gptq", "bits": 8}, ("int8", "int8")),
        ({"quant_method": "mxfp4"}, ("bfloat16", "mxfp4")),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, ("fp8", "fp8")),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8}}},
            },
            ("fp8", "fp8"),
        ),
    ],
)
def test_quantisation(quant: dict, expected: tuple[str, str]) -> None:
    model = parse_config({**SMALL, "quantization_config": quant})
    assert (model.weight_dtype, model.expert_dtype) == expected


def test_mixture_of_experts_layers() -> None:
    moe = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    every_second = parse_config({**SMALL, **moe, "decoder_sparse_step": 2})
    assert every_second.moe_layers == 2
    assert parse_config({**SMALL, **moe, "mlp_only_layers": [0]}).moe_layers == 3
    assert parse_config({**SMALL, **moe, "first_k_dense_replace": 3}).moe_layers == 1
    assert parse_config({**SMALL, **moe, "n_shared_experts": 2}).moe.shared_intermediate_size == 64


def test_parallelism_that_does_not_divide() -> None:
    model = load_model("llama-3.1-8b")
    for tp in (3, 64):
        with pytest.raises(InputError, match=r"use one of \[1, 2, 4, 8, 16, 32\]"):
            model.gemms(tp)
    with pytest.raises(InputError, match="pp=33 exceeds 32 layers"):
        model.check_parallelism(1, 33)
    with pytest.raises(InputError, match="tp=0"):
        model.check_parallelism(0)
