"""Azure LLM inference traces, 2023 and 2024: `TIMESTAMP,ContextTokens,GeneratedTokens`.

Source: Patel et al., "Splitwise", ISCA 2024; github.com/Azure/AzurePublicDataset. The 2023 files
have 7-digit fractions, CRLF and no zone, those of 2024 end in `+00:00`; both are UTC.
"""

from .build import Origin, build
from .from_csv import read_csv
from .source import Source
from .table import Trace
from .tabular import Field, Rejects
from .values import Count, Stamp

FIELDS = {
    "arrival": Field("TIMESTAMP", Stamp()),
    "prompt": Field("ContextTokens", Count()),
    "output": Field("GeneratedTokens", Count()),
}


def read_azure(
    source: Source, rejects: Rejects, *, sort: bool = False, origin: str | None = None
) -> Trace:
    """An Azure CSV as a trace; `meta["start"]` is its origin in nanoseconds since 1970 UTC.

    `origin`: the moment that becomes time 0, as in the file; by default the first request.
    """
    table = read_csv(source, FIELDS, rejects)
    start: Origin = "first" if origin is None else Stamp().scalar(origin)
    return build(table, origin=start, sort=sort)
