"""What each shipped profile is made of: data-sheet facts, and which measurement files."""

from dataclasses import dataclass, field, replace

from mltwin.models.gpu.profile import Facts

SHEET = "dense peaks; links are one direction; usable memory as CUDA reports it, about"


@dataclass(frozen=True)
class Source:
    """Which files make one profile.

    Attributes:
        folder, version: of the measured tables.
        activation: file of the gated activation's times; empty: bandwidth as a share of the data
            sheet's, that of the H100.
        splitwise_gpu: name in Splitwise's table, for power; empty: none.
        serial: FlashAttention-2, which does not split an ungrouped head.
        narrow: peak of a format against bfloat16's, where it is not 2.
        comm: version of the all-reduce table, if another.
        transfer_of: a profile whose fits are taken with bandwidths and memory scaled.
    """

    name: str
    facts: Facts
    folder: str
    version: str
    activation: str
    splitwise_gpu: str
    serial: bool = False
    narrow: dict[str, float] = field(default_factory=dict)
    comm: str = ""
    transfer_of: str = ""


SOURCES = (
    Source(
        name="h100-sxm-80gb",
        facts=Facts(
            source="NVIDIA H100 Tensor Core GPU data sheet (SXM5 80 GB); dense peaks; links are "
            "one direction; usable memory as CUDA reports it, about",
            sms=132,
            l2_bytes=50 * 2**20,
            peak_flops={"bfloat16": 989e12, "fp8": 1979e12, "int8": 1979e12},
            hbm_bytes=80 * 2**30,
            usable_bytes=84_900_000_000,
            hbm_bandwidth=3.35e12,
            nvlink_bandwidth=450e9,
            host_link_bandwidth=64e9,
            gpus_per_node=8,
            tdp_w=700.0,
        ),
        folder="aiconfigurator/h100_sxm",
        version="vllm-0.24.0",
        activation="vidur/compute/h100/meta-llama/Llama-2-70b-hf/mlp.csv.gz",
        splitwise_gpu="h100-80gb",
    ),
    Source(
        name="a100-sxm-80gb",
        facts=Facts(
            source="NVIDIA A100 Tensor Core GPU data sheet (SXM4 80 GB); dense peaks; links are "
            "one direction; usable memory as CUDA reports it, about",
            sms=108,
            l2_bytes=40 * 2**20,
            peak_flops={"bfloat16": 312e12, "int8": 624e12},
            hbm_bytes=80 * 2**30,
            usable_bytes=84_900_000_000,
            hbm_bandwidth=2.039e12,
            nvlink_bandwidth=300e9,
            host_link_bandwidth=32e9,
            gpus_per_node=8,
            tdp_w=400.0,
        ),
        folder="aiconfigurator/a100_sxm",
        version="vllm-0.14.0",
        activation="vidur/compute/a100/meta-llama/Llama-2-70b-hf/mlp.csv.gz",
        splitwise_gpu="a100-80gb",
        serial=True,
    ),
    Source(
        name="l40s",
        facts=Facts(
            source=f"NVIDIA L40S data sheet; {SHEET}",
            sms=142,
            l2_bytes=96 * 2**20,
            peak_flops={"bfloat16": 362e12, "fp8": 733e12, "int8": 733e12},
            hbm_bytes=48 * 2**30,
            usable_bytes=47_700_000_000,
            hbm_bandwidth=864e9,
            nvlink_bandwidth=32e9,
            host_link_bandwidth=32e9,
            gpus_per_node=8,
            tdp_w=350.0,
        ),
        folder="aiconfigurator/l40s",
        version="vllm-0.24.0",
        comm="vllm-0.22.0",
        activation="",
        splitwise_gpu="",
        serial=True,
    ),
    Source(
        name="b200",
        facts=Facts(
            source=f"NVIDIA HGX B200 data sheet; {SHEET}",
            sms=148,
            l2_bytes=126 * 2**20,
            peak_flops={"bfloat16": 2250e12, "fp8": 4500e12, "nvfp4": 9000e12},
            hbm_bytes=180 * 2**30,
            usable_bytes=190_000_000_000,
            hbm_bandwidth=7.7e12,
            nvlink_bandwidth=900e9,
            host_link_bandwidth=64e9,
            gpus_per_node=8,
            tdp_w=1000.0,
        ),
        folder="aiconfigurator/b200_sxm",
        version="vllm-0.24.0",
        activation="",
        splitwise_gpu="",
        narrow={"nvfp4": 4.0},
    ),
    Source(
        name="rtx-pro-6000",
        facts=Facts(
            source=f"NVIDIA RTX PRO 6000 Blackwell Server Edition data sheet; {SHEET}",
            sms=188,
            l2_bytes=128 * 2**20,
            peak_flops={"bfloat16": 504e12, "fp8": 1008e12, "nvfp4": 2016e12},
            hbm_bytes=96 * 2**30,
            usable_bytes=101_000_000_000,
            hbm_bandwidth=1.597e12,
            nvlink_bandwidth=64e9,
            host_link_bandwidth=64e9,
            gpus_per_node=8,
            tdp_w=600.0,
        ),
        folder="aiconfigurator/rtx_pro_6000_server",
        version="vllm-0.24.0",
        activation="",
        splitwise_gpu="",
        narrow={"nvfp4": 4.0},
    ),
)
H200 = replace(
    SOURCES[0],
    name="h200-sxm",
    facts=replace(
        SOURCES[0].facts,
        source=f"NVIDIA H200 Tensor Core GPU data sheet (SXM); {SHEET}",
        hbm_bytes=141 * 10**9,
        usable_bytes=150_000_000_000 - 10_000_000_000,
        hbm_bandwidth=4.8e12,
    ),
    transfer_of="h100-sxm-80gb",
)
