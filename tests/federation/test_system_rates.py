"""Clients' links that follow traces: kernel and twin, and what a rate that changes must give."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from system_cases import (
    Buffered,
    Counting,
    Rounds,
    assert_same,
    assert_twins,
    printed,
    random_federation,
    random_links,
    random_policies,
)

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.peers.overlay import complete
from mltwin.models.federation.peers.rounds import DPSGD
from mltwin.models.federation.peers.simulate import simulate_peers
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Availability, Clients, LinkTraces, Plan
from mltwin.models.network.bandwidth import CapacityTrace
from mltwin.sim.errors import InputError

SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from system_cases import random_policies, told
from test_system_rates import traced_federation
from mltwin.models.federation.simulate import simulate
made = hashlib.sha256()
for seed in range(25):
    clients, plan, key = traced_federation(seed)
    run = simulate(clients, random_policies(seed), plan, seed=key, record=True)
    made.update(told(run))
print(made.hexdigest())
"""


@dataclass
class Timed(Rounds):
    """Rounds of one client, the first of which is cancelled at a time."""

    at_s: float = 1.0

    def __init__(self, at_s: float) -> None:
        super().__init__(1, 1)
        self.at_s = at_s

    def start(self, server: Any) -> None:
        super().start(server)
        server.timer(0, round(self.at_s * 1e9))

    def timer(self, server: Any, number: int) -> None:
        server.cancel([0])
        server.finish("enough")


def traced_federation(seed: int) -> tuple[Clients, Plan, int]:
    """A random federation whose links follow traces."""
    clients, plan, key = random_federation(seed)
    return clients.changed(links=random_links(seed, len(clients))), plan, key


@pytest.mark.parametrize("block", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kernel_and_twin_agree_event_by_event_on_traces(block: int) -> None:
    differ = 0
    for seed in range(250 * block, 250 * block + 250):
        clients, plan, key = traced_federation(seed)
        fast = assert_twins(clients, seed, plan, key)
        constant = simulate(
            clients.changed(links=None), random_policies(seed), plan, seed=key, record=True
        )
        differ += not np.array_equal(constant.log, fast.log)
    assert differ > 150


def test_automatic_steps_are_those_of_the_hooks_on_traces() -> None:
    for seed in range(60):
        clients, plan, key = traced_federation(seed)
        kinds = (Counting, Buffered)
        alone, asked = (
            simulate(clients, Policies(kind(1 + seed % 3, 4)), plan, seed=key, record=True)
            for kind in kinds
        )
        assert_same(alone, asked, seed)


@pytest.mark.parametrize("afterwards", ["repeat", "hold"])
@pytest.mark.parametrize("seed", range(20))
def test_a_transfer_ends_when_the_closed_form_says(seed: int, afterwards: str) -> None:
    """`CapacityTrace.finish_tick` (its ticks are ps) for downloads over gaps and many periods."""
    draw = np.random.default_rng(seed)
    rates = np.where(draw.random(50) < 0.3, 0.0, draw.random(50) * 1e6)
    rates[-1] += 1e5
    times = np.concatenate([[0], np.cumsum(draw.integers(1, 3000, 50)) / 1000])
    trace = CapacityTrace.make(times[:-1], rates, times[-1], afterwards=afterwards)
    count = 30
    places = draw.integers(0, int(times[-1] * 1e9), count)
    links = LinkTraces.of([trace], down=0, up=-1, offset=places)
    size = float(10.0 ** draw.uniform(0, 9))
    run = simulate(
        Clients.make(np.ones(count), s_per_sample=0.0, latency_s=0.5, links=links),
        Policies(Rounds(count, count)),
        Plan(versions=1, model_bytes=size),
    )
    for client, place in enumerate((places + 500_000_000).tolist()):
        finish = trace.finish_tick(size, place * 1000)
        assert finish is not None
        ticks = int(run.clients["receive_ticks"][client]) - 500_000_000
        # One ns where rounding of the sums decides, or of ps to ns.
        assert abs(ticks - (finish / 1000 - place)) <= 1 + 1e-15 * finish, client
        moved = np.diff(trace.bytes_by(np.array([place, place + ticks]) * 1000))[0]
        assert moved == pytest.approx(size, rel=1e-9, abs=0.01)


@pytest.mark.parametrize("interruption", ["drop", "pause", "finish"])
@pytest.mark.parametrize("period", [7, 0])
def test_one_piece_is_the_constant_rate_to_the_tick(interruption: str, period: int) -> None:
    """Rates of whole bytes a tick: rounding up or to the nearest does nothing."""
    for seed in range(60):
        clients, plan, key = random_federation(seed)
        plan = replace(plan, interruption=interruption)
        count = len(clients)
        rate = float(np.random.default_rng(seed).choice([1e9, 2e9]))
        if plan.model_bytes is not None and rate == 2e9:
            plan = replace(plan, model_bytes=2 * plan.model_bytes)
        one = LinkTraces(
            np.array([0, 1]), np.array([0]), np.array([rate]), np.array([period]),
            np.zeros(count, np.int32), np.zeros(count, np.int32), np.full(count, 3),
        )  # fmt: skip
        constant = clients.changed(
            down_bytes_per_s=np.full(count, rate), up_bytes_per_s=np.full(count, rate)
        )
        runs = [
            simulate(who, Policies(Counting(2, 5)), plan, seed=key, record=True)
            for who in (constant, clients.changed(links=one))
        ]
        assert np.array_equal(runs[0].log, runs[1].log), seed
        for name in ("receive_ticks", "compute_ticks", "send_ticks", "wasted_ticks", "arrived"):
            assert np.array_equal(runs[0].clients[name], runs[1].clients[name]), (seed, name)


def test_a_tunnel_holds_up_a_transfer_and_a_lost_one_has_moved_what_passed() -> None:
    """8 bytes at 1 byte/s for 4 s, nothing for 10 s, then 2 bytes/s; a latency of 1 s before."""
    trace = CapacityTrace.make([0, 5, 15], [1.0, 0.0, 2.0], 20.0)
    links = LinkTraces.of([trace], down=0, up=-1)
    plan = Plan(versions=1, model_bytes=8.0, steps=0, until_s=100.0)
    clients = Clients.make([1], latency_s=1.0, links=links)
    run = simulate(clients, Policies(Rounds(1, 1)), plan)
    assert run.end_s == 1.0 + 4.0 + 10.0 + 2.0 + 1.0
    assert clients.down_bytes_per_s[0] == (5 * 1.0 + 5 * 2.0) / 20  # its mean, for policies
    gone = Availability(
        np.array([0, 1]), np.array([0]), np.array([10**9 * 10]), np.array([0]),
        np.zeros(1, np.int32), np.zeros(1, np.int64),
    )  # fmt: skip
    lost = simulate(
        Clients.make([1], latency_s=1.0, links=links, availability=gone),
        Policies(Rounds(1, 1)),
        plan,
    )
    assert lost.totals["lost"] == 1
    assert lost.clients["down_bytes"][0] == 4.0  # by the start of the tunnel, not 9/16 of 8


def test_a_pause_moves_bytes_only_while_the_client_is_there() -> None:
    """There from 0 to 3 s, from 12 to 14 s and from 18 s on: 3, 0 and the last 5 bytes."""
    trace = CapacityTrace.make([0, 5, 15], [1.0, 0.0, 2.0], 20.0)
    there = Availability(
        np.array([0, 3]), 10**9 * np.array([0, 12, 18]), 10**9 * np.array([3, 14, 60]),
        np.array([0]), np.zeros(1, np.int32), np.zeros(1, np.int64),
    )  # fmt: skip
    clients = Clients.make(
        [1], links=LinkTraces.of([trace], down=0, up=-1), availability=there, receive_w=1.0
    )
    plan = Plan(versions=1, model_bytes=8.0, steps=0, interruption="pause")
    run = simulate(clients, Policies(Rounds(1, 1)), plan)
    assert run.end_s == 18.0 + 2.0 + 1.0
    assert run.clients["receive_ticks"][0] == 10**9 * (3 + 2 + 3)
    stopped = simulate(clients, Policies(Timed(13.0)), plan)
    assert stopped.totals["cancelled"] == 1
    assert stopped.clients["down_bytes"][0] == 3.0


def test_a_transfer_that_can_never_move_while_the_client_is_there_does_not_hang() -> None:
    """There in the tunnels only: what is left after `STAYS` of them goes on as if it stayed."""
    trace = CapacityTrace.make([0, 5], [1.0, 0.0], 10.0)
    there = Availability(
        np.array([0, 1]), np.array([6 * 10**9]), np.array([9 * 10**9]), np.array([10**10]),
        np.zeros(1, np.int32), np.full(1, 6 * 10**9),
    )  # fmt: skip
    links = LinkTraces.of([trace], down=0, up=-1, offset=6 * 10**9)
    clients = Clients.make([1], links=links, availability=there)
    plan = Plan(until_s=5e4, model_bytes=1.0, steps=0, interruption="pause")
    runs = [simulate(clients, Policies(Rounds(1, 1)), plan, reference=twin) for twin in (0, 1)]
    for run in runs:
        assert run.totals["in_flight"] == 1 and run.totals["arrived"] == 0
        assert run.ended == "50000 s are over"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({"NUMBA_DISABLE_JIT": "1"}, id="without the compiler"),
        pytest.param(
            {"MLTWIN_WORLD": "structref"}, id="Numba's structures", marks=pytest.mark.slow
        ),
    ],
)
def test_the_same_on_every_kind_of_world(kind: dict[str, str]) -> None:
    assert printed(SCRIPT) == printed(SCRIPT, **kind) != ""


@pytest.mark.parametrize(
    ("rates", "afterwards", "text"),
    [
        ([1.0, 2.0], "stop", "would never end"),
        ([1.0, 0.0], "hold", "comes to stay at rate 0"),
        ([0.0, 0.0], "repeat", "comes to stay at rate 0"),
    ],
)
def test_traces_on_which_a_transfer_could_never_end(
    rates: list[float], afterwards: str, text: str
) -> None:
    trace = CapacityTrace.make([0, 1], rates, 2.0, afterwards=afterwards)
    with pytest.raises(InputError, match=text):
        LinkTraces.of([trace], down=0, up=0)


def test_links_that_cannot_be() -> None:
    trace = CapacityTrace.make([0], [1.0], 2.0)
    with pytest.raises(InputError, match="names a trace that is not there"):
        LinkTraces.of([trace], down=1, up=0)
    with pytest.raises(InputError, match="0 to 10\\^18 ticks"):
        LinkTraces.of([trace], down=0, up=0, offset=-1)
    links = LinkTraces.of([trace], down=[0, 0], up=0)
    with pytest.raises(InputError, match="links of 2 clients, samples of 3"):
        Clients.make([1, 1, 1], links=links)
    clients = Clients.make([1, 1], links=links)
    with pytest.raises(InputError, match="peers"):
        simulate_peers(clients, complete(2), DPSGD(), Plan(versions=1))
