"""What every test may use: the folder of measured data, and Hypothesis profiles.

Profiles (``HYPOTHESIS_PROFILE``): ``ci``, the default, draws the same examples on every run, so
that a red run is red again; ``explore`` draws new ones, and more of them.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that MLTWIN_DATA names; the test is skipped when it is unset."""
    named = os.environ.get("MLTWIN_DATA")
    if not named:
        pytest.skip("needs the measured data: set MLTWIN_DATA to its folder")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"MLTWIN_DATA names no folder: {named}")
    return folder
