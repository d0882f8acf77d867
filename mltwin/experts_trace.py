"""Reads which experts each token activated: Parquet or CSV, one row a token and layer.

Columns: `token` (numbers in the order of processing), `layer` (0 ...), and the experts: columns
whose names begin with `expert` (one a slot), or one column `experts` with a list or with numbers
between blanks (`"3 17"`). Every token has every layer once, and every row the same number of
experts. Layers without experts are left out; layers are numbered in ascending order.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError


def read_routes(path: str | Path) -> np.ndarray:
    """int32[tokens, layers, chosen]: the experts of each token, tokens ascending.

    Raises InputError naming the file, and the row where one is wrong.
    """
    place = str(path)
    frame = _frame(Path(path), place)
    token, layer = (_whole(frame, name, place) for name in ("token", "layer"))
    chosen = _experts(frame, place)
    if chosen.min() < 0:
        row = int(np.flatnonzero((chosen < 0).any(axis=1))[0])
        raise InputError(f"expert {chosen[row].min()} in row {row + 1}", where=place)
    twice = np.flatnonzero((np.diff(np.sort(chosen, axis=1), axis=1) == 0).any(axis=1))
    if len(twice):
        raise InputError(
            f"row {twice[0] + 1} names an expert twice: {chosen[twice[0]].tolist()}", where=place
        )
    tokens, at_token = np.unique(token, return_inverse=True)
    layers, at_layer = np.unique(layer, return_inverse=True)
    cell = at_token * len(layers) + at_layer
    seen = np.bincount(cell, minlength=len(tokens) * len(layers))
    if (seen != 1).any():
        wrong = int(np.flatnonzero(seen != 1)[0])
        times = "is missing" if seen[wrong] == 0 else f"is there {seen[wrong]} times"
        raise InputError(
            f"token {tokens[wrong // len(layers)]}, layer {layers[wrong % len(layers)]} {times}",
            where=place,
            mend="give each token each layer once",
        )
    found = np.zeros((len(tokens) * len(layers), chosen.shape[1]), np.int32)
    found[cell] = chosen
    return found.reshape(len(tokens), len(layers), chosen.shape[1])


def _frame(path: Path, place: str) -> Any:
    import pandas as pd

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(path)
    except FileNotFoundError:
        raise InputError("no such file", where=place, mend="check the path") from None
    except Exception as error:  # pandas and pyarrow raise many kinds
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot be read: {text}", where=place) from None
    if not len(frame):
        raise InputError("has no rows", where=place)
    return frame


def _whole(frame: Any, name: str, place: str) -> np.ndarray:
    """A column of whole numbers."""
    import pandas as pd

    if name not in frame:
        raise InputError(
            f"has no column {name!r}", where=place, mend=f"its columns are {list(frame.columns)}"
        )
    numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.floor(numbers))))
    if len(wrong):
        value = frame[name].iloc[wrong[0]]
        raise InputError(
            f"{value!r} in row {wrong[0] + 1} is not a whole number", where=f"{place}: {name}"
        )
    return numbers.astype(np.int64)


def _experts(frame: Any, place: str) -> np.ndarray:
    if "experts" in frame:
        rows = [_listed(value, row, place) for row, value in enumerate(frame["experts"])]
        widths = {len(row) for row in rows}
        if len(widths) != 1 or 0 in widths:
            raise InputError(
                f"rows name {min(widths)} to {max(widths)} experts", where=f"{place}: experts",
                mend="every row must name the same number",
            )  # fmt: skip
        return np.array(rows, np.int64)
    names = [name for name in frame.columns if str(name).lower().startswith("expert")]
    if not names:
        raise InputError(
            "has no expert columns",
            where=place,
            mend="name them expert0, expert1, .. or give one column `experts`",
        )
    return np.stack([_whole(frame, name, place) for name in names], axis=1)


def _listed(value: Any, row: int, place: str) -> list[int]:
    parts = value.replace(",", " ").split() if isinstance(value, str) else np.atleast_1d(value)
    try:
        return [int(part) for part in parts]
    except (TypeError, ValueError):
        raise InputError(
            f"{value!r} in row {row + 1} is not a list of experts", where=f"{place}: experts"
        ) from None
