"""Mooncake's tables of KV transfers between a prefill and a decode server, and their TTFT.

Protocol. One request at a time moves the KV bytes of its row over links of the stated capacity
(200 GB/s, 8 x 25 or 4 x 50, one way), after the hand-over message of a default scenario's network,
through the serving kernel. TTFT where a profile stands for the GPU (an H800 computes as an H100
does): the prefill in the engine's default chunks, the transfer, the decoder's first iteration, and
the front ends of both servers (15 ms and 3 us a token each, as assumed for benchmark clients).

The SSD and cache tables beside them hold ratios of a cluster whose deployment is not given.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltwin.calibration.silicon.recipes import Recipe
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.gpu.table import linear_table
from mltwin.models.llm.config import load_model
from mltwin.models.serving.hooks import ROLES
from mltwin.models.serving.tables import EngineKind, IterationCells, ServingInput
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .pairs import BELOW, Pair

SOURCE = "mooncake"
LINK_BYTES_PER_S = 200e9
LATENCY_S = 10e-6
CHUNK_TOKENS = 8192
TP = 8
# Part of the hardware's name -> a profile that stands for it.
PROFILES = {"H800": "h100-sxm-80gb"}
# Qwen/Qwen3-8B, config.json
QWEN3_8B = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
MODELS = {"Qwen3-8B": QWEN3_8B}
_UNITS = {"MB": 1e6, "GB": 1e9}
_NUMBER = r"([\d.,]+)"


@dataclass(frozen=True)
class Transfer:
    """A row of a table.

    Attributes:
        file: Markdown file below the folder.
        gpu, model, engine: as the file names them.
        tokens: of the prompt.
        size_bytes: KV moved.
        transfer_s, ttft_s: measured means.
    """

    file: str
    gpu: str
    model: str
    engine: str
    tokens: int
    size_bytes: float
    transfer_s: float
    ttft_s: float


def read_transfers(folder: str | Path) -> list[Transfer]:
    """The rows of all tables with prompt length, TTFT, KV size and transfer time.

    Raises:
        InputError: a row of such a table that cannot be read.
    """
    root = Path(folder)
    found = []
    for path in sorted(root.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        columns: list[int] | None = None
        for number, line in enumerate(text.splitlines(), 1):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not line.lstrip().startswith("|"):
                columns = None
            elif columns is None:
                columns = _columns(cells)
            elif not set(line) <= set("|-: "):
                where = f"{path}, line {number}"
                found.append(_row(str(path.relative_to(root)), text, cells, columns, where))
    return found


def _columns(cells: list[str]) -> list[int] | None:
    wanted = (r"prompt length", r"ttft", r"kv size", r"transfer time")
    places = [next((i for i, c in enumerate(cells) if re.search(w, c.lower())), -1) for w in wanted]
    return None if -1 in places else places


def _row(file: str, text: str, cells: list[str], columns: list[int], where: str) -> Transfer:
    try:
        tokens, ttft, size, transfer = (cells[i] for i in columns)
        amount, unit = re.match(rf"{_NUMBER} (MB|GB)$", size).groups()  # type: ignore[union-attr]
        return Transfer(
            file=file,
            gpu=_named(text, r"NVIDIA (\S+) \("),
            model=_named(text, r"\*\*Model\*\*: ([\w.-]+)"),
            engine=_named(text, r"^# (\w+)"),
            tokens=int(_value(tokens.removesuffix("tokens"))),
            size_bytes=_value(amount) * _UNITS[unit],
            transfer_s=_value(transfer) * 1e-3,
            ttft_s=_value(ttft) * 1e-3,
        )
    except (AttributeError, IndexError, ValueError) as error:
        raise InputError(f"not a row of transfers ({error})", where=where) from None


def _value(text: str) -> float:
    return float(text.strip().replace(",", ""))


def _named(text: str, pattern: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "-"


def validate_mooncake(folder: str | Path) -> list[Pair]:
    """Time every transfer of a folder of Markdown tables.

    Raises:
        InputError: no such table, or a row that cannot be read.
    """
    rows = read_transfers(folder)
    if not rows:
        raise InputError("no table of KV transfers", where=str(folder))
    pairs = []
    for row in rows:
        label = {
            "source": SOURCE,
            "row_id": f"{row.file}: {row.tokens} tokens",
            "gpu": row.gpu,
            "engine": row.engine,
            "model": row.model,
            "mode": "transfer",
            "load_bin": BELOW,
        }
        seconds = transfer_seconds(row)
        pairs.append(
            Pair(
                metric="transfer_mean",
                measured=row.transfer_s,
                predicted=seconds,
                confidence="nominal link",
                **label,
            )
        )
        known = row.gpu in PROFILES and row.model in MODELS
        pairs.append(
            Pair(
                metric="ttft_mean",
                measured=row.ttft_s,
                predicted=ttft_seconds(row) if known else None,
                confidence="profile of a like GPU",
                note="" if known else f"no kernel tables of {row.gpu} or shape of {row.model}",
                **label,
            )
        )
    return pairs


def transfer_seconds(row: Transfer) -> float:
    """Seconds from the hand-over to the last byte, as the serving kernel has it."""
    from mltwin.models.serving.simulate import simulate
    from mltwin.policies.registry import resolve

    place = resolve("least_requests_decode", "place_decode")[0].compiled()
    table = linear_table(row.tokens, constant_s=1e-12)
    cells = IterationCells(table.token_row, table.context_knots, table.cells)
    kind = EngineKind(cells=cells, max_tokens=row.tokens, max_batch=1, blocks=2 * row.tokens)
    outcome = simulate(
        ServingInput(
            arrival=np.zeros(1, np.int64),
            prompt=np.full(1, row.tokens, np.int32),
            output=np.full(1, 2, np.int32),
            predicted=np.full(1, 2, np.int32),
            kinds=[kind],
            kind_of=np.zeros(2, np.int64),
            role_of=np.array([ROLES["prefill"], ROLES["decode"]]),
            pool_of=np.arange(2),
            nic_of=np.arange(2),
            nic_bytes_per_s=np.full(2, LINK_BYTES_PER_S),
            latency=int(ticks(LATENCY_S)),
            kv_bytes_per_token=round(row.size_bytes / row.tokens),
        ),
        {"place_decode": place},
    )
    return int(np.asarray(outcome.requests["transfer"])[0]) * 1e-12


def ttft_seconds(row: Transfer) -> float:
    """Seconds to the token that the decoder streams first."""
    times = IterationModel(load_model(MODELS[row.model]), PROFILES[row.gpu], tp=TP)
    prefill, before = 0.0, 0
    while before < row.tokens:
        chunk = min(CHUNK_TOKENS, row.tokens - before)
        prefill += float(times.seconds([(chunk, before)], []))
        before += chunk
    decode = float(times.seconds([], [row.tokens + 1]))
    front = Recipe.frontend_s + Recipe.frontend_token_s * row.tokens
    return 2 * front + prefill + transfer_seconds(row) + decode
