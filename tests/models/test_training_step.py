"""Training steps: closed form and executed graph agree, FLOPs, exchanges, what slows a step."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm.config import load_model
from mltwin.models.network.builders import leaf_spine, rail_optimised
from mltwin.models.network.nccl import load_collectives
from mltwin.models.training.executor import execute
from mltwin.models.training.graph import COMPUTE, TRANSFER
from mltwin.models.training.mfu import attention_flops, hardware_flops, mfu, model_flops
from mltwin.models.training.operators import OperatorTimes
from mltwin.models.training.plan import TrainingBatch, TrainingPlan
from mltwin.models.training.step import step_seconds, training_graph, training_step
from mltwin.models.training.step_comm import NETWORK_STEP_S, NVLINK_STEP_S, Cluster, Exchange
from mltwin.models.training.step_recipe import RECIPES, recipe_of
from mltwin.sim.errors import InputError

H100 = load_profile("h100-sxm-80gb")
LLAMA = load_model("llama-3.1-8b")
MIXTRAL = load_model("mixtral-8x7b")
BATCH = TrainingBatch(1, 4096)
SMALL = replace(LLAMA, name="small", layers=8, windows=(0,) * 8)
MEMO: dict[object, object] = {}


def step(plan: TrainingPlan, batch: TrainingBatch = BATCH, model=LLAMA, **options):
    return training_step(model, plan, batch, H100, fit=False, **options)


@st.composite
def plans(draw: st.DrawFn) -> TrainingPlan:
    pp = draw(st.sampled_from([1, 1, 2, 4]))
    schedules = ["gpipe", "1f1b", "interleaved", "zb-h1"] if pp > 1 else ["1f1b"]
    schedule = draw(st.sampled_from(schedules))
    return TrainingPlan(
        dp=draw(st.sampled_from([1, 2, 4])),
        tp=draw(st.sampled_from([1, 2])),
        cp=draw(st.sampled_from([1, 2])),
        pp=pp,
        zero=draw(st.integers(0, 3)),
        schedule=schedule,
        interleave=draw(st.sampled_from([1, 2])) if schedule == "interleaved" else 1,
        microbatches=pp * draw(st.integers(1, 2)),
        recompute=draw(st.sampled_from(["none", "selective", "operators", "full"])),
        async_tp=draw(st.booleans()),
        sequence_parallel=draw(st.booleans()),
        prefetch=draw(st.integers(1, 3)),
        overlap=draw(st.booleans()),
        reduce_every=draw(st.booleans()),
    )


@settings(max_examples=40, deadline=None)
@given(plan=plans(), slow=st.booleans())
def test_closed_form_and_executed_graph_give_the_same_tick(plan: TrainingPlan, slow: bool) -> None:
    cluster = Cluster(gpus_per_node=4, nic_bytes_per_s=5e9 if slow else 50e9)
    made = step(plan, model=SMALL, cluster=cluster, memo=MEMO)
    assert execute(made.graph()).makespan == made.ticks
    assert execute(made.graph(ranks="all")).makespan == made.ticks


def test_experts_have_exchanges_of_their_own() -> None:
    plan = TrainingPlan(dp=8, ep=8, zero=1)
    made = step(plan, model=MIXTRAL)
    graph = made.graph()
    assert execute(graph).makespan == made.ticks
    names = {graph.names[n] for n in graph.name}
    assert "F 0 expert block 1" in names
    alone = step(replace(plan, ep=1), model=MIXTRAL)
    assert "ep" in {p.category for p in made.work.chunks[0][1].forward}
    assert "ep" not in {p.category for p in alone.work.chunks[0][1].forward}


def test_all_ranks_hold_what_one_stands_for() -> None:
    plan = TrainingPlan(dp=2, tp=2, pp=2, microbatches=2)
    one = training_graph(LLAMA, plan, BATCH, H100, fit=False)
    every = training_graph(LLAMA, plan, BATCH, H100, fit=False, ranks="all")
    assert len(every) == 4 * len(one)
    assert one.devices == 2 and every.devices == plan.world
    with pytest.raises(InputError, match="use 'one' or 'all'"):
        training_graph(LLAMA, plan, BATCH, H100, fit=False, ranks="some")


def test_messages_of_a_pipeline_can_cross_a_network() -> None:
    plan = TrainingPlan(dp=2, tp=4, pp=2, microbatches=4)
    graph = training_graph(LLAMA, plan, BATCH, H100, fit=False, ranks="all", network=True)
    moves = graph.kind == TRANSFER
    # Stage 0 is node 0, stage 1 node 1; a message of 4,096 tokens is split over tp.
    assert (abs(graph.source[moves] - graph.target[moves]) == 8).all()
    assert set(graph.bytes[moves]) == {4096 * LLAMA.hidden_size * 2 / 4}
    run = execute(graph, topology=rail_optimised(2), fidelity="maxmin")
    free = execute(training_graph(LLAMA, plan, BATCH, H100, fit=False))
    assert run.makespan_s == pytest.approx(free.makespan_s, rel=0.01)
    assert run.link_bytes is not None and run.link_bytes.sum() > 0


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_weights_and_gradients_can_cross_a_network(zero: int) -> None:
    """Every rank sends what a ring sends, and an oversubscribed spine makes the step longer."""
    plan = TrainingPlan(dp=16, zero=zero)
    made = step(plan, TrainingBatch(1, 2048), SMALL, slowdown=1.0)
    graph = made.graph(ranks="all", network="all")
    moves = graph.kind == TRANSFER
    passes = {0: 2 * 4, 1: 4 + 2, 2: 4 + 2, 3: 4 + 2 + 2}[zero]
    sent = passes * SMALL.parameters * 15 / 16
    if zero == 3:
        # The head's weights are still there when its backward pass begins.
        sent -= 2 * made.work.chunks[0][-1].parameters * 15 / 16
    for rank in (0, 7, 15):
        assert graph.bytes[moves & (graph.source == rank)].sum() == pytest.approx(sent)
    across = (graph.source[moves] // 8) != (graph.target[moves] // 8)
    assert graph.bytes[moves][across].sum() == pytest.approx(16 * sent / 8)
    free = execute(graph, topology=rail_optimised(2), fidelity="maxmin").makespan
    thin = leaf_spine(2, 1, 1, gpus_per_host=8, oversubscription=8)
    assert execute(graph, topology=thin, fidelity="maxmin").makespan > 1.5 * free
    assert free == pytest.approx(made.ticks, rel=0.25)


def test_a_network_for_all_needs_all_ranks() -> None:
    for options in ({"ranks": "one"}, {"ranks": "all"}):
        plan = TrainingPlan(dp=8, shard=4 if options["ranks"] == "all" else 0, zero=3)
        with pytest.raises(InputError, match="ranks='all', ep=1 and shard=0"):
            step(plan, model=SMALL).graph(network="all", **options)
    with pytest.raises(InputError, match="use True, False or 'all'"):
        step(TrainingPlan(dp=8), model=SMALL).graph(network="some")


def test_computation_is_that_of_the_operators() -> None:
    """Without exchanges a step is its kernels: forward, backward, update."""
    plan = TrainingPlan(microbatches=3)
    graph = step(plan).graph()
    assert (graph.kind == COMPUTE).all()
    times = OperatorTimes(LLAMA, H100, plan, recipe_of("fused"))
    attention, feed, ends = times.attention(BATCH), times.feed_forward(BATCH), times.ends(BATCH)
    block = sum(h.forward + h.dgrad + h.wgrad for h in (attention, feed))
    rest = ends.embedding_forward + ends.embedding_backward + ends.head_forward
    rest += ends.head_dgrad + ends.head_wgrad
    total = 3 * (LLAMA.layers * block + rest) + times.optimizer(LLAMA.parameters)
    assert step(plan).seconds == pytest.approx(total, rel=1e-4)


def test_matrix_products_dominate_and_have_their_own_shapes() -> None:
    times = OperatorTimes(LLAMA, H100, TrainingPlan(), recipe_of("fused"))
    feed = times.feed_forward(BATCH)
    flops = 2 * 3 * LLAMA.hidden_size * LLAMA.intermediate_size * BATCH.tokens
    for seconds in (feed.products, feed.wgrad):
        assert 0.4e15 < flops / seconds < 0.989e15
    assert feed.wgrad != feed.products


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"nic_bytes_per_s": 50e9}, {"nic_bytes_per_s": 12.5e9}),
        ({"gpus_per_node": 8}, {"gpus_per_node": 4}),
    ],
)
def test_a_worse_network_never_helps(better: dict[str, float], worse: dict[str, float]) -> None:
    for plan in (TrainingPlan(dp=32, zero=3), TrainingPlan(dp=4, tp=8), TrainingPlan(dp=32)):
        slower = step(plan, cluster=Cluster(**worse)).seconds  # type: ignore[arg-type]
        assert step(plan, cluster=Cluster(**better)).seconds <= slower  # type: ignore[arg-type]


def test_what_costs_and_what_saves() -> None:
    def long(plan: TrainingPlan, **options: object):
        return step(plan, TrainingBatch(4, 8192), **options)

    base = TrainingPlan(dp=8, tp=8, zero=3)
    whole = long(base).seconds
    assert long(replace(base, async_tp=True)).seconds < whole
    assert long(replace(base, overlap=False)).seconds > whole
    again = [long(replace(base, recompute=r)).seconds for r in ("none", "selective", "full")]
    assert again == sorted(again) and again[0] == whole < again[2]
    alone = TrainingPlan(dp=8, zero=3)
    assert long(replace(alone, precision="fp8")).seconds < long(alone).seconds
    slow = long(alone, compute_speed=0.8).seconds
    assert long(alone).seconds < slow < long(alone).seconds / 0.8
    eager = long(alone, recipe="torchtitan").seconds
    compiled = long(alone, recipe="torchtitan-compile").seconds
    assert compiled < eager


def test_interleaving_and_zero_bubbles_shorten_a_pipeline() -> None:
    base = TrainingPlan(pp=4, microbatches=8)
    plain = step_seconds(LLAMA, base, BATCH, H100, fit=False)
    looped = replace(base, schedule="interleaved", interleave=2)
    for plan in (looped, replace(base, schedule="zb-h1")):
        assert step_seconds(LLAMA, plan, BATCH, H100, fit=False) < plain


def test_mfu_is_palms() -> None:
    """PaLM, appendix B: 6 N + 12 L H Q T, with PaLM 540B's own numbers (46.2 %)."""
    layers, heads, size, tokens = 118, 48, 256, 2048
    flops = 6 * 540.35e9 + 12 * layers * heads * size * tokens
    assert 238.3e3 * flops / 6144 / 275e12 == pytest.approx(0.462, abs=0.001)
    n = LLAMA.parameters - LLAMA.embedding_parameters
    expected = 6 * n + 12 * 32 * 4096 * 8192
    assert model_flops(LLAMA, 8192) == pytest.approx(expected)
    assert mfu(LLAMA, 8192, 10_000, 989e12) == pytest.approx(expected * 1e4 / 989e12)
    assert hardware_flops(LLAMA, 8192, "full") == pytest.approx(expected * 4 / 3)
    extra = hardware_flops(LLAMA, 8192, "selective") - expected
    assert extra == pytest.approx(attention_flops(LLAMA, 8192)) == 4 * 32 * 4096 * 8192
    made = step(TrainingPlan(dp=8, zero=3, recompute="full"))
    assert made.hfu == pytest.approx(made.mfu * 4 / 3)
    assert 0.3 < made.mfu < 0.65


def test_exchanges_across_nodes_pay_the_slower_link() -> None:
    exchange = Exchange(H100, Cluster(nic_bytes_per_s=25e9, nic_share=1.0))
    size = 8e9
    assert exchange.spread(16, 1) == (2, 8)
    assert exchange.spread(16, 8) == (16, 1)
    ring = NETWORK_STEP_S + 14 * NVLINK_STEP_S
    assert exchange.seconds("all_gather", size, 16) == pytest.approx(ring + size * 15 / 16 / 200e9)
    alone = 3 * NETWORK_STEP_S + size * 3 / 4 / 25e9
    assert exchange.seconds("reduce_scatter", size, 4, 8) == pytest.approx(alone)
    assert exchange.seconds("all_reduce", size, 1) == 0
    measured = H100.operators.collectives["all_gather"][8].seconds(size)
    assert exchange.seconds("all_gather", size, 8) == pytest.approx(float(measured), rel=0.05)
    model = load_collectives("h100-sxm")
    for kind in ("all_gather", "reduce_scatter", "all_reduce", "all_to_all"):
        inside = float(model.seconds(kind, 1e8, 4))
        assert exchange.seconds(kind, 1e8, 4) == pytest.approx(inside)
    both = exchange.seconds("reduce_scatter", size, 16) + exchange.seconds("all_gather", size, 16)
    assert exchange.seconds("all_reduce", size, 16) == pytest.approx(both, rel=0.01)


def test_gradients_are_reduced_in_buckets_or_in_two_levels() -> None:
    exchange = Exchange(H100, Cluster())
    size = 4 * step(TrainingPlan(dp=8)).work.chunks[0][1].parameters
    plan = TrainingPlan(dp=8, bucket_bytes=size / 4)
    each = exchange.seconds("all_reduce", size / 4, 8)
    assert step(plan).work.chunks[0][1].reduce == pytest.approx(4 * each * 1e12, rel=1e-9)
    hybrid = TrainingPlan(dp=32, zero=3, shard=8)
    block = step(hybrid).work.chunks[0][1]
    inside = exchange.seconds("reduce_scatter", size, 8)
    between = exchange.seconds("all_reduce", size / 8, 4, 8)
    assert block.reduce == pytest.approx((inside + between) * 1e12, rel=1e-9)
    assert block.gather == pytest.approx(
        exchange.seconds("all_gather", size / 2, 8) * 1e12, rel=1e-9
    )


def test_names_that_are_not_there() -> None:
    with pytest.raises(InputError, match="use one of"):
        step(TrainingPlan(), recipe="slow")
    with pytest.raises(InputError, match="no fp8 matrix products on a100"):
        training_step(LLAMA, TrainingPlan(precision="fp8"), BATCH, "a100-sxm-80gb", fit=False)
    with pytest.raises(InputError, match="linear or sparse attention"):
        step(TrainingPlan(), model=load_model("qwen3.5-397b-a17b"))
    with pytest.raises(InputError, match="GiB a GPU and has"):
        training_step("llama-3.1-70b", TrainingPlan(dp=8), BATCH, H100)
    assert {"fused", "llm-foundry", "torchtitan"} <= set(RECIPES)
