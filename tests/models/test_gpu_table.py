"""The integer tables: the formula, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.models.gpu import table as table_module
from mltwin.models.gpu.table import (
    LAST_KNOT,
    MAX_CONTEXT_SUM,
    IterationTable,
    linear_table,
    save_table,
    table_from_dict,
)
from mltwin.sim.errors import InputError

KNOTS = np.array([0, 100, 1000, LAST_KNOT], np.int64)
ROWS = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1], np.int32)
CELLS = np.arange(1, 25, dtype=np.int64).reshape(6, 4)


def made() -> IterationTable:
    return IterationTable(ROWS, KNOTS, CELLS, 7, 3)


@given(
    tok=st.integers(1, 8),
    ctx=st.integers(0, MAX_CONTEXT_SUM),
    nseq=st.integers(0, 8),
    work=st.integers(0, 10**9),
)
def test_evaluate_is_the_formula(tok: int, ctx: int, nseq: int, work: int) -> None:
    row = 0 if tok < 3 else 1
    column = 0 if ctx < 100 else 1 if ctx < 1000 else 2
    a, b, c, d = CELLS[row * 3 + column].tolist()
    expected = a + b * tok + (c + d * tok) * ctx + 7 * nseq + 3 * work
    assert int(made().evaluate(tok, ctx, nseq, work)) == expected


def test_evaluate_is_vectorised() -> None:
    table = made()
    tok, ctx = np.array([[1], [8]]), np.array([0, 99, 100, 5000])
    whole = table.evaluate(tok, ctx)
    assert whole.shape == (2, 4)
    assert whole.dtype == np.int64
    assert whole[1, 3] == table.evaluate(8, 5000)


@pytest.mark.parametrize("arguments", [(9, 0), (-1, 0), (1, -1), (1, 0, -1), (1, 0, 0, -1)])
def test_evaluate_refuses_what_it_does_not_hold(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="tok must be"):
        made().evaluate(*arguments)


def test_linear_table() -> None:
    table = linear_table(
        4,
        constant_s=1e-3,
        per_token_s=1e-6,
        per_context_s=2e-9,
        per_sequence_s=3e-6,
        per_work_s=4e-12,
    )
    expected = 10**9 + 3 * 10**6 + 1000 * 2000 + 2 * 3 * 10**6 + 50 * 4
    assert int(table.evaluate(3, 1000, 2, 50)) == expected


def test_a_table_survives_its_file(tmp_path) -> None:
    import json

    path = tmp_path / "table.json"
    save_table(made(), path)
    back = table_from_dict(json.loads(path.read_text()))
    assert np.array_equal(back.cells, CELLS)
    assert np.array_equal(back.token_row, ROWS)
    assert back.evaluate(5, 500, 2, 9) == made().evaluate(5, 500, 2, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_row": np.array([0], np.int32)}, "token_row"),
        ({"token_row": np.array([0, 5], np.int32)}, "rows 0..1"),
        ({"context_knots": np.array([1, LAST_KNOT])}, "from 0"),
        ({"context_knots": np.array([0, 100])}, "2\\*\\*60"),
        ({"context_knots": np.array([0, 100, 100, LAST_KNOT])}, "increase"),
        ({"cells": np.ones((5, 4), np.int64)}, "cells"),
        ({"cells": np.zeros((6, 4), np.int64), "per_sequence": 0}, "at least one tick"),
        ({"per_work": -1}, "per_work"),
        ({"per_sequence": -(10**6)}, "ticks at tok"),
    ],
)
def test_a_table_that_could_mislead_a_kernel_is_refused(change: dict, message: str) -> None:
    parts = {
        "token_row": ROWS,
        "context_knots": KNOTS,
        "cells": CELLS,
        "per_sequence": 7,
        "per_work": 3,
    }
    with pytest.raises(InputError, match=message):
        IterationTable(**{**parts, **change})


@pytest.mark.parametrize("column", [1, 2, 3])
def test_overflow_is_refused(column: int) -> None:
    cells = CELLS.copy()
    cells[0, column] = 2**62
    with pytest.raises(InputError, match="overflow"):
        IterationTable(ROWS, KNOTS, cells, 7, 3)


def test_malformed_dicts() -> None:
    good = made().to_dict()
    with pytest.raises(InputError, match="lacks 'cells'"):
        table_from_dict({k: v for k, v in good.items() if k != "cells"})
    with pytest.raises(InputError, match="malformed"):
        table_from_dict({**good, "cells": [["a", 1, 2, 3]]})


def test_ranges_seen_at_once_are_those_seen_one_by_one(monkeypatch):
    def told(table):
        try:
            IterationTable(**table)
        except InputError as error:
            return str(error)
        return "in range"

    draw, said = np.random.default_rng(0), set()
    at_once = table_module._in_range
    for k in range(400):
        rows, columns, tokens = (int(v) for v in draw.integers(1, (6, 5, 40)))
        inner = draw.choice(2 ** int(draw.integers(8, 33)), columns - 1, replace=False) + 1
        low = (-1.0, -0.05, 0.0, 0.0)[k % 4]
        cells = draw.uniform(low, 1, (rows * columns, 4)) * 10 ** draw.uniform(0, 18, 4)
        table = {
            "token_row": np.sort(draw.integers(0, rows, tokens + 1)).astype(np.int32),
            "context_knots": np.array([0, *np.sort(inner), 2**60], np.int64),
            "cells": cells.astype(np.int64),
            "per_sequence": int(draw.integers(-50, 1000)),
            "per_work": int(draw.integers(0, 5)),
        }
        monkeypatch.setattr(table_module, "_in_range", at_once)
        found = told(table)
        monkeypatch.setattr(table_module, "_in_range", lambda *_: False)
        assert found == told(table)
        said.add(found.split(" at ")[0].split(" is ")[0])
    assert said == {"in range", "iteration time", "iteration time overflows"}
