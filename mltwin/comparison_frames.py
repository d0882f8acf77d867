"""A comparison as data: one row a run, and the fields in which its scenarios differ."""

from typing import TYPE_CHECKING, Any

from .text import Table

if TYPE_CHECKING:
    import pandas as pd

    from .comparison import Comparison

_LABELS = ("name", "seed")


def runs_frame(compared: "Comparison") -> "pd.DataFrame":
    """One row a run: scenario, seed, digest, the fields that differ, and all metrics."""
    import pandas as pd

    fields, metrics = fields_table(compared), set(compared.metrics())
    places = {name: place for place, name in enumerate(compared.names, start=1)}
    rows = [
        {
            "scenario": name,
            "seed": run.seed,
            "digest": run.digest,
            **{_column(str(row[0]), metrics): row[places[name]] for row in fields.rows},
            **run.metrics,
        }
        for name, group in compared.runs.items()
        for run in group
    ]
    return pd.DataFrame(rows)


def fields_table(compared: "Comparison") -> Table:
    """The fields in which the scenarios differ, one row each; those of the first seed."""
    params = {name: group[0].params() for name, group in compared.runs.items()}
    every = dict.fromkeys(field for one in params.values() for field in one)
    rows: list[list[Any]] = []
    for field in every:
        values = [_plain(one.get(field)) for one in params.values()]
        if field not in _LABELS and any(value != values[0] for value in values):
            rows.append([field, *values])
    return Table(["field", *compared.names], rows)


def _column(field: str, taken: set[str]) -> str:
    return f"scenario.{field}" if field in taken else field


def _plain(value: Any) -> Any:
    """A field's value for a table: lists and the like as text."""
    if value is None or isinstance(value, str | int | float):
        return value
    from .tomlfile import write_value

    try:
        return write_value(value)
    except (TypeError, ValueError):
        return str(value)
