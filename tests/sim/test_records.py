import numpy as np
import pytest
from numba import from_dtype, typeof

from mltwin.sim.jit import JIT_DISABLED, array_type, kernel, record_type
from mltwin.sim.records import FORBIDDEN_FIELDS, Field, describe, record, record_name, table

PLAIN = [("arrive", "i8"), ("tokens", "i4"), ("key", "f8")]
REQ = record("REQ", [("arrive", "i8", "ticks"), ("tokens", "i4"), ("key", "f8", "1/s: weight")])


def test_record_is_aligned_and_described():
    assert REQ.isalignedstruct and REQ.itemsize == 24
    assert record_name(REQ) == "REQ"
    assert describe(REQ) == [
        Field("arrive", "i8", "ticks"),
        Field("tokens", "i4", ""),
        Field("key", "f8", "1/s: weight"),
    ]
    assert describe(table(2, REQ).dtype) == describe(REQ)
    assert record("M", {"a": "u1"}) == np.dtype([("a", "u1")], align=True)


@pytest.mark.parametrize(
    "name", sorted(FORBIDDEN_FIELDS | {"dtype", "sum", "max", "item", "nbytes"})
)
def test_names_of_numpy_are_refused(name):
    with pytest.raises(ValueError, match=f"record R: field '{name}'"):
        record("R", [("fine", "i8"), (name, "i8")])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "no fields"),
        ([("a", "i8"), ("a", "i4")], "twice"),
        ([("two words", "i8")], "not a Python name"),
        ([("class", "i8")], "not a Python name"),
        ([("_a", "i8")], "choose another"),
        ([("a", "O")], "integer, float or bool"),
        ([("a", "U5")], "integer, float or bool"),
        ([("a", "nonsense")], "'a'"),
    ],
)
def test_bad_records_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        record("R", fields)


def test_table_is_zeroed_and_filled():
    rows = table(3, REQ, arrive=np.arange(3), tokens=7)
    assert isinstance(rows, np.recarray)
    assert rows.arrive.tolist() == [0, 1, 2] and rows[2].tokens == 7 and rows[2].key == 0.0
    rows[1].tokens += 1
    assert rows["tokens"].tolist() == [7, 8, 7]
    assert table(0, REQ).shape == (0,)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        ({"nothing": 1}, "no field 'nothing'"),
        ({"tokens": 2**31}, "tokens"),
        ({"tokens": 1.5}, "do not fit int32"),
        ({"arrive": [1.0, np.nan, 2.0]}, "do not fit int64"),
    ],
)
def test_fill_that_does_not_fit_is_refused(fill, message):
    with pytest.raises((ValueError, OverflowError), match=message):
        table(3, REQ, **fill)


def test_table_needs_a_record():
    with pytest.raises(ValueError, match="record dtype"):
        table(3, np.dtype("i8"))


@pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")
def test_numba_sees_the_same_type_in_dtype_and_table():
    rows = table(2, REQ)
    assert typeof(rows) == array_type(REQ)
    assert typeof(rows).dtype == record_type(REQ) == from_dtype(np.dtype(PLAIN, align=True))


def test_same_text_reads_and_writes_compiled_and_plain():
    @kernel()
    def add(rows, i):
        rows[i].tokens += 5
        return rows[i].arrive + rows[i].tokens

    rows = table(2, REQ, arrive=10)
    assert add(rows, 1) == 15
    assert getattr(add, "py_func", add)(rows, 1) == 20
    assert rows.tokens.tolist() == [0, 10]
