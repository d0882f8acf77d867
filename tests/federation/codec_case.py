"""A server that codecs can be shown without a run."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mltwin.models.federation.hooks import Arrivals, Updates
from mltwin.models.federation.tables import Clients, Plan


@dataclass
class Task:
    """Just a number of parameters."""

    parameters: int = 0
    examples: Any = None


@dataclass(eq=False)
class Desk:
    """What codecs and combines read of a server."""

    task: Any = None
    plan: Plan = field(default_factory=Plan)
    seed: int = 1
    version: int = 0
    clients: Clients = field(default_factory=lambda: Clients.make(np.ones(4, int)))


def arrivals(client, dispatch=None, held=0) -> Arrivals:
    """Arrivals of clients; each with its own number where none is given."""
    client = np.atleast_1d(np.asarray(client, np.int32))
    count = len(client)
    zeros = np.zeros(count, np.int64)
    numbers = np.arange(count) if dispatch is None else np.broadcast_to(dispatch, count)
    return Arrivals(
        client,
        numbers.astype(np.int64),
        np.broadcast_to(held, count).astype(np.int64),
        zeros,
        zeros,
        zeros + 1,
        zeros.astype(np.int8),
        zeros,
    )


def updates(delta) -> Updates:
    """Updates of float32[n, d]."""
    rows = np.atleast_2d(np.asarray(delta, np.float32))
    return Updates(rows, np.zeros(len(rows)), np.zeros(len(rows)))


def many(codec, vector, copies, server=None) -> np.ndarray:
    """float64[copies, d]: a vector through a codec, with the draws of as many messages."""
    vector = np.asarray(vector, np.float32)
    desk = server or Desk(Task(len(vector)))
    rows = np.broadcast_to(vector, (copies, len(vector)))
    return codec.apply(desk, arrivals(np.zeros(copies)), updates(rows)).delta.astype(np.float64)


def off(samples, expected) -> float:
    """The greatest distance of column means from what is expected, in standard errors."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    return float((np.abs(samples.mean(axis=0) - expected) / np.maximum(error, 1e-12)).max())
