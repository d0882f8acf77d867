"""Multilayer perceptrons."""

from collections.abc import Sequence

from .network import NetworkTask
from .tables import Examples


class MlpTask(NetworkTask):
    """Rectified linear units in hidden layers, softmax on top; parameters as `Layout` says.

    Args and errors as of `NetworkTask`.
    """

    def __init__(
        self,
        examples: Examples,
        hidden: Sequence[int] = (32,),
        l2: float = 0.0,
        threads: int = 1,
    ) -> None:
        super().__init__(examples, hidden, l2, threads)
