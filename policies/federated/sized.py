"""Messages of the size that a cost model gives."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mltwin.models.federation.hooks import Array, Arrivals, Clients, Codec, Server, Updates
from mltwin.sim.errors import InputError

from .payloads import numbers
from .registry import named


@named("codec", "sized", source="sizes from a cost model, e.g. mltwin.models.federation.splitting")
@dataclass
class Sized(Codec):
    """Bytes up and down as given, for all or for each client; updates arrive as they are.

    With it adapters, split tuning and other methods that are modelled by their costs run in the
    simulator, beside learning of a stand-in or of time alone.

    Attributes:
        up, down: bytes: one number for all clients or one each; none: those of the model.
    """

    steady: ClassVar[bool] = True
    up: tuple[float, ...] = ()
    down: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.up, self.down = tuple(self.up), tuple(self.down)
        for name, sizes in (("up", self.up), ("down", self.down)):
            wrong = [size for size in sizes if not 0 <= size < np.inf]
            if wrong:
                raise InputError(f"{name} has {wrong[0]}", where=name, mend="give bytes, 0 or more")

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """As given. Raises InputError: not as many numbers as clients."""
        return _of(
            self.up, "up", server.clients, clients, 4.0 * numbers(server) if not self.up else 0.0
        )

    def down_bytes(self, server: Server, clients: Array, model_bytes: float) -> Array:
        """As given. Raises InputError: not as many numbers as clients."""
        return _of(self.down, "down", server.clients, clients, model_bytes)

    def apply(self, server: Server, arrivals: Arrivals, updates: Updates) -> Updates:
        """The updates themselves."""
        return updates


def _of(
    sizes: tuple[float, ...], name: str, known: Clients, clients: Array, model_bytes: float
) -> Array:
    if len(sizes) not in (0, 1, len(known)):
        raise InputError(
            f"{len(sizes)} sizes for {len(known)} clients",
            where=f"sized.{name}",
            mend="give one for all, or one each",
        )
    column = np.broadcast_to(np.asarray(sizes or (model_bytes,), np.float64), len(known))
    return np.asarray(column[clients])
