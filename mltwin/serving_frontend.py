"""What lies between a client and the engine: tokenising, HTTP, and the way back of each token.

The kernel begins where a request is queued. `FrontEnd` says how long before that its client sent
it, and how long after a token was made the client has it. Both count in TTFT and E2E; gaps between
tokens do not change. The next request of a closed loop or a session waits for the last token to be
back at its client.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.ticks import ticks

if TYPE_CHECKING:
    from .serving import Workload

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FrontEnd:
    """Seconds outside the engine: before a request is queued, and after each token."""

    request_s: float = 0.0
    token_s: float = 0.0
    return_s: float = 0.0

    @classmethod
    def of(cls, workload: "Workload") -> "FrontEnd":
        """That of a scenario."""
        return cls(workload.frontend_s, workload.frontend_token_s, workload.return_s)

    @property
    def return_ticks(self) -> int:
        """Ticks from a token's making to its arrival at the client."""
        return int(ticks(self.return_s))

    def ticks(self, prompt: np.ndarray) -> np.ndarray:
        """int64 ticks from sending to queueing, by prompt tokens; empty where there are none."""
        if self.request_s == self.token_s == 0:
            return np.zeros(0, np.int64)
        return ticks(self.request_s + self.token_s * np.asarray(prompt, np.float64))

    def columns(self, prompt: np.ndarray) -> dict[str, Any]:
        """Columns that a result keeps of it, `frontend` and `returned`; none where it is nothing.

        Shape (n,) each, ticks.
        """
        found = {}
        front = self.ticks(prompt)
        if len(front):
            found["frontend"] = front
        if self.return_ticks:
            found["returned"] = np.full(len(prompt), self.return_ticks, np.int64)
        return found


def sent(columns: Columns) -> np.ndarray:
    """int64 ticks at which each request was sent."""
    return columns["arrival"] - columns.get("frontend", 0)


def received(columns: Columns, name: str) -> np.ndarray:
    """int64 ticks at which the client saw `name` (first or finish) of each request."""
    return columns[name] + columns.get("returned", 0)
