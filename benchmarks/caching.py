"""Caches against their bars: `python -m benchmarks.caching`.

The ratios stand beside libCacheSim, which is GPL and no dependency: `make bench-env` installs it
into an environment of its own and it runs as a subprocess on the same file; without it the ratio
keys are null. One core; ours and theirs alternate, medians of the rounds.
"""

import sys
from collections.abc import Callable

from .bars import Bar, Group, run_groups

BARS: dict[str, Bar] = {
    "lru_ratio": Bar(5, at_least=True),
    "sieve_ratio": Bar(5, at_least=True),
    "s3fifo_ratio": Bar(5, at_least=True),
    "arc_ratio": Bar(4, at_least=True),
    "fifo_ratio": Bar(8, at_least=True),
    "wtinylfu_ratio": Bar(4, at_least=True),
    "lirs_ratio": Bar(4, at_least=True),
    "gdsf_ratio": Bar(4, at_least=True),
    "belady_ratio": Bar(4, at_least=True),
    "step_api_ratio": Bar(0.8, at_least=True),
    "mattson_req_per_s": Bar(5e6, at_least=True),
    "prefix_refs_per_s": Bar(100e6, at_least=True),
    "stream_100m_rss_mb": Bar(1000),
}


def _ratios() -> Group:
    from .caching_peer import figures

    return Group(*figures())


def _own() -> Group:
    from .caching_own import figures

    return Group(*figures())


def _stream() -> Group:
    from .caching_own import stream_figures

    return Group(*stream_figures())


GROUPS: dict[str, Callable[[], Group]] = {"ratios": _ratios, "own": _own, "stream": _stream}


if __name__ == "__main__":
    sys.exit(run_groups("caching", __doc__, GROUPS, BARS))
