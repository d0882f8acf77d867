import pickle

import pytest

from mltwin.sim.errors import InputError, KernelError, MltwinError


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "bad value 3"),
        ({"where": "a.csv, line 7"}, "a.csv, line 7: bad value 3"),
        ({"mend": "use 4"}, "bad value 3; use 4"),
        ({"where": "a.csv", "mend": "use 4"}, "a.csv: bad value 3; use 4"),
    ],
)
def test_one_line(arguments, text):
    assert str(InputError("bad\n value 3", **arguments)) == text


def test_survives_the_way_back_from_a_worker_process():
    error = pickle.loads(pickle.dumps(InputError("m", where="w", mend="d")))
    assert str(error) == "w: m; d" and (error.where, error.mend) == ("w", "d")


def test_exit_codes():
    assert [e.exit_code for e in (MltwinError, InputError, KernelError)] == [1, 2, 3]
    assert issubclass(InputError, MltwinError) and issubclass(KernelError, MltwinError)
