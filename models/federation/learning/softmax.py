"""Softmax regression."""

from .network import NetworkTask
from .tables import Examples


class SoftmaxTask(NetworkTask):
    """Softmax regression: parameters W [features, classes] row-major, then b [classes].

    Args and errors as of `NetworkTask`.
    """

    def __init__(self, examples: Examples, l2: float = 0.0, threads: int = 1) -> None:
        super().__init__(examples, (), l2, threads)
