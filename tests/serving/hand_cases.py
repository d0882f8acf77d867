"""Cases small enough to be worked out by hand.

Iterations take t = 1000 + 10 tok + ctx ticks unless a test says otherwise. So a prefill of 10
tokens takes 1100, and the decodes that follow 1021, 1022, ... (ctx is kv + 1).
"""

from typing import Any

import numpy as np

from mltwin.models.serving.outcome import (
    Outcome,
)
from mltwin.models.serving.reference import simulate
from mltwin.models.serving.tables import (
    CONTROL,
    EngineKind,
    IterationCells,
    ServingInput,
)


def cells(a=1000, b=10, c=1, d=0, e=0, f=0) -> IterationCells:
    """One cell for all iterations."""
    knots = np.array([0, 2**60])
    return IterationCells(np.zeros(1, np.int32), knots, np.array([[a, b, c, d]]), e, f)


def kind(timing: IterationCells | None = None, **fields: Any) -> EngineKind:
    return EngineKind(timing or cells(), **{"max_batch": 8, "max_tokens": 64, **fields})


SPLIT = {"mixed": False, "chunked": False}


def serve(
    prompt: list[int],
    output: list[int],
    arrival: list[int] | None = None,
    *,
    engine: EngineKind | None = None,
    replicas: int = 1,
    policies: dict | None = None,
    **columns: Any,
) -> Outcome:
    """Runs requests on replicas of one kind; columns are those of `ServingInput`."""
    columns.setdefault("predicted", output)
    columns = {name: np.array(v) if isinstance(v, list) else v for name, v in columns.items()}
    inp = ServingInput(
        arrival=np.array(arrival or [0] * len(prompt), np.int64),
        prompt=np.array(prompt, np.int32),
        output=np.array(output, np.int32),
        kinds=[engine or kind()],
        kind_of=np.zeros(replicas, np.int64),
        **columns,
    )
    return simulate(inp, policies or {})


def control(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(list(rows), CONTROL)


def events(outcome: Outcome, kind_: int) -> list[tuple[int, int, int]]:
    """(time, entity, value) of the events of a kind."""
    rows = outcome.log
    return [(int(r.time), int(r.entity), int(r.value)) for r in rows if r.kind == kind_]


def times(outcome: Outcome, column: str) -> list[int]:
    return outcome.requests[column].tolist()


def prefixes(*ids: list[int]) -> dict[str, Any]:
    counts = [len(row) for row in ids]
    return {
        "prefix_caching": True,
        "block_tokens": 4,
        "block_start": np.cumsum([0, *counts[:-1]]),
        "block_count": np.array(counts),
        "block_ids": np.array([name for row in ids for name in row]),
    }
