"""Mooncake JSON lines: `timestamp` (ms), `input_length`, `output_length`, `hash_ids`.

Source: Qin et al., "Mooncake", FAST 2025; github.com/kvcache-ai/Mooncake. One id stands for one
block of 512 prompt tokens and all before it; the last block may be part filled. Other programs
write the same form with other block sizes, and with `session_id` and `priority`.
"""

import numpy as np

from mltwin.sim.errors import InputError

from .build import build, dense_names
from .from_jsonl import read_jsonl
from .source import Source
from .table import MAX_PRIORITY, MAX_TOKENS, Trace
from .tabular import Field, Rejects
from .values import Count, Ids, Text, Time

BLOCK_TOKENS = 512
FIELDS = {
    "arrival": Field("timestamp", Time("ms")),
    "prompt": Field("input_length", Count()),
    "output": Field("output_length", Count()),
    "blocks": Field("hash_ids", Ids(), optional=True),
    "session": Field("session_id", Text(), optional=True),
    "priority": Field("priority", Count(-MAX_PRIORITY, MAX_PRIORITY), optional=True),
}


def read_mooncake(
    source: Source,
    rejects: Rejects,
    *,
    sort: bool = False,
    block_tokens: int = BLOCK_TOKENS,
    unit: str = "ms",
) -> Trace:
    """A Mooncake trace; `unit` is that of `timestamp`, `block_tokens` the size of a hashed block.

    Files without `hash_ids` give a trace without prefix information.
    """
    if not 1 <= block_tokens <= MAX_TOKENS:
        raise InputError(f"block_tokens = {block_tokens} is not in 1..{MAX_TOKENS}")
    fields = {**FIELDS, "arrival": Field("timestamp", Time(unit))}
    table = read_jsonl(source, fields, rejects)
    if "session" in table:
        table.columns["session"] = session_numbers(table["session"])
    return build(table, origin="zero", sort=sort, block_tokens=block_tokens)


def session_numbers(names: np.ndarray) -> np.ndarray:
    """Session names as numbers in order of first appearance; a blank name is no session (-1)."""
    numbers = np.full(names.size, -1, np.int32)
    named = np.flatnonzero(names != "")
    numbers[named] = dense_names(names[named])[0]
    return numbers
