"""`mltwin worker`: a process that waits, warm, for commands of the explorer (hidden from `--help`).

It reads one JSON object a line on standard input, `{"id": .., "argv": [..], "folder": ..}`, runs
`mltwin <argv>` in this process with standard output and error in files of the folder, writes the
exit code to `folder/exit` once all is there, and answers with a line on standard output. Where its
standard input ends, whoever started it is gone: it ends too, in the midst of a job if need be.
"""

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO


def worker() -> None:
    """Run commands given as JSON lines on standard input, one after another."""
    lines, answers = _own_streams()
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(lines, jobs), daemon=True).start()
    _warm()
    _answer(answers, {"ready": os.getpid()})
    while True:
        job = jobs.get()
        code = run_job(job["argv"], Path(job["folder"]))
        _answer(answers, {"done": job["id"], "code": code})


def run_job(argv: list[str], folder: Path) -> int:
    """Run `mltwin <argv>` in this process, from `folder/out`; its exit code, also in `folder/exit`.

    Standard output and error go to `folder/stdout` and `folder/stderr`.
    """
    from .cli import main

    os.chdir(folder / "out")
    kept = os.dup(1), os.dup(2)
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
            os.close(file)
        try:
            main(argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, number)
            os.close(saved)
    part = folder / "exit.part"
    part.write_text(str(code), encoding="ascii")
    part.replace(folder / "exit")
    return code


def _own_streams() -> tuple[TextIO, TextIO]:
    """Standard input and output as the line to the explorer; jobs find neither of the two."""
    lines = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return lines, answers


def _listen(lines: TextIO, jobs: "queue.Queue[dict[str, Any]]") -> None:
    for line in lines:
        jobs.put(json.loads(line))
    if os.getpgrp() == os.getpid():  # the leader of its own group: what it started ends with it
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _answer(answers: TextIO, what: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(what) + "\n")
        answers.flush()
    except OSError:
        os._exit(1)


def _warm() -> None:
    """Load what a run needs, the compiled kernel above all, by making a small one."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from mltwin import ServingScenario

    ServingScenario().changed({"workload.requests": 10}).run()
