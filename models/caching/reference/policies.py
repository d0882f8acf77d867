"""The reference policies by the names of the registry."""

import functools
from collections.abc import Callable
from typing import Any

from .chance import Hyperbolic, LeCar, Lhd, Random
from .clocks import Clock, Sieve
from .ghosts import Arc, S3Fifo, TwoQ
from .lirs import Lirs
from .oracles import Belady, BeladySize
from .queues import Fifo, Lru
from .scores import Gdsf, Lfu, Lfuda, LfudaCompound, LruK
from .segments import Slru, WTinyLfu

REFERENCES: dict[str, Callable[..., Any]] = {
    "fifo": Fifo,
    "lru": Lru,
    "clock": Clock,
    "sieve": Sieve,
    "s3_fifo": S3Fifo,
    "s3_fifo_original": functools.partial(S3Fifo, warm_up_to_main=False),
    "two_q": TwoQ,
    "slru": Slru,
    "w_tinylfu": WTinyLfu,
    "arc": Arc,
    "lirs": Lirs,
    "lirs_original": functools.partial(Lirs, strict=False),
    "belady": Belady,
    "belady_size": BeladySize,
    "random": Random,
    "hyperbolic": Hyperbolic,
    "lhd": Lhd,
    "lecar": LeCar,
    "lfu": Lfu,
    "lfuda": Lfuda,
    "lfuda_compound": LfudaCompound,
    "gdsf": Gdsf,
    "lru_k": LruK,
}
