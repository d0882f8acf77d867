"""The counts of work per request, which no machine changes. Times are never tested."""

import pytest

from benchmarks.cases import CASES, SEED, fixed_cells, own_policies, prepare, scenario
from benchmarks.counts import count, expected, off


@pytest.mark.parametrize("key", sorted(CASES))
def test_work_per_request_is_what_it_was(key: str) -> None:
    measured, held = count(CASES[key]), expected()[key]
    wrong = {n: (measured[n], held[n]) for n in held if off(measured[n], held[n])}
    assert measured.keys() == held.keys()
    assert not wrong, f"{wrong}; if it was meant: python -m benchmarks.counts --write"


def test_the_guard_can_say_no() -> None:
    assert off(2.0, 1.98)
    assert not off(2.0, 1.999)
    assert off(0.0001, 0.0)


def test_counts_show_what_skipping_saves() -> None:
    key = "single_replica_req_per_s"
    assert count(CASES[key], skip=False)["plans"] > 1.5 * expected()[key]["plans"]


def test_the_users_policies_decide_as_the_built_in_ones() -> None:
    from mltwin.models.serving.simulate import simulate

    given = scenario(CASES["router_64_req_per_s"], 3000, rate=1000.0)
    built_in, own = prepare(given), prepare(own_policies(given))
    assert built_in[1]["route"] is not own[1]["route"]
    assert simulate(*built_in).differences(simulate(*own)) == []


def test_fixed_cells_are_the_documented_times() -> None:
    cells = fixed_cells()
    assert cells.evaluate(1, 1000, 1, 0) == 5_000_000_000 + 27_000_000 + 50_000_000 + 10_000_000
    assert SEED == 1
