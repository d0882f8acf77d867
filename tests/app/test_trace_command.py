"""`mltwin traces inspect` and `mltwin validate show`, good input and bad."""

import json
from pathlib import Path

import pytest

from mltwin.app.cli import main
from mltwin.validation.kernel_report import OURS, SHIPPED, KernelReport, KernelRow
from mltwin.validation.pairs import Pair, write_csv
from mltwin.validation.reading import read_report
from mltwin.validation.report import ValidationReport

PAIR = {
    "source": "lab",
    "gpu": "H100",
    "engine": "vllm",
    "model": "8b",
    "mode": "agg",
    "load_bin": "below",
    "metric": "ttft_mean",
    "measured": 0.2,
}
ROW = KernelRow(SHIPPED, "h100-sxm-80gb", "gemm.bfloat16", OURS, "vllm", 10, 2, 2.5, 9.0, -0.1)


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in lines)
    return [line for line in lines if line.startswith("error: ")]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    rows = [f"{i % 90},{50 + i % 40},{1 + i % 9}" for i in range(300)]
    path = tmp_path / "bad.csv"
    path.write_text("arrival_s,prompt,output\n" + "\n".join(rows) + "\n9.0,7,0\n")
    return path


def test_a_trace_is_inspected(tmp_path, capsys) -> None:
    words = ("traces", "inspect", "azure-conv-synthetic")
    assert call(*words) == 0
    assert "19,334" in capsys.readouterr().out
    assert call(*words, "--format", "markdown") == 0
    assert "Nothing is odd" in capsys.readouterr().out
    files = [tmp_path / "t.html", tmp_path / "t.svg"]
    assert call(*words, "--format", "json", "--report", files[0], "--plot", files[1]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["statistics"]["rows"] == 19_334 and data["valid"] and not data["findings"]
    assert len(json.dumps(data)) < 100_000 and all(file.stat().st_size > 5000 for file in files)


def test_a_bad_file_is_inspected_all_the_same(bad: Path, capsys) -> None:
    assert call("traces", "inspect", bad, "--format", "json") == 0
    printed = capsys.readouterr()
    data = json.loads(printed.out)
    assert not data["valid"] and "bad.csv, line 302, column 'output'" in data["refused"]
    assert "refuses the file" in printed.err
    assert {finding["about"] for finding in data["findings"]} >= {"order", "rows", "clock"}
    assert call("traces", "validate", bad) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "no such file"),
        (["azure-conv-synthetic", "--format", "xml"], "unknown value"),
        (["azure-conv-synthetic", "--report", "nowhere/t.html"], "cannot be written"),
        (["junk.csv"], "no known format"),
        (["junk.csv", "--columns", "[1]"], "maps no names"),
        (["junk.csv", "--columns", "{"], "is not JSON"),
        (["junk.csv", "--as", "azure"], "junk.csv"),
    ],
)
def test_what_cannot_be_inspected_is_one_line(
    words: list[str], said: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("junk.csv").write_text("a,b\n1,2\n")
    assert call("traces", "inspect", *words) == 2
    found = errors(capsys)
    assert len(found) == 1 and said in found[0]


def test_unusual_names_are_mapped(tmp_path, capsys) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("ts,in,out\n" + "\n".join(f"{i},{i + 5},3" for i in range(30)))
    columns = '{"arrival": "ts", "prompt": "in", "output": "out"}'
    assert call("traces", "inspect", path, "--columns", columns, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["rows"] == 30


def test_a_stored_report_is_shown_again(tmp_path, capsys) -> None:
    pairs = [Pair(row_id=str(i), predicted=0.2 + i / 100, **PAIR) for i in range(40)]
    pairs.append(Pair(row_id="none", predicted=None, note="too large", **PAIR))
    write_csv(pairs, tmp_path / "pairs.csv")
    (tmp_path / "groups.csv").write_text(KernelReport((ROW,)).csv())
    assert call("validate", "show", tmp_path / "pairs.csv", "--json", "--points", "5") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["scores"] == ValidationReport(pairs).data()["scores"]
    assert [p["error_pct"] for p in data["points"]][-1] == pytest.approx(195.0)
    assert len(data["points"]) == 5 and data["kind"] == "pairs"
    assert data["unanswered"] == {"too large": 1}
    assert call("validate", "show", tmp_path / "groups.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["median_pct"] == 2.5
    assert read_report(tmp_path / "groups.csv") == KernelReport((ROW,))
    assert call("validate", "show", tmp_path / "groups.csv") == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "no report"),
        ("", "empty"),
        ("\0", "zero bytes"),
        (KernelReport((ROW,)).csv().replace("2.5", "x"), "'x' is no number"),
        (KernelReport((ROW,)).csv().replace("2.5", "nan"), "'nan' is no number"),
        (KernelReport((ROW,)).csv().replace(SHIPPED, "guess"), "'guess' is unknown"),
        (KernelReport((ROW,)).csv() + "1,2\n", "line 3: has more or fewer cells"),
        (KernelReport(()).csv(), "holds no row"),
    ],
)
def test_a_broken_report_is_one_line(content: str, said: str, tmp_path, capsys) -> None:
    (tmp_path / "r.csv").write_text(content)
    assert call("validate", "show", tmp_path / "r.csv") == 2
    found = errors(capsys)
    assert len(found) == 1 and said in found[0]
