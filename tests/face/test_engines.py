"""Engine presets."""

import pytest

from mltwin.engines import PRESETS, Engine, engine_names, make_engine
from mltwin.sim.errors import InputError


@pytest.mark.parametrize("name", engine_names())
def test_presets_are_valid_and_sourced(name: str) -> None:
    assert make_engine(name) == PRESETS[name][0]
    assert len(PRESETS[name][1]) > 60


def test_flags_change_a_preset() -> None:
    engine = make_engine({"name": "sarathi", "max_tokens": 1024}, max_batch=None, preemption="swap")
    assert (engine.max_tokens, engine.max_batch, engine.preemption) == (1024, 128, "swap")
    assert make_engine({"max_batch": 8}) == Engine(max_batch=8)


@pytest.mark.parametrize(
    ("spec", "place", "words"),
    [
        ("vllm", None, "vllm_v1"),
        ({"name": 3}, None, "unknown engine"),
        ({"reserve": "all"}, "reserve", "unknown value"),
        ({"max_batch": 0}, "max_batch", "greater"),
        ({"mixed": 1}, "mixed", "boolean"),
        ({"mixed": False}, "chunked", "split engine"),
        ({"max_batch": 9000}, "max_tokens", "below max_batch"),
        ({"watermark": 1.0}, "watermark", "less than 1"),
    ],
)
def test_bad_flags(spec: object, place: str | None, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_engine(spec)  # type: ignore[arg-type]
    assert caught.value.where == place and words in str(caught.value)
