"""Block references per second of the two-tier KV prefix LRU, on Mooncake's conversation trace."""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from .process import MeasureError

TRACE = "traces/llm/mooncake_fast25/conversation_trace.first30min.jsonl.gz"
CAPACITIES = (5_859, 52_731)  # blocks of 512 tokens: 3 and 27 million tokens
_REPEATS = 20


def figures(rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """`prefix_refs_per_s`, the median of the rounds; each replays the trace some times anew.

    Raises MeasureError without MLTWIN_DATA.
    """
    from mltwin.models.caching.prefix import replay_two_tiers
    from mltwin.workloads.readers import read_trace

    data = os.environ.get("MLTWIN_DATA")
    if not data:
        raise MeasureError("prefix_refs_per_s needs MLTWIN_DATA (the Mooncake trace)")
    trace = read_trace(Path(data) / TRACE)
    start = np.append(trace.block_start, len(trace.block_ids))
    blocks = trace.block_ids.astype(np.uint32)
    objects = int(blocks.max()) + 1
    hits = replay_two_tiers(start, blocks, objects, CAPACITIES)
    speeds = []
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(_REPEATS):
            replay_two_tiers(start, blocks, objects, CAPACITIES)
        speeds.append(_REPEATS * len(blocks) / (time.process_time() - begun))
    detail = {"refs_per_s": speeds, "hit_blocks": hits.sum(axis=0).tolist(), "refs": len(blocks)}
    return {"prefix_refs_per_s": statistics.median(speeds)}, {"prefix": detail}
