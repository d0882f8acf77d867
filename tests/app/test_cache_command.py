"""`mltwin cache`: files of one's own, lists, and what is typed wrong."""

from pathlib import Path

import pytest

from mltwin.app.cli import main

ROWS = "when_ms,url,bytes,op\n0,/a,20,GET\n12,/b,50,GET\n13,/a,20,GET\n40,/c,9,PUT\n55,/a,20,GET\n"
MAP = '{"key": "url", "size_bytes": "bytes", "arrival": "when_ms", "op": "op"}'


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(ROWS)
    return path


def test_columns_are_mapped(log: Path, capsys) -> None:
    words = ("cache", "replay", log, "--capacity", "100B", "--unit", "bytes")
    assert call(*words, "--columns", MAP, "--time-unit", "ms", "--format", "markdown") == 0
    assert "| lru | 100 | 4 | 2 | 0.5000 | 0 |" in capsys.readouterr().out
    told = ("--columns", MAP, "--time-unit", "ms", "--ttl-s", "0.03", "--format", "markdown")
    assert call(*words, *told) == 0
    assert "| lru | 100 | 4 | 1 |" in capsys.readouterr().out  # 55 ms is more than 30 after 0
    assert call(*words, "--columns", "url") == 2
    assert '{"key": "url"' in capsys.readouterr().err


def test_bad_lines_may_be_left_out(tmp_path: Path, capsys) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("key,size_bytes\n1,10\n2,x\n1,10\n")
    words = ("cache", "replay", path, "--capacity", 2, "--format", "markdown")
    assert call(*words) == 2
    assert "line 3, column 'size_bytes': 'x'" in capsys.readouterr().err
    assert call(*words, "--skip") == 0
    shown = capsys.readouterr()
    assert "left out 1 bad line" in shown.err and "| lru | 2 | 2 | 1 |" in shown.out


def test_lists(capsys) -> None:
    assert call("cache", "policies", "--format", "markdown") == 0
    shown = capsys.readouterr().out
    assert "| decayed_frequency |" in shown and "mine.py:my_score" in shown
    assert call("cache", "traces", "--format", "markdown") == 0
    assert "mltwin cache fetch NAME" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("fetch", "lirs-loo"), "did you mean 'lirs-loop'?"),
        (("fetch", "zipf-1.0"), "is synthetic"),
        (("replay", "zipf-0.8"), "Missing option '--capacity'; see --help"),
        (("replay", "zipf-0.7", "--capacity", "3"), "did you mean 'zipf-0.8'?"),
    ],
)
def test_slips_are_one_line(words, told: str, capsys) -> None:
    assert call("cache", *words) == 2
    error = capsys.readouterr().err.strip()
    assert told in error and "\n" not in error
