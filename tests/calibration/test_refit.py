"""Profiles from our own measurements: known costs are found, and what is missing is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mltwin.app.cli import app
from mltwin.calibrating import fit_profile
from mltwin.calibration import trained
from mltwin.calibration.measure import read_measurements
from mltwin.calibration.refit import fit_measurements
from mltwin.models.gpu import IterationModel, load_profile
from mltwin.models.gpu.operators import (
    DecodeCost,
    ElementwiseCost,
    GemmCost,
    MoeCost,
    PrefillCost,
)
from mltwin.sim.errors import InputError

HEADER = {
    "format": "mltwin-measure-1",
    "device": {
        "kind": "cuda", "name": "a GPU", "count": 1, "multiprocessors": 132, "l2_bytes": 5e7,
        "memory_bytes": 85_000_000_000,
    },
    "software": {"torch": "2.13.0"},
    "settings": {},
    "started": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
GEMM = GemmCost(132, 2e-6, 8.3e14, 2.8e12, 9e-7, 2.5, 0.5, 4.0)
DECODE = DecodeCost(1.2e-5, 2.5e-8, 3.0e12, 1.5)
PREFILL = PrefillCost(1.3e-5, 6.5e14, 2.6e-12, 2.0, 7e-11, 2.0)
MOE = MoeCost(4e-5, 5e-8, 6e14, 3e12, 1.5, 16, 1.0, 3e-12)
SMALL = ElementwiseCost(2e-6, 2.5e12)
HEADS = [(8, 1), (16, 2), (32, 4), (64, 8), (8, 8), (16, 4), (32, 8), (32, 2), (40, 2), (64, 4)]
SIZES = [512, 1024, 2048, 4096, 8192, 16384]


def points() -> list[dict[str, Any]]:
    """What `measure` would write of a GPU that obeys known laws, with 1 % of noise."""
    rows: list[dict[str, Any]] = []

    def add(seconds: Any, **point: Any) -> None:
        rows.append({"dtype": "bfloat16", **point, "backend": "torch-graph", "spread": 0.01,
                     "seconds": float(seconds)})  # fmt: skip

    for n in SIZES:
        for k in SIZES:
            for m in (1, 16, 64, 256, 1024, 4096):
                add(GEMM.seconds(m, n, k), op="gemm", m=m, n=n, k=k)
    for h, k in HEADS:
        shape = {"heads": h, "kv_heads": k, "head_dim": 128}
        for b in (1, 8, 64):
            for c in (128, 1024, 8192, 32768):
                t = DECODE.seconds(b, b * c, c, h, k, 128)
                add(t, op="attention_decode", batch=b, context=c, **shape)
                t = PREFILL.seconds(b * c, b * c * (c + 1) / 2, c, h, k, 128)
                add(t, op="attention_prefill", batch=b, tokens=c, window=0, **shape)
    for tokens in (1, 8, 64, 512, 2048, 4096, 8192, 16384):
        add(SMALL.seconds(1, 4 * tokens * 4096), op="norm", tokens=tokens, width=4096)
        add(SMALL.seconds(1, 6 * tokens * 8192), op="activation", tokens=tokens, width=8192)
        for experts, chosen in ((8, 2), (64, 6), (128, 8)):
            sizes = {"hidden": 4096, "width": 1024, "experts": experts, "chosen": chosen}
            t = MOE.seconds(tokens, 4096, 1024, experts, chosen)
            add(t, op="moe", tokens=tokens, distribution="power_law_1.01", **sizes)
    add(0.5e-3, op="copy_device", bytes=2**30)
    noise = np.exp(np.random.default_rng(2).normal(0, 0.01, len(rows)))
    return [{**row, "seconds": row["seconds"] * e} for row, e in zip(rows, noise, strict=True)]


def write(path: Path, rows: list[dict[str, Any]], header: dict[str, Any] = HEADER) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in [header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("m") / "gpu.jsonl", points())


@pytest.fixture(scope="module")
def fitted(measured: Path):
    return fit_measurements(measured, "a-gpu")


def test_known_costs_are_found(fitted) -> None:
    profile, fits = fitted
    o = profile.operators
    for m, n, k in ((32, 3072, 3072), (512, 6144, 4096), (2048, 12288, 6144)):
        assert float(o.gemm["bfloat16"].seconds(m, n, k)) == pytest.approx(
            float(GEMM.seconds(m, n, k)), rel=0.1
        )
    b, c = 32, 4096
    decode, prefill = o.decode["bfloat16"][128], o.prefill["bfloat16"][128]
    for h, k in ((32, 4), (64, 8)):
        args = (b, b * c, c, h, k, 128)
        assert float(decode.seconds(*args)) == pytest.approx(float(DECODE.seconds(*args)), rel=0.1)
        args = (b * c, b * c * (c + 1) / 2, c, h, k, 128)
        assert float(prefill.seconds(*args)) == pytest.approx(
            float(PREFILL.seconds(*args)), rel=0.1
        )
    sizes = (256, 4096, 1024, 64, 6)
    assert float(o.moe["bfloat16"].seconds(*sizes)) == pytest.approx(
        float(MOE.seconds(*sizes)), rel=0.15
    )
    assert float(o.elementwise.seconds(5, 1e8)) == pytest.approx(
        float(SMALL.seconds(5, 1e8)), rel=0.05
    )
    errors = {p.operator: p for p in profile.provenance}
    assert {f.operator for f in fits} == errors.keys()
    for operator, error in errors.items():
        assert error.held_rows > 0 and error.median < 0.05, operator


def test_the_profile_can_be_used(fitted, tmp_path: Path) -> None:
    profile, _ = fitted
    path = tmp_path / "mine.json"
    path.write_text(profile.to_json())
    assert load_profile(path).to_json() == profile.to_json()
    one = IterationModel("llama-3.1-8b", str(path))
    assert 0 < one.seconds([(512, 0)]) < one.seconds([(4096, 0)])
    assert one.profile.facts.usable_bytes == 85_000_000_000


def test_wider_numbers_stand_for_the_format_every_model_has(tmp_path: Path) -> None:
    """A processor times float32: the profile's times are those, whatever it is asked for."""
    wide = [{**p, "dtype": "float32", "backend": "numpy"} for p in points()]
    profile, _ = fit_measurements(write(tmp_path / "cpu.jsonl", wide), "cpu")
    assert set(profile.operators.gemm) == {"bfloat16"}
    assert profile.operators.gemm["bfloat16"].weight_bytes == 4
    assert "timed in float32" in profile.provenance[1].method
    # A model's 2-byte numbers take as long as the wider ones that were timed.
    assert float(profile.operators.elementwise.seconds(0, 2e8)) == pytest.approx(
        4e8 / 2.5e12 / 2, rel=0.05
    )


def test_the_better_backend_counts_and_busy_points_do_not(tmp_path: Path, fitted) -> None:
    rows = points()
    slow = [{**p, "backend": "torch", "seconds": 7 * p["seconds"]} for p in rows]
    busy = {**rows[0], "m": 3, "seconds": 1.0, "spread": 0.9}
    profile, _ = fit_measurements(write(tmp_path / "two.jsonl", [*slow, *rows, busy]), "a-gpu")
    assert profile.operators == fitted[0].operators


def test_what_is_missing_is_taken_from_a_profile_that_is_named(tmp_path: Path) -> None:
    only = [p for p in points() if p["op"] == "gemm"]
    path = write(tmp_path / "gemm.jsonl", only)
    with pytest.raises(InputError, match=r"attention_prefill, attention_decode, norm.*--like"):
        fit_measurements(path, "h100-mine")
    like = load_profile("h100-sxm-80gb")
    profile, fits = fit_measurements(path, "h100-mine", like)
    assert [f.operator for f in fits] == ["gemm.bfloat16"]
    assert profile.operators.decode == like.operators.decode
    assert profile.facts == like.facts
    taken = [p for p in profile.provenance if p.operator.startswith("decode")]
    assert taken and all(p.method.startswith("taken from h100-sxm-80gb") for p in taken)
    assert IterationModel("llama-3.1-8b", profile, tp=2).seconds([(64, 0)]) > 0


def test_pictures_of_every_fit(tmp_path: Path) -> None:
    some = [p for p in points() if p["op"] in ("norm", "moe")]
    path, out, plots = write(tmp_path / "some.jsonl", some), tmp_path / "p.json", tmp_path / "plots"
    report = fit_profile(path, "a-gpu", like="h100-sxm-80gb", out=out, plots=plots)
    assert [p.name for p in report.plots] == ["elementwise.png", "moe.bfloat16.png"]
    assert all(path.stat().st_size > 5000 for path in report.plots)
    assert "moe.bfloat16" in str(report.table())
    with pytest.raises(InputError, match="exists already"):
        fit_profile(path, "a-gpu", like="h100-sxm-80gb", out=out)


def changed(**fields: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda rows: [{**rows[0], **fields}, *rows[1:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(seconds=-1), "seconds"),
        (changed(op="dance"), "'op'"),
        (lambda rows: rows[:3], "fewer than 8 timings of gemm"),
        (lambda rows: [{k: v for k, v in r.items() if k != "n"} for r in rows], "field 'n'"),
        (changed(dtype="float3"), "float3"),
        (changed(m="many"), "many"),
        (changed(m=None), "m"),
    ],
)
def test_bad_files_are_refused(change: Callable, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.jsonl", change(points()))
    with pytest.raises(InputError, match=said):
        fit_measurements(path, "bad")


def test_the_command(measured: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    out = tmp_path / "mine.json"
    result = run(app, ["calibrate", "fit", "--data", str(measured), "--gpu", "mine", "--out",
                       str(out)])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "gemm.bfloat16" in result.output and load_profile(out).name == "mine"
    result = run(app, ["calibrate", "fit", "--data", str(measured), "--gpu", "x", "--json"])
    assert json.loads(result.stdout)["name"] == "x"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gpu": "mine", "data": "nowhere.jsonl"}, "no such file"),
        ({"gpu": "b300"}, "use one of"),
        ({"gpu": "h100-sxm-80gb"}, "no such measurement file"),
        ({"gpu": "h100-sxm-80gb", "like": "l40s"}, "--like"),
        ({"gpu": "mine", "out": "profile.toml"}, r"\.json"),
    ],
)
def test_bad_requests_are_refused(arguments: dict, said: str, tmp_path: Path) -> None:
    data = tmp_path / arguments.pop("data") if "data" in arguments else tmp_path
    with pytest.raises(InputError, match=said):
        fit_profile(data, **arguments)


@pytest.mark.data
@pytest.mark.slow
def test_a_shipped_profile_anew(data_dir: Path, tmp_path: Path) -> None:
    report = fit_profile(data_dir, "a100-sxm-80gb", plots=tmp_path)
    shipped = load_profile("a100-sxm-80gb")
    assert [p.operator for p in report.profile.provenance] == [
        p.operator for p in shipped.provenance
    ]
    # All that is fitted to tables of operators.
    others = {"elementwise", "mixed", "power"}
    drawn = [p.operator for p in shipped.provenance if p.operator not in others]
    assert sorted(path.stem for path in report.plots) == sorted(drawn)


OWN = Path(trained.FILE).parent / "cpu-epyc.jsonl"


def test_the_project_s_own_measurements_of_a_processor() -> None:
    """The held-out medians are 9 to 14 %: 25 % leaves room for other versions of the libraries."""
    header, rows = read_measurements(OWN)
    assert header.device["kind"] == "cpu" and header.device["threads"] == 1
    profile, fits = fit_measurements(OWN, "cpu-epyc")
    errors = {p.operator: p for p in profile.provenance}
    assert errors["gemm.bfloat16"].held_rows >= 30
    for operator in ("gemm.bfloat16", "prefill.bfloat16.128", "decode.bfloat16.128"):
        assert errors[operator].median < 0.25, operator
    # A token of an 8 B model reads 2 x 8e9 x 2 bytes as float32 at no more than the best rate.
    one = IterationModel("llama-3.1-8b", profile, host_overhead_s=0, sequence_overhead_s=0)
    assert 4 * 7.5e9 / profile.facts.hbm_bandwidth < one.seconds([], [64]) < 60
    # Of the measured points themselves: their sum is met, whatever single ones do.
    gemm = next(f for f in fits if f.operator == "gemm.bfloat16")
    assert gemm.predicted.sum() == pytest.approx(gemm.measured.sum(), rel=0.1)
    assert len(gemm.measured) == sum(r["op"] == "gemm" for r in rows)  # nothing disturbed one
