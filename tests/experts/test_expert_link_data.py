"""The default bandwidths are ServerlessLLM's measured ones: weight bytes over median loads."""

import json
import os
from pathlib import Path
from statistics import median

import pytest

from mltwin.experts import ExpertLink
from mltwin.models.llm import load_model

DATA = os.environ.get("MLTWIN_DATA")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA, reason="MLTWIN_DATA names no folder"),
]


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("cached/Qwen_Qwen3-32B_sllm_5_cached.json", "dram_gb_per_s"),
        ("random/Qwen_Qwen3-32B_sllm_30_random.json", "ssd_gb_per_s"),
    ],
)
def test_default_bandwidths_are_measured(file: str, field: str) -> None:
    folder = Path(str(DATA)) / "traces" / "serverless" / "serverlessllm_loading" / "h100_2025"
    loads = [row["loading_time"] for row in json.loads((folder / file).read_text())]
    measured = load_model("qwen3-32b").weight_bytes / median(loads) / 1e9
    assert getattr(ExpertLink(), field) == pytest.approx(measured, rel=0.02)
