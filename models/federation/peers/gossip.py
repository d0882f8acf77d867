"""Asynchronous gossip: each peer trains at its own pace and averages with one neighbour at a time.

A peer trains from its model; what training made is added to the model it has by then (which others
may have changed meanwhile: the update is as stale as there were merges). Then it draws a neighbour
that is there, and

- "push" (gossip learning: Hegedus et al., "Decentralized learning works", 2021, algorithm 1;
  Plexus, dlsim/gl/community.py): sends its model, which the neighbour averages into its own, evenly
  or by age (local steps in a model; age_j becomes the larger one);
- "pair" (AD-PSGD: Lian et al., "Asynchronous decentralized parallel SGD", ICML 2018, algorithm 1):
  both send, and when both models have come both peers take their mean, in one instant. The mean of
  all models stays.

With `overlap` the next training begins at once, while the model travels (AD-PSGD); a peer sends
nothing new while its last model is on its way. Otherwise it waits until the model has arrived.

Time: ticks of 1 ns. Flows share the links of both ends in equal parts: the rate of a push is
min(up_i, down_j / flows to j), that of an exchange min over both ends of min(up, down) / exchanges
there. After the flow comes the latency, in which the links are free again. Who leaves breaks off
its flows; what arrives when the receiver is away is lost.

A version is N updates. The clock does not depend on the models, so learning follows the event log.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError

from .learner import Learner
from .protocol import Protocol
from .timeline import Learned, Setting, Timeline, empty_columns

Array = npt.NDArray[Any]

MODES = ("push", "pair")
MERGES = ("average", "age")


@dataclass(frozen=True)
class Gossip(Protocol):
    """Asynchronous gossip.

    Attributes:
        mode: "push" or "pair".
        overlap: train on while the model travels.
        merge: of "push": "average" (half and half) or "age".
        period_s: seconds from the start of a training to that of the next one at least.
    """

    mode: str = "push"
    overlap: bool = False
    merge: str = "average"
    period_s: float = 0.0

    def check(self, setting: Setting) -> None:
        """Raises InputError: an unknown mode or merge, an overlay of several phases or without the
        opposite of an edge (pair)."""
        for name, given, known in (("mode", self.mode, MODES), ("merge", self.merge, MERGES)):
            if given not in known:
                raise InputError(
                    f"unknown {name} {given!r}: {', '.join(known)}", where=f"protocol.{name}"
                )
        if not 0 <= self.period_s < 1e9:
            raise InputError(f"a period of {self.period_s} s", where="protocol.period_s")
        if len(setting.overlay.phases) > 1:
            raise InputError(
                f"gossip has no rounds, and the {setting.overlay.name} overlay changes by round",
                where="overlay",
            )
        if self.mode == "pair" and not setting.overlay.symmetric:
            raise InputError("a pair exchanges both ways, and the overlay has edges that go one "
                             "way", where="overlay")  # fmt: skip

    def timeline(self, setting: Setting, versions: int | None) -> Timeline:
        """Events until a limit of the plan, at most `versions` times N updates."""
        plan = setting.plan
        limits = [n for n in (versions, plan.versions) if n is not None]
        most = min(limits) * setting.peers if limits else 2**62
        updates = most if plan.updates is None else min(most, plan.updates)
        logged = setting.learns or setting.record
        if setting.reference:
            from .gossip_reference import GossipReference

            raw = GossipReference(self, setting, updates).run()
        else:
            raw = _compiled(self, setting, updates, logged)
        return _timeline(self, setting, raw, updates)

    def learn(self, setting: Setting, line: Timeline) -> Learned:
        """Train and merge along the log."""
        from .gossip_learning import follow

        return follow(self, setting, line, Learner(setting, len(line.versions)))


@dataclass(eq=False)
class Raw:
    """What the kernel or the twin leaves.

    Attributes:
        rows: (version, time, staleness sum, most, training, updates, down, up, joules, wasted).
        peers: columns dispatches, arrived, used, lost, compute, send, receive, wasted, up_bytes,
            down_bytes.
        state: names of GOSSIP_STATE: skipped, merges, undelivered, training, lost_bytes, ...
        hist: int64[...], staleness.
        under_way: transfers at the end.
        over: 1 a limit of updates, 2 nothing would happen any more, 3 the time.
        log: rows (time, kind, entity, value).
    """

    rows: list[tuple[Any, ...]]
    peers: dict[str, Array]
    state: dict[str, Any]
    hist: Array
    under_way: int
    over: int
    log: Array


def _compiled(protocol: Gossip, setting: Setting, updates: int, logged: bool) -> Raw:
    from .gossip_kernel import advance
    from .gossip_tables import COUNT, NO_FLOW, ROW, STATE, make_world

    world, log = make_world(
        setting,
        pair=protocol.mode == "pair",
        overlap=protocol.overlap,
        period_s=protocol.period_s,
        updates=updates,
        logged=logged,
    )
    rows: list[tuple[Any, ...]] = []
    while world.state[0].over == 0:
        advance(world)
        count = int(world.state[0].rows)
        names = ROW.names or ()
        rows += zip(*(world.rows[name][:count].tolist() for name in names), strict=True)
        world.state[0].rows = 0
        log.drain()
    peers = {name: np.array(world.count[name]) for name in COUNT.names or ()}
    peers["dispatches"] = np.array(world.peer.dispatches)
    return Raw(
        rows=rows,
        peers=peers,
        state={name: world.state[0][name].item() for name in STATE.names or ()},
        hist=np.array(world.hist),
        under_way=int((world.peer.stage != NO_FLOW).sum()),
        over=int(world.state[0].over),
        log=log.rows(),
    )


def _timeline(protocol: Gossip, setting: Setting, raw: Raw, updates: int) -> Timeline:
    state, plan, peers = raw.state, setting.plan, setting.peers
    clients = empty_columns(peers)
    for name in ("dispatches", "arrived", "used", "lost", "up_bytes", "down_bytes"):
        clients[name] += raw.peers[name]
    for name in ("compute", "send", "receive", "wasted"):
        clients[f"{name}_ticks"] += raw.peers[name]
    costs: list[tuple[Any, ...]] = [(0, 0.0, 0.0, 0.0, 0.0)]
    versions: list[tuple[Any, ...]] = []
    for number, time, total, most, training, done, down, up, joules, wasted in raw.rows:
        versions.append((number, time, peers, total / peers, most, training))
        costs.append((done, down, up, joules, wasted / TICKS_PER_S))
    ended = {
        1: f"{updates} updates have come",
        2: "nobody is there any more, nor will be",
        3: f"{plan.until_s or 0:g} s are over",
    }[raw.over]
    if raw.over == 1 and plan.versions is not None and updates == plan.versions * peers:
        ended = f"version {plan.versions} was made, the last one asked for"
    size = setting.model_bytes * (2 if protocol.mode == "pair" else 1)
    used = np.flatnonzero(raw.hist)
    return Timeline(
        versions=versions,
        costs=costs,
        clients=clients,
        staleness=raw.hist[: used[-1] + 1] if len(used) else raw.hist[:1],
        totals={"pending": 0, "in_flight": int(state["training"])},
        sent={"model": state["up_bytes"]},
        received={"model": state["down_bytes"]},
        lost={"model": state["lost_bytes"]},
        under_way={"model": raw.under_way * size},
        end=setting.until if raw.over == 3 else int(state["now"]),
        ended=ended,
        complete=raw.over != 2,
        steps=raw.log,
        log=raw.log if setting.record else None,
        facts={name: int(state[name]) for name in ("merges", "skipped", "undelivered", "events")},
    )
