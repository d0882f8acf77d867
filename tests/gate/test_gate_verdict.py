"""Verdicts, Holm's correction, and the error that many metrics and several looks may make."""

import numpy as np
import pytest

from mltwin.gate.check import look_sizes
from mltwin.gate.difference import Difference, paired
from mltwin.gate.tolerances import Tolerance, default_direction, default_tolerance, parse_tolerance
from mltwin.gate.verdict import Question, decide
from mltwin.sim.errors import InputError

ONE = Tolerance(0.01)


def asked(centre, error=0.001, direction="lower", tolerance=ONE, relative=True):
    return Question(Difference(centre, error, 9, 10, relative), direction, tolerance)


def verdict(question, level=0.05, family=1):
    return decide([question], level, family)[0].verdict


@pytest.mark.parametrize(
    ("centre", "direction", "said"),
    [
        (0.02, "lower", "regression"),
        (-0.02, "lower", "improved"),
        (0.0, "lower", "same"),
        (0.01, "lower", "inconclusive"),
        (-0.01, "lower", "inconclusive"),
        (0.02, "higher", "improved"),
        (-0.02, "higher", "regression"),
        (0.02, "steady", "regression"),
        (-0.02, "steady", "regression"),
        (0.001, "steady", "same"),
    ],
)
def test_verdicts(centre, direction, said):
    assert verdict(asked(centre, direction=direction)) == said


@pytest.mark.parametrize("direction", ["lower", "higher", "steady"])
def test_the_interval_says_what_the_verdict_says(direction):
    rng = np.random.default_rng(1)
    questions = [
        asked(c, e, direction)
        for c, e in zip(rng.normal(0, 0.02, 300), rng.gamma(2, 0.003, 300), strict=True)
    ]
    seen = set()
    for answer in decide(questions, 0.05, 300):
        beyond = answer.low > 0.01 or answer.high < -0.01
        within = answer.low > -0.01 and answer.high < 0.01
        seen.add(answer.verdict)
        assert beyond == (answer.verdict in ("regression", "improved"))
        assert within == (answer.verdict == "same")
    assert {"regression", "same", "inconclusive"} <= seen


def test_no_doubt_without_spread():
    assert verdict(asked(0.02, 0.0)) == "regression"
    assert verdict(asked(0.005, 0.0)) == "same"
    assert verdict(asked(0.0, 0.0, tolerance=Tolerance(0.0))) == "same"


def test_a_relative_tolerance_does_not_fit_an_absolute_change():
    """From a base of 0 any sure rise counts."""
    assert verdict(asked(3.0, 0.5, relative=False)) == "regression"
    assert verdict(asked(3.0, 2.0, relative=False)) == "inconclusive"


def test_holm_asks_more_of_many():
    question = asked(0.0135, 0.001)  # t = 3.5, p = 0.0034
    assert verdict(question, family=1) == "regression"
    assert verdict(question, family=100) == "inconclusive"
    with pytest.raises(ValueError, match="family"):
        decide([question, question], 0.05, 1)


def test_holm_steps_down():
    """A p-value that alone would not do passes once the others have gone."""
    sure, nearly = asked(0.05, 0.0005), asked(0.0131, 0.001)
    assert decide([nearly], 0.05, 10)[0].verdict == "inconclusive"
    assert decide([sure] * 9 + [nearly], 0.05, 10)[9].verdict == "regression"


def false_alarms(mean, families, metrics, looks):
    """Share of checks with any false regression: normal differences, means at the tolerance."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(families):
        noise = rng.normal(mean, 0.05, (metrics, looks[-1]))
        old = np.ones(looks[-1])
        told = False
        for n in looks:
            questions = [
                Question(paired(1 + row[:n], old[:n], relative=True), "lower", ONE) for row in noise
            ]
            answers = decide(questions, 0.05 / len(looks), metrics)
            told |= any(a.verdict == "regression" for a in answers)
        wrong += told
    return wrong / families


def test_the_error_of_a_whole_check_is_kept():
    """At the worst case, all 8 means exactly at the tolerance and three looks: at most 5 %."""
    share = false_alarms(0.01, 600, 8, [10, 20, 30])
    assert 0.005 < share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)


def test_looks():
    assert look_sizes(10, 30, None) == [10, 20, 30]
    assert look_sizes(10, 25, None) == [10, 20, 25]
    assert look_sizes(10, 30, 20) == [10, 20]
    assert look_sizes(5, 5, 100) == [5]


def test_defaults_by_kind():
    assert default_direction("p99_ttft_ms") == "lower"
    assert default_direction("request_goodput") == "higher"
    assert default_direction("mean_batch") == "steady"
    assert default_tolerance("slo_attainment") == Tolerance(0.005, False)
    assert default_tolerance("max_e2e_ms") == Tolerance(0.02)


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "rel:1", "abs:2%", ":3", "abs:"])
def test_tolerances_that_are_none(text):
    with pytest.raises(InputError, match="no tolerance"):
        parse_tolerance(text)
