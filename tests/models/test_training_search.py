"""Searches over plans."""

import pytest

from mltwin.models.gpu.profile import load_profile
from mltwin.models.training.plan import TrainingPlan
from mltwin.models.training.search import search_plans
from mltwin.models.training.step import training_step
from mltwin.sim.errors import InputError

H100 = load_profile("h100-sxm-80gb")


@pytest.fixture(scope="module")
def found():
    return search_plans("llama-3.1-8b", 8, H100, tokens=8192, sequences=32, microbatch=(1, 2))


def test_plans_are_ranked_and_fit(found) -> None:
    rates = [f.tokens_per_s for f in found.found]
    assert len(rates) > 50 and rates == sorted(rates, reverse=True)
    assert found.best is found.found[0]
    for one in found.found:
        assert one.plan.world == 8
        assert one.plan.sequences(one.batch) == 32
        assert one.memory.total <= H100.facts.usable_bytes


def test_a_found_plan_is_the_step_itself(found) -> None:
    best = found.best
    again = training_step("llama-3.1-8b", best.plan, best.batch, H100)
    assert again.seconds == best.seconds
    assert again.mfu == best.mfu


def test_refused_plans_say_why(found) -> None:
    assert found.refused["memory"] > 0
    assert sum(found.refused.values()) == len(found.rejected)
    memory = next(r for r in found.rejected if r.reason == "memory")
    assert "GiB" in memory.why and "activations" in memory.why
    with pytest.raises(InputError):
        training_step("llama-3.1-8b", TrainingPlan(**memory.changes), memory.batch, H100)


def test_nothing_fits() -> None:
    search = search_plans(
        "llama-3.1-405b", 8, H100, tokens=8192, sequences=8, pp=(1,), zero=(1,), microbatch=(1,)
    )
    assert not search.found
    with pytest.raises(InputError, match="no plan fits"):
        _ = search.best


def test_experts_are_searched_too() -> None:
    search = search_plans(
        "mixtral-8x7b", 16, H100, tokens=4096, sequences=32, pp=(1,), zero=(1,), microbatch=(1,)
    )
    assert {f.plan.ep for f in search.found} == {1, 2, 4, 8}
    assert not any(f.plan.ep > f.plan.data_ranks for f in search.found)
