"""Timing of kernels on the hardware at hand, into a file that fits can read.

``measure`` plans points (:mod:`.points`), times each through a backend (:mod:`.numpy_backend`,
:mod:`.torch_backend`) and appends one line a point to a JSON-lines file (:mod:`.record`). A run
that was stopped goes on where it was.
"""

from .points import Point, plan_points, point_key
from .record import FORMAT, Header, read_measurements
from .session import measure

__all__ = [
    "FORMAT",
    "Header",
    "Point",
    "measure",
    "plan_points",
    "point_key",
    "read_measurements",
]
