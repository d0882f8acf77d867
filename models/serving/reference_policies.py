"""What the policies of the SimPy twin see, and what they may answer.

Each call is given fresh records, so that a policy cannot write into the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import KernelError

from .hooks import (
    ACTION,
    ARGUMENT,
    BLOCK,
    CONTEXT,
    DECODE_ROLE,
    HOOKS,
    PREFILL_ROLE,
    REPLICA,
    REQUEST,
    TENANT,
    UP,
)
from .tables import SWAPPED

if TYPE_CHECKING:
    from .reference import Simulation
    from .reference_memory import Block
    from .reference_replica import Replica
    from .reference_request import Request


def records(dtype: np.dtype, rows: list[dict[str, Any]]) -> np.recarray:
    """Rows given by field as a record array; fields left out are zero."""
    names = dtype.names or ()
    filled = [tuple(row.get(name, 0) for name in names) for row in rows]
    return np.array(filled, dtype).view(np.recarray)


class Policies:
    """Calls the hooks; one that no policy fills has the plainest default."""

    def __init__(self, simulation: Simulation, given: Mapping[str, Callable]) -> None:
        if unknown := set(given) - set(HOOKS):
            raise KernelError(f"no such hooks: {sorted(unknown)}; there are {sorted(HOOKS)}")
        self.simulation, self.given = simulation, given
        inp = simulation.inp
        self.own = {hook: (inp.hook_params(hook), inp.hook_memory(hook)) for hook in HOOKS}
        self.snapshot: np.recarray | None = None
        self.scores_blocks = "evict" in given and not inp.default_evict
        self.counts_wanted = self.scores_blocks and inp.count_wanted

    # what they see

    def context(self, *, request: int = -1, replica: int = -1, event: int = 0) -> np.record:
        row = {
            "now": self.simulation.clock.now,
            "seed": self.simulation.inp.seed,
            "request": request,
            "replica": replica,
            "event": event,
            "block_tokens": self.simulation.inp.block_tokens,
        }
        return records(CONTEXT, [row])[0]

    def request(self, q: Request) -> np.record:
        row = {name: getattr(q, name) for name in REQUEST.names or ()}
        return records(REQUEST, [row])[0]

    def tenants(self) -> np.recarray:
        return records(TENANT, [vars(tenant) for tenant in self.simulation.tenants])

    def live_replicas(self) -> np.recarray:
        return records(REPLICA, [self._replica(r) for r in self.simulation.replicas])

    def replicas(self) -> np.recarray:
        """As they were at the last snapshot if the scenario has a stale view."""
        if self.snapshot is None:
            return self.live_replicas()
        seen = self.snapshot.copy()
        for row, r in zip(seen, self.simulation.replicas, strict=True):
            row.state, row.role = r.state, r.role  # a router knows who is up
        return seen

    def _replica(self, r: Replica) -> dict[str, Any]:
        live = self.simulation.inp.live_view
        return {
            "outstanding_tokens": sum(q.prompt + q.predicted for q in r.assigned),
            "queued_tokens": sum(q.need for q in r.queue),
            "decode_context": sum(q.kv for q in r.decoding) if live else 0,
            "speed": r.kind.speed,
            "outstanding": len(r.assigned),
            "waiting": len(r.queue),
            "role": r.role,
            "state": r.state,
            "pool": r.pool,
            "blocks": r.memory.blocks,
            "free_blocks": r.memory.available if live else 0,
            "incoming": len(r.coming) + len(r.inbound),
        }

    # what they decide

    def _call(self, hook: str, *seen: Any) -> Any:
        return self.given[hook](*seen, *self.own[hook])

    def admit(self, q: Request) -> bool:
        """Whether an arriving request is accepted."""
        if "admit" not in self.given:
            return True
        answer = int(
            self._call(
                "admit",
                self.request(q),
                self.replicas(),
                self.tenants(),
                self.context(request=q.id),
            )
        )
        if answer not in (0, 1):
            raise KernelError(f"admit answered {answer} for request {q.id}: neither 0 nor 1")
        return answer == 1

    def route(self, q: Request) -> Replica:
        """The replica whose queue a request joins; one that is up and prefills."""
        if "route" not in self.given:
            return next(r for r in self.simulation.replicas if r.can(PREFILL_ROLE))
        depth = self.simulation.depth_of_hits(q)
        hits = [r.memory.hits(q.ids[: q.named], depth) for r in self.simulation.replicas]
        if stores := self.simulation.stores:
            near = list(zip(self.simulation.replicas, hits, strict=True))
            hits += [stores.reach(r, q, hit)[1] for r, hit in near]
        answer = self._call(
            "route",
            self.request(q),
            self.replicas(),
            np.array(hits, np.int32),
            self.context(request=q.id),
        )
        return self._one_that_can("route", q, int(answer), PREFILL_ROLE)

    def place_decode(self, q: Request, source: Replica) -> Replica:
        """The replica that decodes a prefilled request: its source, or one that decodes."""
        if "place_decode" not in self.given:
            return source
        answer = self._call(
            "place_decode",
            self.request(q),
            self.replicas(),
            self.context(request=q.id, replica=source.index),
        )
        if int(answer) == source.index:
            return source
        return self._one_that_can("place_decode", q, int(answer), DECODE_ROLE)

    def priority(self, q: Request, at: Replica, event: int) -> float:
        """The key of a waiting request; its arrival without a policy."""
        if "priority" not in self.given:
            return float(q.arrival)
        return self._score("priority", q, at, event)

    def preempt(self, q: Request, at: Replica) -> float:
        """The score by which requests are pre-empted; its key without a policy."""
        return self._score("preempt", q, at, 0) if "preempt" in self.given else q.key

    def evict(self, request: int, block: Block, at: Replica) -> float:
        """The score of an evictable block; the same for all (LRU) without a policy."""
        if not self.scores_blocks:
            return 0.0
        block_tokens = self.simulation.inp.block_tokens
        row = {
            "released": block.released,
            "made": block.made,
            "score": block.score,
            "last_evicted": at.memory.last_evicted,
            "hits": block.hits,
            "new_hits": block.new_hits,
            "depth": block.depth,
            "tokens_before": block.depth * block_tokens,
            "tokens_after": block.behind * block_tokens,
            "wanted": self.wanted(block.name, at) if self.counts_wanted else 0,
        }
        context = self.context(request=request, replica=at.index)
        return self._number(
            "evict", request, self._call("evict", records(BLOCK, [row])[0], context)
        )

    def wanted(self, block: int, at: Replica) -> int:
        """Waiting requests of a replica that may find a block there, once it is resident."""
        return sum(self.prefix_wanted(q).count(block) for q in at.queue)

    def prefix_wanted(self, q: Request) -> list[int]:
        """The blocks that a waiting request looks for; a swapped one looks for none."""
        return [] if q.state == SWAPPED else q.ids[: self.simulation.depth_of_hits(q)]

    def scale(self, turn: int) -> tuple[int, int, Replica] | None:
        """The next (action, argument, replica) of the scale policy, None when it has no more."""
        answer = int(self._call("scale", self.live_replicas(), self.context(event=turn)))
        if answer == 0:
            return None
        action, rest = divmod(answer, ACTION)
        argument, index = divmod(rest, ARGUMENT)
        if answer < 0 or index >= len(self.simulation.replicas):
            raise KernelError(f"scale answered {answer} in turn {turn}: there is no such replica")
        return action, argument, self.simulation.replicas[index]

    def _score(self, hook: str, q: Request, at: Replica, event: int) -> float:
        context = self.context(request=q.id, replica=at.index, event=event)
        return self._number(hook, q.id, self._call(hook, self.request(q), self.tenants(), context))

    @staticmethod
    def _number(hook: str, request: int, answer: Any) -> float:
        if math.isnan(answer):
            raise KernelError(f"{hook} answered {answer} for request {request}: no number")
        return float(answer)

    def _one_that_can(self, hook: str, q: Request, answer: int, role: int) -> Replica:
        replicas = self.simulation.replicas
        why = ""
        if not 0 <= answer < len(replicas):
            why = f"there are {len(replicas)} replicas"
        elif replicas[answer].state != UP:
            why = "that replica is not up"
        elif not replicas[answer].can(role):
            why = "that replica has not the role"
        if why:
            raise KernelError(f"{hook} answered {answer} for request {q.id}: {why}")
        return replicas[answer]
