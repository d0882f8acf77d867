"""Execution traces of training jobs: Chakra, PyTorch (execution traces and Kineto), plain JSON.

`read_execution` knows the format by looking; each format has its reader: `chakra`, `kineto`,
`pytorch_et`, `plain` (documented there, and what `save_graph` writes).
"""

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from mltwin.models.training.tables import Graph

FORMATS = ("chakra", "kineto", "pytorch", "plain")
_LOOKED_AT = 4096


def read_execution(
    paths: str | Path | Sequence[str | Path], *, format: str | None = None, **options: Any
) -> "Graph":
    """The task graph of a recorded or generated step.

    Args:
        paths: one file, or one a rank, rank 0 first; packed by gzip or not. A folder stands for
            its files in the order of their names.
        format: of `FORMATS`; None finds out from the first file.
        options: of the format's reader.

    Raises:
        InputError: no file, an unknown format, no task, and what the reader refuses.
    """
    files = _files(paths)
    if format is None:
        format = detect_format(files[0])
    if format not in FORMATS:
        raise InputError(f"no format {format!r}", mend=f"use {', '.join(FORMATS)}")
    if format == "plain" and len(files) > 1:
        raise InputError(
            f"{len(files)} files of the plain format", mend="one file holds the tasks of all ranks"
        )
    reader = _reader(format)
    known = [name for name in signature(reader).parameters if name not in ("path", "paths")]
    for name in options:
        if name not in known:
            raise InputError(
                f"format {format} has no option {name!r}",
                where=str(files[0]),
                mend=f"use {', '.join(known) or 'none'}",
            )
    graph: Graph = reader(files[0] if format == "plain" else files, **options)
    if not len(graph):
        raise InputError("holds no task", where=str(files[0]), mend="give a file with tasks")
    return graph


def _reader(format: str) -> Callable[..., Any]:
    if format == "chakra":
        from .chakra import read_chakra

        return read_chakra
    if format == "kineto":
        from .kineto import read_kineto

        return read_kineto
    if format == "pytorch":
        from .pytorch_et import read_pytorch

        return read_pytorch
    from .plain import read_graph

    return read_graph


def detect_format(path: Path) -> str:
    """The format of a file, of `FORMATS`. InputError if it is none of them."""
    from .wire import looks_like_json, read_bytes

    data = read_bytes(path)
    if not looks_like_json(data):
        return "chakra"
    head = data[:_LOOKED_AT]
    for name, sign in (
        ("plain", b'"mltwin graph"'),
        ("chakra", b'"workload_graph"'),
        ("chakra", b'"NodeType"'),
        ("kineto", b'"traceEvents"'),
        ("kineto", b'"schemaVersion"'),
        ("pytorch", b'"schema"'),
    ):
        if sign in head or (name != "kineto" and sign in data[-_LOOKED_AT:]):
            return name
    raise InputError(
        "is no execution trace that is known",
        where=str(path),
        mend=f"give one of {', '.join(FORMATS)}, or name the format",
    )


def _files(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(paths, str | Path):
        folder = Path(paths).expanduser()
        if not folder.is_dir():
            return [folder]
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    files = [Path(path).expanduser() for path in paths]
    if not files:
        raise InputError("no execution traces", mend="name at least one file")
    return files
