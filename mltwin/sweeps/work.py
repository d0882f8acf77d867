"""What a worker does: run scenarios, one after the other, and say in a row what became of each.

It runs in a thread, in another process or on another machine, so it takes and gives plain values.
A run that fails is a row with the error on one line; the rest goes on.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mltwin.result import Result
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError, MltwinError
from mltwin.sim.executors import _cloudpickle

MAX_ERROR_CHARACTERS = 500

Numbered = tuple[int, Scenario, int]
"""The number of a job, its scenario and its seed."""


@dataclass(frozen=True)
class Row:
    """What became of one run.

    Attributes:
        seed: of all its random draws.
        metrics: name to value; {} where it failed.
        digest: of all that the run did, "" where it failed.
        wall_s: seconds it took.
        error: one line, "" if it went well.
    """

    seed: int
    metrics: dict[str, float]
    digest: str
    wall_s: float
    error: str = ""


def run_chunk(chunk: Iterable[Numbered]) -> list[tuple[int, Row]]:
    """Run each job of a chunk; its number and its row."""
    return [(number, run_one(scenario, seed)) for number, scenario, seed in chunk]


def packed(chunk: Iterable[Numbered]) -> bytes:
    """A chunk as it travels to another process; classes that cannot be imported there, such as
    those of the main script, travel with it.

    Raises InputError where a scenario cannot be sent.
    """
    try:
        sent: bytes = _cloudpickle().dumps(list(chunk))
    except Exception as error:
        raise InputError(
            f"a scenario cannot be sent to another process ({type(error).__name__}: {error})",
            where="backend",
            mend="use threads",
        ) from None
    return sent


def run_packed(chunk: bytes, code: str) -> list[tuple[int, Row]]:
    """`run_chunk` in another process; `code` is the hash of the sender's code.

    Raises InputError where this process has other code, as the rows would not be the sender's, or
    lacks the module of the scenario's system.
    """
    from .identity import portable_hash

    if portable_hash() != code:
        raise InputError(
            "a worker runs other code than this machine",
            where="backend",
            mend="install the same version of mltwin, NumPy, SciPy and Numba on all machines",
        )
    try:
        unpacked = _cloudpickle().loads(chunk)
    except ImportError as error:
        raise InputError(
            f"a worker cannot load the scenario's system ({error})",
            where="backend",
            mend="install the module that defines it on all machines",
        ) from None
    return run_chunk(unpacked)


def run_one(scenario: Scenario, seed: int) -> Row:
    """Run a scenario once; never raises for what the run itself does."""
    started = time.perf_counter()
    try:
        result = scenario.run(seed)
        metrics, digest, error = numbers(result), result.digest, ""
        if result.violations:
            metrics, digest = {}, ""
            error = one_line(f"violation: {result.violations[0]}")
    except (Exception, SystemExit) as failed:
        metrics, digest, error = {}, "", told(failed)
    return Row(seed, metrics, digest, time.perf_counter() - started, error)


def numbers(result: Result) -> dict[str, float]:
    """The metrics of a result that have a value, as floats."""
    return {name: float(value) for name, value in result.metrics.items() if value is not None}


def told(error: BaseException) -> str:
    """An error on one line; ours as they are, others with their kind."""
    text: Any = str(error)
    return one_line(text if isinstance(error, MltwinError) else f"{type(error).__name__}: {text}")


def one_line(text: str) -> str:
    """Text on one line, of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_ERROR_CHARACTERS else line[: MAX_ERROR_CHARACTERS - 3] + "..."
