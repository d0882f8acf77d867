"""splitwise-sim request CSV: `request_id, request_type, application_id, arrival_timestamp, ...`.

Source: Patel et al., "Splitwise", ISCA 2024; github.com/Mutinifni/splitwise-sim. Times in seconds,
`prompt_size` and `token_size` in tokens. Applications become tenants.
"""

from .build import build
from .from_csv import read_csv
from .source import Source
from .table import Trace
from .tabular import Field, Rejects
from .values import Count, Text, Time

FIELDS = {
    "arrival": Field("arrival_timestamp", Time("s")),
    "prompt": Field("prompt_size", Count()),
    "output": Field("token_size", Count()),
    "tenant": Field("application_id", Text(blank="unknown"), optional=True),
    "batch": Field("batch_size", Count(), optional=True),
}


def read_splitwise(source: Source, rejects: Rejects, *, sort: bool = False) -> Trace:
    """A splitwise-sim trace. Rows of `batch_size` above 1 are refused: one row, one request."""
    table = read_csv(source, FIELDS, rejects)
    if "batch" in table:
        one = table["batch"] == 1
        table.require("batch", one, "requests stand in one row", "write one row per request")
    return build(table, origin="zero", sort=sort)
