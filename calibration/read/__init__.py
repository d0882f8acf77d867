"""Readers of measured kernel timings: units normalised once, quirks kept in one place.

All latencies come out in seconds and all message sizes in bytes. ``data`` is the folder that
holds ``kernels/``.
"""

from .aiconfigurator import (
    read_all_reduce,
    read_decode_attention,
    read_gemm,
    read_moe,
    read_nccl,
    read_prefill_attention,
)
from .files import held_out, read_columns, sha256, source_folder, source_path
from .splitwise import read_splitwise
from .vidur import read_mlp_activation

__all__ = [
    "held_out",
    "read_all_reduce",
    "read_columns",
    "read_decode_attention",
    "read_gemm",
    "read_mlp_activation",
    "read_moe",
    "read_nccl",
    "read_prefill_attention",
    "read_splitwise",
    "sha256",
    "source_folder",
    "source_path",
]
