import subprocess
import sys

import numpy as np
import pytest
from numba import int64

from mltwin.sim.jit import JIT_DISABLED, handler, kernel

NEEDS_JIT = pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")


@handler
def halve(x, by):
    return x // by


@kernel(int64(int64, int64))
def quotient(x, by):
    return halve(x, by)


def test_integer_division_by_zero_is_loud():
    assert quotient(7, 2) == 3 and quotient(-7, 2) == -4
    with pytest.raises(ZeroDivisionError):
        quotient(7, 0)


def test_handler_is_callable_from_python():
    assert halve(9, 2) == 4


@pytest.mark.parametrize("option", ["fastmath", "parallel"])
def test_options_that_break_determinism_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} is forbidden"):
        kernel(**{option: True})(lambda x: x)
    with pytest.raises(ValueError, match=f"{option} is forbidden"):
        handler(**{option: True})(lambda x: x)


@NEEDS_JIT
def test_other_types_than_the_signature_are_refused():
    assert quotient.signatures == [(int64, int64)]
    with pytest.raises(TypeError, match="No matching definition"):
        quotient(1j, 2)


@NEEDS_JIT
def test_files_outside_the_package_are_not_cached_on_disk():
    assert quotient.stats.cache_path is None


def test_help_needs_no_numba():
    """What the command line loads before it runs anything must not import the compiler."""
    modules = "ticks errors cachedir records rng_arrays runspec stats store executors"
    imports = "; ".join(f"import mltwin.sim.{name}" for name in modules.split())
    heavy = "numba llvmlite scipy pandas pyarrow joblib"
    code = f"import sys; {imports}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@NEEDS_JIT
def test_handler_is_compiled_once_for_all_integers():
    @handler
    def add(x, by):
        return x + by

    @kernel()
    def calls(small, x):
        return add(x, 1) + add(x, 2) + add(small[0], x) + add(1.5, by=3)

    assert calls(np.ones(1, np.int32), 2**40) == (2**40 + 1) + (2**40 + 2) + (2**40 + 1) + 4.5
    assert {str(s) for s in add.signatures} == {"(int64, int64)", "(float64, int64)"}
