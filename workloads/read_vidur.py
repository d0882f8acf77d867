"""Vidur CSV: `arrived_at` (s), `num_prefill_tokens`, `num_decode_tokens`; or lengths only.

Source: Agrawal et al., "Vidur", MLSys 2024; github.com/microsoft/vidur (`data/processed_traces`,
also Etalon's). Length-only files need an arrival process from the caller.
"""

from collections.abc import Mapping
from typing import Any

from .build import build
from .from_csv import read_csv
from .lengths_only import with_arrivals
from .source import Source
from .table import Trace
from .tabular import Field, Rejects
from .values import Count, Time

FIELDS = {
    "prompt": Field("num_prefill_tokens", Count()),
    "output": Field("num_decode_tokens", Count()),
    "arrival": Field("arrived_at", Time("s"), optional=True),
}


def read_vidur(
    source: Source,
    rejects: Rejects,
    *,
    sort: bool = False,
    arrivals: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Trace:
    """A Vidur trace; where the file has no `arrived_at`, `arrivals` gives the process.

    `arrivals` is a spec of `workloads.arrivals`, e.g. `{"process": "poisson", "rate_per_s": 2.0}`.
    It may also replace the times of a file that has them.
    """
    table = read_csv(source, FIELDS, rejects)
    if arrivals is not None or "arrival" not in table:
        return with_arrivals(table, arrivals, seed)
    return build(table, origin="zero", sort=sort)
