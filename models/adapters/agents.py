"""Replay of conversations among agents that share a base model, block by block.

A conversation is one growing context; its turns are taken by agents of several roles, each with an
adapter of its own (LRAgent, arXiv 2602.01053: plan, act, reflect). What is cached of a block of
tokens is known by (prefix, component): component 0 is shared by all agents, 1 + a is agent a's own
(`sizes.KvSplit.parts` says how large they are in each scheme).

A turn of agent a finds the longest run of leading blocks of the context so far whose shared part
and whose part of a's are both resident; the rest of the context and the turn's own tokens pass the
model. Afterwards all full blocks of the context are cached, as far as they fit: the least recently
used part goes first, tails before heads, and no part of the turn's own context. Time is not
modelled, nor do turns overlap.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler, kernel, types
from mltwin.sim.rng_arrays import LENGTHS, SESSIONS, exponentials, uniforms
from mltwin.sim.world import World, world_type

Ints = NDArray[np.int64]

G_NAMES = (
    *("turn", "agents", "block_tokens", "shared_blocks", "shared_bytes", "own_bytes", "capacity"),
    *("used", "peak", "bytes_in", "bytes_out", "inserted", "evicted", "refused"),
)
G = {name: place for place, name in enumerate(G_NAMES)}
COUNTERS = G_NAMES[G_NAMES.index("used") :]

_COLUMNS = ("conversation", "agent", "before", "after", "first_block", "hit_blocks")
WORLD = world_type(
    {
        **dict.fromkeys(_COLUMNS, np.dtype(np.int64)),
        **dict.fromkeys(("up", "down", "stamp", "g"), np.dtype(np.int64)),
        "held": np.dtype(np.int8),
    }
)


@dataclass(frozen=True, eq=False)
class TurnsInput:
    """Turns in the order in which they are taken.

    Attributes:
        conversation, agent: int64[n].
        before, after: int64[n] tokens of the conversation's context before and after the turn.
        agents: how many roles there are.
        block_tokens: tokens of a block.
        shared_tokens: with which all conversations begin alike.
        shared_bytes, own_bytes: of a block.
        capacity: bytes.
    """

    conversation: Ints
    agent: Ints
    before: Ints
    after: Ints
    agents: int
    block_tokens: int
    shared_tokens: int
    shared_bytes: int
    own_bytes: int
    capacity: int

    @property
    def shared_blocks(self) -> int:
        """Full blocks of the common start."""
        return self.shared_tokens // self.block_tokens

    def first_blocks(self) -> tuple[Ints, int]:
        """Where each conversation's own blocks begin, and how many blocks there are in all."""
        count = int(self.conversation.max()) + 1
        longest = np.zeros(count, np.int64)
        np.maximum.at(longest, self.conversation, self.after // self.block_tokens)
        own = np.maximum(0, longest - self.shared_blocks)
        starts = self.shared_blocks + np.cumsum(own) - own
        return starts, self.shared_blocks + int(own.sum())

    def check(self) -> None:
        """Raises InputError for what does not fit together."""
        if not len(self.conversation):
            raise InputError("there are no turns", where="agents")
        if np.any(self.after <= self.before) or np.any(self.before < 0):
            raise InputError("a turn adds no tokens", where="agents")
        if self.agents <= int(self.agent.max()) or self.agent.min() < 0:
            raise InputError("a turn is of no agent", where="agents")
        if self.shared_bytes < 0 or self.own_bytes < 0 or self.shared_bytes + self.own_bytes < 1:
            raise InputError("a block has no bytes", where="agents")


@dataclass(frozen=True, eq=False)
class TurnsOutcome:
    """hit_tokens: int64[n] found at each turn; totals: counters by name."""

    hit_tokens: Ints
    totals: dict[str, int]


def draw_turns(
    seed: int, conversations: int, turns: int, together: int, mean_tokens: int, shared_tokens: int
) -> dict[str, Ints]:
    """Columns `conversation`, `turn`, `before`, `after` of turns in the order they are taken.

    New tokens of a turn are exponential (at least 1) on top of the common start. Conversation c
    begins at c * turns / together, in units of a turn, and its k-th turn comes k plus a uniform
    draw later, so that about `together` are under way.
    """
    entity = np.repeat(np.arange(conversations), turns)
    turn = np.tile(np.arange(turns), conversations)
    fresh = np.rint(mean_tokens * exponentials(seed, LENGTHS, entity, turn)).astype(np.int64)
    grown = np.cumsum(np.maximum(1, fresh).reshape(conversations, turns), axis=1).reshape(-1)
    before = np.where(turn == 0, 0, np.roll(grown, 1)) + shared_tokens
    before[turn == 0] = 0
    when = entity * (turns / together) + turn + uniforms(seed, SESSIONS, entity, turn)
    order = np.lexsort((turn, entity, when))
    columns = {
        "conversation": entity,
        "turn": turn,
        "before": before,
        "after": grown + shared_tokens,
    }
    return {name: np.ascontiguousarray(column[order]) for name, column in columns.items()}


_SHARED, _AGENTS, _CAPACITY = G["shared_blocks"], G["agents"], G["capacity"]
_TURN, _BLOCK, _USED, _PEAK = (G[k] for k in ("turn", "block_tokens", "used", "peak"))
_SHARED_BYTES, _OWN_BYTES = G["shared_bytes"], G["own_bytes"]
_IN, _OUT = G["bytes_in"], G["bytes_out"]
_INSERTED, _EVICTED, _REFUSED = (G[k] for k in ("inserted", "evicted", "refused"))


@handler
def _part(S: Any, turn: int, block: int, own: int) -> int:
    """The key of a block's shared part (own = 0) or of the agent's part (own = 1)."""
    g = S.g
    number = block
    if block >= g[_SHARED]:
        number = S.first_block[S.conversation[turn]] + block - g[_SHARED]
    component = 1 + S.agent[turn] if own == 1 else 0
    return number * (1 + g[_AGENTS]) + component


@handler
def _bytes(S: Any, key: int) -> int:
    return S.g[_SHARED_BYTES] if key % (1 + S.g[_AGENTS]) == 0 else S.g[_OWN_BYTES]


@handler
def _unlink(S: Any, key: int) -> None:
    S.down[S.up[key]] = S.down[key]
    S.up[S.down[key]] = S.up[key]


@handler
def _to_front(S: Any, key: int) -> None:
    """Most recently used; the sentinel is the last row."""
    front = len(S.up) - 1
    S.up[key] = front
    S.down[key] = S.down[front]
    S.up[S.down[front]] = key
    S.down[front] = key


@handler
def _usable(S: Any, turn: int, block: int) -> bool:
    for own in range(2):
        wanted = S.g[_OWN_BYTES] if own == 1 else S.g[_SHARED_BYTES]
        if wanted > 0 and S.held[_part(S, turn, block, own)] == 0:
            return False
    return True


@handler
def _insert(S: Any, turn: int, key: int) -> bool:
    """Cache a part; False, and nothing is changed, if only the turn's own parts could go."""
    g = S.g
    need = _bytes(S, key)
    back = len(S.up) - 1
    while g[_USED] + need > g[_CAPACITY]:
        victim = S.up[back]
        if victim == back or S.stamp[victim] == turn:
            g[_REFUSED] += 1
            return False
        _unlink(S, victim)
        S.held[victim] = 0
        g[_USED] -= _bytes(S, victim)
        g[_OUT] += _bytes(S, victim)
        g[_EVICTED] += 1
    g[_USED] += need
    g[_PEAK] = max(g[_PEAK], g[_USED])
    g[_IN] += need
    g[_INSERTED] += 1
    S.held[key] = 1
    S.stamp[key] = turn
    _to_front(S, key)
    return True


@kernel(types.int64(WORLD, types.int64))
def advance_turns(S: Any, until: int) -> int:
    """Take the turns up to number `until`; how many were taken."""
    g = S.g
    while g[_TURN] < min(until, len(S.conversation)):
        turn = g[_TURN]
        g[_TURN] = turn + 1
        blocks = S.after[turn] // g[_BLOCK]
        hits = np.int64(0)
        while hits < S.before[turn] // g[_BLOCK] and _usable(S, turn, hits):
            hits += 1
        S.hit_blocks[turn] = hits
        for block in range(blocks):
            for own in range(2):
                key = _part(S, turn, block, own)
                if S.held[key] == 1:
                    S.stamp[key] = turn
                    _unlink(S, key)
                    _to_front(S, key)
        room = True
        for block in range(blocks):
            for own in range(2):
                key = _part(S, turn, block, own)
                if room and S.held[key] == 0 and _bytes(S, key) > 0:
                    room = _insert(S, turn, key)
        for back in range(blocks):
            for own in range(1, -1, -1):
                key = _part(S, turn, blocks - 1 - back, own)
                if S.held[key] == 1:
                    _unlink(S, key)
                    _to_front(S, key)
    return g[_TURN]


def make_turns(given: TurnsInput) -> Any:
    """The World of an input."""
    starts, blocks = given.first_blocks()
    keys = blocks * (1 + given.agents)
    n = len(given.conversation)
    g = np.zeros(len(G), np.int64)
    for name in ("agents", "block_tokens", "shared_blocks", "shared_bytes", "own_bytes"):
        g[G[name]] = getattr(given, name)
    g[G["capacity"]] = given.capacity
    columns = {name: getattr(given, name) for name in ("conversation", "agent", "before", "after")}
    ends = np.full(keys + 1, keys, np.int64)
    return World(
        **{name: np.ascontiguousarray(column, np.int64) for name, column in columns.items()},
        first_block=starts,
        hit_blocks=np.zeros(n, np.int64),
        up=ends,
        down=ends.copy(),
        stamp=np.full(keys + 1, -1, np.int64),
        held=np.zeros(keys + 1, np.int8),
        g=g,
    )


def replay_turns(given: TurnsInput) -> TurnsOutcome:
    """Replay all turns of an input.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    S = make_turns(given)
    advance_turns(S, len(given.conversation))
    return TurnsOutcome(
        hit_tokens=S.hit_blocks * given.block_tokens,
        totals={name: int(S.g[G[name]]) for name in COUNTERS},
    )
