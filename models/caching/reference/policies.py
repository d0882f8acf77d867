"""The reference policies by the names of the registry."""

from collections.abc import Callable
from typing import Any

from .queues import Fifo, Lru

REFERENCES: dict[str, Callable[..., Any]] = {"fifo": Fifo, "lru": Lru}
