"""The command line: `mltwin run`, `compare`, `sweep`, `search`, `check`, `timeline`, `cache`,
`network`, `training`, `fed`, `traces`, `models`, `gpus`, `policies`, `scenario`, `calibrate`,
`validate`, `app`, `doctor`, `warmup`.

Modules that take time to load are imported inside the commands, so that `--help` answers at once.
"""

import os
import re
import sys
import threading
from typing import Annotated, NoReturn

import typer

from .app_commands import open_explorer
from .cache_commands import cache
from .calibrate_commands import calibrate
from .check_commands import check
from .compare_commands import compare
from .federated_commands import federated
from .network_commands import network
from .run_commands import run
from .search_commands import search
from .setup_commands import doctor, scenario, warmup
from .shelf_commands import gpus, models, policies
from .sweep_commands import sweep
from .timeline_commands import timeline
from .trace_commands import traces
from .training_commands import training
from .validate_commands import validate
from .worker_commands import worker

app = typer.Typer(
    name="mltwin",
    help="Discrete-event simulator and digital twin of machine-learning systems.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(compare)
app.command()(sweep)
app.add_typer(search, name="search")
app.command()(check)
app.command()(timeline)
app.add_typer(cache, name="cache")
app.add_typer(network, name="network")
app.add_typer(training, name="training")
app.add_typer(federated, name="fed")
app.add_typer(traces, name="traces")
app.add_typer(models, name="models")
app.add_typer(gpus, name="gpus")
app.add_typer(policies, name="policies")
app.add_typer(scenario, name="scenario")
app.add_typer(calibrate, name="calibrate")
app.add_typer(validate, name="validate")
app.command("app")(open_explorer)
app.command("worker", hidden=True)(worker)
app.command()(doctor)
app.command()(warmup)

_debug = False
_LIMIT = re.compile(r"(ttft|tpot|e2el?):")
INTERRUPTED = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        from mltwin import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Discrete-event simulator and digital twin of machine-learning systems."""
    global _debug
    _debug = debug


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: run a command, exit with its code.

    0 done, 1 a failure, 2 wrong input, 3 a broken invariant, 130 interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    code = _guarded(gather_limits(given))
    if code == INTERRUPTED:
        _leave_threads()
    sys.exit(code)


def _leave_threads() -> None:
    """End an interrupted process though runs are under way in threads, which it would wait for."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def gather_limits(arguments: list[str]) -> list[str]:
    """Let `--goodput ttft:500 tpot:50` take several words, as `vllm bench serve` does."""
    gathered: list[str] = []
    since: int | None = None  # words since the last --goodput
    for word in arguments:
        if since:
            if _LIMIT.match(word):
                gathered.append("--goodput")
            else:
                since = None
        gathered.append(word)
        since = 0 if word == "--goodput" else None if since is None else since + 1
    return gathered


def _guarded(arguments: list[str]) -> int:
    """Run the command; every failure ends in one line and an exit code."""
    from .console import tell_error

    _quiet_pipes()
    try:
        code = int(app(args=arguments, prog_name="mltwin", standalone_mode=False) or 0)
        if code == INTERRUPTED:  # the parser turns an interrupt into this code
            tell_error("interrupted")
        return code
    except KeyboardInterrupt:
        tell_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if _debug:
            raise
        return _told(error)


def _told(error: Exception) -> int:
    """Print an error; its exit code."""
    from .console import tell_error

    if hasattr(error, "format_message"):  # the parser's own
        mend = "; see --help" if getattr(error, "ctx", None) else ""
        tell_error(f"{error.format_message().rstrip('.')}{mend}")
        return int(getattr(error, "exit_code", 2))
    if type(error).__name__ == "Abort":
        tell_error("interrupted")
        return INTERRUPTED
    if hasattr(error, "exit_code"):
        if not str(error):  # typer.Exit
            return int(error.exit_code)
        tell_error(str(error))
        return int(error.exit_code)
    tell_error(f"{type(error).__name__}: {error} (a bug: please report it; --debug shows where)")
    return 1


def _quiet_pipes() -> None:
    """Text with characters that the stream cannot show must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
