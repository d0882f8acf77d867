"""Pairs, their scores, and the report that shows them."""

import json
import math
from typing import Any

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.validation.pairs import AT, BELOW, PAST, Pair, read_csv, write_csv, write_parquet
from mltwin.validation.report import FILES, GROUPINGS, ValidationReport
from mltwin.validation.score import grouped, score


def pair(measured: float = 2.0, predicted: float | None = 2.2, **changes: Any) -> Pair:
    given: dict[str, Any] = {
        "source": "bench",
        "row_id": "r0",
        "gpu": "h100",
        "engine": "vllm 1",
        "model": "llama",
        "mode": "agg",
        "load_bin": BELOW,
        "metric": "ttft_mean",
        "measured": measured,
        "predicted": predicted,
    }
    return Pair(**{**given, **changes})


def many(count: int = 40, **changes: Any) -> list[Pair]:
    """Pairs whose errors are 1, 2, ... per cent, their signs alternating."""
    return [
        pair(3.0, 3.0 * (1 + (-1) ** i * (i + 1) / 100), row_id=f"r{i}", **changes)
        for i in range(count)
    ]


def test_the_error_is_signed_and_relative() -> None:
    assert pair(2.0, 2.2).error_pct == pytest.approx(10.0)
    assert pair(2.0, 1.0).error_pct == pytest.approx(-50.0)
    assert math.isnan(pair(2.0, None, note="no table").error_pct)
    assert pair(metric="tpot_p99").quantity == "tpot"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"measured": 0.0}, "measured 0.0"),
        ({"measured": math.nan}, "measured nan"),
        ({"predicted": math.inf}, "predicted inf"),
        ({"predicted": -1.0}, "predicted -1.0"),
        ({"predicted": None}, "no reason"),
        ({"load_bin": "near"}, "load bin 'near'"),
    ],
)
def test_a_wrong_pair_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        pair(**changes)
    assert "bench, r0, ttft_mean" in str(caught.value)


def test_pairs_survive_their_files(tmp_path) -> None:
    import pyarrow.parquet as pq

    pairs = [*many(3), pair(1.5, None, note='none, said "so"', row_id="x")]
    write_csv(pairs, tmp_path / "pairs.csv")
    assert read_csv(tmp_path / "pairs.csv") == pairs
    write_parquet(pairs, tmp_path / "pairs.parquet")
    rows = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    assert [row["predicted"] for row in rows] == [p.predicted for p in pairs]
    assert rows[-1]["error_pct"] is None


def test_a_broken_file_of_pairs_names_its_line(tmp_path) -> None:
    path = tmp_path / "pairs.csv"
    write_csv(many(2), path)
    path.write_text(path.read_text().replace("3.0,", "three,", 1))
    with pytest.raises(InputError, match="line 2"):
        read_csv(path)
    path.write_text("source,row_id\n")
    with pytest.raises(InputError, match="columns"):
        read_csv(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_csv(tmp_path / "none.csv")


def test_scores_of_known_errors() -> None:
    found = score([*many(40), pair(1.0, None, note="no table")])
    assert (found.rows, found.answered) == (41, 40)
    assert found.answered_share == pytest.approx(40 / 41)
    assert found.median_abs == pytest.approx(20.5)
    assert found.mean_abs == pytest.approx(20.5)
    assert found.p95_abs == pytest.approx(np.quantile(np.arange(1, 41), 0.95))
    assert found.mean_signed == pytest.approx(-0.5)
    assert found.median_low < 20.5 < found.median_high
    assert found.mean_low < 20.5 < found.mean_high
    # Resampling errors 1..40: the mean's standard error is 1.83, so its interval is some 7 wide.
    assert 5 < found.mean_high - found.mean_low < 9
    assert score(many(40)) == score(many(40))


def test_numbers_of_one_run_are_resampled_together() -> None:
    """Four copies of each number say no more than one: the interval must not shrink."""
    alone = score(many(30))
    copies = [p for p in many(30) for _ in range(4)]
    together = score(copies)
    width = alone.mean_high - alone.mean_low
    assert together.mean_high - together.mean_low == pytest.approx(width, rel=0.01)
    apart = score([pair(p.measured, p.predicted, row_id=str(i)) for i, p in enumerate(copies)])
    assert apart.mean_high - apart.mean_low < 0.7 * width


def test_nothing_answered_has_no_error() -> None:
    found = score([pair(1.0, None, note="no table")])
    assert found.answered == 0 and math.isnan(found.median_abs)
    assert found.data()["median_abs"] is None
    json.dumps(found.data(), allow_nan=False)
    one = score([pair()])
    assert one.median_abs == pytest.approx(10.0) and math.isnan(one.median_low)


def test_groups_keep_their_order() -> None:
    pairs = [*many(2, gpu="b200"), *many(2, gpu="a100")]
    assert list(grouped(pairs, lambda p: p.gpu)) == ["b200", "a100"]


def report() -> ValidationReport:
    pairs = [*many(6, load_bin=PAST), *many(5, load_bin=BELOW), *many(4, load_bin=AT, gpu="a100")]
    return ValidationReport([*pairs, pair(1.0, None, note="no table", metric="tpot_mean")])


def test_tables_by_load_come_in_order_of_load() -> None:
    table = report().table("load")
    # One row a load and metric; the unanswered TPOT has no figures.
    assert [row[:4] for row in table.rows] == [
        [BELOW, "ttft_mean", 5, 5],
        [BELOW, "tpot_mean", 1, 0],
        [AT, "ttft_mean", 4, 4],
        [PAST, "ttft_mean", 6, 6],
    ]
    assert table.rows[1][4:] == [None, "-", None, None, None]
    assert {t.columns[0] for t in report().tables()} == {"all", "load", "gpu"}
    with pytest.raises(InputError, match="no grouping 'colour'"):
        report().table("colour")


def test_the_report_writes_all_its_files(tmp_path) -> None:
    made = report()
    paths = made.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == list(FILES)
    assert all(path.stat().st_size > 0 for path in paths)
    data = json.loads((tmp_path / "new/folder/report.json").read_text())
    assert data["fitted"] == "nothing" and data["unanswered"] == {"no table": 1}
    assert set(data["scores"]) == {"all", *GROUPINGS}
    assert data == made.data()
    text = (tmp_path / "new/folder/report.md").read_text()
    assert "Fitted end to end: nothing" in text and "- 1: no table" in text
    assert read_csv(tmp_path / "new/folder/pairs.csv") == list(made.pairs)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        made.save(tmp_path / "file")


def test_an_empty_report_is_refused() -> None:
    with pytest.raises(InputError, match="nothing was measured"):
        ValidationReport([])
