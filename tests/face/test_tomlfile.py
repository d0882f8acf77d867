"""TOML in and out."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.tomlfile import parse_value, read_toml, write_toml

KEYS = st.text(min_size=1, max_size=8).filter(lambda k: "\x00" not in k)
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_written_is_read(data: dict) -> None:
    assert tomllib.loads(write_toml(data)) == data


def test_lists_of_tables_and_none() -> None:
    data = {"a": None, "rows": [{"x": 1, "y": None}, {"x": 2}], "t": {"u": {"v": []}}}
    read = tomllib.loads(write_toml(data))
    assert read == {"rows": [{"x": 1}, {"x": 2}], "t": {"u": {"v": []}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("0.5", 0.5),
        ("true", True),
        ('"8"', "8"),
        ("[1, 2]", [1, 2]),
        ("least_tokens", "least_tokens"),
        ("a.py:f", "a.py:f"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("content", [b"a = ", b"a = 1\na = 2", b"\xff\xfe", b"\x00"])
def test_bad_files_are_told(tmp_path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_toml(path)
    assert "bad.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_toml(tmp_path)
