"""The links between a run's GPUs, and what its collectives take over them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

# GPUs as upstream names them -> shipped profiles, for collectives and where tables are missing.
PROFILES = {
    "RTXPRO6000": "rtx-pro-6000",
    "A100": "a100-sxm-80gb",
    "H100": "h100-sxm-80gb",
    "H200": "h200-sxm",
    "B200": "b200",
    "L40S": "l40s",
}
EXCHANGE = ("all_gather", "reduce_scatter")
Cost = Callable[[Any], Any]


def links(path: Path) -> tuple[float, float] | None:
    """Latency in seconds and bytes/s of the links that a ``cluster_config.json`` names; None where
    there is no such file.

    Raises:
        InputError: not such a file, or values that no link has.
    """
    if not path.is_file():
        return None
    try:
        given = json.loads(path.read_text("utf-8"))
        latency_s, bytes_per_s = given["link_latency"] * 1e-9, given["link_bw"] * 1e9
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a cluster_config.json ({error!r})", where=str(path)) from None
    if not (latency_s >= 0 and bytes_per_s > 0):
        raise InputError(f"links of {bytes_per_s} bytes/s, {latency_s} s", where=str(path))
    return latency_s, bytes_per_s


def collectives(
    gpu: str, tp: int, dp: int, model: Model, link: tuple[float, float] | None
) -> tuple[Cost | None, Cost | None]:
    """Seconds of an all-reduce against bytes, and of the experts' gathering and scattering of one
    layer against tokens of the fullest rank (vLLM's default exchange).

    Rings over ``link`` (latency, bytes/s), or as measured on such GPUs where it is None.

    Args:
        gpu: as upstream names it.
        tp, dp: GPUs of a rank, ranks.
        model: for its hidden size.
        link: of the run.

    Raises:
        InputError: neither a link nor measured collectives.
    """
    if tp == 1 and dp == 1:
        return None, None
    row_bytes = model.hidden_size * 2
    if link is None:
        return _measured(gpu, tp, dp, row_bytes)
    latency_s, bytes_per_s = link

    def reduce(size: Any) -> Any:
        share = 2 * (tp - 1) / tp
        return 2 * (tp - 1) * latency_s + share * np.asarray(size, float) / bytes_per_s

    def exchange(tokens: Any) -> Any:
        size = np.asarray(tokens, float) * row_bytes
        return 2 * (dp - 1) * (latency_s + size / bytes_per_s)

    return reduce, exchange


def _measured(gpu: str, tp: int, dp: int, row_bytes: int) -> tuple[Cost | None, Cost | None]:
    if gpu not in PROFILES:
        raise InputError(f"no collectives were measured on {gpu}")
    profile = load_profile(PROFILES[gpu])
    reduce = profile.operators.all_reduce.get(tp) if tp > 1 else None
    steps = [profile.operators.collectives.get(op, {}).get(dp) for op in EXCHANGE]
    known = [step for step in steps if step is not None]
    if (tp > 1 and reduce is None) or (dp > 1 and len(known) < len(EXCHANGE)):
        raise InputError(f"no collectives of {tp} x {dp} GPUs on {profile.name}")

    def exchange(tokens: Any) -> Any:
        size = np.asarray(tokens, float) * row_bytes * dp
        return sum(step.seconds(size) for step in known)

    return (None if reduce is None else reduce.seconds), exchange if dp > 1 else None
