"""Devices: how fast they train, how fast they send; what capacity readers and laws give."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]

BYTES_OF_KBIT = 1000 / 8
BYTES_OF_MBIT = 1e6 / 8


@dataclass(frozen=True, eq=False)
class Devices:
    """n devices; made and checked by `make`.

    Attributes:
        s_per_sample: float64[n], seconds to train on a sample of the reference model.
        down_bytes_per_s, up_bytes_per_s: float64[n]; infinite where nothing is known.
        names: of devices, or none.
        facts: where they are from, and what was dropped on reading.
    """

    s_per_sample: Array
    down_bytes_per_s: Array
    up_bytes_per_s: Array
    names: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        s_per_sample: npt.ArrayLike,
        down_bytes_per_s: npt.ArrayLike = np.inf,
        up_bytes_per_s: npt.ArrayLike = np.inf,
        *,
        names: tuple[str, ...] = (),
        facts: dict[str, Any] | None = None,
    ) -> "Devices":
        """Checked devices; scalars stand for all.

        Raises InputError: no device, or a value that is not above 0.
        """
        speed = np.atleast_1d(np.asarray(s_per_sample, np.float64))
        down, up = (
            np.broadcast_to(np.asarray(rate, np.float64), speed.shape).copy()
            for rate in (down_bytes_per_s, up_bytes_per_s)
        )
        if not len(speed) or not all(np.all(column > 0) for column in (speed, down, up)):
            raise InputError("there is no device, or a speed that is not above 0", where="devices")
        return cls(speed, down, up, names, dict(facts or {}))

    def __len__(self) -> int:
        return len(self.s_per_sample)

    def take(self, rows: Array) -> "Devices":
        """Some of the devices, in the order given; `rows` are numbers or a mask."""
        rows = np.arange(len(self))[rows]
        return Devices(
            self.s_per_sample[rows],
            self.down_bytes_per_s[rows],
            self.up_bytes_per_s[rows],
            tuple(self.names[r] for r in rows) if self.names else (),
            self.facts,
        )
