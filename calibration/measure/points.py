"""What to time: the operators of given models, and a grid that fills the space between.

A point is a plain dictionary: ``op`` and the sizes that define it. Sizes are per GPU.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

Point = dict[str, Any]

OPS = (
    "gemm",
    "attention_prefill",
    "attention_decode",
    "attention_mixed",
    "norm",
    "activation",
    "moe",
    "copy_device",
    "copy_h2d",
    "copy_d2h",
    "collective",
    "power",
)
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
GEMM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "fp8": 1}


@dataclass(frozen=True)
class Limits:
    """Sizes beyond which a point is left out, so that a slow or small device finishes.

    Attributes:
        tokens: most tokens of one call.
        context: longest KV length of a sequence.
        batch: most sequences of one call.
        flops: most floating-point operations of one call.
        size_bytes: most bytes that one call touches.
    """

    tokens: int = 16384
    context: int = 131072
    batch: int = 512
    flops: float = 4e13
    size_bytes: float = 1.2e10


CPU_LIMITS = Limits(tokens=1024, context=8192, batch=64, flops=4e10, size_bytes=1e9)
CUDA_LIMITS = Limits()


def point_key(point: Point) -> str:
    """Text that is equal for equal points, whatever the order of their fields."""
    return json.dumps(point, sort_keys=True, separators=(",", ":"))


def plan_points(
    models: Sequence[Model],
    *,
    ops: Iterable[str] = OPS,
    dtypes: Sequence[str] = ("bfloat16",),
    tps: Sequence[int] = (1,),
    grid: int = 256,
    limits: Limits = CUDA_LIMITS,
    devices: int = 1,
) -> list[Point]:
    """Points of the models' own shapes and of a space-filling grid, each once, in a fixed order.

    Args:
        models: whose projections, heads and experts are timed, split over each of ``tps``.
        ops: which operators.
        dtypes: formats of GEMMs; attention, norms and copies use the first of 2 or 4 bytes.
        tps: tensor-parallel splits; those that do not divide a model's heads are left out.
        grid: GEMM points of the space-filling grid (a third as many for attention).
        devices: collectives are planned for 2, 4, ... up to so many.

    Raises:
        InputError: an unknown operator, or nothing left to time.
    """
    wanted = [op for op in ops if op != "power"]  # planned where the meter is
    unknown = sorted(set(wanted) - set(OPS))
    if unknown:
        raise InputError(f"unknown operator {unknown[0]!r}", mend=f"use some of {list(OPS)}")
    plain = next((d for d in dtypes if d != "fp8"), "bfloat16")
    makers = {
        "gemm": lambda: _gemms(models, dtypes, tps, grid, limits),
        "attention_prefill": lambda: _prefills(models, plain, tps, grid // 3, limits),
        "attention_decode": lambda: _decodes(models, plain, tps, grid // 3, limits),
        "attention_mixed": lambda: _mixed(models, plain, tps, limits),
        "norm": lambda: _rows("norm", {m.hidden_size for m in models}, plain, limits),
        "activation": lambda: _rows("activation", _widths(models, tps), plain, limits),
        "moe": lambda: _moes(models, plain, tps, limits),
        "copy_device": lambda: _copies("copy_device", limits),
        "copy_h2d": lambda: _copies("copy_h2d", limits),
        "copy_d2h": lambda: _copies("copy_d2h", limits),
        "collective": lambda: _collectives(devices, limits),
    }
    found: dict[str, Point] = {}
    for op in OPS:
        if op in wanted:
            for point in makers[op]():
                found.setdefault(point_key(point), point)
    if not found:
        raise InputError("nothing to time", mend="give a model, more operators or wider limits")
    return list(found.values())


def _tokens(limit: int) -> list[int]:
    """Counts that engines meet: all powers of two, and the tile edges between them."""
    counts = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048]
    counts += [3072, 4096, 6144, 8192, 12288, 16384, 32768]
    return [c for c in counts if c <= limit]


def _split(models: Sequence[Model], tps: Sequence[int]) -> Iterator[tuple[Model, int]]:
    for model in models:
        for tp in tps:
            if model.heads % tp == 0:
                yield model, tp


def _gemms(
    models: Sequence[Model], dtypes: Sequence[str], tps: Sequence[int], grid: int, limits: Limits
) -> Iterator[Point]:
    shapes = {
        (gemm.n, gemm.k)
        for model, tp in _split(models, tps)
        for gemm in model.gemms(tp)
        if gemm.kind != "expert"
    }
    for dtype in dtypes:
        for n, k in sorted(shapes):
            for m in _tokens(limits.tokens):
                if _gemm_fits(m, n, k, dtype, limits):
                    yield {"op": "gemm", "dtype": dtype, "m": m, "n": n, "k": k}
        for m, n, k in _halton_sizes(grid, ((1, limits.tokens), (64, 32768), (64, 32768))):
            n, k = _round(n, 16), _round(k, 16)
            if _gemm_fits(m, n, k, dtype, limits):
                yield {"op": "gemm", "dtype": dtype, "m": m, "n": n, "k": k}


def _gemm_fits(m: int, n: int, k: int, dtype: str, limits: Limits) -> bool:
    width = GEMM_BYTES.get(dtype, 2)
    moved = (m * k + n * k) * width + m * n * 2
    return 2.0 * m * n * k <= limits.flops and moved <= limits.size_bytes


def _heads(models: Sequence[Model], tps: Sequence[int]) -> list[tuple[int, int, int]]:
    """(heads, kv_heads, head_dim) on one GPU; MLA has no such form."""
    found = {
        (model.heads // tp, max(1, model.kv_heads // tp), model.head_dim)
        for model, tp in _split(models, tps)
        if not model.mla
    }
    return sorted(found)


def _prefills(
    models: Sequence[Model], dtype: str, tps: Sequence[int], grid: int, limits: Limits
) -> Iterator[Point]:
    ladder = [(b, s) for b in (1, 2, 4, 8) for s in _tokens(limits.tokens) if s >= 16]
    for shape in [*_heads(models, tps), *_other_heads(grid)]:
        for batch, tokens in ladder:
            point = _attention("attention_prefill", dtype, shape, batch=batch, tokens=tokens)
            flops = 2.0 * batch * tokens * tokens * shape[0] * shape[2]
            if batch * tokens <= 2 * limits.tokens and flops <= limits.flops:
                yield point


def _decodes(
    models: Sequence[Model], dtype: str, tps: Sequence[int], grid: int, limits: Limits
) -> Iterator[Point]:
    batches = [1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512]
    contexts = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 131072]
    for shape in [*_heads(models, tps), *_other_heads(grid)]:
        for batch in (b for b in batches if b <= limits.batch):
            for context in (c for c in contexts if c <= limits.context):
                size = 4.0 * batch * context * shape[1] * shape[2]
                if size <= limits.size_bytes:
                    yield _attention("attention_decode", dtype, shape, batch=batch, context=context)


def _mixed(
    models: Sequence[Model], dtype: str, tps: Sequence[int], limits: Limits
) -> Iterator[Point]:
    for shape in _heads(models, tps):
        for chunk in (c for c in (128, 512, 2048, 8192) if c <= limits.tokens):
            for before in (b for b in (0, 2048, 8192) if b <= limits.context):
                for decodes in (d for d in (8, 32, 128) if d <= limits.batch):
                    for context in (c for c in (512, 2048, 8192) if c <= limits.context):
                        size = 4.0 * (decodes * context + before) * shape[1] * shape[2]
                        flops = 4.0 * chunk * (before + chunk) * shape[0] * shape[2]
                        if size <= limits.size_bytes and flops <= limits.flops:
                            yield _attention(
                                "attention_mixed",
                                dtype,
                                shape,
                                chunk=chunk,
                                chunk_context=before,
                                decodes=decodes,
                                context=context,
                            )


def _attention(op: str, dtype: str, shape: tuple[int, int, int], **sizes: int) -> Point:
    heads, kv_heads, head_dim = shape
    point: Point = {"op": op, "dtype": dtype, **sizes}
    point |= {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    return point | ({"window": 0} if op == "attention_prefill" else {})


def _other_heads(grid: int) -> list[tuple[int, int, int]]:
    """A few head configurations besides the models' own, so that a fit can tell heads apart."""
    if grid < 16:
        return []
    return [(8, 1, 128), (16, 8, 128), (32, 32, 128), (64, 8, 64)]


def _rows(op: str, widths: Iterable[int], dtype: str, limits: Limits) -> Iterator[Point]:
    for width in sorted(widths):
        for tokens in _tokens(limits.tokens):
            if 6.0 * tokens * width <= limits.size_bytes:
                yield {"op": op, "dtype": dtype, "tokens": tokens, "width": width}


def _widths(models: Sequence[Model], tps: Sequence[int]) -> set[int]:
    return {
        model.intermediate_size // tp
        for model, tp in _split(models, tps)
        if model.intermediate_size >= tp
    }


def _moes(
    models: Sequence[Model], dtype: str, tps: Sequence[int], limits: Limits
) -> Iterator[Point]:
    for model, tp in _split(models, tps):
        if not model.moe:
            continue
        moe, h = model.moe, model.hidden_size
        width = -(-moe.intermediate_size // tp)
        if 6.0 * moe.experts * h * width > limits.size_bytes:
            continue
        for tokens in _tokens(limits.tokens):
            flops = 6.0 * tokens * moe.experts_per_token * h * width
            if flops > limits.flops:
                continue
            for distribution in ("balanced", "power_law_1.01"):
                yield {
                    "op": "moe",
                    "dtype": dtype,
                    "tokens": tokens,
                    "hidden": h,
                    "width": width,
                    "experts": moe.experts,
                    "chosen": moe.experts_per_token,
                    "distribution": distribution,
                }


def _copies(op: str, limits: Limits) -> Iterator[Point]:
    size = 4096
    while size <= min(2**32, limits.size_bytes / 2):
        if op == "copy_device":
            yield {"op": op, "bytes": size}
        else:
            yield {"op": op, "bytes": size, "pinned": True}
            yield {"op": op, "bytes": size, "pinned": False}
        size *= 4


def _collectives(devices: int, limits: Limits) -> Iterator[Point]:
    gpus = 2
    while gpus <= devices:
        for name in COLLECTIVES:
            size = 1024
            while size <= min(2**30, limits.size_bytes / 4):
                yield {"op": "collective", "name": name, "gpus": gpus, "bytes": size}
                size *= 4
        gpus *= 2


def _halton_sizes(count: int, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
    """``count`` points that fill a box of sizes evenly in the logarithm.

    Halton's sequence in bases 2, 3 and 5 (Halton, Numerische Mathematik 2, 1960), without its
    first 20 points, which lie on a line.
    """
    for i in range(20, 20 + count):
        shares = [_radical_inverse(i, base) for base in (2, 3, 5)]
        yield tuple(
            round(np.exp(np.log(low) + share * (np.log(high) - np.log(low))))
            for share, (low, high) in zip(shares, ranges, strict=True)
        )


def _radical_inverse(index: int, base: int) -> float:
    value, scale = 0.0, 1.0 / base
    while index:
        index, digit = divmod(index, base)
        value += digit * scale
        scale /= base
    return value


def _round(size: int, unit: int) -> int:
    return max(unit, round(size / unit) * unit)
