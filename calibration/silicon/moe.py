"""Routed experts of one rank from a table."""

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import Array, Number
from mltwin.models.gpu.profile import Facts
from mltwin.models.llm.precision import precision

from .answers import EXACT, SCALED, Answers
from .interpolate import Curve, curve, fastest, groups

LATENCY_S = 1e-5


class TableMoe:
    """Times of the experts of one layer on one rank.

    Args:
        rows: columns num_tokens, hidden_size, inter_size, topk, num_experts, moe_tp_size,
            moe_ep_size, seconds of one distribution of the routing and one kernel a shape.
        peak_flops, bandwidth, weight_bytes: to scale to shapes that were not measured.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        *,
        peak_flops: float,
        bandwidth: float,
        weight_bytes: float,
        answers: Answers,
    ) -> None:
        self.peak_flops, self.bandwidth, self.width = peak_flops, bandwidth, weight_bytes
        self.answers = answers
        keyed = rows.assign(local=rows["inter_size"] // rows["moe_tp_size"])
        names = ["hidden_size", "local", "num_experts", "topk", "moe_ep_size"]
        self._rows = dict(groups(keyed, *names))
        self._keys = sorted(self._rows)
        self._curves: dict[tuple[int, ...], Curve] = {}

    def _curve(self, key: tuple[int, ...]) -> Curve:
        if key not in self._curves:
            group = self._rows[key]
            self._curves[key] = curve(group["num_tokens"], group["seconds"])
        return self._curves[key]

    def _roofline(self, tokens: Array, key: tuple[int, ...]) -> Array:
        """Time on paper: experts that are hit are read once, their rows computed."""
        h, width, experts, chosen, ep = key
        hit = experts / ep * -np.expm1(tokens * np.log1p(-min(chosen / experts, 1 - 1e-9)))
        memory = hit * 3 * h * width * self.width / self.bandwidth
        compute = 6 * tokens * chosen / ep * h * width / self.peak_flops
        return LATENCY_S + np.maximum(memory, compute)

    def seconds(
        self,
        tokens: Number,
        hidden: int,
        width: int,
        experts: int,
        chosen: int,
        weight_bytes: float | None = None,
        ep: int = 1,
    ) -> Array:
        """Seconds of one layer; see :class:`mltwin.models.gpu.operators.MoeCost`."""
        routed: Array = np.maximum(np.asarray(tokens, float), 1e-3)
        key = (int(hidden), int(width), int(experts), int(chosen), int(ep))
        if key in self._rows:
            self.answers.add("experts", EXACT)
            return self._curve(key).seconds(routed)
        nearest = min(self._keys, key=lambda known: _distance(known, key))
        self.answers.add(
            "experts",
            SCALED,
            f"experts: (hidden, width, experts, chosen, ranks) = {key} is scaled from {nearest}",
        )
        ratio = self._roofline(routed, key) / self._roofline(routed, nearest)
        return self._curve(nearest).seconds(routed) * ratio


def moe_table(rows: pd.DataFrame, facts: Facts, stored: str, answers: Answers) -> TableMoe:
    """The table of experts stored as ``stored``, the fastest kernel of each shape."""
    names = ["num_tokens", "hidden_size", "inter_size", "topk", "num_experts"]
    narrow = {"fp8": 2, "fp8_block": 2, "nvfp4": 4}.get(stored, 1)
    return TableMoe(
        fastest(rows, [*names, "moe_tp_size", "moe_ep_size"]),
        peak_flops=facts.peak_flops["bfloat16"] * narrow,
        bandwidth=facts.hbm_bandwidth,
        weight_bytes=precision(stored).weight_bytes,
        answers=answers,
    )


def _distance(known: tuple[int, ...], wanted: tuple[int, ...]) -> float:
    logs = np.abs(np.log(np.array(known) / np.array(wanted)))
    return float(logs @ np.array([1.0, 0.7, 1.0, 1.0, 0.7]))
