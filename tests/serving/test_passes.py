"""The compiled passes over requests against the same in plain NumPy, to the last bit."""

from typing import Any

import numpy as np
import pytest

from mltwin.metrics import QUANTILES, exact_sum, spread
from mltwin.models.serving import passes
from mltwin.models.serving.hooks import REQUEST
from mltwin.models.serving.layout import PROGRESS
from mltwin.models.serving.tables import CANCELLED, DONE, PARKED, REFUSED, STATE_NAMES
from mltwin.serving_frontend import received, sent
from mltwin.serving_metrics import good, latencies_ms, measured, tallied
from mltwin.sim.ticks import NEVER

SIZES = (0, 1, 2, 7, 1000)
LIMITS: tuple[dict[str, float], ...] = (
    {},
    {"ttft": 3e5},
    {"tpot": 40.0},
    {"ttft": 4e5, "tpot": 90.0, "e2e": 9e5},
    {"transfer": 5e5, "queue": 8e5},
    {"e2e": float("nan")},
)


def some_requests(n: int, seed: int, *, outside: bool = False) -> dict[str, np.ndarray]:
    """Requests in every state, some of which break laws; times up to 2**50 ticks."""
    draw = np.random.default_rng(seed)
    found = {name: draw.integers(-1, 2**50, n) for name in ("scheduled", "first", "finish")}
    found["arrival"] = np.sort(draw.integers(0, 2**50, n))
    found["transfer"] = np.where(draw.random(n) < 0.5, 0, draw.integers(0, 2**40, n))
    for name in ("scheduled", "first", "finish"):
        found[name][draw.random(n) < 0.2] = -1
    for name, most in (("prompt", 2**24), ("output", 4), ("generated", 4), ("preempted", 3)):
        found[name] = draw.integers(1, most, n).astype(np.int32)
    states = [DONE, DONE, DONE, REFUSED, CANCELLED, PARKED, 0]
    found["state"] = np.array(states, np.int8)[draw.integers(0, len(states), n)]
    if outside:
        found["frontend"] = draw.integers(0, 2**35, n)
        found["returned"] = np.full(n, 12345)
    return found


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("n", SIZES)
def test_a_tally_is_what_numpy_counts(n: int, outside: bool) -> None:
    requests = some_requests(n, n, outside=outside)
    found = tallied(requests)
    state, arrival = requests["state"], requests["arrival"]
    first, finish, scheduled = (requests[k] for k in ("first", "finish", "scheduled"))
    done = state == DONE
    ends = received(requests, "finish")[finish >= 0]
    expected = {
        passes.N_DONE: done.sum(),
        passes.N_REFUSED: (state == REFUSED).sum(),
        passes.N_CANCELLED: (state == CANCELLED).sum(),
        passes.PROMPT_TOKENS: requests["prompt"][done].sum(),
        passes.OUTPUT_TOKENS: requests["output"][done].sum(),
        passes.PREEMPTIONS: requests["preempted"].sum(),
        passes.N_ENDED: len(ends),
        passes.LAST_END: ends.max(initial=-(2**62)) if len(ends) else 0,
        passes.FIRST_SENT: sent(requests).min() if n else 0,
        passes.TOKENS_MISSING: (done & (requests["generated"] != requests["output"])).sum(),
        passes.TOKEN_BEFORE_ARRIVAL: ((first >= 0) & (first < arrival)).sum(),
        passes.LAST_BEFORE_FIRST: (done & (finish < first)).sum(),
        passes.ADMITTED_BEFORE_ARRIVAL: ((scheduled >= 0) & (scheduled < arrival)).sum(),
        passes.FIRST_BEFORE_ADMISSION: (done & (first < scheduled)).sum(),
    }
    assert {k: int(found[k]) for k in expected} == {k: int(v) for k, v in expected.items()}
    total = (int(found[passes.DECODE_HIGH]) << 32) + int(found[passes.DECODE_LOW])
    assert total == exact_sum(finish[done] - first[done])
    assert set(passes.LAWS) < set(expected) and len(expected) + 2 == passes.TALLIES


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("n", SIZES)
def test_measured_latencies_are_numpys(n: int, limits: dict[str, float]) -> None:
    requests = some_requests(n, 100 + n, outside=n % 2 == 1)
    plain = latencies_ms(requests)
    found, kept = measured(requests, limits)
    assert list(found) == list(plain)
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values[np.isfinite(values)])
    assert kept == good(plain, limits).sum()


@pytest.mark.parametrize("n", [1, 2, 3, 10, 999, 1000])
def test_spreads_are_numpys(n: int) -> None:
    draw = np.random.default_rng(n)
    for values in (draw.lognormal(3, 2, n), draw.integers(0, 5, n) * 0.1, -draw.random(n)):
        found = spread(values)
        expected = np.percentile(values, [100 * q for q in QUANTILES.values()])
        assert [found[name] for name in QUANTILES] == expected.tolist()
        assert (found["min"], found["max"]) == (values.min(), values.max())
        assert (found["mean"], found["std"]) == (np.mean(values), np.std(values))


def laid_out(n: int, given: dict[str, np.ndarray], closed: bool) -> tuple[Any, Any]:
    """The tables that `lay_out` writes over what was there before."""
    rubbish = np.random.default_rng(n)
    info, req = (
        rubbish.integers(0, 256, n * dtype.itemsize, np.uint8).view(dtype)
        for dtype in (REQUEST, PROGRESS)
    )
    wide = ("arrival", "deadline")
    columns = {
        name: np.asarray(values, np.int64 if name in wide else np.int32)
        for name, values in given.items()
    }
    passes.lay_out(
        info.view(np.recarray),
        info.view(np.int64),
        req.view(np.recarray),
        req.view(np.int64),
        *columns.values(),
        int(closed),
        NEVER,
    )
    return info, req


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("n", SIZES)
def test_tables_are_laid_out_whole(n: int, bare: bool, closed: bool) -> None:
    draw = np.random.default_rng(n)
    must = ("arrival", "prompt", "output", "predicted")
    names = (*must, "deadline", "tenant", "session", "priority", "n_ids")
    given = {k: draw.integers(0, 2**30, n if k in must or not bare else 0) for k in names}
    info, req = laid_out(n, given, closed)
    defaults = {"deadline": NEVER, "session": -1}
    values = {k: v if len(v) == n else np.full(n, defaults.get(k, 0)) for k, v in given.items()}
    values["arrival"] = np.zeros(n, int) if closed else values["arrival"]
    for name in REQUEST.names or ():
        np.testing.assert_array_equal(info[name], values.get(name, np.zeros(n)))
    never = dict.fromkeys(
        ("first", "finish", "scheduled", "replica", "source", "child", "sibling"), -1
    )
    written = {"output": values["output"], "need": values["prompt"], "n_ids": values["n_ids"]}
    for name in PROGRESS.names or ():
        expected = np.broadcast_to({**never, **written}.get(name, 0), n)
        np.testing.assert_array_equal(req[name], expected)


@pytest.mark.parametrize("n", SIZES)
def test_states_and_columns_are_read_as_they_stand(n: int) -> None:
    draw = np.random.default_rng(n)
    info, req = (np.zeros(n, dtype).view(np.recarray) for dtype in (REQUEST, PROGRESS))
    for table in (info, req):
        for name in table.dtype.names:
            table[name] = draw.integers(0, 5, n)
    req["state"] = draw.integers(0, len(STATE_NAMES), n)
    counts = np.zeros(passes.STATE_COUNTS, np.int64)
    passes.count_states(info, req, counts)
    done = req["state"] == DONE
    late = (req["first"] < info["arrival"]) | (req["finish"] < req["first"])
    states = np.bincount(req["state"], minlength=len(STATE_NAMES))
    np.testing.assert_array_equal(counts[: len(STATE_NAMES)], states)
    assert counts[passes.OUT_OF_ORDER] == (done & late).sum()
    assert counts[passes.UNEVEN] == (done & (info["generated"] != req["output"])).sum()

    ticks = {k: np.empty(n, np.int64) for k in ("arrival", "scheduled", "first", "finish")}
    ticks["transfer"] = np.empty(n, np.int64)
    small = ("generated", "cached", "source", "replica", "preempted", "attempts")
    columns = {**ticks, **{k: np.empty(n, np.int32) for k in small}, "state": np.empty(n, np.int8)}
    passes.read_out(info, req, *columns.values())
    for name, found in columns.items():
        table = info if name in REQUEST.names else req
        np.testing.assert_array_equal(found, table[name])
