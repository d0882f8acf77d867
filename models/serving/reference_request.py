"""A request of the SimPy twin: what the trace says of it, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.ticks import NEVER

from .tables import (
    ARRIVED,
    DECODE,
    FETCHING,
    HANDOVER,
    NEW,
    PREFILL,
    REMOTE,
    SWAPPED,
    TRANSFER,
    WAITING,
    ServingInput,
    column,
)

if TYPE_CHECKING:
    from .reference_replica import Replica


QUEUED = (WAITING, SWAPPED, REMOTE)
RUNNING = (PREFILL, DECODE, HANDOVER, TRANSFER, ARRIVED, FETCHING)


@dataclass(eq=False)
class Request:
    """A request on its way; times in ticks, -1 for what has not happened."""

    id: int
    arrival: int
    prompt: int
    output: int
    predicted: int
    tenant: int
    session: int
    priority: int
    deadline: int
    timeout: int
    ids: list[int]  # of its prefix blocks; ids of its own (negative) after them, once named
    named: int  # how many of them the trace gives
    need: int  # tokens that a prefill has to bring into memory
    state: int = NEW
    kv: int = 0
    generated: int = 0
    cached: int = 0
    key: float = 0.0
    replica: Replica | None = None  # to which it is assigned
    source: Replica | None = None  # which holds its KV until it has been moved
    leaving: bool = False  # its client cancelled; it goes at the next occasion
    queued: int = -1  # when it last joined a queue
    scheduled: int = -1
    first: int = -1
    finish: int = -1
    last_token: int = -1
    handed_over: int = -1
    transfer: int = 0
    prefill_replica: int = -1
    last_replica: int = -1
    preempted: int = 0
    attempts: int = 0
    tried: bool = False  # has fetched since it was last admitted
    fetched: int = 0  # tokens
    fetch_wait: int = 0


def requests_of(inp: ServingInput) -> list[Request]:
    """The requests of an input, with the defaults of columns that are empty."""
    n = len(inp.arrival)
    columns = {
        "arrival": inp.arrival,
        "prompt": inp.prompt,
        "output": inp.output,
        "predicted": inp.predicted,
        "tenant": column(inp.tenant, n, 0, np.int64),
        "session": column(inp.session, n, -1, np.int64),
        "priority": column(inp.priority, n, 0, np.int64),
        "deadline": column(inp.deadline, n, NEVER, np.int64),
        "timeout": column(inp.timeout, n, 0, np.int64),
    }
    made = []
    for i in range(n):
        ids: list[int] = []
        if inp.prefix_caching and len(inp.block_start):
            start = int(inp.block_start[i])
            ids = [int(b) for b in inp.block_ids[start : start + int(inp.block_count[i])]]
        row = {name: int(values[i]) for name, values in columns.items()}
        made.append(Request(id=i, ids=ids, named=len(ids), need=row["prompt"], **row))
    return made


def name_blocks(q: Request, block_tokens: int) -> None:
    """Ids that no other request has, for the blocks of q that the trace does not name."""
    total = (q.prompt + q.output) // block_tokens
    q.ids += [-1 - (q.id << 32 | depth) for depth in range(len(q.ids), total)]
