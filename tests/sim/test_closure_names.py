"""Handlers made by a function carry what they enclose in their names.

Kernels of several processes meet in one cache, and the linker takes equal symbols for equal code.
"""

import os
import subprocess
import sys

import pytest

from mltwin.sim.jit import handler


def make(part, factor):
    """A handler that encloses another one and a number."""

    @handler
    def combined(x: int) -> int:
        return factor * part(x)

    return combined


@handler
def one_more(x: int) -> int:
    """x + 1."""
    return x + 1


@handler
def one_less(x: int) -> int:
    """x - 1."""
    return x - 1


def name(made) -> str:
    """Of the function that was compiled."""
    return getattr(made, "py_func", made).__qualname__


def test_names_differ_where_contents_do():
    nested = [make(make(part, 2), factor) for part in (one_more, one_less) for factor in (1, 2)]
    names = {name(made) for made in (make(one_more, 1), make(one_less, 1), *nested)}
    assert len(names) == 6
    assert name(make(one_more, 3)) == name(make(one_more, 3))
    assert name(one_more) == "one_more"
    assert [made(5) for made in nested] == [12, 24, 8, 16]


HITS = """
import sys
import numpy as np
from mltwin.models.caching.cache import Cache
ids = np.random.default_rng(0).integers(0, 60, 3000).astype(np.uint32) ** 2 % 61
for name in sys.argv[2:]:
    if "replay" in sys.argv[1]:
        print(Cache(name, 20, 61, full=False).replay(ids))
    if "step" in sys.argv[1]:
        cache = Cache(name, 20, 61)
        print(sum(cache.request(int(i)) == 1 for i in ids))
"""


@pytest.mark.slow
def test_kernels_that_other_processes_compiled_do_not_mix(tmp_path):
    def hits(*arguments: str) -> list[str]:
        environment = {**os.environ, "MLTWIN_CACHE_DIR": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", HITS, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.split()

    apart = [*hits("replay", "arc"), *hits("step", "arc"), *hits("replay", "slru")]
    apart += [*hits("step", "slru"), *hits("step", "sieve")]
    together = [*hits("replay step", "arc", "slru"), *hits("step", "sieve")]
    assert together == apart
    assert hits("step", "sieve", "slru", "arc") == [apart[4], apart[3], apart[1]]
