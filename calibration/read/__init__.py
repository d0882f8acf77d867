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
from .alibaba import read_aicb, read_simai_shares
from .apex_plus import read_apex_collective, read_apex_gemm
from .deepep import read_deepep, read_deepep_markdown
from .distserve import read_distserve, read_distserve_capacity
from .files import held_out, read_columns, sha256, source_folder, source_path
from .frontier import (
    read_frontier_attention,
    read_frontier_experts,
    read_frontier_linear,
    read_node_collective,
)
from .llmservingsim import (
    LayerShape,
    layer_file,
    layer_folders,
    read_dense,
    read_experts,
    read_layer_shape,
    read_mixed_attention,
    read_per_sequence,
    read_skew,
    read_v0_attention,
    read_v0_layers,
)
from .splitwise import read_splitwise
from .vidur import read_mlp_activation

__all__ = [
    "LayerShape",
    "held_out",
    "layer_file",
    "layer_folders",
    "read_aicb",
    "read_all_reduce",
    "read_apex_collective",
    "read_apex_gemm",
    "read_columns",
    "read_decode_attention",
    "read_deepep",
    "read_deepep_markdown",
    "read_dense",
    "read_distserve",
    "read_distserve_capacity",
    "read_experts",
    "read_frontier_attention",
    "read_frontier_experts",
    "read_frontier_linear",
    "read_gemm",
    "read_layer_shape",
    "read_mixed_attention",
    "read_mlp_activation",
    "read_moe",
    "read_nccl",
    "read_node_collective",
    "read_per_sequence",
    "read_prefill_attention",
    "read_simai_shares",
    "read_skew",
    "read_splitwise",
    "read_v0_attention",
    "read_v0_layers",
    "sha256",
    "source_folder",
    "source_path",
]
