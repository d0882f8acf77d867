"""Fresh processes to measure in: one thread, this checkout, nothing left over from another run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cases import ROOT

_ONE_THREAD = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# A fixed threshold: freed arrays go back to the system at once, and are not counted as resident
# before a run that would use them again (glibc raises the threshold to 32 MB by itself).
_RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_TIME_LIMIT_S = 3600


class MeasureError(Exception):
    """A measurement could not be taken; says why in one line."""


def ask(task: str, *, module: str = "benchmarks.child", **arguments: Any) -> dict[str, Any]:
    """Run a task in a fresh single-threaded process and return its answer.

    module: what is run with the task and its arguments as one JSON object.
    Raises MeasureError with the process's last line of complaint if it fails.
    """
    spec = json.dumps({"task": task, **arguments})
    more = _RETURN_FREED_MEMORY if task == "memory" else {}
    return child_json([sys.executable, "-m", module, spec], **more)


def child_json(command: Sequence[str], **variables: str) -> dict[str, Any]:
    """Run a command with one thread; the JSON object of its last line.

    Raises MeasureError with its last line of complaint if it fails.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT_S,
    )
    if done.returncode:
        raise MeasureError(last_line(done.stderr) or f"exit status {done.returncode}")
    answer: dict[str, Any] = json.loads(last_line(done.stdout))
    return answer


def environment(**changes: str) -> dict[str, str]:
    """Our own environment with one thread and this checkout first on the path."""
    env = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
    if env.get("MLTWIN_DATA"):
        env["MLTWIN_DATA"] = str(Path(env["MLTWIN_DATA"]).resolve())
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
    return {**env, **changes}


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
