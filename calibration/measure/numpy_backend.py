"""The CPU through NumPy alone: what a machine without PyTorch can time.

Attention is composed of two matrix products and a softmax, as a plain implementation would be:
slower than a fused kernel, and recorded as ``numpy`` so that nobody takes it for one.
"""

import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import default_rng

from .points import Point
from .timing import Sampler

Call = Callable[[], Any]


class NumpyBackend:
    """Times points with NumPy; ``name`` is ``numpy``."""

    name = "numpy"

    def __init__(self, seed: int = 0) -> None:
        self.random = default_rng(seed)

    def device(self) -> dict[str, Any]:
        """Kind, name, count and threads of the processor."""
        return cpu_device()

    def software(self) -> dict[str, Any]:
        """Versions of Python, NumPy and its linear algebra."""
        config: Any = np.show_config(mode="dicts") or {}
        blas = config.get("Build Dependencies", {}).get("blas", {})
        return {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "blas": f"{blas.get('name', '?')} {blas.get('version', '')}".strip(),
        }

    def prepare(self, point: Point) -> Sampler | None:
        """A sampler of the point, or None where NumPy cannot run it."""
        maker: Callable[[Point], Call] | None = getattr(self, f"_{point['op']}", None)
        if maker is None or point.get("dtype", "float32") != "float32":
            return None
        call = maker(point)

        def sample(calls: int) -> float:
            start = time.perf_counter()
            for _ in range(calls):
                call()
            return time.perf_counter() - start

        return sample

    def _normal(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape, dtype=np.float32)

    def _gemm(self, p: Point) -> Call:
        x, w = self._normal(p["m"], p["k"]), self._normal(p["n"], p["k"])
        out = np.empty((p["m"], p["n"]), np.float32)
        return lambda: np.matmul(x, w.T, out=out)

    def _attention_prefill(self, p: Point) -> Call:
        return self._attention(p, p["batch"], p["tokens"], p["tokens"])

    def _attention_decode(self, p: Point) -> Call:
        return self._attention(p, p["batch"], 1, p["context"])

    def _attention(self, p: Point, batch: int, queries: int, keys: int) -> Call:
        group = p["heads"] // p["kv_heads"]
        q = self._normal(batch, p["kv_heads"], group * queries, p["head_dim"])
        k = self._normal(batch, p["kv_heads"], p["head_dim"], keys)
        v = self._normal(batch, p["kv_heads"], keys, p["head_dim"])
        scale = np.float32(p["head_dim"] ** -0.5)
        seen = np.arange(keys) <= np.arange(queries)[:, None] + keys - queries
        mask = np.tile(np.where(seen, 0, -np.inf).astype(np.float32), (group, 1))

        def call() -> None:
            score = np.matmul(q, k)
            score *= scale
            score += mask
            score -= score.max(axis=-1, keepdims=True)
            np.exp(score, out=score)
            score /= score.sum(axis=-1, keepdims=True)
            np.matmul(score, v)

        return call

    def _norm(self, p: Point) -> Call:
        x, w = self._normal(p["tokens"], p["width"]), self._normal(p["width"])
        return lambda: (
            x * (1 / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-6))) * w
        )

    def _activation(self, p: Point) -> Call:
        gate, up = self._normal(p["tokens"], p["width"]), self._normal(p["tokens"], p["width"])
        return lambda: gate / (1 + np.exp(-gate)) * up

    def _copy_device(self, p: Point) -> Call:
        source = self.random.integers(1, 255, p["bytes"], dtype=np.uint8)
        target = np.empty_like(source)
        return lambda: np.copyto(target, source)


def cpu_device() -> dict[str, Any]:
    """What the operating system says of the processor.

    ``threads`` is what linear algebra may use: the usable cores, or OMP_NUM_THREADS.
    """
    import os

    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    name = line.split(":", 1)[1].strip()
                    break
    except OSError:
        pass
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", usable)
    return {"kind": "cpu", "name": name, "count": 1, "threads": int(threads or 1)}
