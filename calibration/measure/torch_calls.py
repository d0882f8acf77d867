"""The calls that PyTorch is timed with, one maker an operator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .points import Point

MAX_COPIES = 64


@dataclass(frozen=True)
class Rotating:
    """A call that takes the i-th of ``copies`` sets of cold inputs."""

    run: Callable[[int], Any]
    copies: int = 1

    def __call__(self, i: int) -> Any:
        return self.run(i % self.copies)


class CallMaker:
    """Makes the call of a point.

    Args:
        torch: the module.
        device: ``cpu`` or ``cuda``.
        cold_bytes: copies of an input are made until they fill so many bytes together.
    """

    def __init__(self, torch: Any, device: str, cold_bytes: int) -> None:
        self.torch, self.device, self.cold_bytes = torch, device, cold_bytes
        self.functional = torch.nn.functional

    def make(self, point: Point) -> Rotating | None:
        """The call, or None for an operator that has none."""
        maker: Callable[[Point], Rotating | None] | None = getattr(self, f"_{point['op']}", None)
        return maker(point) if maker else None

    def _dtype(self, name: str) -> Any:
        return getattr(self.torch, name)

    def _normal(self, *shape: int, dtype: str) -> Any:
        values = self.torch.randn(*shape, device=self.device, dtype=self.torch.float32)
        return values.to(self._dtype(dtype))

    def _copies(self, size_bytes: float) -> int:
        return int(np.clip(np.ceil(self.cold_bytes / max(size_bytes, 1)), 1, MAX_COPIES))

    def _gemm(self, p: Point) -> Rotating:
        if p["dtype"] == "fp8":
            return self._gemm_fp8(p)
        x = self._normal(p["m"], p["k"], dtype=p["dtype"])
        copies = self._copies(p["n"] * p["k"] * x.element_size())
        w = self._normal(copies, p["n"], p["k"], dtype=p["dtype"])
        out = self.torch.empty(p["m"], p["n"], device=self.device, dtype=x.dtype)
        return Rotating(lambda i: self.torch.mm(x, w[i].t(), out=out), copies)

    def _gemm_fp8(self, p: Point) -> Rotating:
        """Weights and activations in e4m3 with one static scale each: no quantisation is timed."""
        torch = self.torch
        kind = torch.float8_e4m3fn
        x = self._normal(p["m"], p["k"], dtype="bfloat16").to(kind)
        copies = self._copies(p["n"] * p["k"])
        w = self._normal(copies, p["n"], p["k"], dtype="bfloat16").to(kind)
        one = torch.ones((), device=self.device)
        return Rotating(
            lambda i: torch._scaled_mm(
                x, w[i].t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16
            ),
            copies,
        )

    def _attention_prefill(self, p: Point) -> Rotating:
        if p.get("window"):
            raise NotImplementedError("no sliding window")
        shape = (p["batch"], p["heads"], p["tokens"], p["head_dim"])
        q = self._normal(*shape, dtype=p["dtype"])
        k, v = (
            self._normal(p["batch"], p["kv_heads"], p["tokens"], p["head_dim"], dtype=p["dtype"])
            for _ in range(2)
        )
        attend = self.functional.scaled_dot_product_attention
        grouped = p["heads"] != p["kv_heads"]
        return Rotating(lambda _: attend(q, k, v, is_causal=True, enable_gqa=grouped))

    def _attention_decode(self, p: Point) -> Rotating:
        """Query heads of a group stand where queries of a sequence would: the same sums, and the
        keys are read once a group, as kernels for decode do it."""
        group = p["heads"] // p["kv_heads"]
        q = self._normal(p["batch"], p["kv_heads"], group, p["head_dim"], dtype=p["dtype"])
        shape = (p["batch"], p["kv_heads"], p["context"], p["head_dim"])
        copies = self._copies(2 * np.prod(shape, dtype=float) * q.element_size())
        k, v = (self._normal(copies, *shape, dtype=p["dtype"]) for _ in range(2))
        attend = self.functional.scaled_dot_product_attention
        return Rotating(lambda i: attend(q, k[i], v[i]), copies)

    def _attention_mixed(self, p: Point) -> Rotating | None:
        """One chunk and many decodes in one ragged call (FlashAttention on CUDA only)."""
        if self.device != "cuda":
            return None
        torch = self.torch
        new = np.array([p["chunk"], *[1] * p["decodes"]])
        seen = np.array([p["chunk_context"] + p["chunk"], *[p["context"]] * p["decodes"]])

        def ends(lengths: np.ndarray) -> Any:
            sums = np.concatenate(([0], np.cumsum(lengths)))
            return torch.tensor(sums, dtype=torch.int32, device=self.device)

        q = self._normal(int(new.sum()), p["heads"], p["head_dim"], dtype=p["dtype"])
        shape = (int(seen.sum()), p["kv_heads"], p["head_dim"])
        copies = self._copies(2 * np.prod(shape, dtype=float) * q.element_size())
        k, v = (self._normal(copies, *shape, dtype=p["dtype"]) for _ in range(2))
        ends_q, ends_k = ends(new), ends(seen)
        most_q, most_k = int(new.max()), int(seen.max())
        attend = torch.ops.aten._flash_attention_forward

        def run(i: int) -> Any:
            return attend(q, k[i], v[i], ends_q, ends_k, most_q, most_k, 0.0, True, False)

        return Rotating(run, copies)

    def _norm(self, p: Point) -> Rotating:
        x = self._normal(p["tokens"], p["width"], dtype=p["dtype"])
        w = self._normal(p["width"], dtype=p["dtype"])
        return Rotating(lambda _: self.functional.rms_norm(x, (p["width"],), w, 1e-6))

    def _activation(self, p: Point) -> Rotating:
        gate, up = (self._normal(p["tokens"], p["width"], dtype=p["dtype"]) for _ in range(2))
        silu = self.functional.silu
        return Rotating(lambda _: silu(gate).mul_(up))

    def _moe(self, p: Point) -> Rotating:
        """Gate-up, activation, down over rows that are sorted by expert already."""
        torch, silu = self.torch, self.functional.silu
        counts = expert_rows(p["tokens"] * p["chosen"], p["experts"], p["distribution"])
        x = self._normal(int(counts.sum()), p["hidden"], dtype=p["dtype"])
        up = self._normal(p["experts"], p["hidden"], 2 * p["width"], dtype=p["dtype"])
        down = self._normal(p["experts"], p["width"], p["hidden"], dtype=p["dtype"])
        if self.device == "cuda":
            ends = torch.tensor(np.cumsum(counts), dtype=torch.int32, device=self.device)

            def grouped(_: int) -> Any:
                gate, wide = torch._grouped_mm(x, up, offs=ends).chunk(2, dim=-1)
                return torch._grouped_mm(silu(gate).mul_(wide), down, offs=ends)

            return Rotating(grouped)
        busy = [int(e) for e in np.flatnonzero(counts)]
        parts = torch.split(x, [int(c) for c in counts[busy]])

        def one_by_one(_: int) -> None:
            for rows, e in zip(parts, busy, strict=True):
                gate, wide = torch.mm(rows, up[e]).chunk(2, dim=-1)
                torch.mm(silu(gate).mul_(wide), down[e])

        return Rotating(one_by_one)

    def _copy_device(self, p: Point) -> Rotating:
        source = self.torch.randint(1, 255, (p["bytes"],), dtype=self.torch.uint8)
        source = source.to(self.device)
        target = self.torch.empty_like(source)
        return Rotating(lambda _: target.copy_(source))

    def _copy_h2d(self, p: Point) -> Rotating | None:
        return self._copy_over_link(p, to_device=True)

    def _copy_d2h(self, p: Point) -> Rotating | None:
        return self._copy_over_link(p, to_device=False)

    def _copy_over_link(self, p: Point, *, to_device: bool) -> Rotating | None:
        if self.device != "cuda":
            return None
        host = self.torch.randint(1, 255, (p["bytes"],), dtype=self.torch.uint8)
        host = host.pin_memory() if p["pinned"] else host
        far = host.to(self.device)
        source, target = (host, far) if to_device else (far, host)
        return Rotating(lambda _: target.copy_(source, non_blocking=p["pinned"]))


def expert_rows(rows: int, experts: int, distribution: str) -> np.ndarray:
    """How many of ``rows`` go to each expert; int64 of shape (experts,).

    ``balanced``: as even as can be. ``power_law_a``: shares proportional to rank^-a, remainders
    to the largest fractions.
    """
    if distribution == "balanced":
        share = np.full(experts, 1.0 / experts)
    else:
        share = np.arange(1, experts + 1, dtype=float) ** -float(distribution.rsplit("_", 1)[1])
        share /= share.sum()
    exact = share * rows
    counts = np.floor(exact).astype(np.int64)
    late = np.argsort(-(exact - counts), kind="stable")[: rows - int(counts.sum())]
    counts[late] += 1
    return counts
