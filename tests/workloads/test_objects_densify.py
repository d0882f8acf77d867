"""Dense ids: the same as a dictionary gives, at once, in pieces, and when hashes collide."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.sim import dense
from mltwin.sim.dense import Numbering, StringNumbering
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import bits
from mltwin.workloads.objects import Densifier, densify


def by_dict(keys):
    numbers = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys], list(numbers)


def agree(keys, found):
    ids, objects, names = found
    expected, distinct = by_dict(keys)
    assert ids.dtype == np.uint32
    assert ids.tolist() == expected
    assert objects == len(distinct)
    assert names.tolist() == distinct


whole = st.one_of(
    st.integers(0, 20),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from([0, -1, (1 << 63) - 1, -(1 << 63), 1 << 32, (1 << 32) - 1]),
)


@given(st.lists(whole, min_size=1, max_size=200))
def test_whole_numbers_are_numbered_as_a_dictionary_does(keys):
    agree(keys, densify(np.array(keys, np.int64)))


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=100))
def test_so_are_numbers_beyond_63_bits(keys):
    agree(keys, densify(np.array(keys, np.uint64)))


@given(st.lists(st.text(max_size=20), min_size=1, max_size=100))
def test_so_is_text(keys):
    agree(keys, densify(np.array(keys, object)))


@given(st.lists(st.lists(whole, max_size=40), min_size=1, max_size=6))
def test_pieces_are_numbered_as_the_whole(pieces):
    numbering = Densifier()
    ids = [numbering.add(np.array(piece, np.int64)) for piece in pieces]
    agree(
        [key for piece in pieces for key in piece],
        (np.concatenate(ids), numbering.count, numbering.keys()),
    )


@pytest.mark.parametrize("spread", [1, 1 << 20, 0xD1342543DE82EF95])
def test_many_keys_in_pieces_of_all_sizes(spread):
    """Direct table, growing table, and the change to hashing, past several doublings."""
    ranks = (bits(1, 0, np.arange(300_000)) % 120_000).astype(np.uint64)
    with np.errstate(over="ignore"):
        keys = ranks * np.uint64(spread)
    whole_ids, objects, names = densify(keys)
    numbering = Numbering()
    pieces = np.split(keys, [1, 2, 1000, 1001, 70_000, 250_000])
    assert np.array_equal(np.concatenate([numbering.add(p) for p in pieces]), whole_ids)
    expected, distinct = by_dict(keys.tolist())
    assert whole_ids.tolist() == expected
    assert objects == numbering.count == len(distinct)
    assert names.astype(np.uint64).tolist() == distinct == numbering.keys().tolist()


def test_a_direct_table_is_left_when_a_far_key_comes():
    numbering = Numbering()
    assert numbering.add(np.array([5, 6, 5], np.uint64)).tolist() == [0, 1, 0]
    assert numbering.add(np.array([1 << 60, 6, 3], np.uint64)).tolist() == [2, 1, 3]
    assert numbering.add(np.array([3, 5, 1 << 60], np.uint64)).tolist() == [3, 0, 2]
    assert numbering.keys().tolist() == [5, 6, 1 << 60, 3]


def test_a_direct_table_grows_downwards():
    numbering = Numbering()
    far = 1 << 40
    assert numbering.add(np.array([far + 9], np.uint64)).tolist() == [0]
    assert numbering.add(np.array([far, far + 9, far + 500_000], np.uint64)).tolist() == [1, 0, 2]
    assert numbering.keys().tolist() == [far + 9, far, far + 500_000]


def test_strings_whose_hashes_collide_stay_apart(monkeypatch):
    monkeypatch.setattr(dense, "_hash_bytes", lambda data, start, stop: np.uint64(7))
    compiled = dense._number_strings
    monkeypatch.setattr(dense, "_number_strings", getattr(compiled, "py_func", compiled))
    words = ["b", "a", "ab", "", "b", "aa", "a", "ab", "ba"]
    text = "".join(words).encode()
    offsets = np.cumsum([0, *map(len, words)])
    numbering = StringNumbering()
    ids = numbering.add(np.frombuffer(text, np.uint8), offsets)
    assert ids.tolist() == by_dict(words)[0]
    found = numbering.keys()
    assert [one.decode() for one in found] == by_dict(words)[1]


def test_many_strings_grow_slots_and_store():
    words = [f"key-{number:>{8 + number % 30}}" for number in range(100_000)]
    numbering = Densifier()
    ids = np.concatenate(
        [numbering.add(pa.array(words[i : i + 30_000])) for i in range(0, 10**5, 30_000)]
    )
    assert np.array_equal(ids, np.arange(100_000))
    assert np.array_equal(numbering.add(pa.array(words[::-1])), np.arange(100_000)[::-1])
    assert numbering.keys().tolist() == words


def test_a_sliced_arrow_array_is_read_at_its_place():
    words = pa.array(["x", "yy", "z", "yy", "x"]).slice(1, 3)
    ids, objects, keys = densify(words)
    assert ids.tolist() == [0, 1, 0] and objects == 2 and keys.tolist() == ["yy", "z"]


def test_bytes_that_are_no_text_stay_bytes():
    _, _, keys = densify(np.array([b"\xff", b"\xfe", b"\xff"]))
    assert keys.tolist() == [b"\xff", b"\xfe"]


def test_order_given_keeps_small_numbers():
    ids, objects, keys = densify([3, 1, 3], order="given")
    assert ids.tolist() == [3, 1, 3] and objects == 4 and keys.tolist() == [0, 1, 2, 3]
    ids, objects, _ = densify([1 << 40, 1], order="given")
    assert ids.tolist() == [0, 1] and objects == 2
    with pytest.raises(InputError, match="order 'last' is unknown"):
        densify([1], order="last")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ([1.5, 2.0], "float64, not whole numbers or text"),
        (np.zeros((2, 2), np.int64), "flat array"),
        (np.array([None, "a"], object), "no text"),
        (np.array([1, "a"], object), "no text"),
        (pa.array(["a", None]), "nulls"),
    ],
)
def test_other_keys_are_refused(keys, told):
    with pytest.raises(InputError, match=told):
        densify(keys)


def test_kinds_may_not_be_mixed_between_pieces():
    numbering = Densifier()
    numbering.add([1, 2])
    with pytest.raises(InputError, match="numbers in one place and text in another"):
        numbering.add(["a"])
    numbering.add(np.array([-1]))
    with pytest.raises(InputError, match="negative and beyond"):
        numbering.add(np.array([1 << 63], np.uint64))


def test_no_keys_at_all():
    ids, objects, keys = densify(np.empty(0, np.int64))
    assert ids.size == objects == keys.size == 0


def test_too_many_distinct_keys_are_refused(monkeypatch):
    monkeypatch.setattr(dense, "MAX_NUMBERS", 40_000)
    with pytest.raises(InputError, match=r"more than .* distinct keys"):
        densify(bits(0, 0, np.arange(100_000)))
