"""Our own speeds: single steps, the exact curve, KV prefixes, a file larger than memory."""

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from .caching_trace import CAPACITY, ORACLE, zipf_keys
from .process import ask

ROUNDS = 5
STREAM_REQUESTS = 100_000_000
_BLOCK = 1_000_000


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """Speeds in this process: the rounds of what is compared alternate; medians."""
    found, detail = _steps()
    more, told = _mattson()
    found |= more
    detail |= told
    more, told = _prefixes()
    return found | more, detail | told


def _steps() -> tuple[dict[str, float], dict[str, Any]]:
    """LRU request by request through the step function, bound as another system binds it."""
    from mltwin.models.caching.cache import Cache

    from .caching_steps import replay_by_steps

    ids = zipf_keys().astype(np.uint32)
    objects = int(ids.max()) + 1
    fused, stepped = [], []
    for _ in range(ROUNDS + 1):
        cache = Cache("lru", CAPACITY, objects, full=False)
        start = time.process_time()
        hits = cache.replay(ids)
        fused.append(time.process_time() - start)
        cache = Cache("lru", CAPACITY, objects, full=False)
        start = time.process_time()
        assert replay_by_steps(cache.world, ids) == hits
        stepped.append(time.process_time() - start)
    ratio = statistics.median(fused[1:]) / statistics.median(stepped[1:])
    return {"step_api_ratio": ratio}, {"fused_s": fused[1:], "stepped_s": stepped[1:]}


def _mattson() -> tuple[dict[str, float], dict[str, Any]]:
    from mltwin.models.caching.stack_distance import StackDistances

    ids = zipf_keys().astype(np.uint32)
    objects = int(ids.max()) + 1
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        StackDistances(objects).add(ids)
        times.append(time.process_time() - start)
    return {"mattson_req_per_s": len(ids) / statistics.median(times)}, {"mattson_s": times}


def _prefixes() -> tuple[dict[str, float], dict[str, Any]]:
    from .caching_prefix import figures as prefix

    return prefix(ROUNDS)


def stream_figures() -> tuple[dict[str, float], dict[str, Any]]:
    """Peak memory of a fresh process that replays 10^8 requests from a file of 2.4 GB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.oracleGeneral.bin"
        _write(path)
        said = ask("stream", module="benchmarks.caching_own", path=str(path))
    return {"stream_100m_rss_mb": said["rss_mb"]}, said


def _write(path: Path) -> None:
    """10^8 requests, a million at a time: Zipf 1.0, each block of a seed of its own."""
    with open(path, "wb") as file:
        for seed in range(STREAM_REQUESTS // _BLOCK):
            rows = np.zeros(_BLOCK, ORACLE)
            rows["id"] = zipf_keys(_BLOCK, seed=seed)
            rows["bytes"] = 1
            rows["next"] = -1
            rows.tofile(file)


def stream(path: str) -> dict[str, Any]:
    """Replay a file in chunks, here and now: requests per second and the peak memory."""
    from mltwin.cache_replay import replay_cache
    from mltwin.workloads.objects.readers import stream_objects

    start = time.perf_counter()
    run = replay_cache(stream_objects(path, "oracle-general"), "lru", CAPACITY)
    elapsed = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {
        "rss_mb": peak,
        "requests": run.requests,
        "miss_ratio": run.miss_ratio,
        "requests_per_s": run.requests / elapsed,
    }


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    print(json.dumps({"stream": stream}[spec.pop("task")](**spec)))
