"""The exchange of tokens between experts: its law, its models, what it refuses."""

import numpy as np
import pytest

from mltwin.models.network.collectives_experts import (
    ExchangeLaw,
    ExchangeModel,
    distinct,
    exchange_models,
    load_exchange,
    sent_bytes,
)
from mltwin.sim.errors import InputError


@pytest.mark.parametrize(("chosen", "experts", "places"), [(1, 8, 8), (4, 16, 4), (8, 64, 8)])
def test_distinct_places_are_those_of_random_draws(chosen: int, experts: int, places: int) -> None:
    rng = np.random.default_rng(3)
    counts = [
        len(set(rng.permutation(experts)[:chosen] // (experts // places))) for _ in range(4000)
    ]
    told = float(distinct(chosen, experts, places))
    error = np.std(counts) / np.sqrt(len(counts))
    assert abs(told - np.mean(counts)) <= 4 * error + 1e-12


def test_distinct_places_at_the_ends() -> None:
    assert distinct(1, 256, 8) == pytest.approx(1)
    assert distinct(8, 8, 8) == pytest.approx(8)
    assert distinct(8, 256, 1) == pytest.approx(1)


def test_the_law_is_its_formula() -> None:
    law = ExchangeLaw(True, 8, 1e-5, 1e-8, 1e-9, 1e-12, 2e-12, 3e-11, 1.0)
    moved = 64 * (1e-9 + 1000 * (1e-12 + (2e-12 + 3e-11 / 128) * 8))
    assert law.seconds(64, 1000, 8, 128) == pytest.approx(1e-5 + 128e-8 + moved, rel=1e-12)


@pytest.mark.parametrize("name", exchange_models())
def test_a_shipped_model_is_sane_and_survives_its_file(name: str) -> None:
    model = load_exchange(name)
    again = ExchangeModel.from_json(model.to_json())
    assert again.to_json() == model.to_json()
    tokens = 2.0 ** np.arange(0, 12)
    for key in (*model.laws, *model.rdma):
        half, mode = key.split(".")
        ranks = 32 if key in model.rdma else None
        seconds = model.seconds(half, tokens, 7168, 8, 256, mode=mode, ranks=ranks)
        assert (np.diff(seconds) > -0.03 * seconds[:-1]).all(), key
        wide = model.seconds(half, tokens, 2 * 7168, 8, 256, mode=mode, ranks=ranks)
        assert (wide > seconds).all()


def test_published_points() -> None:
    """DeepEP, docs/legacy.md: 128 tokens, 7,168 hidden, 8 experts: 155 us to dispatch and 273 us
    to combine over 32 ranks."""
    model = load_exchange("h800")
    for half, seconds in (("dispatch", 155e-6), ("combine", 273e-6)):
        told = model.seconds(half, 128, 7168, 8, 256, mode="ll", ranks=32)
        assert told == pytest.approx(seconds, rel=0.03)
    assert sent_bytes("dispatch", "ll", 7168, 8, 256, 32) == 7168 * 8 * (1 + 4 / 128)


def test_bad_input_is_named(tmp_path) -> None:
    model = load_exchange("h100-sxm")
    with pytest.raises(InputError, match=r"no scatter\.normal on h100-sxm; known: dispatch\.ll"):
        model.seconds("scatter", 1, 7168, 8, 256)
    with pytest.raises(InputError, match=r"over 16 ranks is not measured.*known: 8"):
        model.seconds("dispatch", 1, 7168, 8, 256, ranks=16)
    with pytest.raises(InputError, match="use one of"):
        load_exchange("tpu")
    file = tmp_path / "model.json"
    file.write_text("[]")
    with pytest.raises(InputError, match="not an exchange model"):
        load_exchange(str(file))
