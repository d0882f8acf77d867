"""Coefficients that DistServe's authors fitted to measured iterations: no raw timings."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from mltwin.sim.errors import InputError

from .checked import read_checked

_MS = 1e-3
_LAWS = {
    "prefill": "prefill",
    "decode_small": "decoding_smallbs",
    "decode_large": "decoding_largebs",
}
_THRESHOLD = "decoding_large_small_bs_threshold"


def read_distserve(path: Path) -> pd.DataFrame:
    """Columns model, tp, law, constant_s, first_s, second_s, threshold (requests of a batch from
    which ``decode_large`` holds).

    ``prefill``: constant + first x tokens + second x sum of squared prompt lengths.
    ``decode_small`` and ``decode_large``: constant + first x context tokens + second x requests.

    Raises:
        InputError: not JSON of that form.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not JSON ({error})", where=str(path)) from None
    if not isinstance(data, dict):
        raise InputError("no object of models", where=str(path))
    rows = [
        (model, int(tp), law, *(_MS * v for v in _three(entry, key, f"{path}, {model}, {tp}")),
         int(entry[_THRESHOLD]))
        for model, splits in data.items()
        for tp, entry in splits.items()
        for law, key in _LAWS.items()
    ]  # fmt: skip
    names = ["model", "tp", "law", "constant_s", "first_s", "second_s", "threshold"]
    return pd.DataFrame(rows, columns=names)


def _three(entry: Any, key: str, where: str) -> list[float]:
    values = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(values, list) and len(values) == 3 and _THRESHOLD in entry:
        numbers = [float(v) for v in values if isinstance(v, int | float)]
        if len(numbers) == 3:
            return numbers
    raise InputError(
        f"{key!r} is {values!r}", where=where, mend=f"give three numbers, and {_THRESHOLD!r}"
    )


def read_distserve_capacity(path: Path) -> pd.DataFrame:
    """Columns model, tp, pp, capacity_tokens: KV cache that fits."""
    names = {"model": "model", "tp": "tp", "pp": "pp", "max_num_tokens": "capacity_tokens"}
    return read_checked(path, names, counts=("tp", "pp", "capacity_tokens"))
