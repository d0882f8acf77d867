"""Alternating stays and gaps: the traces drawn many at a time are those of a plain loop."""

import math

import numpy as np
import pytest

import mltwin as mt
from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.workloads.federated.draws import AVAILABILITY, client_uniforms
from mltwin.workloads.federated.presences import PRESENCES, markov

DAY_S = 86_400.0


def one_trace(number: int, on_s: float, off_s: float, slot_s: float, period_s: float, seed: int):
    """(begin, end) in seconds of each stay of a trace, one draw after another."""

    def drawn(counter: int) -> float:
        return float(client_uniforms(seed, AVAILABILITY, np.array([number]), counter)[0])

    here, at, counter = drawn(1) < on_s / (on_s + off_s), 0.0, 2
    stays = []
    while at < period_s:
        mean, u = (on_s if here else off_s), drawn(counter)
        if slot_s:
            with np.errstate(divide="ignore"):  # a mean of one slot: every stay is one
                lasts = slot_s * max(1.0, math.ceil(np.log1p(-u) / np.log1p(-slot_s / mean)))
        else:
            lasts = max(float(-np.log1p(-u)) * mean, 1e-6)
        end = min(at + lasts, period_s)
        if here:
            stays.append((at, end))
        at, here, counter = end, not here, counter + 1
    return stays


@pytest.mark.parametrize(
    ("on_s", "off_s", "slot_s", "days"),
    [(5.0, 5.0, 0.0, 0.02), (40.0, 10.0, 10.0, 0.05), (1e6, 1.0, 0.0, 0.1), (3.0, 700.0, 0.0, 0.1)],
)
def test_traces_are_those_of_a_plain_loop(
    on_s: float, off_s: float, slot_s: float, days: float
) -> None:
    found = markov(
        6, mean_on_s=on_s, mean_off_s=off_s, slot_s=slot_s, period_days=days, pool=4, seed=9
    )
    period_s = days * DAY_S
    if slot_s:
        period_s = max(1, round(period_s / slot_s)) * slot_s
    for trace in range(4):
        rows = slice(found.first[trace], found.first[trace + 1])
        expected = np.array(one_trace(trace, on_s, off_s, slot_s, period_s, 9)).reshape(-1, 2)
        ticks = np.rint(expected * TICKS_PER_S).astype(np.int64)
        assert found.begin[rows].tolist() == ticks[:, 0].tolist()
        assert found.end[rows].tolist() == np.maximum(ticks[:, 1], ticks[:, 0] + 1).tolist()


def test_stays_of_seconds_over_weeks() -> None:
    """A million turns at a time or all at once: the same traces."""
    from mltwin.workloads.federated import presences

    few = markov(3, mean_on_s=4.0, mean_off_s=6.0, period_days=3.0, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presences, "_AT_A_TIME", 1000)
        parts = markov(3, mean_on_s=4.0, mean_off_s=6.0, period_days=3.0, seed=2)
    assert few.begin.tolist() == parts.begin.tolist() and few.end.tolist() == parts.end.tolist()
    share = float((few.end - few.begin).sum()) / float(few.period.sum())
    assert share == pytest.approx(0.4, abs=0.01)


def test_more_stays_than_fit_are_refused() -> None:
    with pytest.raises(mt.InputError, match=r"stays in all traces.*shorten the traces"):
        markov(4096, mean_on_s=2.0, mean_off_s=2.0)


def test_laws_fitted_to_phones_differ_and_bear_their_names() -> None:
    laws = [PRESENCES[name] for name in ("flash_strict", "flash_loose", "fedscale")]
    assert [law.__name__ for law in laws] == ["flash_strict", "flash_loose", "fedscale"]
    assert len({law(30).end.sum() for law in laws}) == 3 and all(law.__doc__ for law in laws)
