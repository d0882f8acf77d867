"""Long runs against what is known in closed form: laws, order statistics, Young, Daly, ETTR."""

import math

import numpy as np
import pytest

from mltwin.models.training.checkpoints import (
    checkpoint_costs,
    daly_interval,
    expected_ettr,
    expected_run,
    system_mtbf,
    young_interval,
)
from mltwin.models.training.elastic import step_ticks
from mltwin.models.training.laws import (
    LAW_POINTS,
    exponential_law,
    law_mean,
    law_points,
    lognormal_law,
    look_up,
    quantile_law,
    weibull_law,
)
from mltwin.models.training.reliability import RunPlan, run_plan
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import SERVICE, exponentials

S = 10**9


def plan(**changed: object) -> RunPlan:
    """A rigid job of 20 nodes, failed nodes replaced at once."""
    nodes = int(changed.pop("nodes", 20))  # type: ignore[call-overload]
    usual = {
        "step_of": np.full(nodes + 1, S),
        "nodes": nodes,
        "steps": 20_000,
        "block": 20 * S,
        "restart": 60 * S,
        "load_storage": 30 * S,
        "life_mean": 20 * 3000.0 * S,
        "interval": 300 * S,
    }
    return RunPlan(**(usual | changed))  # type: ignore[arg-type]


def mean_end(seeds: int, **changed: object) -> tuple[float, float]:
    """Mean end of runs in seconds, and its standard error."""
    ends = [run_plan(plan(seed=seed, **changed)).end / S for seed in range(seeds)]
    return float(np.mean(ends)), float(np.std(ends) / math.sqrt(seeds))


@pytest.mark.parametrize("interval", [100, 300, 1000])
def test_the_run_time_is_dalys(interval: int) -> None:
    """His complete model: exponential failures at any time, of a system of 20 nodes."""
    mean, error = mean_end(400, interval=interval * S)
    exact = expected_run(20_000, interval, 20, 90, 3000)
    # The last checkpoint is not written, and a start without a checkpoint loads nothing.
    assert mean == pytest.approx(exact - 20, abs=4 * error + 30)
    assert error < 0.005 * mean


def test_dalys_interval_is_the_best() -> None:
    best = daly_interval(20, 3000)
    exact = {t: expected_run(20_000, t, 20, 90, 3000) for t in (best / 2, best, best * 2)}
    assert exact[best] < min(exact[best / 2], exact[best * 2])
    near = [expected_run(1.0, t, 20, 90, 3000) for t in np.linspace(0.9 * best, 1.1 * best, 41)]
    assert int(np.argmin(near)) in range(18, 23)  # within 1 % of the numerical optimum
    means = [mean_end(200, interval=round(t * S))[0] for t in exact]
    assert means[1] < means[0] and means[1] < means[2]


def test_young_and_daly() -> None:
    assert young_interval(20, 3000) == pytest.approx(math.sqrt(120_000))
    assert daly_interval(1e-6, 3000) == pytest.approx(young_interval(1e-6, 3000), rel=1e-4)
    assert daly_interval(7000, 3000) == 3000
    assert system_mtbf(10, 1000.0) == 100 and system_mtbf(10, 0.0) == math.inf
    assert system_mtbf(10, 1000.0, 2, 200.0) == pytest.approx(50)


def test_ettr_is_near_its_first_order_estimate() -> None:
    rare = {"life_mean": 20 * 40_000.0 * S, "steps": 100_000}
    outcomes = [run_plan(plan(seed=seed, **rare)) for seed in range(100)]
    ettr = np.mean([one.parts["useful"] / one.end for one in outcomes])
    assert ettr == pytest.approx(expected_ettr(300, 20, 90, 40_000), abs=0.002)


@pytest.mark.parametrize("nodes", [1, 10, 1000])
def test_the_slowest_of_many_is_its_order_statistic(nodes: int) -> None:
    law = lognormal_law(0.2)
    found = run_plan(plan(nodes=nodes, noise=law, life_mean=0.0, block=0, steps=40_000))
    mean = 1 + found.parts["straggling"] / found.parts["useful"]
    drawn = np.exp(0.2 * np.random.default_rng(1).standard_normal((2000, nodes))).max(1)
    assert mean == pytest.approx(law_mean(law, nodes), rel=0.003)
    assert mean == pytest.approx(drawn.mean(), abs=5 * drawn.std() / math.sqrt(2000))


def test_exponential_straggling_is_a_harmonic_number() -> None:
    """The mean of the largest of n exponential draws is 1 + 1/2 + ... + 1/n."""
    law = -np.log(-np.expm1(-law_points()))  # the quantile of p = exp(-x)
    for n in (1, 5, 50):
        assert law_mean(law, n) == pytest.approx(sum(1 / k for k in range(1, n + 1)), rel=1e-4)


def test_laws_look_up_what_they_tabulate() -> None:
    points = law_points()
    assert len(points) == LAW_POINTS and points[0] == 2.0**-41 and points[-1] == 64
    law = exponential_law()
    for x in (1e-9, 0.3, 1.0, 1.5, 36.7):
        assert look_up(law, x) == pytest.approx(x, rel=1e-12)
    assert look_up(law, 1e-30) == points[0] and look_up(law, 100.0) == 64
    draws = exponentials(3, SERVICE, np.arange(4000))
    for shape in (0.7, 1.0, 2.0):
        lives = [look_up(weibull_law(shape), float(x)) for x in draws]
        assert np.mean(lives) == pytest.approx(1, abs=0.08)
        exact = draws ** (1 / shape) / math.gamma(1 + 1 / shape)
        assert np.allclose(lives, exact, rtol=2e-3)


def test_measured_quantiles_are_kept() -> None:
    law = quantile_law([0.1, 0.5, 0.9], [0.8, 1.0, 1.5])
    assert look_up(law, -math.log(0.5)) == pytest.approx(1.0, abs=2e-3)
    assert look_up(law, -math.log(0.9)) == pytest.approx(1.5, abs=1e-2)
    assert look_up(law, -math.log(0.01)) == 0.8 and look_up(law, 1e-6) == 1.5
    with pytest.raises(InputError, match="must not fall"):
        quantile_law([0.1, 0.9], [2.0, 1.0])
    with pytest.raises(InputError, match="shape of 0"):
        weibull_law(0)


def test_a_run_without_failures_is_arithmetic() -> None:
    found = run_plan(plan(life_mean=0.0, steps=1000, interval=100 * S))
    assert found.end == 1000 * S + 9 * 20 * S and found.counts["checkpoints"] == 9


def test_a_lazy_copy_hides_behind_the_step() -> None:
    """It stalls the update by what is left of the copy: 1.5 s of copy, 0.8 s before the update."""
    lazy = {"block": 0, "life_mean": 0.0, "steps": 1000, "interval": 100 * S, "update_share": 0.2}
    hidden = run_plan(plan(**lazy, snapshot=S // 2, flush=5 * S))
    late = run_plan(plan(**lazy, snapshot=3 * S // 2, flush=5 * S))
    assert hidden.parts["stall"] == 0
    assert late.parts["stall"] == 9 * 7 * S // 10
    # A flush longer than the interval holds the next checkpoint up.
    slow = run_plan(plan(**lazy, snapshot=S // 2, flush=150 * S))
    assert slow.parts["stall"] > 8 * 40 * S


def test_strategies_cost_what_their_bytes_take() -> None:
    given = {"storage_bytes_per_s": 1e9, "host_bytes_per_s": 4e9, "peer_bytes_per_s": 2e9}
    found = {
        name: checkpoint_costs(name, 80e9, 10, copies=3, **given)
        for name in ("sync", "async", "lazy", "memory")
    }
    assert [c.block_s for c in found.values()] == [82, 2, 0, 0]
    assert [c.snapshot_s for c in found.values()] == [0, 0, 2, 8]
    assert [c.flush_s for c in found.values()] == [0, 80, 80, 80]
    assert found["memory"].load_memory_s == 4 and found["sync"].load_storage_s == 82
    with pytest.raises(InputError, match="unknown strategy 'later'"):
        checkpoint_costs("later", 1.0, 1, **given)


def test_memory_survives_single_failures_not_whole_groups() -> None:
    """With pairs and racks of a pair, a rack takes both copies: back to storage."""
    memory = {"memory": True, "snapshot": S, "block": 0, "load_memory": S, "flush": 30 * S,
              "storage_every": 10, "interval": 60 * S, "copies": 2}  # fmt: skip
    single = run_plan(plan(**memory))
    racks = run_plan(plan(**memory, life_mean=0.0, rack_nodes=2, rack_mean=10 * 3000.0 * S))
    assert single.counts["from_memory"] > 3 and single.counts["from_storage"] <= 1
    assert racks.counts["from_storage"] + racks.counts["from_start"] > 3
    assert racks.counts["from_memory"] == 0
    assert single.parts["lost"] < 0.5 * run_plan(plan()).parts["lost"]


def test_elastic_jobs_go_on_with_fewer_nodes() -> None:
    step_of = step_ticks(S, 20)
    assert step_of[20] == S and step_of[10] == 2 * S
    assert step_ticks(S, 20, 1.0)[5] == S
    slow_repair = {"step_of": step_of, "repair_mean": 6000.0 * S, "copies": 2}
    kinds = [
        [run_plan(plan(**slow_repair, elastic=kind, reshard=S, seed=seed)) for seed in range(30)]
        for kind in range(3)
    ]
    part = {
        name: [sum(run.parts[name] for run in runs) for runs in kinds] for name in kinds[0][0].parts
    }
    rigid, restart, live = (sum(run.end for run in runs) for runs in kinds)
    assert live < restart < rigid
    assert part["waiting"][0] > 0 and part["waiting"][1:] == [0, 0]
    assert part["shrunk"][0] == 0 and part["shrunk"][1] > 0
    assert part["lost"][2] < 0.1 * part["lost"][1]


def test_slow_nodes_are_replaced() -> None:
    slow = {"life_mean": 0.0, "slow_mean": 20 * 5000.0 * S, "slow_factor": 2.0, "pool": 24,
            "swap": 10 * S, "repair_mean": 100.0 * S}  # fmt: skip
    never = run_plan(plan(**slow))
    soon = run_plan(plan(**slow, slow_detect=100 * S))
    assert never.counts["replaced"] == 0 < soon.counts["replaced"]
    assert soon.parts["straggling"] < 0.2 * never.parts["straggling"]
    assert soon.parts["resharding"] == 10 * S * soon.counts["replaced"]


def test_plans_that_make_no_sense_are_refused() -> None:
    for changed, said in (
        ({"unit": 3}, "replicas of 3"),
        ({"pool": 10}, "pool of 10"),
        ({"step_of": np.zeros(21, np.int64)}, "a tick at least"),
        ({"trace_time": np.array([2, 1]), "life_mean": 0.0}, "order of time"),
        ({"trace_time": np.array([1, 2])}, "neither fail nor slow"),
        ({"block": -1}, "negative"),
    ):
        with pytest.raises(InputError, match=said):
            plan(**changed)
    with pytest.raises(InputError, match="fixed share"):
        step_ticks(S, 4, 2.0)
