"""Measuring: plans without repeats, times that are real, files that survive a kill."""

import json
from pathlib import Path

import numpy as np
import pytest

from mltwin.calibration.measure import measure, plan_points, point_key, read_measurements
from mltwin.calibration.measure.numpy_backend import NumpyBackend
from mltwin.calibration.measure.points import CPU_LIMITS, CUDA_LIMITS, OPS, Limits
from mltwin.calibration.measure.record import Header, Recorder, key_of
from mltwin.calibration.measure.timing import QUICK, Effort, time_call
from mltwin.calibration.measure.torch_calls import expert_rows
from mltwin.models.llm.config import load_model
from mltwin.sim.errors import InputError

SMALL = Limits(tokens=16, context=128, batch=4, flops=1e7, size_bytes=1e6)


def small_points() -> list[dict]:
    return [{"op": "gemm", "dtype": "float32", "m": m, "n": 64, "k": 64} for m in (1, 4, 16)] + [
        {"op": "copy_device", "bytes": 4096},
        {"op": "copy_h2d", "bytes": 4096, "pinned": True},
    ]


def test_a_plan_holds_each_point_once_and_all_shapes_of_the_model() -> None:
    model = load_model("llama-3.1-8b")
    points = plan_points([model, model], tps=(1, 2), grid=50)
    keys = [point_key(p) for p in points]
    assert len(keys) == len(set(keys))
    planned = {(p["n"], p["k"]) for p in points if p["op"] == "gemm"}
    for tp in (1, 2):
        assert {(g.n, g.k) for g in model.gemms(tp)} <= planned
    assert points == plan_points([model], tps=(1, 2), grid=50)


def test_the_grid_fills_the_space() -> None:
    points = plan_points([load_model("llama-3.1-8b")], ops=["gemm"], grid=300, limits=CUDA_LIMITS)
    free = [p for p in points if p["m"] not in (1, 2, 4, 8, 16) and p["n"] % 64]
    logs = np.log2([(p["m"], p["n"], p["k"]) for p in free])
    assert len(free) > 100
    for axis in range(3):
        share = np.histogram(logs[:, axis], bins=4)[0] / len(free)
        assert share.min() > 0.1


def test_limits_are_kept() -> None:
    for p in plan_points([load_model("llama-3.1-8b")], grid=100, limits=CPU_LIMITS):
        if p["op"] == "gemm":
            assert 2 * p["m"] * p["n"] * p["k"] <= CPU_LIMITS.flops
        assert p.get("context", 0) <= CPU_LIMITS.context


@pytest.mark.parametrize("ops", [["gemmo"], []])
def test_a_plan_without_sense_is_refused(ops: list[str]) -> None:
    with pytest.raises(InputError):
        plan_points([load_model("llama-3.1-8b")], ops=ops)


def test_time_call_finds_a_known_time() -> None:
    calls = []

    def sample(count: int) -> float:
        calls.append(count)
        return 3e-4 * count

    result = time_call(sample, Effort(samples=9))
    assert result["seconds"] == pytest.approx(3e-4)
    assert result["spread"] == 0
    assert result["repeats"] == 9 * 7  # samples of at least 2 ms are 7 calls


def test_time_call_takes_the_median_of_noisy_samples() -> None:
    noise = np.random.default_rng(1).permutation([1.0] * 12 + [9.0] * 3)
    state = {"i": -2}

    def sample(count: int) -> float:
        state["i"] += 1
        return 1e-2 * count * noise[state["i"] % 15]

    assert time_call(sample, Effort(budget_s=100))["seconds"] == pytest.approx(1e-2)


def test_numpy_times_grow_with_the_work() -> None:
    backend = NumpyBackend()
    times = []
    for m in (4, 2048):
        sampler = backend.prepare({"op": "gemm", "dtype": "float32", "m": m, "n": 512, "k": 512})
        assert sampler is not None
        # The least of several: on a busy machine one call may wait for its threads.
        times.append(min(time_call(sampler, QUICK)["least"] for _ in range(8)))
    assert times[1] > 2 * times[0]


def test_numpy_attention_is_causal_attention() -> None:
    """The timed arithmetic is attention: checked against a direct evaluation."""
    backend = NumpyBackend(seed=3)
    q, k, v = (
        backend._normal(1, 1, 4, 8),
        backend._normal(1, 1, 8, 4),
        backend._normal(1, 1, 4, 8),
    )
    expected = np.zeros((4, 8))
    for i in range(4):
        score = np.exp(q[0, 0, i] @ k[0, 0, :, : i + 1] * 8**-0.5)
        expected[i] = score / score.sum() @ v[0, 0, : i + 1]
    seen: list[np.ndarray] = []
    again = NumpyBackend(seed=3)
    original = np.matmul

    def spy(*arguments: object, **named: object) -> np.ndarray:
        seen.append(original(*arguments, **named))  # type: ignore[call-overload]
        return seen[-1]

    call = again._attention_prefill(
        {"batch": 1, "tokens": 4, "heads": 1, "kv_heads": 1, "head_dim": 8}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", spy)
        call()
    np.testing.assert_allclose(seen[1][0, 0], expected, rtol=1e-5)


def test_measure_writes_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "here.jsonl"
    points = small_points()
    first = measure(points[:2], path, backends=["numpy"], quick=True)
    assert first == {"timed": 2, "skipped": 0, "known": 0, "left": 0}
    second = measure(points, path, backends=["numpy"], quick=True)
    assert second == {"timed": 2, "skipped": 1, "known": 2, "left": 0}
    header, rows = read_measurements(path)
    assert header.device["kind"] == "cpu" and header.software["numpy"] == np.__version__
    assert {key_of(row) for row in rows} == {point_key(p) for p in points}
    assert all(0 < row["least"] <= row["seconds"] for row in rows if "seconds" in row)


def test_a_torn_last_line_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl"
    measure(small_points()[:3], path, backends=["numpy"], quick=True)
    whole = path.read_text()
    path.write_text(whole[:-20])
    assert len(read_measurements(path)[1]) == 2
    assert measure(small_points()[:3], path, backends=["numpy"], quick=True)["timed"] == 1
    assert len(read_measurements(path)[1]) == 3


def test_no_time_means_all_is_left(tmp_path: Path) -> None:
    count = measure(small_points(), tmp_path / "a.jsonl", backends=["numpy"], limit_s=-1.0)
    assert count["left"] == 5 and count["timed"] == 0


def test_progress_ends_at_one(tmp_path: Path) -> None:
    shares: list[float] = []
    measure(
        small_points(),
        tmp_path / "a.jsonl",
        backends=["numpy"],
        quick=True,
        progress=lambda share, text: shares.append(share),
    )
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_a_file_of_another_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    measure(small_points()[:1], path, backends=["numpy"], quick=True)
    lines = path.read_text().splitlines()
    header = json.loads(lines[0])
    header["device"]["name"] = "another processor"
    path.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=r"another processor.*measure into another file"):
        measure(small_points(), path, backends=["numpy"], quick=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("{}\n", "line 1.*format"),
        ('{"format":"mltwin-measure-1"}\n', "line 1"),
        ("HEADER\nnot json\n{}\n", "line 2: not JSON"),
        ('HEADER\n{"op":"gemm","seconds":-1}\n', "line 2.*-1"),
        ('HEADER\n{"op":"dance","seconds":1}\n', "line 2.*op"),
        ('HEADER\n{"op":"gemm","seconds":NaN}\n', "line 2.*nan"),
    ],
)
def test_damaged_files_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    header = json.dumps(Header({}, {}, {}, "now").__dict__)
    path = tmp_path / "bad.jsonl"
    path.write_text(text.replace("HEADER", header))
    with pytest.raises(InputError, match=message):
        read_measurements(path)


@pytest.mark.parametrize(
    ("device", "backends"), [("tpu", None), ("cpu", ["cupy"]), ("cuda", ["numpy"])]
)
def test_unknown_devices_and_backends_are_refused(
    tmp_path: Path, device: str, backends: list[str] | None
) -> None:
    with pytest.raises(InputError, match="use "):
        measure(small_points(), tmp_path / "a.jsonl", device=device, backends=backends)
    assert not (tmp_path / "a.jsonl").exists()


def test_every_operator_is_planned_or_has_a_runner_of_its_own() -> None:
    models = [load_model("llama-3.1-8b"), load_model("qwen3-30b-a3b")]
    points = plan_points(models, devices=8, grid=32, limits=CUDA_LIMITS)
    assert {p["op"] for p in points} == set(OPS) - {"power"}


@pytest.mark.parametrize("distribution", ["balanced", "power_law_1.01", "power_law_1.2"])
def test_expert_rows_add_up(distribution: str) -> None:
    counts = expert_rows(1000, 128, distribution)
    assert counts.sum() == 1000 and counts.min() >= 0
    if distribution == "balanced":
        assert counts.max() - counts.min() <= 1
    else:
        assert counts[0] > 10 * np.median(counts)


def test_the_recorder_knows_backends_apart(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.jsonl", Header({}, {}, {}, "now"))
    point = small_points()[0]
    recorder.add("numpy", point, {"seconds": 1.0, "spread": 0, "repeats": 1, "least": 1.0})
    assert recorder.holds("numpy", point) and not recorder.holds("torch", point)
    again = Recorder(tmp_path / "r.jsonl", Header({}, {}, {}, "later"))
    assert again.holds("numpy", dict(reversed(point.items())))


def test_torch_times_what_numpy_times(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "both.jsonl"
    sizes = {"batch": 1, "tokens": 32, "heads": 4, "kv_heads": 2, "head_dim": 32, "window": 0}
    points = [
        *small_points(),
        {"op": "attention_prefill", "dtype": "float32", **sizes},
        {"op": "norm", "dtype": "float32", "tokens": 8, "width": 64},
        {"op": "activation", "dtype": "float32", "tokens": 8, "width": 64},
    ]
    measure(points, path, quick=True)
    rows = read_measurements(path)[1]
    timed = {b: {key_of(r) for r in rows if r["backend"] == b and "seconds" in r} for b in
             ("numpy", "torch")}  # fmt: skip
    assert timed["numpy"] == timed["torch"] and len(timed["torch"]) == 7
