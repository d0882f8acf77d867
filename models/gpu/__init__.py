"""How long an iteration takes on a GPU, and how much fits in its memory.

``IterationModel`` composes measured operators (:mod:`mltwin.models.gpu.operators`), whose
parameters a :class:`GpuProfile` holds with their provenance; :meth:`IterationModel.lower` turns
it into the integer :class:`IterationTable` that kernels read. A ``UserTable`` stands in for both
when the user brings own timings. ``docs/theory/gpu.md`` has the equations, the fit errors and
the limits.
"""

from .iteration import Batch, IterationModel
from .lowering_check import LoweringError, lowering_error
from .profile import GpuProfile, load_profile, parse_profile, profile_names
from .table import IterationTable, linear_table
from .user import UserTable, load_user_table

__all__ = [
    "Batch",
    "GpuProfile",
    "IterationModel",
    "IterationTable",
    "LoweringError",
    "UserTable",
    "linear_table",
    "load_profile",
    "load_user_table",
    "lowering_error",
    "parse_profile",
    "profile_names",
]
