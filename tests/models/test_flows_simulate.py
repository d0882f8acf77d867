"""Tables of flows, the simple fidelity, and the one clear line that bad input gets."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flow_cases import digest_of_cases

from mltwin.models.network.flows import Changes, FlowTable
from mltwin.models.network.simulate import simulate_flows
from mltwin.models.network.tables import bundles
from mltwin.sim.errors import InputError

S = 10**12
GB = 1e9


def test_alphabeta_is_latency_and_bytes_over_the_narrowest_link() -> None:
    flows = FlowTable.of_paths(
        [GB, GB, GB, 0.0],
        [[0, 1], [0, 1], [1, 1], [0]],
        delay=[5, 0, 0, 7],
        cap=[np.inf, 0.25 * GB, np.inf, np.inf],
        after=[[], [0], [], [1]],
    )
    run = simulate_flows([GB, 2 * GB], flows, fidelity="alphabeta")
    assert run.start.tolist() == [0, S + 5, 0, 5 * S + 5]
    assert run.end.tolist() == [S + 5, 5 * S + 5, S, 5 * S + 12]
    assert run.makespan == 5 * S + 12
    assert run.link_bytes.tolist() == [2 * GB, 4 * GB]


def test_both_fidelities_agree_where_flows_do_not_meet() -> None:
    g = np.random.default_rng(5)
    n = 60
    paths = [[3 * k, 3 * k + 1, 3 * k + 2] for k in range(n)]
    flows = FlowTable.of_paths(
        g.lognormal(15, 3, n),
        paths,
        release=g.integers(0, S, n),
        delay=g.integers(0, S // 1000, n),
        after=[[] if k < 10 else [k - 10, k - 7] for k in range(n)],
    )
    speed = g.uniform(1e8, 1e11, 3 * n)
    full = simulate_flows(speed, flows)
    simple = simulate_flows(speed, flows, fidelity="alphabeta")
    assert full.end.tolist() == simple.end.tolist()
    assert full.start.tolist() == simple.start.tolist()
    assert full.link_busy_ticks.tolist() == simple.link_busy_ticks.tolist()


def test_bundles_are_equal_paths_and_caps() -> None:
    flows = FlowTable.of_paths(
        [1.0] * 8,
        [[0, 1], [1, 0], [0, 1], [0], [], [0, 1], [0], [0, 1, 1]],
        cap=[np.inf, np.inf, np.inf, np.inf, np.inf, 4.0, 2.0, np.inf],
        weight=[1, 1, 5, 1, 1, 2, 1, 1],
    )
    found = bundles(flows, flows.cap / flows.weight)
    assert found.tolist() == [0, 1, 0, 2, 3, 4, 5, 6]


def test_the_same_without_the_compiler() -> None:
    assert digest_elsewhere(NUMBA_DISABLE_JIT="1") == digest_of_cases()


@pytest.mark.slow
def test_the_same_in_the_other_world() -> None:
    assert digest_elsewhere(MLTWIN_WORLD="structref") == digest_of_cases()


def digest_elsewhere(**environment: str) -> str:
    return said("flow_cases.py", **environment)


def test_handlers_one_by_one() -> None:
    """In plain Python, where each call costs no compilation; the script asserts as it goes."""
    assert min(map(int, said("flow_handlers.py", NUMBA_DISABLE_JIT="1").split())) > 200


def said(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", str(Path(__file__).with_name(script))],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_no_flows_at_all() -> None:
    run = simulate_flows([GB], FlowTable.of_paths([], []))
    assert len(run.end) == 0 and run.makespan == 0


def refused(words: str, *args, **named) -> None:
    with pytest.raises(InputError) as caught:
        simulate_flows(*args, **named)
    text = str(caught.value)
    assert words in text and "\n" not in text, text


@pytest.mark.parametrize("fidelity", ["maxmin", "alphabeta"])
def test_a_broken_link_in_use(fidelity: str) -> None:
    flows = FlowTable.of_paths([1.0, 1.0], [[0], [0, 2]])
    refused("flow 1 crosses link 2", [GB, GB, 0.0], flows, fidelity=fidelity)
    unused = FlowTable.of_paths([1.0, 1.0], [[0], [0, 1]])
    assert simulate_flows([GB, GB, 0.0], unused, fidelity=fidelity).makespan > 0


def test_a_link_that_never_recovers() -> None:
    flows = FlowTable.of_paths([GB, GB], [[0], [1]])
    refused("flow 0 crosses link 0", [GB, GB], flows, changes=Changes.make(S // 2, 0, 0.0))


def test_links_have_their_names() -> None:
    from mltwin.models.network.topology import Topology

    wires = Topology.make(
        name="pair",
        nodes=["a", "b"],
        kinds=[0, 0],
        source=[0, 1],
        target=[1, 0],
        bytes_per_s=[0.0, GB],
        latency_s=[0.0, 0.0],
        endpoints=[0, 1],
    )
    refused(wires.link_names()[0], wires, FlowTable.of_paths([1.0], [[0]]))


def test_a_circle() -> None:
    flows = FlowTable.of_paths([1.0] * 4, [[0]] * 4, after=[[], [3], [1], [2, 0]])
    for fidelity in ("maxmin", "alphabeta"):
        refused("1 after 3 after 2 after 1", [GB], flows, fidelity=fidelity)


def test_more_than_a_hundred_days() -> None:
    flows = FlowTable.of_paths([1e12], [[0]])
    for fidelity in ("maxmin", "alphabeta"):
        refused("100 days", [1.0], flows, fidelity=fidelity)


def test_other_bad_input() -> None:
    one = FlowTable.of_paths([1.0], [[0]])
    refused("fidelity 'packet'", [GB], one, fidelity="packet")
    refused("crosses link 0", [], one)
    refused("bandwidth nan", [np.nan], one)
    refused("link 4 changes", [GB], one, changes=Changes.make(0, 4, 1.0))
    refused('use fidelity="maxmin"', [GB], one, fidelity="alphabeta", record=True)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"bytes": [-1.0]}, "flow 0: bytes -1.0"),
        ({"bytes": [np.nan]}, "bytes nan"),
        ({"weight": [0.0]}, "weight 0.0"),
        ({"cap": [0.0]}, "cap 0.0"),
        ({"release": [-5]}, "release -5"),
        ({"release": [0.5]}, "integers"),
        ({"delay": [1, 2]}, "'delay' has 2 rows"),
        ({"first": [0, 2]}, "'links'"),
        ({"links": [-1]}, "link -1"),
        ({"after_first": [0, 1], "after": [1]}, "flow 0: waits for flow 1"),
    ],
)
def test_columns_are_checked(columns: dict, words: str) -> None:
    given = {"bytes": [1.0], "first": [0, 1], "links": [0]} | columns
    with pytest.raises(InputError, match=words):
        FlowTable.make(**given)


def test_changes_are_checked_and_sorted() -> None:
    changes = Changes.make([5, 3, 5], [0, 1, 2], [1.0, 2.0, 3.0])
    assert changes.link.tolist() == [1, 0, 2]
    with pytest.raises(InputError, match=r"change 0: bytes_per_s -1\.0"):
        Changes.make(0, 0, -1.0)
