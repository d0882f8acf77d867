"""Links: what they say is read back the same, and what is no choice is refused in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.app.explorer.view import MAX_LINK, decode, encode, link_of, read_choices

DEFAULTS = {"rate": 2.0, "n": 5, "on": False, "trace": "azure", "pool": {"tp": 1}, "any": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", 3.5),
        ("n", 7),
        ("on", True),
        ("trace", "a&b=c é"),
        ("pool", {"tp": 2}),
        ("any", [1]),
    ],
)
def test_a_choice_is_read_back(name: str, value: object) -> None:
    assert decode(encode(value, DEFAULTS[name]), DEFAULTS[name]) == value


@given(st.dictionaries(st.text(max_size=5), st.integers(-5, 5) | st.text(max_size=5), max_size=3))
def test_tables_are_read_back(table: dict[str, object]) -> None:
    assert decode(encode(table, {}), {}) == table


def test_a_link_holds_only_what_was_changed() -> None:
    choices = DEFAULTS | {"rate": 3.0, "trace": "my trace"}
    assert link_of("serving", choices, DEFAULTS) == "/serving?rate=3.0&trace=my+trace"
    assert link_of("serving", DEFAULTS, DEFAULTS) == "/serving"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[[[[[[[[1]]]]]]]]", "NaN", "1e999", "1e20", '"x"', "true", "null", "[" * 5000],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    choices, wrong = read_choices({"rate": text}, DEFAULTS)
    assert choices == DEFAULTS and len(wrong) == 1 and "rate cannot be" in wrong[0]


def test_a_whole_number_serves_as_a_float_but_not_the_reverse() -> None:
    assert read_choices({"rate": "3"}, DEFAULTS)[0]["rate"] == 3.0
    assert read_choices({"n": "3.5"}, DEFAULTS)[1] and read_choices({"n": "true"}, DEFAULTS)[1]


def test_unknown_and_huge_links_are_refused() -> None:
    assert "no choice 'evil'" in read_choices({"evil": "1"}, DEFAULTS)[1][0]
    choices, wrong = read_choices({"trace": "x" * (MAX_LINK + 1)}, DEFAULTS)
    assert choices == DEFAULTS and "longer than" in wrong[0]


def test_private_parameters_are_no_choices() -> None:
    given_ = {"run": "a", "pin": "b", "files": "c"}
    assert read_choices(given_, DEFAULTS) == (DEFAULTS, [])


def test_defaults_are_plain_data() -> None:
    from mltwin.app.explorer.serving_choices import DEFAULTS as SERVING

    assert json.loads(json.dumps(SERVING)) == SERVING
