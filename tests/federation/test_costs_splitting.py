"""Costs of cut models: what is counted, against known sizes and published ratios."""

from dataclasses import replace

import pytest

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.splitting import (
    Work,
    full,
    language,
    lowered,
    nano,
    sfprompt,
    split,
    vit,
)
from mltwin.models.federation.tables import Clients, Plan
from mltwin.models.llm import load_model
from mltwin.models.training.mfu import model_flops
from mltwin.policies.federated.registry import make
from mltwin.sim.errors import InputError


def test_sizes_of_vision_transformers() -> None:
    """86 and 307 million parameters (arXiv 2010.11929, table 1); 17.6 GFLOPs a picture twice over
    (timm counts 16.87 G multiplications and additions of ViT-B/16 as one each)."""
    assert vit("base").parameters == pytest.approx(86e6, rel=0.01)
    assert vit("large").parameters == pytest.approx(304e6, rel=0.01)
    one = full(vit("base"), Work(samples=1))
    assert one.client_flops / 3 / 2 == pytest.approx(17.5e9, rel=0.01)


def test_a_language_model_is_counted_as_for_its_training() -> None:
    model = load_model("mistral-7b")
    cost = full(language(model, 2048), Work(samples=3, epochs=2))
    expected = model_flops(model, 2048) * 2048 * 6
    assert cost.client_flops == pytest.approx(expected, rel=1e-3)
    assert cost.up_bytes == cost.down_bytes == pytest.approx(model.weight_bytes)


def test_the_parts_of_a_cut_add_up() -> None:
    network = vit("base")
    work = Work(samples=10, epochs=2, head_layers=2, tail_layers=3)
    cost, whole = split(network, work), full(network, work)
    assert cost.client_flops + cost.server_flops == pytest.approx(whole.client_flops)
    all_here = split(network, replace(work, head_layers=6, tail_layers=6))
    assert all_here.server_flops == 0.0
    assert all_here.client_parameters == pytest.approx(network.parameters)
    activations = 2 * 197 * 768 * 4 * 20
    assert cost.up_bytes - cost.client_parameters * 4 == pytest.approx(activations)
    assert cost.transfers == 4 * 2 + 2


def test_local_loss_passes_cost_no_traffic_and_pruning_saves_it() -> None:
    network = vit("base")
    few = sfprompt(network, Work(samples=100, epochs=1, kept=0.2))
    more = sfprompt(network, Work(samples=100, epochs=10, kept=0.2))
    every = sfprompt(network, Work(samples=100, epochs=1, kept=1.0))
    assert more.up_bytes == few.up_bytes and more.client_flops > 3 * few.client_flops
    assert few.up_bytes < 0.3 * every.up_bytes
    assert few.server_flops == pytest.approx(0.2 * every.server_flops)
    assert few.client_parameters < 0.02 * network.parameters


def test_client_compute_of_sfprompt_is_as_small_as_published() -> None:
    """Published [abstract]: 0.46 % of the local compute of full federated tuning. With nothing but
    the input and the output layer at the client the count is of that size, whatever the epochs;
    with one block on each side it is tens of times as much. So the paper's cut must be near."""
    network = vit("base")
    for epochs in (5, 10, 20):
        work = Work(samples=500, epochs=epochs, kept=0.5)
        share = sfprompt(network, work).client_flops / full(network, work).client_flops
        assert 0.002 < share < 0.005
        thick = replace(work, head_layers=1, tail_layers=1)
        assert sfprompt(network, thick).client_flops / full(network, work).client_flops > 0.05


def test_one_published_traffic_ratio_predicts_the_other() -> None:
    """Published: 0.47 of full tuning's traffic for ViT-base, 0.19 for ViT-large. The first fixes
    the number of samples kept; the second then follows."""
    base, large = vit("base"), vit("large")

    def ratio(network, samples):
        work = Work(samples=samples)
        return sfprompt(network, work).up_bytes / full(network, work).up_bytes

    samples = min(range(1, 400), key=lambda n: abs(ratio(base, n) - 0.47))
    assert ratio(large, samples) == pytest.approx(0.19, rel=0.1)


def test_seconds_add_up() -> None:
    cost = sfprompt(vit("base"), Work(samples=64, kept=0.5))
    fast = {"client_flops_per_s": 1e12, "server_flops_per_s": 1e14}
    links = {"up_bytes_per_s": 1e6, "down_bytes_per_s": 4e6}
    plain = cost.seconds(**fast, **links)
    expected = cost.client_flops / 1e12 + cost.server_flops / 1e14
    expected += cost.up_bytes / 1e6 + cost.down_bytes / 4e6
    assert plain == pytest.approx(expected)
    assert cost.seconds(**fast, **links, latency_s=0.1) == pytest.approx(plain + 0.6)


@pytest.mark.parametrize("method", [full, split, sfprompt])
def test_a_run_takes_as_long_as_the_cost_says(method) -> None:
    cost = method(vit("base"), Work(samples=64, kept=0.5, head_layers=1))
    rates = {"client_flops_per_s": 1e12, "server_flops_per_s": 1e14, "latency_s": 0.05}
    given = lowered(cost, 64, **rates)
    clients = Clients.make(
        [64, 64],
        s_per_sample=given.s_per_sample,
        up_bytes_per_s=1e6,
        down_bytes_per_s=4e6,
        latency_s=0.05,
    )
    codec = make("codec", {"name": "sized", "up": [given.up_bytes], "down": [given.down_bytes]})
    policies = Policies(make("strategy", {"name": "fedavg", "clients": 2}), codec=codec)
    plan = Plan(steps=1, batch=0, versions=3, overhead_s=given.overhead_s, model_bytes=1.0)
    run = simulate(clients, policies, plan)
    one = cost.seconds(**rates, up_bytes_per_s=1e6, down_bytes_per_s=4e6)
    assert run.end / 1e9 == pytest.approx(3 * one, rel=1e-9)
    assert run.evaluations["up_bytes"][-1] == pytest.approx(6 * cost.up_bytes)


def test_sizes_are_one_or_one_each() -> None:
    codec = make("codec", {"name": "sized", "up": [1.0, 2.0, 3.0]})
    policies = Policies(make("strategy", {"name": "fedavg", "clients": 2}), codec=codec)
    with pytest.raises(InputError, match=r"sized.up: 3 sizes for 2 clients"):
        simulate(Clients.make([1, 1]), policies, Plan(versions=1, model_bytes=8.0))
    with pytest.raises(InputError, match="up has -1"):
        make("codec", {"name": "sized", "up": [-1.0]})
    each = make("codec", {"name": "sized", "up": [1.0, 2.0]})
    policies = Policies(make("strategy", {"name": "fedavg", "clients": 2}), codec=each)
    run = simulate(Clients.make([1, 1]), policies, Plan(versions=2, model_bytes=8.0))
    assert run.evaluations["up_bytes"][-1] == 6.0
    assert run.evaluations["down_bytes"][-1] == 32.0


def test_fednano_keeps_and_sends_what_is_published() -> None:
    """Published [abstract]: 95 % less storage at the client, updates of 0.01 % of the parameters.
    Here for a 7-billion model, the encoder of LLaVA-1.5 (ViT-L/14, 336 pixels) and rank 64."""
    found = nano(
        language(load_model("mistral-7b"), 700),
        vit("large", image=336, patch=14, classes=1),
        samples=100,
    )
    assert found.storage_saved == pytest.approx(0.95, abs=0.01)
    assert round(found.adapter_share * 100, 2) == 0.01
    adapters_only = 2.0 * found.adapter_parameters
    assert found.cost.up_bytes > 100 * adapters_only


def test_impossible_cuts_are_refused() -> None:
    with pytest.raises(InputError, match="10 and 3 blocks of 12"):
        split(vit("base"), Work(samples=1, head_layers=10, tail_layers=3))
    with pytest.raises(InputError, match="kept 2"):
        Work(samples=1, kept=2.0)
    with pytest.raises(InputError, match="unknown size 'tiny'"):
        vit("tiny")
