"""Types of what costs take and return: numbers or numpy arrays that broadcast together."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Number = float | int | npt.NDArray[Any]
