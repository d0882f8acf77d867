"""How much KV cache fits."""

import pytest

from mltwin.models.gpu import IterationModel
from mltwin.models.gpu.memory import (
    RUNTIME_BYTES,
    default_activation_bytes,
    weight_bytes_per_gpu,
)
from mltwin.sim.errors import InputError

H100 = "h100-sxm-80gb"


def test_blocks_are_what_the_weights_leave() -> None:
    model = IterationModel("llama-3.1-8b", H100)
    free = 0.9 * model.profile.facts.usable_bytes - 16_060_522_496 - RUNTIME_BYTES - 1e9
    assert model.kv_blocks(16, 0.9, activation_bytes=1e9) == int(free // (16 * 131_072))
    assert model.kv_blocks(32, 0.9, 1e9) == pytest.approx(model.kv_blocks(16, 0.9, 1e9) / 2, abs=1)
    assert model.kv_blocks(16, 0.8) < model.kv_blocks(16, 0.9)


def test_weights_are_split_over_the_replica() -> None:
    whole = IterationModel("llama-3.1-70b", H100, tp=1)
    assert weight_bytes_per_gpu(whole) == whole.model.weight_bytes
    assert weight_bytes_per_gpu(IterationModel("llama-3.1-70b", H100, tp=4)) == pytest.approx(
        whole.model.weight_bytes / 4
    )
    # The fullest of two stages holds half of the layers and one of the two embeddings.
    piped = weight_bytes_per_gpu(IterationModel("llama-3.1-70b", H100, tp=4, pp=2))
    assert piped == pytest.approx(whole.model.weight_bytes / 8, rel=1e-6)


def test_a_narrow_cache_holds_more() -> None:
    plain = IterationModel("llama-3.1-8b", H100).kv_blocks()
    assert IterationModel("llama-3.1-8b", H100, kv_dtype="fp8").kv_blocks() == pytest.approx(
        2 * plain, abs=1
    )


def test_a_model_that_does_not_fit_names_need_and_have() -> None:
    with pytest.raises(InputError, match=r"needs 13\d\.\d GiB a GPU and has 71\.\d"):
        IterationModel("llama-3.1-70b", H100).kv_blocks()


def test_bad_arguments() -> None:
    model = IterationModel("llama-3.1-8b", H100)
    for arguments in ((0, 0.9), (16, 0.0), (16, 1.1)):
        with pytest.raises(InputError, match="utilisation"):
            model.kv_blocks(*arguments)


def test_default_activations_are_a_small_share() -> None:
    for name, tp in (("llama-3.1-8b", 1), ("llama-3.1-70b", 4), ("qwen3-30b-a3b", 1)):
        assert 2e8 < default_activation_bytes(IterationModel(name, H100, tp=tp)) < 5e9
