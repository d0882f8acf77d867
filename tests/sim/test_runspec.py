import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.sim.records import record, table
from mltwin.sim.runspec import (
    RunSpec,
    array_digest,
    canonical_json,
    content_hash,
    installed_versions,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
                                                                       allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=50)
@given(JSON)
def test_canonical_json_is_json_and_a_fixed_point(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert text.isascii()


def test_equal_content_has_equal_text():
    assert canonical_json({"b": 1, "a": (1, 2.5)}) == '{"a":[1,2.5],"b":1}'
    numbers = {"x": np.float64(0.1), "n": np.int64(3), "f": np.bool_(True), "a": np.arange(2)}
    assert canonical_json(numbers) == '{"a":[0,1],"f":true,"n":3,"x":0.1}'
    assert canonical_json(-0.0) == canonical_json(0.0) != canonical_json(0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"scenario": {"rate": math.nan}}, "scenario.rate: nan cannot be stored; use null"),
        ({"a": [1, math.inf]}, r"a\[1\]: inf cannot"),
        ({"a": {1: 2}}, "a: key 1 is not a string"),
        ({"a": {3, 4}}, "a: a set cannot be stored"),
        ({"a": np.float32("nan")}, "a: nan cannot"),
    ],
)
def test_what_json_lacks_is_refused_by_place(value, message):
    with pytest.raises(InputError, match=message):
        canonical_json(value)


def test_digest_sees_values_types_shapes_and_order():
    a = np.arange(6)
    digests = [
        array_digest(a),
        array_digest(a.astype(np.int32)),
        array_digest(a.astype(float)),
        array_digest(a.reshape(2, 3)),
        array_digest(a[::-1]),
        array_digest(a[:3], a[3:]),
        array_digest(a, a),
        array_digest(a[:0]),
        array_digest(),
    ]
    assert len(set(digests)) == len(digests)
    assert array_digest(a) == array_digest(a.astype(">i8")) == array_digest(np.arange(12)[:6])


def test_digest_ignores_padding():
    rows = record("PADDED", [("a", "i1"), ("b", "i8")])
    clean, dirty = table(3, rows, a=1, b=2), table(3, rows, a=1, b=2)
    dirty.view(np.uint8)[1] = 77  # between a and b
    assert clean.tobytes() != dirty.tobytes()
    assert array_digest(clean) == array_digest(dirty)
    assert array_digest(clean) != array_digest(table(3, rows, a=2, b=2))
    with pytest.raises(TypeError, match="object"):
        array_digest(np.array([None]))


def test_run_spec_hash_depends_on_every_field():
    base = {
        "scenario": {"replicas": 2},
        "seed": 1,
        "trace_sha256": "t",
        "kernel_hash": "k",
        "versions": {"numpy": "2"},
    }
    changes = [
        {"scenario": {"replicas": 3}},
        {"seed": 2},
        {"trace_sha256": "u"},
        {"kernel_hash": "l"},
        {"versions": {}},
    ]
    hashes = {RunSpec(**{**base, **change}).hash for change in [{}, *changes]}
    assert len(hashes) == 6
    assert RunSpec(**base).hash == content_hash(base)


def test_versions_name_the_libraries():
    assert {"python", "numpy", "numba"} <= set(installed_versions())
