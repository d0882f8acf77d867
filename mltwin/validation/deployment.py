"""A deployment that is replayed: from a kind of replica and requests to seconds a request."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.models.serving.tables import DONE, EngineKind, ServingInput
from mltwin.sim.errors import InputError

from .pairs import AT, BELOW, PAST


@dataclass(frozen=True, eq=False)
class Replayed:
    """What became of each request, in seconds (first token and whole stay since its arrival).

    Attributes:
        ttft_s, tpot_s, e2e_s: float64[n]; TPOT is NaN where there is one output token.
        outcome: of the kernel.
    """

    ttft_s: np.ndarray
    tpot_s: np.ndarray
    e2e_s: np.ndarray
    outcome: Any


def run(
    kind: EngineKind,
    arrival: np.ndarray,
    prompts: np.ndarray,
    outputs: np.ndarray,
    *,
    where: str = "",
    batches: bool = False,
    **columns: Any,
) -> Replayed:
    """Replay requests on one replica.

    Args:
        arrival: ticks at which clients send, sorted.
        prompts, outputs: tokens.
        where: named in errors.
        batches: keep the kernel's log of iterations.
        columns: further fields of ServingInput.

    Raises:
        InputError: a request that the KV cache cannot hold.
    """
    from mltwin.models.serving.simulate import simulate

    arrival = np.asarray(arrival, np.int64)
    outcome = simulate(
        ServingInput(
            arrival=arrival,
            prompt=prompts.astype(np.int32),
            output=outputs.astype(np.int32),
            predicted=outputs.astype(np.int32),
            kinds=[kind],
            kind_of=np.zeros(1, np.int64),
            **columns,
        ),
        batches=batches,
    )
    if not np.all(np.asarray(outcome.requests["state"]) == DONE):
        raise InputError("requests that the KV cache cannot hold", where=where or None)
    first, finish = (np.asarray(outcome.requests[name], np.int64) for name in ("first", "finish"))
    gaps = outputs - 1
    tpot = np.full(len(outputs), np.nan)
    np.divide((finish - first) * 1e-12, gaps, out=tpot, where=gaps > 0)
    return Replayed((first - arrival) * 1e-12, tpot, (finish - arrival) * 1e-12, outcome)


def load_bin_of(replayed: Replayed) -> str:
    """By the replay's own queue, where a source measured none: the share of requests whose wait
    for a place in the batch lasted over a tenth of their whole stay. ``past`` the knee for more
    than a quarter of them, ``at`` for more than 2 %, else ``below``."""
    requests = replayed.outcome.requests
    scheduled, arrival = (np.asarray(requests[n], float) for n in ("scheduled", "arrival"))
    stay = np.asarray(requests["finish"], float) - arrival
    return load_bin_of_share(float(np.mean(scheduled - arrival > 0.1 * stay)))


def load_bin_of_share(share: float) -> str:
    """The bin of a share of requests that waited long; see :func:`load_bin_of`."""
    return PAST if share > 0.25 else AT if share > 0.02 else BELOW
