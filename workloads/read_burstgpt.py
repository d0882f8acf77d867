"""BurstGPT: `Timestamp` (s), `Model`, `Request tokens`, `Response tokens`, and more.

Source: Wang et al., "BurstGPT", arXiv 2401.17644; github.com/HPMLL/BurstGPT. A row with 0 response
tokens is a failed request. Models become tenants, `Session ID` (newer files) the session.
"""

from .build import build
from .from_csv import read_csv
from .read_mooncake import session_numbers
from .source import Source
from .table import Trace
from .tabular import Field, Rejects
from .values import Count, Text, Time

FIELDS = {
    "arrival": Field("Timestamp", Time("s")),
    "prompt": Field("Request tokens", Count(low=0)),
    "output": Field("Response tokens", Count(low=0)),
    "tenant": Field("Model", Text(blank="unknown"), optional=True),
    "session": Field("Session ID", Text(), optional=True),
}


def read_burstgpt(source: Source, rejects: Rejects, *, sort: bool = False) -> Trace:
    """A BurstGPT CSV as a trace.

    Rule: failed requests (0 response tokens) are left out and counted in `meta["failed"]`: they
    say how often the service failed, not how long an answer would have been.
    """
    table = read_csv(source, FIELDS, rejects)
    answered = table["output"] > 0
    failed = int(table.rows - answered.sum())
    if failed == table.rows:
        raise source.error("all requests failed (0 response tokens)", mend="give another file")
    if failed:
        table.keep(answered)
    table.require("prompt", table["prompt"] > 0, "request tokens are too few", "correct the value")
    if "session" in table:
        table.columns["session"] = session_numbers(table["session"])
    return build(table, origin="zero", sort=sort, meta={"failed": failed})
