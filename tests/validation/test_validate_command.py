"""Which sources a folder holds, and `mltwin validate` as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mltwin.app import cli
from mltwin.sim.errors import InputError
from mltwin.text import Table
from mltwin.validation import serving
from mltwin.validation.report import FILES

Call = Callable[..., tuple[int, str, str]]
MOONCAKE = """# vLLM PD
| Prompt Length | TTFT (ms) | KV Size | Transfer Time (ms) |
|---|---|---|---|
| 1024 tokens | 67.29 | 200 MB | 1.50 |
"""


@pytest.fixture
def call(capsys: Any, monkeypatch: Any) -> Call:
    """Run the command line; exit code, standard output, standard error."""
    monkeypatch.delenv("MLTWIN_DATA", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(["validate", *(str(a) for a in arguments)])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one transfer of Mooncake's."""
    folder = tmp_path / "groundtruth/mooncake"
    folder.mkdir(parents=True)
    (folder / "a.md").write_text(MOONCAKE)
    return tmp_path


def test_sources_are_found_from_any_level(data: Path, tmp_path: Path) -> None:
    for place in (data, data / "groundtruth", data / "groundtruth/mooncake"):
        assert serving.present(place) == ["mooncake"]
        assert len(serving.validate_serving(place)) == 2
    (data / "groundtruth/apex_plus").mkdir()
    assert serving.present(data) == ["apex_plus", "mooncake"]
    sample = tmp_path / "rows.csv"
    sample.write_text("a\n")
    assert serving.present(sample) == ["silicon"]


def test_progress_goes_from_source_to_source(data: Path) -> None:
    seen: list[tuple[float, str]] = []
    serving.validate_serving(data, progress=lambda share, text: seen.append((share, text)))
    assert seen == [(0.0, "mooncake"), (1.0, "done")]


def test_kernels_are_looked_for_beside_the_runs(data: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MLTWIN_DATA", "elsewhere")
    assert serving._kernels(data, None) == Path("elsewhere")
    (data / "kernels").mkdir()
    assert serving._kernels(data, None) == data
    assert serving._kernels(data / "groundtruth", None) == data
    assert serving._kernels(data, "given") == Path("given")


@pytest.mark.parametrize(
    ("only", "said"), [(["aws"], "no source 'aws'"), (["mlperf"], "no measured deployments")]
)
def test_unknown_and_missing_sources(data: Path, only: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        serving.validate_serving(data, only=only)


def test_serving_prints_tables_and_writes_a_report(call: Call, data: Path) -> None:
    out_folder = data / "report"
    code, out, err = call("serving", "--data", data, "--out", out_folder)
    assert code == 0, err
    assert "transfer_mean" in out and "absolute error" in out
    assert "1 unanswered: no kernel tables" in " ".join(err.split())
    assert sorted(path.name for path in out_folder.iterdir()) == sorted(FILES)
    code, out, _ = call("serving", "--data", data, "--json", "--only", "mooncake")
    assert code == 0 and json.loads(out)["fitted"] == "nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "MLTWIN_DATA"),
        (("--data", "nowhere"), "no such folder: nowhere"),
        (("--data", "."), "no measured deployments"),
        (("--data", ".", "--only", "aws"), "no source 'aws'"),
    ],
)
def test_a_bad_folder_is_one_clear_error(
    call: Call, tmp_path: Path, monkeypatch: Any, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call("serving", *arguments)
    assert code == 2 and not out
    assert said in err and err.count("error:") == 1 and "Traceback" not in err


def report(**seen: Any) -> Any:
    """Stands for a report of another part."""
    return SimpleNamespace(
        tables=lambda: [Table(["a"], [[1]], title="t")],
        data=lambda: {"seen": {k: str(v) for k, v in seen.items() if k != "progress"}},
        save=lambda folder: [Path(folder) / "x"],
    )


def test_kernels_passes_its_options_on(call: Call, data: Path, monkeypatch: Any) -> None:
    kernels = pytest.importorskip("mltwin.validation.kernels")
    monkeypatch.setattr(
        kernels, "validate_kernels", lambda data, **given: report(data=data, **given)
    )
    code, out, _ = call("kernels", "--data", data, "--gpu", "a,b", "--json")
    assert code == 0
    assert json.loads(out)["seen"] == {"data": str(data), "gpus": "['a', 'b']", "refit": "True"}
    code, out, err = call("kernels", "--data", data, "--out", "there")
    assert code == 0 and " 1 " in out and "wrote there" in err


def test_local_passes_its_options_on(call: Call, monkeypatch: Any) -> None:
    local = pytest.importorskip("mltwin.validation.local")
    monkeypatch.setattr(local, "validate_local", lambda **given: report(**given))
    code, out, err = call("local", "--load", "0.5,0.8", "--repeats", "2", "--json")
    assert code == 0, err
    seen = json.loads(out)["seen"]
    assert seen["loads"] == "(0.5, 0.8)" and seen["repeats"] == "2" and seen["requests"] == "250"
    code, _, err = call("local", "--load", "fast")
    assert code == 2 and "shares of capacity" in err
