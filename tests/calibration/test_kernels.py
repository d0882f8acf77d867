"""Kernel validation: nothing leaks from what is held out, and any folder of tables is taken."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mltwin.calibration import baselines
from mltwin.calibration.cases import Case, case_of, cases
from mltwin.calibration.scale import scale_cost
from mltwin.calibration.sources import SOURCES
from mltwin.calibration.tables import index_tables
from mltwin.calibration.trained import unseen
from mltwin.calibration.vidur_cases import vidur_case
from mltwin.models.gpu import load_profile
from mltwin.models.gpu.operators import DecodeCost, GemmCost, PrefillCost
from mltwin.models.llm.config import load_model
from mltwin.sim.errors import InputError
from mltwin.validation.kernel_report import (
    FILES,
    HELD_GPU,
    HELD_MODEL,
    NOISE,
    OURS,
    SHIPPED,
    SHIPPED_KNOWN,
    TRANSFERRED,
    UNSEEN,
    KernelReport,
)
from mltwin.validation.kernels import validate_kernels

H100 = SOURCES[0]
GEMM = GemmCost(132, 2e-6, 8.3e14, 2.8e12, 9e-7, 2.5, 0.5, 4.0)
DECODE = DecodeCost(1.2e-5, 2.5e-8, 3.0e12, 1.5)
PREFILL = PrefillCost(1.3e-5, 6.5e14, 2.6e-12, 2.0, 7e-11, 2.0)
ROWS = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
HEADS = [(8, 1), (16, 2), (32, 4), (64, 8), (8, 8), (16, 4), (32, 8), (32, 2), (40, 2), (64, 4)]


def jitter(seconds: np.ndarray, seed: int = 3) -> np.ndarray:
    """1 % of noise, as milliseconds."""
    noise = np.random.default_rng(seed).normal(0, 0.01, len(seconds))
    return seconds * np.exp(noise) * 1e3


def gemm_table(n_sizes: list[int] | None = None) -> pd.DataFrame:
    """A grid of shapes, and all those of Llama-3.1-70B."""
    sizes = n_sizes or [256, 512, 1024, 2048, 3072, 4096, 6144, 16384, 24576]
    shapes = {(n, k) for n in sizes for k in sizes}
    model = load_model("llama-3.1-70b")
    shapes |= {(g.n, g.k) for tp in (1, 2, 4, 8) for g in model.gemms(tp)}
    table = pd.DataFrame(
        [(m, n, k) for n, k in sorted(shapes) for m in ROWS],
        columns=["m", "n", "k"],
    )
    m, n, k = (table[c].to_numpy(float) for c in ("m", "n", "k"))
    table["latency"] = jitter(GEMM.seconds(m, n, k))
    return table.assign(gemm_dtype="bfloat16", kernel_source="torch")


def attention_table(kind: str) -> pd.DataFrame:
    lengths = [16, 128, 512, 2048, 8192, 32768]
    table = pd.DataFrame(
        [(b, s, h, k) for b in (1, 4, 16, 64) for s in lengths for h, k in HEADS],
        columns=["batch_size", "isl", "num_heads", "num_key_value_heads"],
    )
    b, s, h, k = (table[c].to_numpy(float) for c in table)
    if kind == "decode":
        times = DECODE.seconds(b, b * s, s, h, k, 128)
        table["step"] = table["isl"] - 1
        table["isl"] = 1
    else:
        times = PREFILL.seconds(b * s, b * s * (s + 1) / 2, s, h, k, 128)
    table["latency"] = jitter(times)
    return table.assign(head_dim=128, kv_cache_dtype="bfloat16", kernel_source="fa3", window_size=0)


def write(table: pd.DataFrame, folder: Path, name: str, version: str = "vllm-0.24.0") -> Path:
    path = folder / "h100_sxm" / name.split("/")[0] / version / name.split("/")[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


NAMES = {
    "gemm": "gemm/gemm_perf.csv.gz",
    "decode": "attention/generation_attention_perf.csv.gz",
    "prefill": "attention/context_attention_perf.csv.gz",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A folder in the original form, made by known costs."""
    folder = tmp_path_factory.mktemp("data") / "kernels" / "aiconfigurator"
    write(gemm_table(), folder, NAMES["gemm"])
    for kind in ("decode", "prefill"):
        write(attention_table(kind), folder, NAMES[kind])
    return folder.parent.parent


@pytest.fixture(scope="module")
def report(tables: Path) -> KernelReport:
    return validate_kernels(tables, gpus=["h100-sxm-80gb"], jobs=1)


def pick(report: KernelReport, task: str, operator: str, predictor: str = OURS):
    found = [
        r for r in report.rows if (r.task, r.operator, r.predictor) == (task, operator, predictor)
    ]
    assert len(found) == 1, (task, operator, predictor)
    return found[0]


def test_known_costs_are_found_on_unseen_shapes(report: KernelReport) -> None:
    for operator in ("gemm.bfloat16", "decode.bfloat16.128", "prefill.bfloat16.128"):
        ours = pick(report, UNSEEN, operator)
        assert 0.3 < ours.median_pct < 4, operator  # 1 % of noise was put in
        assert ours.median_low_pct <= ours.median_pct <= ours.median_high_pct
        for other in baselines.BASELINES:
            theirs = pick(report, UNSEEN, operator, other)
            assert theirs.rows == ours.rows and theirs.median_pct > ours.median_pct
    assert pick(report, HELD_MODEL, "gemm.bfloat16").rows == 20 * len(ROWS)
    assert pick(report, HELD_MODEL, "gemm.bfloat16").median_pct < 4


def test_times_that_are_held_out_do_not_reach_the_fit(tables: Path, tmp_path: Path) -> None:
    """All held-out times ten times as long: a fit that had seen them would follow."""
    case = case_of(index_tables(tables), H100, "decode.bfloat16.128")
    table = attention_table("decode")
    held = case.rows[case.held][["heads", "kv_heads"]].drop_duplicates()
    hit = pd.MultiIndex.from_frame(table[["num_heads", "num_key_value_heads"]]).isin(
        pd.MultiIndex.from_frame(held)
    )
    assert 0 < hit.sum() < len(table) / 2
    table.loc[hit, "latency"] *= 10
    write(table, tmp_path, NAMES["decode"])
    found = validate_kernels(tmp_path, gpus=["h100-sxm-80gb"], jobs=1)
    for predictor in (OURS, *baselines.BASELINES):
        assert pick(found, UNSEEN, "decode.bfloat16.128", predictor).median_pct > 80


def test_a_held_out_model_does_not_reach_the_fit(tmp_path: Path) -> None:
    table = attention_table("prefill")
    own = table["num_heads"] == 8 * table["num_key_value_heads"]
    own &= table["num_heads"].isin([8, 16, 32, 64])
    table.loc[own, "latency"] *= 10
    write(table, tmp_path, NAMES["prefill"])
    found = validate_kernels(tmp_path, gpus=["h100-sxm-80gb"], jobs=1)
    ours = pick(found, HELD_MODEL, "prefill.bfloat16.128")
    assert ours.rows == own.sum() and ours.median_pct > 85


def test_shipped_profiles_know_what_they_were_fitted_to(tables: Path) -> None:
    """A fifth of the shapes that were there, and all others, are new to them."""
    profile = load_profile("h100-sxm-80gb")
    sizes = pd.DataFrame({"m": 8, "n": [16384, 4096, 4099], "k": [8192, 1024, 4097], "seconds": 1})
    case = Case(H100, "gemm.bfloat16", "gemm", sizes, Path(), "", 1, 2, {})
    new = unseen(case, profile)
    # The first was fitted to, the second held out of the fit, the third is no kernel's shape.
    assert new is not None and new.tolist() == [False, True, True]
    assert case.held[:2].tolist() == [False, True]
    of_another_fit = load_profile("h200-sxm")
    assert unseen(case, of_another_fit) is None


def test_the_report_is_written(report: KernelReport, tmp_path: Path) -> None:
    assert sorted(p.name for p in report.save(tmp_path)) == sorted(FILES)
    assert (tmp_path / "errors.png").stat().st_size > 10_000
    data = json.loads((tmp_path / "report.json").read_text())
    assert len(data["rows"]) == len(report.rows)
    assert data["figures"]["gemm_h100_unseen_median_pct"] > 0
    lines = (tmp_path / "groups.csv").read_text().splitlines()
    assert lines[0].startswith("task,gpu,operator,predictor") and len(lines) == len(report.rows) + 1
    assert "held-out model" in report.markdown()
    # Times of another law than the H100's: the shipped profile must be seen to be wrong.
    assert pick(report, SHIPPED, "gemm.bfloat16").median_pct > 1
    assert all(r.task != TRANSFERRED for r in report.rows)


def test_figures_that_the_data_does_not_hold_are_none(tmp_path: Path) -> None:
    write(attention_table("decode"), tmp_path, NAMES["decode"])
    found = validate_kernels(tmp_path, gpus=["h100-sxm-80gb"], jobs=1, refit=False)
    assert found.figures["gemm_h100_unseen_median_pct"] is None
    assert found.figures["attention_unseen_median_pct"] is None
    assert {r.task for r in found.rows} == {SHIPPED, SHIPPED_KNOWN, HELD_GPU}


@pytest.mark.parametrize("form", ["data", "kernels", "system", "file", "loose file", "parquet"])
def test_any_folder_of_the_form_is_taken(form: str, tables: Path, tmp_path: Path) -> None:
    base = tables / "kernels" / "aiconfigurator"
    file = base / "h100_sxm" / "gemm" / "vllm-0.24.0" / "gemm_perf.csv.gz"
    places = {"data": tables, "kernels": tables / "kernels", "system": base / "h100_sxm"}
    place = places.get(form, file)
    if form == "loose file":
        place = tmp_path / "gemm_perf.csv"
        pd.read_csv(file).to_csv(place, index=False)
    elif form == "parquet":
        place = tmp_path
        folder = tmp_path / "h100_sxm" / "gemm" / "vllm" / "0.24.0"
        folder.mkdir(parents=True)
        pd.read_csv(file).to_parquet(folder / "gemm_perf.parquet")
    index = index_tables(place)
    found = {case.operator: case for case in cases(index, H100)}
    known = case_of(index_tables(tables), H100, "gemm.bfloat16")
    pd.testing.assert_frame_equal(found["gemm.bfloat16"].rows, known.rows)


def test_another_version_stands_in(tmp_path: Path) -> None:
    write(gemm_table([512]), tmp_path, NAMES["gemm"], "vllm-0.9.1")
    write(gemm_table([512]), tmp_path, NAMES["gemm"], "vllm-0.30.0")
    write(gemm_table([512]), tmp_path, NAMES["gemm"], "sglang-0.5.0")
    assert case_of(index_tables(tmp_path), H100, "gemm.bfloat16").version == "vllm-0.30.0"


def test_noise_between_campaigns(tables: Path, tmp_path: Path) -> None:
    case = case_of(index_tables(tables), H100, "gemm.bfloat16")
    table = gemm_table()
    for version, factor in (("vllm-0.19.0", 1.1), ("sglang-0.5.14", 1.5)):
        write(table.assign(latency=table["latency"] * factor), tmp_path, NAMES["gemm"], version)
    found = baselines.between_campaigns(case, index_tables(tmp_path))
    assert found is not None
    error, version = found
    assert version == "vllm-0.19.0" and error.median == pytest.approx(0.1, abs=1e-3)
    assert error.held_rows == len(case.rows)


def vidur_table(folder: Path, embed: int, seconds_ms: float | list[float] = 1.0) -> Path:
    """One model of Vidur: 16 heads, 4 key-value heads, gated, TP 1 and 2."""
    table = pd.DataFrame({"num_tokens": [64, 64, 128], "num_tensor_parallel_workers": [1, 2, 1]})
    table = table.assign(n_head=16, n_kv_head=4, n_embd=embed, n_expanded_embd=3 * embed)
    table["use_gated_mlp"] = True
    for name in ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj"):
        table[f"time_stats.{name}.median"] = seconds_ms
    path = folder / "vidur" / "compute" / "h100" / "maker" / f"m{embed}" / "mlp.csv"
    path.parent.mkdir(parents=True)
    table.to_csv(path, index=False)
    return path


def test_projections_of_vidur(tmp_path: Path) -> None:
    vidur_table(tmp_path, 1024)
    vidur_table(tmp_path, 2048)
    case = vidur_case(tmp_path, H100)
    assert case is not None and set(case.rows["model"]) == {"m1024", "m2048"}
    first = case.rows[(case.rows["model"] == "m1024") & (case.rows["m"] == 64)]
    assert sorted(zip(first["n"].tolist(), first["k"].tolist(), strict=True)) == sorted(
        [(1536, 1024), (768, 1024), (1024, 1024), (1024, 512)]
        + [(6144, 1024), (3072, 1024), (1024, 3072), (1024, 1536)]
    )
    assert (case.rows["seconds"] == 1e-3).all()
    assert vidur_case(tmp_path, SOURCES[1]) is None
    vidur_table(tmp_path, 512, [1.0, -2.0, 1.0])
    with pytest.raises(InputError, match=r"m512.mlp.csv, data row 2: time_stats.*-2.0"):
        vidur_case(tmp_path, H100)


def test_noise_within_a_campaign(tmp_path: Path) -> None:
    path = vidur_table(tmp_path, 1024)
    table = pd.concat([pd.read_csv(path)] * 2)
    table["time_stats.mlp_up_proj.median"] = [1, 2, 3, 1.5, 3, 4.5]
    table.to_csv(path, index=False)
    found = baselines.repeats(tmp_path, "h100")
    # Three of twelve pairs differ, each by a half.
    assert found is not None and found.held_rows == 12
    assert (found.median, found.p95) == (0.0, 0.5)
    assert baselines.repeats(tmp_path, "a100") is None


def test_the_roofline_finds_a_roofline(tables: Path) -> None:
    case = case_of(index_tables(tables), H100, "gemm.bfloat16")
    arithmetic, memory = case.work()
    exact = 4e-6 + np.maximum(arithmetic / 0.6, memory / 0.8)
    made = Case(**{**vars(case), "rows": case.rows.assign(seconds=exact)})
    found = baselines.roofline_constants(made, ~made.held)
    assert found["overhead_s"] == pytest.approx(4e-6, rel=1e-3)
    assert found["compute"] == pytest.approx(0.6, rel=1e-3)
    assert found["memory"] == pytest.approx(0.8, rel=1e-3)
    assert baselines.baselines(made)[baselines.ROOFLINE].p95 < 1e-3


@pytest.mark.parametrize("family", ["gemm", "decode", "prefill", "moe"])
def test_scaling_to_the_same_gpu_changes_nothing(family: str) -> None:
    profile = load_profile("h100-sxm-80gb")
    o = profile.operators
    cost = {
        "gemm": o.gemm["bfloat16"],
        "decode": o.decode["bfloat16"][128],
        "prefill": o.prefill["bfloat16"][128],
        "moe": o.moe["bfloat16"],
    }[family]
    assert scale_cost(family, cost, profile.facts, profile.facts) == cost


def test_a_gpu_with_twice_of_everything_takes_half_the_time() -> None:
    from dataclasses import replace

    facts = H100.facts
    double = replace(
        facts,
        sms=2 * facts.sms,
        hbm_bandwidth=2 * facts.hbm_bandwidth,
        peak_flops={k: 2 * v for k, v in facts.peak_flops.items()},
    )
    gemm = scale_cost("gemm", GEMM, facts, double)
    assert gemm.seconds(8192, 16384, 16384) == pytest.approx(
        GEMM.seconds(8192, 16384, 16384) / 2, rel=0.02
    )
    b, c = 256, 16384
    args = (b, b * c, c, 64, 8, 128)
    decode = scale_cost("decode", DECODE, facts, double)
    assert decode.seconds(*args) == pytest.approx(DECODE.seconds(*args) / 2, rel=0.02)
    args = (8 * 8192, 8 * 8192 * 4096, 8192, 64, 8, 128)
    prefill = scale_cost("prefill", PREFILL, facts, double)
    assert prefill.seconds(*args) == pytest.approx(PREFILL.seconds(*args) / 2, rel=0.02)


def test_bad_folders_are_refused(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"h9000.*use some of"):
        validate_kernels(tables, gpus=["h9000"])
    with pytest.raises(InputError, match="no measured operator tables"):
        validate_kernels(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        validate_kernels(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no tables of a100_sxm"):
        validate_kernels(tables, gpus=["a100-sxm-80gb"])


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("latency", -1.0, "latency"),
        ("latency", "quick", "gemm"),
        ("n", "wide", "gemm"),
        ("n", np.nan, "n is missing"),
        ("m", 0, "m is 0"),
        ("k", None, "columns"),
    ],
)
def test_damaged_tables_are_named(column: str, value: object, said: str, tmp_path: Path) -> None:
    table = gemm_table([512, 1024]).astype({"latency": object, "n": object})
    if value is None:
        table = table.drop(columns=column)
    else:
        table.loc[table.index[table["n"] == 512][0], column] = value
    write(table, tmp_path, NAMES["gemm"])
    with pytest.raises(InputError, match=rf"gemm_perf\.csv\.gz.*{said}"):
        validate_kernels(tmp_path, gpus=["h100-sxm-80gb"], jobs=1)


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    path = write(gemm_table([512]), tmp_path, NAMES["gemm"])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"gemm_perf\.csv\.gz"):
        validate_kernels(tmp_path, gpus=["h100-sxm-80gb"], jobs=1)


@pytest.mark.slow
def test_processes_do_not_change_the_report(tables: Path, report: KernelReport) -> None:
    shares: list[float] = []
    again = validate_kernels(
        tables, gpus=["h100-sxm-80gb"], progress=lambda share, text: shares.append(share)
    )
    assert again == report
    assert shares == sorted(shares) and shares[-1] == 1.0


@pytest.mark.data
def test_cases_are_what_the_shipped_profiles_were_fitted_to(data_dir: Path) -> None:
    """Same rows, same split, same bits of the error as in the profile's provenance."""
    profile = load_profile("a100-sxm-80gb")
    source = next(s for s in SOURCES if s.name == profile.name)
    known = {p.operator: p for p in profile.provenance}
    seen = set()
    for case in cases(index_tables(data_dir), source):
        entry = known[case.operator]
        _, error = case.fit()
        assert (error.rows, error.held_rows) == (entry.rows, entry.held_rows), case.operator
        # Errors are stored to 1e-4; another library version may turn a tree's split.
        assert error.median == pytest.approx(entry.median, abs=5e-4), case.operator
        seen.add(case.operator)
    assert known.keys() - seen == {"elementwise", "mixed", "power"}


@pytest.mark.data
def test_recorded_shapes_are_those_of_the_shipped_profiles(data_dir: Path) -> None:
    from mltwin.calibration import trained

    assert trained.main(["--data", str(data_dir)]) == 0


@pytest.mark.data
@pytest.mark.slow
def test_the_fits_hold_on_measured_kernels(data_dir: Path) -> None:
    found = validate_kernels(data_dir, gpus=["a100-sxm-80gb", "h100-sxm-80gb"], jobs=2)
    figures = found.figures
    assert figures["gemm_h100_unseen_median_pct"] < 3  # type: ignore[operator]
    assert figures["gemm_h100_unseen_p95_pct"] < 13  # type: ignore[operator]
    assert figures["attention_unseen_median_pct"] < 3  # type: ignore[operator]
    for operator in ("gemm.bfloat16", "moe.bfloat16"):
        for gpu in ("a100-sxm-80gb", "h100-sxm-80gb"):
            of = {r.predictor: r for r in found.rows if r.task == UNSEEN and r.gpu == gpu
                  and r.operator == operator}  # fmt: skip
            assert NOISE in of or gpu == "a100-sxm-80gb"
            for other in baselines.BASELINES:
                assert of[OURS].median_pct < of[other].median_pct
