"""The same cluster, untimed, under any policy of the registry: one compiled `Cache` a node; and,
for a single node, the bound `prefix_oracle`.

Routing is that of the plain-Python reference; a request costs one compiled call for each node that
the router looks at and one to touch its blocks. No lower tiers, no pool, no lending, no copies.
"""

from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.jit import kernel

from .cache import Cache
from .prefix_nodes import Outcome
from .prefix_oracle import replay_belady_blocks
from .prefix_reference import Reference
from .prefix_tables import Plan
from .registry import eviction
from .tables import FIRST

ORACLE = "belady_blocks"
_OPTIONS = ("leaf_only", "queue_informed", "borrow", "wait_in_flight", "hot_hits")


def run_any(plan: Plan, policy: str) -> Outcome:
    """Run an untimed plan of one tier under a policy of the registry; `plan.policy` is ignored.

    The outcome has no log, and no sums over time of residents and duplicates.
    Raises InputError: an unknown policy or one that knows the future, or a plan with time, tiers, a
    pool, or options that touch the order of eviction.
    """
    oracle = policy == ORACLE
    if not oracle and eviction(policy).future:
        raise InputError(
            f"{policy!r} must know the future",
            where="policy",
            mend=f"{ORACLE!r} does, for one node",
        )
    if oracle and plan.nodes > 1:
        raise InputError(f"{policy!r} is for one node", where="policy", mend="nodes.count = 1")
    wrong = [name for name in _OPTIONS if plan.settings[name]]
    if plan.timed or plan.pool_blocks or len(plan.tiers) > 1 or wrong:
        raise InputError(
            f"{policy!r} runs untimed, in one tier, without {', '.join(wrong) or 'a pool'}",
            where="policy",
            mend="choose lru, fifo, lfu or cost, or set timed = false and leave out further tiers, "
            "pools and options",
        )
    return _Oracle(plan).run().outcome() if oracle else _Nodes(plan, policy).run().outcome()


@kernel()
def _leading(S: Any, blocks: Any) -> int:
    """Blocks of the longest resident prefix."""
    found = 0
    while found < len(blocks) and S.queue[np.uint64(blocks[found]) + np.uint64(FIRST)] != 0:
        found += 1
    return found


class _Nodes(Reference):
    """The reference's requests and routing over compiled caches."""

    def __init__(self, plan: Plan, policy: str) -> None:
        super().__init__(plan)
        seed = int(plan.settings["seed"])
        self.caches = [
            Cache(policy, plan.tiers[0], plan.distinct, full=False, seed=seed + n)
            for n in range(plan.nodes)
        ]
        self.ids = plan.blocks.astype(np.uint32)

    def _ids(self, r: int) -> np.ndarray:
        return self.ids[self.plan.start[r] : self.plan.start[r + 1]]

    def prompt(self, r: int) -> list[int]:
        """Stands for the blocks where only their number counts."""
        return [0] * int(self.plan.start[r + 1] - self.plan.start[r])

    def prefix(self, r: int, n: int) -> int:
        """Blocks of the longest prefix in node n."""
        return int(_leading(self.caches[n].world, self._ids(r)))

    def find(self, r: int, n: int) -> None:
        """All hits lie in the one tier."""
        hits = self.prefix(r, n)
        self.served[r]["hits"] = self.sources[r][0] = hits

    def use(self, r: int, n: int, now: int) -> None:
        """Touch all blocks once."""
        ids = self._ids(r)
        self.caches[n].replay(ids[::-1] if self.set["tail_first"] else ids)
        self.totals["done"] += 1

    def outcome(self) -> Outcome:
        """Residents and duplicates as they are at the end."""
        held = np.zeros(self.plan.distinct, np.int64)
        for n, cache in enumerate(self.caches):
            resident = cache.resident()
            held[resident] += 1
            self.inside[n] = {(n, int(block)) for block in resident}
        self.totals["resident"] = int(held.sum())
        self.totals["duplicates"] = int(np.maximum(held - 1, 0).sum())
        return super().outcome()


class _Oracle(Reference):
    """One node that knows each block's next request; what it holds at the end is not told."""

    def run(self) -> "_Oracle":
        """All requests at once."""
        hits = replay_belady_blocks(
            self.plan.start, self.plan.blocks.astype(np.uint32), self.plan.tiers[0]
        )
        for r, found in enumerate(hits.tolist()):
            self.served[r]["hits"] = self.sources[r][0] = found
        self.totals["done"] = self.totals["cursor"] = self.plan.requests
        return self
