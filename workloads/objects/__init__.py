"""Object traces: requests for objects of a cache, in one typed table.

    from mltwin.workloads.objects import read_objects, zipf

    trace = zipf(objects=10_000, requests=100_000, alpha=0.9, seed=1)
    trace = read_objects("cloudPhysicsIO.oracleGeneral.bin.gz")     # format by content

table       `ObjectTrace`, the table; measures (summary), store (files out)
numbering   `densify`: keys to dense ids by first appearance, at once or in pieces
readers     `read_objects`, `stream_objects`; one file for each family of formats over packed
            (binary blocks), lines (text blocks), chunk (pieces to a trace)
synthetic   `make_objects` from patterns and sizes; histograms (`cachebench`: published ones)
catalogue   public traces by name
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue import list_objects, open_objects
    from .histograms import cachebench
    from .numbering import Densifier, densify
    from .readers import detect, read_objects, stream_objects
    from .requests import blocks_as_objects
    from .store import load_objects, save_objects, write_oracle_general
    from .synthetic import (
        ObjectSpec,
        drifting,
        loop,
        make_objects,
        mixture,
        scan,
        zipf,
    )
    from .table import ObjectTrace

_HOMES = {
    "open_objects": "catalogue",
    "list_objects": "catalogue",
    "cachebench": "histograms",
    "write_oracle_general": "store",
    "save_objects": "store",
    "load_objects": "store",
    "blocks_as_objects": "requests",
    "stream_objects": "readers",
    "read_objects": "readers",
    "detect": "readers",
    "Densifier": "numbering",
    "ObjectSpec": "synthetic",
    "ObjectTrace": "table",
    "densify": "numbering",
    "drifting": "synthetic",
    "loop": "synthetic",
    "make_objects": "synthetic",
    "mixture": "synthetic",
    "scan": "synthetic",
    "zipf": "synthetic",
}

__all__ = [
    "Densifier",
    "ObjectSpec",
    "ObjectTrace",
    "blocks_as_objects",
    "cachebench",
    "densify",
    "detect",
    "drifting",
    "list_objects",
    "load_objects",
    "loop",
    "make_objects",
    "mixture",
    "open_objects",
    "read_objects",
    "save_objects",
    "scan",
    "stream_objects",
    "write_oracle_general",
    "zipf",
]


def __getattr__(name: str) -> Any:
    """Import on first use: a help text needs neither pydantic nor Numba."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
