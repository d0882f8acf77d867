"""Our replays beside libCacheSim's: CPU time of one thread on the same requests, alternating."""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .caching_trace import CAPACITY, trace_file
from .cases import ROOT
from .process import MeasureError, child_json

ROUNDS = 5
ENV = ROOT / ".venv-bench"
# key -> our policy, their class; theirs is told the 2^20 buckets that suit the trace.
PAIRS = {
    "lru": ("lru", "LRU"),
    "sieve": ("sieve", "Sieve"),
    "s3fifo": ("s3_fifo", "S3FIFO"),
    "arc": ("arc", "ARC"),
    "fifo": ("fifo", "FIFO"),
    "wtinylfu": ("w_tinylfu", "WTinyLFU"),
    "lirs": ("lirs", "LIRS"),
    "gdsf": ("gdsf", "GDSF"),
    "belady": ("belady", "Belady"),
}
_SCRAMBLE = np.uint64(0x9E3779B97F4A7C15)

THEIRS = """
import json, sys, time
import libcachesim
path, name, capacity = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(2):
    given = libcachesim.ReaderInitParam()
    given.ignore_obj_size = True
    reader = libcachesim.TraceReader(path, libcachesim.TraceType.ORACLE_GENERAL_TRACE, given)
    more = {"reader": reader} if name == "Belady" else {}
    cache = getattr(libcachesim, name)(capacity, hashpower=20, **more)
    start = time.process_time()
    missed = cache.process_trace(reader)[0]
print(json.dumps({"seconds": time.process_time() - start, "miss_ratio": missed}))
"""


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """Ratios of speed, with the densifying of ids counted for us.

    Each timed replay, ours and theirs, follows an untimed one in its process: a virtual machine
    may take memory from a process that waits for another, and the first replay pays for it.

    Keys without "_hashed": the ids as they are, whole numbers up to 10^6, which densifying finds
    small enough to use as they are. With it: ids scattered over 64 bits, which have to be hashed.

    Raises MeasureError where the peer is not installed.
    """
    python = peer_python()
    found: dict[str, float] = {}
    detail: dict[str, Any] = {}
    with trace_file() as (path, keys):
        scattered = keys * _SCRAMBLE
        for key, (policy, name) in PAIRS.items():
            ours, hashed, theirs, ratios = [], [], [], set()
            replay(policy, keys)  # compiles
            for _ in range(ROUNDS):
                seconds, missed = [replay(policy, keys) for _ in range(2)][1]
                ours.append(seconds)
                hashed.append([replay(policy, scattered)[0] for _ in range(2)][1])
                said = child_json([python, "-c", THEIRS, str(path), name, str(CAPACITY)])
                theirs.append(said["seconds"])
                ratios.add((round(missed, 8), round(said["miss_ratio"], 8)))
            found[f"{key}_ratio"] = statistics.median(theirs) / statistics.median(ours)
            found[f"{key}_ratio_hashed"] = statistics.median(theirs) / statistics.median(hashed)
            detail[key] = {
                "ours_s": ours,
                "ours_hashed_s": hashed,
                "theirs_s": theirs,
                "miss_ratios_ours_theirs": sorted(ratios),
            }
    return found, detail


def peer_python() -> str:
    """The interpreter of the environment that `make bench-env` makes.

    Raises MeasureError where there is none.
    """
    chosen = os.environ.get("MLTWIN_BENCH_ENV")
    place = (Path(chosen) if chosen else ENV) / "bin" / "python"
    if not place.exists():
        raise MeasureError("the peers are not installed: make bench-env")
    return str(place)


def replay(policy: str, keys: NDArray[np.uint64]) -> tuple[float, float]:
    """CPU seconds of densifying and one replay, and the miss ratio."""
    from mltwin.models.caching.cache import Cache, next_uses
    from mltwin.models.caching.registry import eviction
    from mltwin.workloads.objects import densify

    start = time.process_time()
    ids, objects = densify(keys)[:2]
    future = next_uses(ids, objects) if eviction(policy).future else None
    cache = Cache(policy, CAPACITY, objects, full=False, next_use=future)
    hits = cache.replay(ids)
    return time.process_time() - start, 1 - hits / len(keys)
