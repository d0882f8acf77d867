"""Long runs are the same without the compiler: plain Python runs the kernel's text."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from reliability_cases import random_run
from mltwin.models.training.reliability import run_plan
made = hashlib.sha256()
for seed in range(12):
    found = run_plan(random_run(seed), log_steps=True)
    made.update(found.log.tobytes() + repr((found.parts, found.counts, found.up_s)).encode())
print(made.hexdigest())
"""


def digest(**environment: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).resolve().parent)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


def test_the_same_without_the_compiler() -> None:
    assert digest() == digest(NUMBA_DISABLE_JIT="1") != ""
