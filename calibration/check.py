"""Prints how good the shipped profiles are.

    python -m mltwin.calibration.check --data $MLTWIN_DATA

Three views: the error of each operator on held-out rows (as stored in the profile), the loss of
lowering to integer tables, and whole iterations against Splitwise's measured Llama-2-70B runs.
Those ran on other software (2023, kernels launched one by one), and nothing is fitted to them;
the last column adds one stated constant, a launch floor.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.gpu.lowering_check import lowering_error
from mltwin.models.gpu.profile import load_profile, profile_names
from mltwin.sim.errors import InputError

from . import read

SPLITWISE_GPUS = {"a100-80gb": "a100-sxm-80gb", "h100-80gb": "h100-sxm-80gb"}
LOWERED = (
    ("llama-3.1-8b", "h100-sxm-80gb", 1, 1),
    ("llama-3.1-70b", "h100-sxm-80gb", 4, 1),
    ("llama-3.1-70b", "h100-sxm-80gb", 4, 2),
    ("llama-2-70b", "a100-sxm-80gb", 8, 1),
    ("qwen3-30b-a3b", "h100-sxm-80gb", 1, 1),
    ("gpt-oss-120b", "h100-sxm-80gb", 2, 1),
    ("mistral-7b", "h100-sxm-80gb", 1, 1),
    ("deepseek-v3", "h100-sxm-80gb", 8, 2),
    ("opt-13b", "a100-sxm-80gb", 1, 1),
)


@dataclass(frozen=True)
class EndToEnd:
    """Signed median and median absolute error of one configuration, as fractions."""

    gpu: str
    tp: int
    points: int
    launch_floor_s: float
    prompt_bias: float
    prompt_error: float
    token_bias: float
    token_error: float


def splitwise_floor_s(data: str | Path, gpu: str) -> float:
    """The launch floor of those runs: their least token time at TP 8, where the GPU's own work
    is shortest. It hardly varies with context, and TP 4 shows the same, so it is a floor. (The
    TP 8 token times are thus not independent of it.)
    """
    rows = read.read_splitwise(read.source_path(data, "splitwise/perf_model.csv"))
    rows = rows[(rows["model"] == "llama2-70b") & (rows["gpu"] == gpu) & (rows["tp"] == 8)]
    return float(rows["token_s"].min())


def against_splitwise(data: str | Path, gpu: str, tp: int, launch_floor_s: float = 0.0) -> EndToEnd:
    """Composed iterations against measured prompt and token times of Llama-2-70B.

    A run's token time is compared at the middle of its output.
    """
    rows = read.read_splitwise(read.source_path(data, "splitwise/perf_model.csv"))
    rows = rows[(rows["model"] == "llama2-70b") & (rows["gpu"] == gpu) & (rows["tp"] == tp)]
    model = IterationModel("llama-2-70b", SPLITWISE_GPUS[gpu], tp=tp, launch_floor_s=launch_floor_s)
    measured_prompt, measured_token = rows["prompt_s"].to_numpy(), rows["token_s"].to_numpy()
    sizes = rows[["prompt_tokens", "batch", "output_tokens"]].to_numpy(np.int64).tolist()
    prompts = [model.seconds([(tokens, 0)] * batch) for tokens, batch, _ in sizes]
    tokens_s = [model.seconds((), [tokens + out // 2] * batch) for tokens, batch, out in sizes]
    prompt = np.array(prompts) / measured_prompt - 1
    token = np.array(tokens_s) / measured_token - 1
    return EndToEnd(
        gpu=gpu,
        tp=tp,
        points=len(rows),
        launch_floor_s=launch_floor_s,
        prompt_bias=_median(prompt),
        prompt_error=_median(np.abs(prompt)),
        token_bias=_median(token),
        token_error=_median(np.abs(token)),
    )


def _median(values: npt.ArrayLike) -> float:
    return float(np.median(np.asarray(values, float)))


def print_operators() -> None:
    """The error of every operator, as its profile states it."""
    for name in profile_names():
        print(f"{name}: absolute relative error on held-out rows")
        for p in load_profile(name).provenance:
            print(
                f"  {p.operator:24s} rows {p.rows:6d} held {p.held_rows:5d} "
                f"median {p.median:6.1%} p95 {p.p95:6.1%} bias {p.bias:+6.1%}"
            )


def print_lowering() -> None:
    """What the integer tables lose against the composed model."""
    for name, gpu, tp, pp in LOWERED:
        model = IterationModel(name, gpu, tp=tp, pp=pp)
        table = model.lower(8192, 8192)
        print(f"{name} on {gpu} tp={tp} pp={pp}: {table.rows} rows x {table.columns} columns")
        print(f"  {lowering_error(model, table)}")


def print_end_to_end(data: str | Path) -> None:
    """Whole iterations against measured ones, without and with the launch floor."""
    print("Llama-2-70B against Splitwise (signed median, median absolute)")
    for gpu in SPLITWISE_GPUS:
        for floor in (0.0, splitwise_floor_s(data, gpu)):
            for tp in (2, 4, 8):
                e = against_splitwise(data, gpu, tp, floor)
                print(
                    f"  {gpu} tp={tp} floor {1e3 * floor:4.1f} ms, {e.points} points: "
                    f"prompt {e.prompt_bias:+6.1%} {e.prompt_error:5.1%}  "
                    f"token {e.token_bias:+6.1%} {e.token_error:5.1%}"
                )


def main(arguments: list[str] | None = None) -> int:
    """Prints all three views."""
    parser = argparse.ArgumentParser(description="Check the shipped GPU profiles.")
    parser.add_argument("--data", default=os.environ.get("MLTWIN_DATA"))
    options = parser.parse_args(arguments)
    print_operators()
    print_lowering()
    if options.data:
        print_end_to_end(options.data)
    else:
        print("no measured data given: end-to-end comparison left out")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
