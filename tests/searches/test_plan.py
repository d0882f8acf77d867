"""The planner: colocated against disaggregated."""

import json

import pytest
from search_systems import FleetScenario, serving

import mltwin as mt
from mltwin.searches.planning import set_ups


@pytest.fixture(scope="module")
def found():
    return mt.plan(serving(**{"workload.rate": 40.0}), most=8, seeds=2, around=1)


def test_each_set_up_is_what_its_own_search_finds(found) -> None:
    scenario = serving(**{"workload.rate": 40.0})
    colocated = mt.smallest_cluster(scenario, fields={"cluster.mixed.replicas": (1, 8)}, seeds=2)
    assert found.colocated.values == colocated.values
    assert found.colocated.cost == colocated.cost == found.figures("colocated")["GPUs"]
    frontier = mt.goodput(colocated.answer_scenario, seeds=2, check=False)
    assert found.frontiers["colocated"].rate == frontier.rate
    pair = found.disaggregated
    assert set(pair.values) == {"cluster.prefill.replicas", "cluster.decode.replicas"}
    assert found.figures("disaggregated")["GPUs"] == sum(pair.values.values())


def test_the_answer_is_the_cheaper(found) -> None:
    costs = {name: found.found[name].cost for name in found.found}
    assert found.best is not None and costs[found.best] == min(costs.values())
    assert found.answer()[0].lower().startswith(found.best)
    assert f"= {costs[found.best]:g} GPUs" in found.answer()[0]


def test_it_keeps_what_the_answer_promises(found) -> None:
    toml = mt.Scenario.parse(__import__("tomllib").loads(found.reproduce()))
    shares = [toml.run(seed).metrics["slo_attainment"] for seed in (0, 1)]
    assert sum(shares) / 2 >= 0.9


def test_tables_and_files(found, tmp_path) -> None:
    assert [row[0] for row in found.table().rows] == ["colocated", "disaggregated"]
    written = found.save(tmp_path)
    data = json.loads(written[0].read_text("utf-8"))
    assert data["best"] == found.best and set(data["set_ups"]) == {"colocated", "disaggregated"}
    frame = found.frame()
    assert set(frame["set_up"]) == {"colocated", "disaggregated"}


def test_pools_give_their_gpus_to_both_set_ups() -> None:
    split = serving(
        cluster={
            "prefill": {"replicas": 3, "gpu": "h100-sxm-80gb", "tp": 2},
            "decode": {"replicas": 5, "gpu": "a100-sxm-80gb", "initially_up": 2},
        }
    )
    made = set_ups(split)
    assert made["disaggregated"]["prefill"] == {"replicas": 1, "tp": 2}
    assert made["disaggregated"]["decode"] == {"replicas": 1, "gpu": "a100-sxm-80gb"}
    assert made["colocated"]["mixed"] == {"replicas": 1, "tp": 2}


def test_an_slo_out_of_reach_says_so_for_both() -> None:
    found = mt.plan(serving(**{"slo.ttft_ms": 0.01}), most=2, seeds=1)
    assert not found.reached and found.best is None and len(found.answer()) == 2
    assert "Colocated: No cluster" in found.answer()[0]


def test_bad_questions_are_refused() -> None:
    with pytest.raises(mt.InputError, match="no prefill"):
        mt.plan(FleetScenario())
    with pytest.raises(mt.InputError, match="replicas are none"):
        mt.plan(serving(), most=0)
