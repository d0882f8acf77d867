"""The fitted collectives that ship: what they say, how they are stored, what they refuse."""

import numpy as np
import pytest

from mltwin.models.network.nccl import (
    CollectiveLaw,
    CollectiveModel,
    Protocol,
    collective_models,
    load_collectives,
    traffic,
)
from mltwin.sim.errors import InputError


@pytest.mark.parametrize("name", collective_models())
def test_a_shipped_model_is_sane_and_survives_its_file(name: str) -> None:
    model = load_collectives(name)
    again = CollectiveModel.from_json(model.to_json())
    assert again.to_json() == model.to_json()
    assert {o.law for o in model.origin} == set(model.laws)
    size = 2.0 ** np.arange(8, 32)
    for key, law in model.laws.items():
        nodes = 2 if key.endswith(".across") else 1
        seconds = law.seconds(size, 2, nodes)
        assert np.isfinite(seconds).all() and (seconds > 1e-6).all()
        # Never much faster for more bytes; measured tables themselves fall by a third in places.
        assert (seconds[1:] > 0.5 * seconds[:-1]).all(), key
        assert seconds[-1] > 1.7 * seconds[-2]


def test_known_hardware_has_known_speeds() -> None:
    """NCCL's bus bandwidth on large messages is below the data sheet's link and near it."""
    for name, link in (("h100-sxm", 450e9), ("a100-sxm", 300e9), ("b200-sxm", 900e9)):
        model = load_collectives(name)
        seconds = model.seconds("all_gather", 2.0**29, 8)
        assert 0.6 * link < traffic("all_gather", 8) * 2.0**29 / seconds < link
    small = load_collectives("h100-sxm").seconds("all_reduce", 512.0, 8)
    assert 1e-5 < small < 2.5e-5


def test_between_and_beyond_measured_counts() -> None:
    model = load_collectives("h100-sxm")
    two, four, six, eight = (float(model.seconds("all_gather", 1e8, n)) for n in (2, 4, 6, 8))
    assert two < four < six < eight
    assert model.seconds("all_gather", 1e8, 1) == 0
    assert model.seconds("all_reduce", 1e8, 8, library="vllm") > 0


def test_protocols_follow_the_size() -> None:
    model = load_collectives("h100-sxm")
    names = [model.chosen("all_reduce", 2.0**k, 8) for k in range(9, 30)]
    order = ["LL", "LL128", "Simple"]
    assert [order.index(x) for x in names] == sorted(order.index(x) for x in names)
    assert (names[0], names[-1]) != (names[-1], names[0])


def test_unmeasured_nodes_are_the_slower_of_node_and_network() -> None:
    model = load_collectives("h100-sxm")
    start = model.seconds("send_recv", 1.0, 2, 2)
    for nodes in (2, 16):
        steps = nodes - 1
        inside = model.seconds("all_gather", 1e9, 8)
        sent = model.seconds("send_recv", 1e9 / 8 * steps / nodes, 2, 2) - start
        told = model.seconds("all_gather", 1e9, 8 * nodes, nodes)
        assert told == pytest.approx(max(inside, sent) + steps * start, rel=1e-9)
    # An all-reduce over many nodes takes the tree: its latency is not that of 254 steps.
    assert 14 * start < model.seconds("all_reduce", 1e5, 1024, 128) < 20 * start
    with pytest.raises(InputError, match=r"nccl\.all_reduce\.across is not measured on b200-sxm"):
        load_collectives("b200-sxm").seconds("all_reduce", 1e9, 16, 2)


def test_a_law_without_measurements_is_its_lines() -> None:
    law = CollectiveLaw("all_reduce", (Protocol(1e-6, 1e-7, 0.0, 1e9), Protocol(1e-5, 0, 0, 1e11)))
    assert law.seconds(1000.0, 4) == pytest.approx(1e-6 + 3e-7 + 1.5e-6)
    assert law.seconds(1e9, 4) == pytest.approx(1e-5 + 1.5e-2)
    assert [law.protocol(s, 4) for s in (1000.0, 1e9)] == ["LL128", "Simple"]


def test_bad_input_is_named(tmp_path) -> None:
    model = load_collectives("h100-sxm")
    with pytest.raises(InputError, match="known: nccl"):
        model.seconds("broadcast", 1e6, 8)
    with pytest.raises(InputError, match="9 GPUs on 2 nodes"):
        model.seconds("all_reduce", 1e6, 9, 2)
    with pytest.raises(InputError, match="use one of"):
        load_collectives("tpu")
    file = tmp_path / "model.json"
    file.write_text("{}")
    with pytest.raises(InputError, match="not a collective model"):
        load_collectives(str(file))
