"""Multi-turn sessions with growing contexts, and system prompts shared between sessions.

Turn k's prompt is turn k-1's prompt and output and new text; turn 1's is the system prompt and
the drawn text. A session is one stream of tokens, so its turns share one list of blocks.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mltwin.sim import rng_arrays as rng
from mltwin.sim.ticks import ticks

from .lengths import Z90, Law, draw_lengths
from .spec import Spec
from .table import MAX_TOKENS

MAX_TURNS = 256
Share = Annotated[float, Field(ge=0, le=1)]


class Sessions(Spec):
    """Turns that follow the first.

    Attributes:
        go_on: chance that a first, second, ... turn is followed by another; the last one repeats.
        new_tokens: law of the user's new text.
        think_p50_s, think_p90_s: log-normal time from an answer's end to the next turn.
        closed: True: the next turn waits for the answer (`after`, `delay`); False: it comes at its
            nominal time whatever happened, as in a recorded trace.
        nominal_tokens_per_s: answering speed assumed for nominal arrivals.
        max_context: a session ends before prompt and output would exceed it (tokens).
    """

    go_on: list[Share] = Field(min_length=1)
    new_tokens: Law
    think_p50_s: PositiveFloat
    think_p90_s: PositiveFloat
    closed: bool = True
    nominal_tokens_per_s: PositiveFloat = 30.0
    max_context: int = Field(default=131_072, ge=2, le=MAX_TOKENS)

    @model_validator(mode="after")
    def _ordered(self) -> "Sessions":
        if self.think_p90_s < self.think_p50_s:
            raise ValueError("think_p90_s must not be below think_p50_s")
        return self


class Prefixes(Spec):
    """Shared system prompts: group g of `groups` has a share proportional to (g + 1)**-zipf."""

    groups: PositiveInt = 1
    tokens: Law
    zipf: float = Field(default=0.0, ge=0)


class Turns(NamedTuple):
    """Requests, one array each, sessions in order and turns within them in order of generation."""

    arrival: NDArray[np.int64]
    prompt: NDArray[np.int64]
    output: NDArray[np.int64]
    session: NDArray[np.int64]
    after: NDArray[np.int64]
    delay: NDArray[np.int64]


class Drawn(NamedTuple):
    """Lengths of first turns and the laws of what follows."""

    prompt: NDArray[np.int64]
    output: NDArray[np.int64]
    output_law: Law
    spearman: float


def unfold(spec: Sessions, start: NDArray[np.int64], first: Drawn, seed: int) -> Turns:
    """All turns of sessions that start at `start` (ticks)."""
    session = np.arange(start.size)
    row = np.arange(start.size)
    arrival, prompt, output = start, first.prompt, first.output
    done = [Turns(arrival, prompt, output, session, np.full(row.size, -1), np.zeros_like(start))]
    total = row.size
    for turn in range(1, MAX_TURNS):
        chance = spec.go_on[min(turn - 1, len(spec.go_on) - 1)]
        key = session * MAX_TURNS + turn
        new, answer = draw_lengths(spec.new_tokens, first.output_law, key, seed, first.spearman)
        grown = prompt + output + new
        goes = rng.uniforms(seed, rng.SESSIONS, key) < chance
        goes &= grown + answer <= spec.max_context
        if not goes.any():
            break
        think = _think(spec, key[goes], seed)
        busy = ticks(output[goes] / spec.nominal_tokens_per_s)
        parent = row[goes]
        arrival = arrival[goes] + busy + think
        session, prompt, output = session[goes], grown[goes], answer[goes]
        row = np.arange(total, total + session.size)
        total += session.size
        after = parent if spec.closed else np.full(row.size, -1)
        delay = think if spec.closed else np.zeros_like(think)
        done.append(Turns(arrival, prompt, output, session, after, delay))
    return Turns(*(np.concatenate(column) for column in zip(*done, strict=True)))


def prefix_tokens(
    spec: Prefixes, sessions: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(group, system prompt tokens) of each session."""
    weights = (np.arange(spec.groups) + 1.0) ** -spec.zipf
    shares = np.cumsum(weights) / weights.sum()
    u = rng.uniforms(seed, rng.SESSIONS, sessions * MAX_TURNS, 1)
    group = np.minimum(np.searchsorted(shares, u, side="right"), spec.groups - 1)
    scores = rng.normals(seed, rng.LENGTHS, np.arange(spec.groups), 2)
    return group, spec.tokens.tokens(scores)[group]


def block_lists(
    turns: Turns,
    group: NDArray[np.int64],
    system_tokens: NDArray[np.int64],
    block_tokens: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(start, count) of each request and all ids; turns of a session share its list.

    Only blocks that lie wholly in the system prompt are shared within a group.
    """
    count = -(-(turns.prompt + turns.output) // block_tokens)
    longest = np.zeros(group.size, np.int64)
    np.maximum.at(longest, turns.session, count)
    begin = np.cumsum(longest) - longest
    ids = np.arange(int(longest.sum()))
    shared = np.minimum(system_tokens // block_tokens, longest)
    most = int(shared.max(initial=0))
    place = ids - np.repeat(begin, longest)
    inside = place < np.repeat(shared, longest)
    fresh = (int(group.max(initial=0)) + 1) * most
    ids = np.where(inside, np.repeat(group, longest) * most + place, ids + fresh)
    return begin[turns.session], count, ids


def _think(spec: Sessions, key: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    sigma = math.log(spec.think_p90_s / spec.think_p50_s) / Z90
    scores = rng.normals(seed, rng.THINK, key)
    return ticks(np.exp(np.minimum(math.log(spec.think_p50_s) + sigma * scores, 14.0)))
