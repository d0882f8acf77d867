"""Compile the kernels ahead of the first run: ``python tools/warmup.py``.

A kernel with a signature compiles where it is decorated, so importing every module that may hold
one fills Numba's cache; a second run reads it back.
"""

import importlib
import os
import sys
import time

from source_tree import ROOT, modules

KERNEL_PACKAGES = ("mltwin.sim", "mltwin.models", "mltwin.policies")


def main() -> int:
    """Import every module under sim/, models/ and policies/ and say how long that took."""
    sys.path.insert(0, str(ROOT))
    started = time.perf_counter()
    names = [m.name for m in modules() if m.name.startswith(KERNEL_PACKAGES)]
    for name in names:
        importlib.import_module(name)
    took = time.perf_counter() - started
    print(f"{len(names)} modules in {took:.1f} s; cache: {os.environ.get('NUMBA_CACHE_DIR')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
