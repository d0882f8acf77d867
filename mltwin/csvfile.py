"""CSV files that a spreadsheet opens without running anything.

Excel, LibreOffice and Google Sheets take a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a
formula, whoever wrote it. Text that begins so gets a leading apostrophe, as OWASP ("CSV
Injection") advises; numbers stay numbers.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# Tab, CR and LF, as some programs skip them; the wide forms, as some keyboards' locales read them.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def neutral_cell(cell: Any) -> Any:
    """A cell that no spreadsheet runs: text that begins like a formula gets a leading apostrophe.

    Numbers, truth values and missing values stay as they are; anything else becomes text.

    >>> neutral_cell("=1+1"), neutral_cell(-1.5), neutral_cell("p99_ttft_ms")
    ("'=1+1", -1.5, 'p99_ttft_ms')
    """
    from numbers import Number

    import numpy as np
    import pandas as pd

    if cell is None or cell is pd.NA or cell is pd.NaT or isinstance(cell, Number | np.bool_):
        return cell
    text = str(cell)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def csv_text(frame: "pd.DataFrame") -> str:
    """A data frame as CSV (RFC 4180: commas, lines end in CR LF, quotes where needed).

    A named index becomes columns, one without a name is left out. Text cells and headers pass
    `neutral_cell`; floats are written so that they read back the same.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    named = [name for name in frame.index.names if name is not None]
    out = frame.reset_index() if named else frame.reset_index(drop=True)
    columns = {}
    for place in range(out.shape[1]):
        column = out.iloc[:, place]
        if not (is_numeric_dtype(column.dtype) or is_bool_dtype(column.dtype)):
            column = column.astype(object).map(neutral_cell)
        columns[place] = column
    made = type(out)(columns, index=out.index)
    # Only CR LF as the end of line makes Python's writer quote a cell that holds a lone CR.
    header = [neutral_cell(_heading(name)) for name in out.columns]
    made = made.set_axis(header, axis="columns")
    return made.to_csv(index=False, lineterminator="\r\n")


def write_csv(frame: "pd.DataFrame", path: str | Path) -> Path:
    """Write a data frame as `csv_text` gives it, in UTF-8; the path.

    Raises InputError where it cannot be written.
    """
    from mltwin.sim.store import write_atomically

    target = Path(path)
    content = csv_text(frame).encode("utf-8", errors="backslashreplace")
    try:
        write_atomically(target, lambda file: file.write(content))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return target


def _heading(name: Any) -> str:
    """A column's name as text; the levels of a nested one are joined by dots."""
    return ".".join(str(part) for part in name) if isinstance(name, tuple) else str(name)
