"""Workloads: traces in, one typed table of requests out.

    from mltwin.workloads import open_trace, read_trace, synthesize

    trace = open_trace("azure-conv-synthetic")           # ships with the package
    trace = read_trace("requests.csv.gz")                # format by content
    trace = synthesize({"requests": 1000, "arrivals": {"process": "poisson", "rate_per_s": 5.0}})

table       `Trace`, the table; blocks (prefix blocks), export (files out)
readers     `read_trace`; one file for each format (`read_*`), over source (guarded bytes), values
            (cells to numbers), tabular (rows to columns), build (columns to a trace)
synthetic   `synthesize` from arrivals, lengths, sessions
transforms  window, scale_rate, thin, splice, merge, repeat, limit_tokens, head, with_poisson
catalogue   public traces by name, and the shipped synthetic ones
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "mltwin.workloads":
    raise ImportError("import it as 'mltwin.workloads', not '" + __name__ + "'")

if TYPE_CHECKING:
    from .catalogue import fetch, info, list_traces, locate, open_trace
    from .read_vllm import MeasuredRun, read_measured
    from .readers import read_trace
    from .synthetic import SyntheticSpec, synthesize
    from .table import Trace

_HOMES = {
    "MeasuredRun": "read_vllm",
    "SyntheticSpec": "synthetic",
    "Trace": "table",
    "fetch": "catalogue",
    "info": "catalogue",
    "list_traces": "catalogue",
    "locate": "catalogue",
    "open_trace": "catalogue",
    "read_measured": "read_vllm",
    "read_trace": "readers",
    "synthesize": "synthetic",
}

__all__ = [
    "MeasuredRun",
    "SyntheticSpec",
    "Trace",
    "fetch",
    "info",
    "list_traces",
    "locate",
    "open_trace",
    "read_measured",
    "read_trace",
    "synthesize",
]


def __getattr__(name: str) -> Any:
    """Import on first use: pandas, scipy and pydantic are not needed to print a help text."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
