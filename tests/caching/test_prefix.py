"""KV prefixes: the reference figures, the two tiers, and an obvious replay."""

import csv
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mltwin.models.caching.cache import Cache
from mltwin.models.caching.prefix import hit_tokens, replay_prefixes, replay_two_tiers
from mltwin.models.caching.prefix_oracle import replay_belady_blocks
from mltwin.sim.errors import InputError

DATA = os.environ.get("MLTWIN_DATA")
POLICIES = {
    "LRU": "lru",
    "LRU-tailfirst": "lru",
    "FIFO": "fifo",
    "LFU": "lfu",
    "S3FIFO": "s3_fifo_original",
    "INF": "belady_blocks",  # unbounded, where every policy is the same
    "Belady-block": "belady_blocks",
}


def conversations(seed: int, requests: int = 300) -> tuple[np.ndarray, np.ndarray, int]:
    """Requests that extend earlier ones: starts, blocks, and the number of distinct blocks."""
    rng = np.random.default_rng(seed)
    chains: list[list[int]] = [[]]
    runs, count = [], 0
    for _ in range(requests):
        chain = list(chains[int(rng.integers(max(0, len(chains) - 20), len(chains)))])
        chain = chain[: int(rng.integers(0, len(chain) + 1))]
        new = int(rng.integers(1, 6))
        chain += range(count, count + new)
        count += new
        chains.append(chain)
        runs.append(chain)
    start = np.concatenate([[0], np.cumsum([len(run) for run in runs])])
    return start.astype(np.int64), np.concatenate(runs).astype(np.uint32), count


def obvious(start, blocks, capacity: int, tail_first: bool) -> list[int]:
    """LRU as a list, longest resident prefix, then every block once."""
    recent: list[int] = []  # latest last
    hits = []
    for a, b in pairwise(start):
        run = blocks[a:b].tolist()
        found = 0
        while found < len(run) and run[found] in recent:
            found += 1
        hits.append(found)
        for block in reversed(run) if tail_first else run:
            if block in recent:
                recent.remove(block)
            recent.append(block)
            del recent[:-capacity]
    return hits


@pytest.mark.parametrize("tail_first", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_hits_are_the_obvious_ones(seed, tail_first):
    start, blocks, count = conversations(seed)
    for capacity in (1, 7, 40, count):
        cache = Cache("lru", capacity, count, full=False)
        hits = replay_prefixes(cache, start, blocks, tail_first=tail_first)
        assert hits.tolist() == obvious(start, blocks, capacity, tail_first)


@pytest.mark.parametrize("tail_first", [False, True])
def test_two_exclusive_tiers_are_one_of_the_sum(tail_first):
    start, blocks, count = conversations(9, 600)
    for near, far in ((1, 1), (5, 30), (60, 7), (200, 400)):
        one = Cache("lru", near + far, count, full=False)
        tiers = replay_two_tiers(start, blocks, count, (near, far), tail_first=tail_first)
        whole = replay_prefixes(one, start, blocks, tail_first=tail_first)
        assert tiers.sum(axis=1).tolist() == whole.tolist()
        alone = Cache("lru", near, count, full=False)
        if not tail_first:  # the near tier by itself is an LRU of its own size
            touched = replay_prefixes(alone, start, blocks)
            assert (tiers[:, 0] >= touched).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_gives_up_the_block_wanted_last(seed):
    start, blocks, count = conversations(seed)
    runs = [blocks[a:b].tolist() for a, b in pairwise(start)]
    for capacity in (1, 7, 40):
        held: set[int] = set()
        hits = []
        for i, run in enumerate(runs):
            hits.append(next((k for k, block in enumerate(run) if block not in held), len(run)))
            for block in run:
                held.add(block)
                if len(held) > capacity:
                    later = {
                        b: next((j for j in range(i + 1, len(runs)) if b in runs[j]), 10**6)
                        for b in held
                    }
                    for other in run[run.index(block) + 1 :]:  # not yet come to their turn
                        if other in held:
                            later[other] = i
                    last = max(later.values())
                    others = [b for b in held - {block} if later[b] == last]
                    held.remove(block if later[block] == last else min(others))
        assert replay_belady_blocks(start, blocks, capacity).tolist() == hits
    unbounded = replay_belady_blocks(start, blocks, count)
    assert unbounded.tolist() == obvious(start, blocks, count, False)


def test_bad_input_is_refused():
    cache = Cache("lru", 3, 5, full=False)
    with pytest.raises(InputError, match="runs"):
        replay_prefixes(cache, np.array([0, 3]), np.array([1, 2]))
    with pytest.raises(InputError, match="not below 5"):
        replay_prefixes(cache, np.array([0, 1]), np.array([5]))
    with pytest.raises(InputError, match="at least 1"):
        replay_two_tiers(np.array([0, 1]), np.array([0]), 1, (0, 1))


def reference() -> list[dict[str, str]]:
    if not DATA:
        return []
    with open(Path(DATA) / "reference/mooncake_block_hits.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["policy"] in POLICIES]


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="needs MLTWIN_DATA")
@pytest.mark.parametrize(
    "row", reference(), ids=lambda r: f"{r['trace'][:4]}-{r['policy']}-{r['capacity_blocks']}"
)
def test_mooncake_hits_equal_the_reference(row):
    from mltwin.workloads.readers import read_trace

    folder = Path(str(DATA)) / "traces/llm/mooncake_fast25"
    trace = read_trace(folder / (row["trace"] + ".gz"))
    start = np.append(trace.block_start, len(trace.block_ids))
    blocks = trace.block_ids.astype(np.uint32)
    count = int(blocks.max()) + 1
    capacity = count if row["policy"] == "INF" else int(row["capacity_blocks"])
    if POLICIES[row["policy"]] == "belady_blocks":
        hits = replay_belady_blocks(start, blocks, capacity)
    else:
        cache = Cache(POLICIES[row["policy"]], capacity, count, full=False)
        hits = replay_prefixes(cache, start, blocks, tail_first=row["policy"] == "LRU-tailfirst")
    assert hits.sum() / len(blocks) == pytest.approx(float(row["block_hit_ratio"]), abs=1e-6)
    tokens = hit_tokens(hits, trace.prompt, 512).sum() / trace.prompt.sum(dtype=np.int64)
    assert tokens == pytest.approx(float(row["token_hit_ratio"]), abs=1e-6)
