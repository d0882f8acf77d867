"""Training steps against measured ones: `python -m benchmarks.network_training --data FOLDER`.

Rows: llm-foundry's MPT models on A100 and H100 (FSDP), and torchtitan's Llama 3.1 on H100 with a
500 W limit (FSDP, TP, PP, CP, fp8). Every row is predicted from the GPU profile, the plan the row
names and the framework's recipe; nothing is fitted to these rows. The error is that of the tokens
per second, which is that of the MFU. torchtitan's peak memory is set beside ours too.
"""

import argparse
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

MPT_SHAPES = {
    # hidden size, heads, layers: llm-foundry's scripts/train/yamls/pretrain.
    "125m": (768, 12, 12),
    "350m": (1024, 16, 24),
    "760m": (1536, 12, 24),
    "1b": (2048, 16, 24),
    "3b": (2560, 20, 32),
    "7b": (4096, 32, 32),
    "13b": (5120, 40, 40),
    "30b": (7168, 56, 48),
    "70b": (8192, 64, 80),
}
MPT_WORDS = 50368
PROFILES = {"a100_80gb": "a100-sxm-80gb", "h100_80gb": "h100-sxm-80gb"}
# 1,600 and 3,200 Gb/s from node to node, 8 GPUs a node.
NICS = {"a100_80gb": 25e9, "h100_80gb": 50e9}

# torchtitan's machines: H100 with 2.4 TB/s and a limit of 500 W where the profile's has 3.35 TB/s
# and 700 W. Power grows as the cube of the clock at a voltage that grows with it.
TITAN_CLOCK = (500 / 700) ** (1 / 3)
TITAN_MEMORY = 2.4 / 3.35
TITAN_USABLE = 95e9


@dataclass(frozen=True)
class Case:
    """One measured row: what was run, tokens/s of one GPU, and its peak GiB (0: not stated)."""

    group: str
    name: str
    model: Any
    plan: Any
    batch: Any
    gpu: str
    recipe: str
    measured: float
    options: dict[str, Any]
    memory_gib: float = 0.0


def cases(data: Path) -> Iterator[Case]:
    """All measured rows below ``data``.

    Raises:
        InputError: a table is missing, or holds something else.
    """
    folder = Path(data) / "groundtruth"
    yield from foundry_cases(folder / "llm-foundry" / "mpt_training.csv")
    for path in sorted((folder / "torchtitan").glob("*.md")):
        yield from titan_cases(path)


def foundry_cases(path: Path) -> Iterator[Case]:
    """Rows of llm-foundry's table; a model's parameters must be those the row names."""
    import pandas as pd

    from mltwin.models.training.plan import TrainingBatch, TrainingPlan
    from mltwin.models.training.step_comm import Cluster

    if not path.is_file():
        raise InputError("no such table", where=str(path), mend="point --data at the data folder")
    for number, row in enumerate(pd.read_csv(path).to_dict("records"), start=2):
        tokens = int(row["SeqLen (T)"])
        model = mpt(row["Model"], tokens)
        if model.parameters != int(row["NumParams"]):
            raise InputError(
                f"{row['Model']} has {row['NumParams']} parameters, its shape {model.parameters}",
                where=f"{path}:{number}",
            )
        full = str(row["Activation Checkpointing"]) == "True"
        plan = TrainingPlan(
            dp=int(row["# GPUs"]),
            zero=3 if row["Sharding Strategy"] == "FULL_SHARD" else 2,
            microbatches=int(row["GradAccum"]),
            recompute="full" if full else "none",
            precision="fp8" if "fp8" in row["Precision"] else "bf16",
            reduce_every=True,
            gradient_bytes=2,
        )
        gpu = row["GPU"]
        yield Case(
            group=f"llm-foundry {gpu[:4]} {plan.precision}"
            + (" >= 128 GPUs" if plan.dp >= 128 else ""),
            name=f"{row['Model']} {tokens} x{plan.dp} {plan.describe()}",
            model=model,
            plan=plan,
            batch=TrainingBatch(int(row["MicroBatchSize"]), tokens),
            gpu=PROFILES[gpu],
            recipe="llm-foundry-triton" if gpu == "a100_80gb" else "llm-foundry",
            measured=float(row["Throughput (T/s/GPU)"]),
            options={"cluster": Cluster(nic_bytes_per_s=NICS[gpu])},
        )


def mpt(name: str, tokens: int) -> Any:
    """An MPT model of llm-foundry: LayerNorm and biases, GELU, tied and learned embeddings."""
    from mltwin.models.llm.model import Model

    hidden, heads, layers = MPT_SHAPES[name]
    return Model(
        name=f"mpt-{name}",
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate_size=4 * hidden,
        vocab_size=MPT_WORDS,
        windows=(0,) * layers,
        max_context=tokens,
        tied_embeddings=True,
        gated_mlp=False,
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        layer_norm_bias=True,
        position_embeddings=tokens,
    )


def titan_cases(path: Path) -> Iterator[Case]:
    """Rows of one of torchtitan's pages: each table's title says what was run."""
    title = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(("**Table", "#### ")):
            title = line
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or not re.fullmatch(r"[\d.,]+", cells[1].replace(" ", "")):
            continue
        if title.startswith("####"):
            yield from _async_rows(title, cells)
        else:
            yield _table_row(title, cells)


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _titan(
    group: str, name: str, model: str, plan: Any, batch: Any, measured: float, memory: float = 0.0
) -> Case:
    from mltwin.models.llm.config import load_model

    eager = name.endswith(" FSDP")
    return Case(
        group=f"torchtitan {group}",
        name=name,
        model=load_model(model),
        plan=plan,
        batch=batch,
        gpu="h100-sxm-80gb",
        recipe="torchtitan" if eager else "torchtitan-compile",
        measured=measured,
        options={
            "compute_speed": TITAN_CLOCK,
            "memory_speed": TITAN_MEMORY,
            "usable_bytes": TITAN_USABLE,
        },
        memory_gib=memory,
    )


def _table_row(title: str, cells: list[str]) -> Case:
    """A row of the tables of 2024-12."""
    from mltwin.models.training.plan import TrainingBatch, TrainingPlan

    table = int(title[len("**Table ")])
    what, memory = cells[0], _number(cells[-1])
    if table in (1, 3):
        plan = TrainingPlan(
            dp=8 if table == 1 else 128,
            zero=3,
            recompute="operators",
            precision="fp8" if "Float8" in what else "bf16",
        )
        name = f"8B x{plan.dp} {what}"
        batch = TrainingBatch(2, 8192)
        return _titan("FSDP", name, "llama-3.1-8b", plan, batch, _number(cells[1]), memory)
    if table in (2, 6):
        dp, cp = (int(n) for n in re.findall(r"\d+", what))
        wide = {"tp": 8, "pp": 8, "async_tp": True, "microbatches": 8} if table == 6 else {}
        plan = TrainingPlan(dp=dp, cp=cp, zero=3, recompute="full", precision="fp8", **wide)
        model = "llama-3.1-8b" if table == 2 else "llama-3.1-405b"
        tokens, measured = int(cells[1]), _number(cells[2])
        name = f"{model} {what} {tokens}"
        return _titan(
            "CP" if table == 2 else "4D",
            name,
            model,
            plan,
            TrainingBatch(1, tokens),
            measured,
            memory,
        )
    if table == 4:
        plan = TrainingPlan(
            dp=32, tp=8, zero=3, recompute="full", precision="fp8", async_tp="Async" in what
        )
        batch = TrainingBatch(16, 8192)
        return _titan("TP", f"70B {what}", "llama-3.1-70b", plan, batch, _number(cells[1]), memory)
    # Micro-batches: torchtitan's default, as many as the pipeline has ranks.
    looped = {"schedule": "interleaved", "interleave": 2} if "Inter" in what else {}
    plan = TrainingPlan(
        dp=8, tp=8, pp=8, zero=3, recompute="full", precision="fp8", async_tp=True,
        microbatches=8, **looped,
    )  # fmt: skip
    batch = TrainingBatch(4, 8192)
    return _titan("PP", f"405B {what}", "llama-3.1-405b", plan, batch, _number(cells[1]), memory)


def _async_rows(title: str, cells: list[str]) -> Iterator[Case]:
    """The two figures of a row of 2025-06: without and with asynchronous TP."""
    from mltwin.models.training.plan import TrainingBatch, TrainingPlan

    large = "70b" in title
    for column, is_async in ((1, False), (2, True)):
        plan = TrainingPlan(
            dp=32 if large else 8,
            tp=8,
            zero=3,
            recompute="full" if large else "operators",
            precision="bf16" if "None" in cells[0] else "fp8",
            async_tp=is_async,
        )
        name = f"{'70B' if large else '8B'} {cells[0]}{' async' if is_async else ''}"
        model = "llama-3.1-70b" if large else "llama-3.1-8b"
        batch = TrainingBatch(16 if large else 12, 8192)
        yield _titan("TP", name, model, plan, batch, _number(cells[column]))


def predict(case: Case) -> Any:
    """The step of a row (whether it fits is not asked: it ran)."""
    from mltwin.models.training.step import training_step

    return training_step(
        case.model, case.plan, case.batch, case.gpu, recipe=case.recipe, fit=False, **case.options
    )


def measure(data: Path) -> dict[str, Any]:
    """Signed relative errors of the tokens per second, by group, and the figure over all rows."""
    rows: list[tuple[str, str, float, float, float]] = []
    memory: list[float] = []
    for case in cases(data):
        step = predict(case)
        rate = step.tokens_per_s_per_gpu
        rows.append((case.group, case.name, case.measured, rate, rate / case.measured - 1))
        if case.memory_gib:
            memory.append(step.memory.total / 2**30 / case.memory_gib - 1)
    groups: dict[str, list[float]] = {}
    for group, *_, error in rows:
        groups.setdefault(group, []).append(error)
    whole = _summary([row[-1] for row in rows])
    return {
        "training_mfu_median_pct": whole["median_pct"],
        "training_mfu_p90_pct": whole["p90_pct"],
        "training_mfu_bias_pct": whole["bias_pct"],
        "rows": len(rows),
        "groups": {group: _summary(values) for group, values in groups.items()},
        "memory": _summary(memory),
        "cases": rows,
    }


def _summary(errors: list[float]) -> dict[str, float]:
    """Median and 90th percentile of the absolute error, and the signed median, in percent."""
    return {
        "rows": len(errors),
        "median_pct": float(np.median(np.abs(errors)) * 100),
        "p90_pct": float(np.quantile(np.abs(errors), 0.9) * 100),
        "bias_pct": float(np.median(errors) * 100),
    }


def main() -> None:
    """Print the figure, groups and, on demand, each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("MLTWIN_DATA"), help="measured data")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", action="store_true", help="print every row")
    arguments = parser.parse_args()
    if not arguments.data:
        raise SystemExit("give --data or set MLTWIN_DATA")
    found = measure(Path(arguments.data))
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    if arguments.rows:
        for group, name, measured, predicted, error in found["cases"]:
            print(f"{group:32s} {name:64s} {measured:9.0f} {predicted:9.0f} {error:+7.1%}")
    for group, values in (*found["groups"].items(), ("memory of torchtitan", found["memory"])):
        print(
            f"{group:34s} {values['rows']:4d} rows  median {values['median_pct']:5.1f} %  "
            f"p90 {values['p90_pct']:5.1f} %  bias {values['bias_pct']:+5.1f} %"
        )
    for key in ("training_mfu_median_pct", "training_mfu_p90_pct", "training_mfu_bias_pct"):
        print(f"{key} {found[key]:.2f}")


if __name__ == "__main__":
    main()
