"""Time of single operators on one GPU, from a handful of fitted parameters each.

Every class is frozen, holds parameters in SI units and has a ``seconds`` that takes numbers or
numpy arrays (broadcast together). The same code is used to fit (:mod:`mltwin.calibration.fit`)
and to predict, so a profile cannot be read otherwise than it was fitted.
"""

from dataclasses import dataclass, field

from .arrays import Array, Number
from .attention import DecodeCost, MixedCost, PrefillCost
from .collectives import CollectiveCost
from .elementwise import ElementwiseCost
from .gemm import SPLITS, TILES, GemmCost
from .moe import MoeCost
from .trees import Trees

__all__ = [
    "SPLITS",
    "TILES",
    "Array",
    "CollectiveCost",
    "DecodeCost",
    "ElementwiseCost",
    "GemmCost",
    "MixedCost",
    "MoeCost",
    "Number",
    "Operators",
    "PrefillCost",
    "Trees",
]


@dataclass(frozen=True)
class Operators:
    """All fitted operators of one GPU type.

    ``gemm`` and ``moe`` by number format; ``decode`` and ``prefill`` by the format of the KV
    cache, then by head size; ``all_reduce`` (the engine's own) by the number of GPUs, and
    ``collectives`` (NCCL's) by name, then GPUs.
    """

    gemm: dict[str, GemmCost]
    decode: dict[str, dict[int, DecodeCost]]
    prefill: dict[str, dict[int, PrefillCost]]
    all_reduce: dict[int, CollectiveCost]
    elementwise: ElementwiseCost
    moe: dict[str, MoeCost] = field(default_factory=dict)
    mixed: MixedCost | None = None
    collectives: dict[str, dict[int, CollectiveCost]] = field(default_factory=dict)
