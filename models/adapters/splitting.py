"""The plain-Python twin of `agents`: one ordered dict of parts, least recently used first."""

from collections import OrderedDict

import numpy as np

from .agents import TurnsInput, TurnsOutcome

Key = tuple[object, int, int]  # (conversation, or None for the common start; block; component)


class SplitCache:
    """Parts of KV blocks under a budget of bytes."""

    def __init__(self, given: TurnsInput) -> None:
        self.given = given
        self.held: OrderedDict[Key, int] = OrderedDict()
        self.totals = dict.fromkeys(
            ("used", "peak", "bytes_in", "bytes_out", "inserted", "evicted", "refused"), 0
        )

    def parts(self, conversation: int, agent: int, block: int) -> list[tuple[Key, int]]:
        """Keys and bytes of what agent needs of a block: the shared part, then its own."""
        owner = None if block < self.given.shared_blocks else conversation
        both = (
            ((owner, block, 0), self.given.shared_bytes),
            ((owner, block, 1 + agent), self.given.own_bytes),
        )
        return [(key, size) for key, size in both if size]

    def take(self, conversation: int, agent: int, before: int, after: int) -> int:
        """One turn; the tokens that it found."""
        blocks = range(after // self.given.block_tokens)
        needed = [self.parts(conversation, agent, block) for block in blocks]
        hits = 0
        while hits < before // self.given.block_tokens and all(
            key in self.held for key, _ in needed[hits]
        ):
            hits += 1
        mine = {key for parts in needed for key, _ in parts}
        for parts in needed:
            for key, _ in parts:
                if key in self.held:
                    self.held.move_to_end(key)
        self._insert_all([part for parts in needed for part in parts], mine)
        for parts in reversed(needed):
            for key, _ in reversed(parts):
                if key in self.held:
                    self.held.move_to_end(key)
        return hits * self.given.block_tokens

    def _insert_all(self, parts: list[tuple[Key, int]], mine: set[Key]) -> None:
        totals = self.totals
        for key, size in parts:
            if key in self.held:
                continue
            while totals["used"] + size > self.given.capacity:
                oldest = next(iter(self.held), None)
                if oldest is None or oldest in mine:
                    totals["refused"] += 1
                    return
                gone = self.held.pop(oldest)
                totals["used"] -= gone
                totals["bytes_out"] += gone
                totals["evicted"] += 1
            self.held[key] = size
            totals["used"] += size
            totals["peak"] = max(totals["peak"], totals["used"])
            totals["bytes_in"] += size
            totals["inserted"] += 1


def replay_reference(given: TurnsInput) -> TurnsOutcome:
    """Run the twin.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    cache = SplitCache(given)
    rows = zip(given.conversation, given.agent, given.before, given.after, strict=True)
    found = [cache.take(*(int(value) for value in row)) for row in rows]
    return TurnsOutcome(hit_tokens=np.array(found, np.int64), totals=cache.totals)
