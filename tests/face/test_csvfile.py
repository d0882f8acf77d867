"""CSV that no spreadsheet runs, and that reads back as it was."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.csvfile import FORMULA_STARTS, csv_text, neutral_cell, write_csv
from mltwin.sim.errors import InputError

HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    '=HYPERLINK("http://x","y")',
    "＝1",
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("cell", HOSTILE)
def test_formulas_become_text(cell: str) -> None:
    text = csv_text(pd.DataFrame({cell: [cell], "n": [-1.5]}))
    assert cells(text) == [[f"'{cell}", "n"], [f"'{cell}", "-1.5"]]


@given(st.lists(ANY_TEXT, min_size=1, max_size=8), ANY_TEXT)
def test_no_cell_begins_like_a_formula(column: list[str], name: str) -> None:
    rows = cells(csv_text(pd.DataFrame({f"x{name}": [0] * len(column), name: column})))
    assert len(rows) == len(column) + 1  # no cell breaks out of its row
    for row, given_cell in zip(rows, [name, *column], strict=True):
        assert len(row) == 2 and not row[1].startswith(FORMULA_STARTS)
        assert row[1] == neutral_cell(given_cell)
        assert row[1].removeprefix("'") == given_cell.removeprefix("'")


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=8))
def test_numbers_read_back_the_same(column: list[float]) -> None:
    text = csv_text(pd.DataFrame({"a": column, "b": [-7] * len(column)}))
    back = pd.read_csv(io.StringIO(text))
    assert back["a"].tolist() == column and back["b"].tolist() == [-7] * len(column)


def test_other_columns() -> None:
    frame = pd.DataFrame(
        {
            "mixed": [-3, "-3", None, np.float64(-2.5), True],
            "kind": pd.Categorical(["=a", "b", "b", "b", "b"]),
            "when": pd.to_timedelta([-1] * 5, unit="s"),
            "yes": [True, False, True, True, True],
        },
        index=pd.Index(["=i", *"jklm"], name="-name"),
    )
    rows = cells(csv_text(frame))
    assert rows[0] == ["'-name", "mixed", "kind", "when", "yes"]
    assert [row[0] for row in rows[1:3]] == ["'=i", "j"]
    assert [row[1] for row in rows[1:]] == ["-3", "'-3", "", "-2.5", "True"]
    assert rows[1][2] == "'=a" and rows[1][3].startswith("'-1 days") and rows[2][4] == "False"


def test_duplicate_and_nested_headers_and_nothing() -> None:
    assert cells(csv_text(pd.DataFrame([[1, 2]], columns=["a", "a"]))) == [["a", "a"], ["1", "2"]]
    nested = pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("=a", "b")]))
    assert cells(csv_text(nested))[0] == ["'=a.b"]
    assert csv_text(pd.DataFrame({"a": []})) == "a\r\n"


def test_writing(tmp_path) -> None:
    path = write_csv(pd.DataFrame({"ä": ["=\U0001f4a5"]}), tmp_path / "t.csv")
    assert path.read_bytes() == "ä\r\n'=\U0001f4a5\r\n".encode()
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(pd.DataFrame({"a": [1]}), tmp_path / "none" / "t.csv")
