"""Traces drawn from the published distributions of CacheBench (Meta's production caches).

A folder `hit_ratio/<name>` of CacheLib holds config.json and the files it names. Their meaning
after CacheLib's guide "Configuring cachebench parameters" (distribution `default`) and the classes
of its discrete distribution:

- `popularityBuckets[i]` objects share `popularityWeights[i]`: a bucket is drawn by its weight, then
  an object of it, all alike, independently at each request;
- `valSizeRange[i]` bytes is the size of an object with probability proportional to
  `valSizeRangeProbability[i]`, whatever its popularity; an object keeps its size;
- `getRatio`, `setRatio`, `delRatio` are weights of operations on such objects, `loneGetRatio` that
  of a get of a key which nobody asks for again (one-hit wonders).

Assumed: buckets are drawn from exactly (CacheBench cuts them into 2,048 parts of equal weight);
`numKeys` is the range of names alone and is not used (CacheBench spreads the objects of the buckets
over it); `oneHits` repeats `loneGetRatio`; keys have no size of their own; chained items, which the
published folders set to 0, are refused.

Source: Berg et al., "The CacheLib Caching Engine: Design and Experiences at Scale", OSDI 2020.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim import rng_arrays as rng
from mltwin.sim.errors import InputError
from mltwin.workloads.from_jsonl import parse_json
from mltwin.workloads.source import Source, read_text

from .numbering import Densifier
from .table import DELETE, GET, MAX_SIZE, SET, ObjectTrace, frozen

_LONE = 3
_RATIOS = ("getRatio", "setRatio", "delRatio", "loneGetRatio")
_OPS = np.array([GET, SET, DELETE, GET], np.uint8)
_OPERATION, _BUCKET, _PLACE = 0, 1, 2


def cachebench(
    folder: str | os.PathLike[str], requests: int = 1_000_000, seed: int = 0
) -> ObjectTrace:
    """Draw requests from a `hit_ratio` folder of CacheBench; keyed, so the first are the same for
    any number of them.

    Args:
        folder: with config.json, which names the files of popularity and sizes.
        requests: how many (the `numOps` of the configurations are 5 million and more).
        seed: of all draws.

    Raises InputError naming file and member where the configuration is not of this kind.
    """
    place = Path(folder).expanduser()
    config = _member(place / "config.json", _json(place / "config.json"), "test_config", dict)
    buckets, weights = _pairs(
        place / str(config.get("popDistFile", "pop.json")), "popularityBuckets", "popularityWeights"
    )
    sizes, chances = _pairs(
        place / str(config.get("valSizeDistFile", "sizes.json")),
        "valSizeRange",
        "valSizeRangeProbability",
    )
    ratios = _ratios(place / "config.json", config)
    if not 1 <= requests <= 1 << 31:
        raise InputError(f"requests = {requests} is not in 1..{1 << 31}")
    index = np.arange(requests)
    operation = _pick(ratios, rng.uniforms(seed, rng.OBJECTS, index, _OPERATION))
    bucket = _pick(weights, rng.uniforms(seed, rng.OBJECTS, index, _BUCKET))
    start = np.cumsum(buckets) - buckets
    inside = rng.uniforms(seed, rng.OBJECTS, index, _PLACE) * buckets[bucket]
    keys = start[bucket] + np.minimum(inside.astype(np.int64), buckets[bucket] - 1)
    keys = np.where(operation == _LONE, int(buckets.sum()) + index, keys)
    size = sizes[_pick(chances, rng.uniforms(seed, rng.LENGTHS, keys))]
    numbering = Densifier()
    ids = numbering.add(keys)
    return ObjectTrace.make(
        frozen(ids),
        objects=numbering.count,
        size_bytes=size,
        op=_OPS[operation],
        keys=numbering.keys(),
        name=f"cachebench-{place.name}",
        source=str(place.name),
        meta={"format": "cachebench", "seed": seed, "objects_in_buckets": int(buckets.sum())},
    )


def _pick(weights: NDArray[Any], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    total = np.cumsum(weights, dtype=np.float64)
    found = np.searchsorted(total, uniform * total[-1], side="right")
    return np.minimum(found, total.size - 1)


def _ratios(path: Path, config: dict[str, Any]) -> NDArray[np.float64]:
    if config.get("addChainedRatio", 0):
        raise InputError(
            f"addChainedRatio = {config['addChainedRatio']}: chained items are not modelled",
            where=str(path),
            mend="set it to 0",
        )
    found = [config.get(name, 0) for name in _RATIOS]
    good = all(_is_number(one) and one >= 0 for one in found) and sum(found) > 0
    if not good:
        raise InputError(
            f"{', '.join(_RATIOS)} = {found}",
            where=str(path),
            mend="give numbers >= 0, one of them above 0",
        )
    return np.array([float(one) for one in found])


def _pairs(path: Path, values: str, weights: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Two lists of equal length, whole numbers >= 1 (sizes: >= 0) and weights >= 0."""
    item = _json(path)
    lists = [_member(path, item, name, list) for name in (values, weights)]
    if len(lists[0]) != len(lists[1]) or not lists[0]:
        raise InputError(
            f"{values} has {len(lists[0])} values, {weights} {len(lists[1])}",
            where=str(path),
            mend="give one weight for each value (intervals are not modelled)",
        )
    least = 1 if values == "popularityBuckets" else 0
    for name, listed, low in ((values, lists[0], least), (weights, lists[1], 0)):
        for at, one in enumerate(listed):
            whole = name == weights or (_is_number(one) and one == int(one))
            if not (_is_number(one) and whole and low <= one <= MAX_SIZE):
                raise InputError(
                    f"{name}[{at}] = {str(one)[:40]} is not a number from {low} to {MAX_SIZE}",
                    where=str(path),
                    mend="correct the value",
                )
    chances = np.array([float(one) for one in lists[1]])
    if not chances.sum() > 0:
        raise InputError(f"{weights} are all 0", where=str(path), mend="give one above 0")
    return np.array([int(one) for one in lists[0]], np.int64), chances


def _json(path: Path) -> dict[str, Any]:
    try:
        item = parse_json(read_text(Source(path)))
    except ValueError as wrong:
        raise InputError(str(wrong), where=str(path), mend="give the file of CacheLib") from None
    if not isinstance(item, dict):
        raise InputError("is not a JSON object", where=str(path), mend="give the file of CacheLib")
    return item


def _member(path: Path, item: dict[str, Any], name: str, kind: type) -> Any:
    found = item.get(name)
    if not isinstance(found, kind):
        raise InputError(
            f"has no {name!r} (a {kind.__name__})",
            where=str(path),
            mend="give a hit_ratio folder of CacheBench",
        )
    return found


def _is_number(value: Any) -> bool:
    from decimal import Decimal

    return isinstance(value, int | Decimal) and not isinstance(value, bool)
