"""Policies from a user's file or module: every mistake in it is told in one line."""

import hashlib
import importlib
import importlib.util
import linecache
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from mltwin.sim.errors import InputError, MltwinError

# A thread must not see a module that another is still running; a file may load another.
_loading = threading.RLock()


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module named by its place and content.

    An unchanged file is run once a process. The text is compiled here and not by the import
    system, whose bytecode cache can miss an edit made within the same second.

    Raises:
        InputError: the file cannot be read, is not Python, or fails while it runs.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the policy file: {error.strerror}", where=str(path), mend="check the path"
        ) from None
    key = hashlib.sha256(str(path.resolve()).encode() + b"\0" + content).hexdigest()
    name = f"mltwin_user_policies_{key[:16]}"
    with _loading:
        if name not in sys.modules:
            _run(name, path, content)
        return sys.modules[name]


def _run(name: str, path: Path, content: bytes) -> None:
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        text = importlib.util.decode_source(content)
        # What `inspect` shows of it must be what was run, whatever the file holds by then.
        linecache.cache[str(path)] = (len(text), None, text.splitlines(True), str(path))
        exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        _retell(error, str(path))
        raise


def load_module(name: str) -> ModuleType:
    """Import a module by its dotted name.

    Raises:
        InputError: there is no such module, or it fails while it runs.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise InputError(
                f"no module {name!r}", mend="give file.py:function, or an installed module"
            ) from None
        _retell(error, name)
        raise
    except Exception as error:
        _retell(error, name)
        raise


def _retell(error: BaseException, file: str) -> None:
    """Raise an error of a user's code as one InputError; return for one that is told already."""
    if isinstance(error, MltwinError) or not isinstance(error, Exception | SystemExit):
        return
    if isinstance(error, SyntaxError):
        raise InputError(
            f"not valid Python: {error.msg}",
            where=f"{error.filename or file}:{error.lineno or 1}",
            mend="mend the file",
        ) from error
    raise InputError(
        f"{type(error).__name__}: {error}", where=_line_in(error, file), mend="mend the file"
    ) from error


def _line_in(error: BaseException, file: str) -> str:
    """file:line of the innermost frame of a traceback that is in this file."""
    frames: list[Any] = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else file
