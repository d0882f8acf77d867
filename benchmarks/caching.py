"""Caches against their bars: `python -m benchmarks.caching`.

The ratios stand beside libCacheSim, which is GPL and no dependency: `make bench-env` installs it
into an environment of its own and it runs as a subprocess on the same file; without it the ratio
keys are null. One core; ours and theirs alternate, medians of the rounds.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .bars import Bar, Group, give, measure

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


def main() -> int:
    """Measure, print, write. The exit status is 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.caching", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="may be repeated")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object there too")
    chosen = parser.parse_args()
    results = measure(
        GROUPS,
        chosen.only or list(GROUPS),
        BARS,
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    return give(results, BARS, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    sys.exit(main())
