"""`mltwin app`: the explorer in a browser."""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from .console import tell

LOCAL = ("127.0.0.1", "localhost", "::1")


def open_explorer(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8501,
    host: Annotated[str, typer.Option(help="Where it listens; others reach 0.0.0.0.")] = LOCAL[0],
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    workspace: Annotated[
        Path | None, typer.Option(help="Folder for runs and uploads; else a private one.")
    ] = None,
) -> None:
    """Open the explorer: change a control, see what happens to p99."""
    from .explorer import workspace as places
    from .explorer.jobs import the_pool
    from .run_commands import say_if_cold

    if workspace is not None:
        os.environ[places.VARIABLE] = str(workspace)
    free = free_port(host, port)
    the_pool()  # workers warm up while Streamlit loads
    if host not in LOCAL:
        tell(f"warning: anyone who reaches {host}:{free} can use this machine: there is no login")
    if free != port and port:
        tell(f"port {port} is taken")
    tell(f"explorer: http://{'localhost' if host in LOCAL else host}:{free} (Ctrl-C ends it)")
    say_if_cold()
    serve(host, free, browser)


def free_port(host: str, port: int) -> int:
    """The port, or the next free one of the twenty after it.

    Raises InputError where none is free, or the host is none of this machine's.
    """
    from mltwin import InputError

    for candidate in [0] if port == 0 else range(port, min(port + 20, 65535) + 1):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
                return int(probe.getsockname()[1])
            except socket.gaierror:
                raise InputError("is no address of this machine", where=f"--host {host}") from None
            except OSError:
                continue
    raise InputError("is taken, and so are the next ones", where=f"--port {port}")


def serve(host: str, port: int, browser: bool) -> None:
    """Run Streamlit on the explorer until it is stopped."""
    from streamlit.web import cli

    from .explorer import main_script
    from .explorer.theme import flags

    threading.Thread(target=_preload, daemon=True).start()
    options = {"server.address": host, "server.port": port, "server.headless": not browser}
    words = [f"--{name}={_flag(value)}" for name, value in {**flags(), **options}.items()]
    sys.argv = ["streamlit", "run", str(main_script()), *words]
    cli.main(sys.argv[1:], standalone_mode=False)


def _preload() -> None:
    """Load what the first page needs, once the server answers and while the browser still loads
    Streamlit's own files."""
    from streamlit import runtime

    while not runtime.exists():
        time.sleep(0.02)
    from .explorer.frame import pages

    pages()
    import altair  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from mltwin.choices import policies_by_hook

    from .explorer import serving_charts, serving_controls  # noqa: F401

    policies_by_hook()


def _flag(value: object) -> str:
    """A value as Streamlit's options have it: lists and truth values as JSON."""
    return json.dumps(value) if isinstance(value, bool | tuple) else str(value)
