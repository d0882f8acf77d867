"""The real engine with a very small model: it runs, and the mirror knows each of its steps."""

import importlib.util

import numpy as np
import pytest

from mltwin.calibration.local.mirror import Rules
from mltwin.calibration.local.replay import step_match
from mltwin.sim.errors import InputError

SMALL = {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "inner": 128, "vocabulary": 256}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MLTWIN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def make(rules: Rules):
    pytest.importorskip("openvino_genai", reason="needs the extra localtwin")
    from mltwin.calibration.local.engine import Engine
    from mltwin.calibration.local.graph import TinyLlama

    return Engine(rules, threads=1, model=TinyLlama(**SMALL))


def load(requests: int, seed: int, **more):
    from mltwin.calibration.local.engine import Load

    random = np.random.default_rng(seed)
    return Load(
        random.integers(1, 300, requests),
        random.integers(1, 30, requests),
        np.cumsum(random.exponential(0.004, requests)),
        seed=seed,
        **more,
    )


@pytest.mark.parametrize(
    ("rules", "more"),
    [
        (Rules(blocks=400), {}),
        (Rules(blocks=400), {"concurrency": 5}),
        (Rules(blocks=24), {}),
        (Rules(blocks=400, prefix_caching=True), {}),
    ],
    ids=["open", "closed", "few-blocks", "prefix-caching"],
)
def test_the_mirror_knows_each_step(rules: Rules, more: dict) -> None:
    log = make(rules).run(load(30, 5, **more))
    match = step_match(log)
    assert match.steps > 30
    assert (match.emissions, match.whole) == (match.steps, match.steps)
    times = log.token_times()
    assert [len(t) for t in times] == log.output
    assert all(t[0] > arrived for t, arrived in zip(times, log.arrival, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_the_mirror_knows_random_setups(seed: int) -> None:
    """Budgets, caches, arrivals and shared prefixes at random."""
    from mltwin.calibration.local.engine import Load

    random = np.random.default_rng([seed, 1])
    rules = Rules(
        budget=int(random.choice([32, 64, 256])),
        blocks=int(random.choice([12, 20, 40, 80, 400])),
        prefix_caching=bool(seed % 2),
    )
    stems = [random.integers(0, 256, int(n)) for n in random.integers(5, 200, 4)]
    prompts = []
    for _ in range(60):
        stem = stems[random.integers(4)]
        cut = int(random.integers(1, len(stem) + 1)) if random.random() < 0.4 else len(stem)
        tail = random.integers(0, 256, int(random.integers(0, 80)) * int(random.random() < 0.7))
        prompts.append(np.concatenate([stem[:cut], tail]))
    gaps = random.exponential(10 ** random.uniform(-3.5, -1.7), 60)
    log = make(rules).run(
        Load(
            np.array([len(ids) for ids in prompts]),
            random.integers(1, 50, 60),
            np.cumsum(gaps),
            concurrency=int(random.choice([0, 0, 5])),
            prompts=prompts,
        )
    )
    match = step_match(log)
    assert (match.emissions, match.whole) == (match.steps, match.steps)


def test_equal_seeds_build_equal_graphs(tmp_path) -> None:
    pytest.importorskip("openvino", reason="needs the extra localtwin")
    from mltwin.calibration.local.graph import TinyLlama, model_folder

    one, two = (model_folder(TinyLlama(**SMALL), tmp_path / name) for name in "ab")
    for name in ("openvino_model.bin", "config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert TinyLlama(**SMALL, seed=1).key != TinyLlama(**SMALL).key


def test_without_the_package_there_is_one_clear_error(monkeypatch) -> None:
    import sys

    from mltwin.calibration.local.graph import import_openvino

    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(InputError, match=r"pip install mltwin\[localtwin\]"):
        import_openvino()


def test_the_module_loads_without_the_package() -> None:
    """Mirror, cost and replay need no engine."""
    assert importlib.util.find_spec("mltwin.calibration.local.engine") is not None
