"""KV prefix blocks: a request hits the longest prefix of its chained blocks that is resident.

A request is a run of block ids, the prompt cut into blocks, each id naming its block and all before
it (so equal ids mean equal prefixes). It hits the leading blocks that are resident, stops at the
first that is not, and then touches or takes in all of its blocks, once each. Order `tail_first`
does so from the last to the first, so that heads of prefixes are the most recent and stay longest
(as vLLM frees blocks).

Two ways: any eviction policy through its `access`, a call through a pointer for each block; and LRU
in two exclusive tiers (blocks that fall out of the first go to the second, hits bring them back),
which is the fast path of large pools.
"""

from typing import Any

import numpy as np
from numba import boolean, void
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.jit import JIT_DISABLED, array_type, handler, kernel, types

from .cache import Cache
from .lists import back, push_front, unlink
from .tables import ACCESS, CACHE, FIRST, make_world

NEAR, FAR = 1, 2  # sentinels' rows minus one, and `queue` of a block


def replay_prefixes(
    cache: Cache,
    start: NDArray[np.int64],
    blocks: NDArray[np.uint32],
    *,
    tail_first: bool = False,
) -> NDArray[np.int32]:
    """Hit blocks of each request under any policy.

    Args:
        cache: in the fast form (``full=False``); goes on where it stands.
        start: int64[requests + 1]; the blocks of request i are ``blocks[start[i]:start[i + 1]]``.
        blocks: uint32, below the cache's `objects`.
        tail_first: touch a request's blocks from the last to the first.

    Raises InputError for starts that are no runs of the blocks.
    """
    start, blocks = _checked(start, blocks, cache.objects)
    hits = np.zeros(len(start) - 1, np.int32)
    access = cache.access
    if not JIT_DISABLED:
        access.compile(ACCESS.args)
    _replay_any(cache.world, access, start, blocks, tail_first, hits)
    return hits


def replay_two_tiers(
    start: NDArray[np.int64],
    blocks: NDArray[np.uint32],
    objects: int,
    capacities: tuple[int, int],
    *,
    tail_first: bool = False,
) -> NDArray[np.int32]:
    """LRU in two exclusive tiers: int32[requests, 2], blocks of the hit prefix found in each.

    Args:
        start, blocks: as in `replay_prefixes`.
        objects: blocks are below it.
        capacities: blocks of the near and of the far tier, each >= 1.

    Raises InputError for starts that are no runs, or capacities below 1.
    """
    start, blocks = _checked(start, blocks, objects)
    near, far = capacities
    if near < 1 or far < 1:
        raise InputError(f"capacities {capacities}", where="capacities", mend="at least 1 each")
    world = make_world(
        objects=objects,
        capacity=near,
        needs=("node",),
        full=False,
        lengths={},
        knobs=np.array([float(far)]),
        settings={},
    )
    hits = np.zeros((len(start) - 1) * 2, np.int32)
    _replay_two(world, start, blocks, near, far, tail_first, hits)
    return hits.reshape(-1, 2)


def hit_tokens(
    hits: NDArray[np.int32], prompt: NDArray[np.int32], block_tokens: int
) -> NDArray[np.int64]:
    """Prompt tokens found: those of the hit blocks, at most the prompt, whose last is short."""
    return np.minimum(hits.astype(np.int64) * block_tokens, prompt)


def _checked(start: Any, blocks: Any, objects: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.ascontiguousarray(start, np.int64)
    ids = np.ascontiguousarray(blocks, np.uint32)
    runs = (
        len(first) > 0 and first[0] == 0 and first[-1] == len(ids) and (np.diff(first) >= 0).all()
    )
    if not runs:
        raise InputError("are no runs of the blocks", where="start", mend="begin at 0, never fall")
    if len(ids) and int(ids.max()) >= objects:
        raise InputError(f"block {int(ids.max())} is not below {objects}", where="blocks")
    return first, ids


# One compilation for all policies. Without the signature each would have its own, and the index on
# disk of functions that take functions cannot be read back and extended.
@kernel(
    void(
        CACHE,
        types.FunctionType(ACCESS),
        array_type("i8"),
        array_type("u4"),
        boolean,
        array_type("i4"),
    )
)
def _replay_any(S: Any, access: Any, start: Any, blocks: Any, tail_first: bool, hits: Any) -> None:
    first = np.uint64(FIRST)
    for r in range(len(hits)):
        begin, end = start[r], start[r + 1]
        found = begin
        while found < end and S.queue[np.uint64(blocks[found]) + first] != 0:
            found += 1
        hits[r] = found - begin
        if tail_first:
            for i in range(end - 1, begin - 1, -1):
                access(S, np.uint64(blocks[i]) + first)
        else:
            for i in range(begin, end):
                access(S, np.uint64(blocks[i]) + first)


@handler
def _touch(S: Any, x: Any, near: int, far: int) -> None:
    """Bring a block to the front of the near tier; what falls out goes on to the far tier."""
    place = S.queue[x]
    if place == NEAR:
        unlink(S, x)
        push_front(S, NEAR, x)
        return
    if place == FAR:
        unlink(S, x)
        S.tot[0].pinned -= 1
    S.queue[x] = NEAR
    push_front(S, NEAR, x)
    if S.tot[0].resident < near:
        S.tot[0].resident += 1
        return
    demoted = back(S, NEAR)
    unlink(S, demoted)
    if S.tot[0].pinned >= far:
        lost = back(S, FAR)
        unlink(S, lost)
        S.queue[lost] = 0
    else:
        S.tot[0].pinned += 1
    S.queue[demoted] = FAR
    push_front(S, FAR, demoted)


@kernel()
def _replay_two(
    S: Any, start: Any, blocks: Any, near: int, far: int, tail_first: bool, hits: Any
) -> None:
    """`tot.resident` counts the near tier, `tot.pinned` the far one."""
    first = np.uint64(FIRST)
    for r in range(len(start) - 1):
        begin, end = start[r], start[r + 1]
        found = begin
        in_near = 0
        while found < end:
            place = S.queue[np.uint64(blocks[found]) + first]
            if place == 0:
                break
            if place == NEAR:
                in_near += 1
            found += 1
        hits[2 * r] = in_near
        hits[2 * r + 1] = found - begin - in_near
        if tail_first:
            for i in range(end - 1, begin - 1, -1):
                _touch(S, np.uint64(blocks[i]) + first, near, far)
        else:
            for i in range(begin, end):
                _touch(S, np.uint64(blocks[i]) + first, near, far)
