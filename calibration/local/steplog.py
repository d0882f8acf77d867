"""What a run of the real engine left behind: its requests, and each step with its times."""

import gzip
import json
import platform
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .mirror import Rules

FORMAT = "mltwin-steps-1"


@dataclass
class StepLog:
    """A run, step by step; all times in seconds since its start.

    Attributes:
        rules: how the engine was set up.
        prompt, output: tokens of each request; arrival: when it could be added.
        start: when the loop looked for arrivals before the step; end: when the step returned.
        emitted: requests that got a token in the step, in order of id.
        scheduled: requests in the step; blocks: KV blocks in use, both as the engine says.
        ignored: requests that the engine gave up.
        tokens: ids of prompt and output of each request (with prefix caching, else empty).
        machine: hardware, versions, threads.
    """

    rules: Rules
    prompt: list[int]
    output: list[int]
    arrival: list[float]
    start: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    emitted: list[list[int]] = field(default_factory=list)
    scheduled: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    ignored: list[int] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the run as gzipped JSON, times rounded to nanoseconds.

        Raises:
            InputError: it cannot be written.
        """
        made = {"format": FORMAT, **asdict(self)}
        for name in ("arrival", "start", "end"):
            made[name] = [round(value, 9) for value in made[name]]
        text = json.dumps(made, separators=(",", ":"))
        try:
            # Equal runs give equal files: no name, no time of writing in them.
            with (
                Path(path).open("wb") as raw,
                gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
            ):
                file.write(text.encode())
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None

    @classmethod
    def load(cls, path: str | Path) -> "StepLog":
        """A run as :meth:`save` left it.

        Raises:
            InputError: no such file, or it holds something else.
        """
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                made = json.load(file)
        except (OSError, EOFError, ValueError) as error:
            raise InputError(f"cannot be read: {error}", where=str(path)) from None
        if not isinstance(made, dict) or made.pop("format", None) != FORMAT:
            raise InputError(f"is no step log ({FORMAT})", where=str(path))
        names = {f.name for f in fields(cls)}
        try:
            return cls(**{**made, "rules": Rules(**made["rules"])})
        except (KeyError, TypeError):
            raise InputError(
                f"a step log has the fields {sorted(names)}", where=str(path)
            ) from None

    def token_times(self) -> list[list[float]]:
        """When each token of each request came."""
        times: list[list[float]] = [[] for _ in self.prompt]
        for when, requests in zip(self.end, self.emitted, strict=True):
            for request in requests:
                times[request].append(when)
        return times


def machine_facts(threads: int) -> dict[str, Any]:
    """This machine and the versions that matter, as plain values."""
    from importlib.metadata import version

    return {
        "processor": _processor(),
        "cores": _cores(),
        "threads": threads,
        "python": platform.python_version(),
        "openvino": version("openvino"),
        "openvino-genai": version("openvino-genai"),
    }


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
