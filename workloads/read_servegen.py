"""ServeGen client pools: statistics of real clients, from which requests are drawn with a seed.

Source: Xiang et al., "ServeGen", arXiv 2505.09999 (2025); github.com/alibaba/ServeGen. A folder
holds, for each client N, `chunk-N-trace.csv` (per 600 s: start, rate, CV, law, shape, scale of the
intervals) and `chunk-N-dataset.json` (per 21,600 s: distributions of lengths, each a Python dict
literal in a string).

Rules, each counted in `meta`:
- a client without a dataset is left out (`clients_without_lengths`, `requests_without_lengths`);
- a window with unknown lengths takes those of the nearest known one of its client
  (`windows_with_borrowed_lengths`);
- an interval CV beyond `max_cv` is cut to it (`windows_with_cut_cv`): fits go up to 797;
- a length of 0 becomes 1 (`zero_lengths`).

The count of a window is its rate times its length; the intervals have the fitted shape and are
scaled to fill the window, because the fitted mean often differs from 1/rate (section 4).
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim import rng_arrays as rng
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .from_jsonl import parse_json
from .intervals import gamma_gaps, weibull_gaps, weibull_shape
from .source import Source, read_text
from .table import Trace
from .values import decimal

_PROMPT = ("input_tokens", "text_tokens", "image_tokens", "audio_tokens", "video_tokens")
_WINDOWS = 1 << 20  # more windows than any client has: part of a draw's key
_NAME = re.compile(r"chunk-(\d+)-trace\.csv")


@dataclass
class Client:
    """One client: windows (start s, rate 1/s, CV, law, shape) and its lengths by window start."""

    number: int
    windows: list[tuple[float, float, float, str, float]]
    lengths: "Lengths | None"


class Lengths:
    """The length laws of one client: known windows by start, each read when it is asked for."""

    def __init__(self, source: Source, windows: dict[float, dict[str, str]]) -> None:
        self.source = source
        self.windows = windows
        self._read: dict[float, dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}

    def at(self, start: float) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Field -> (values, cumulated probabilities) of the window that starts here."""
        if start not in self._read:
            try:
                laws = {name: _law(text) for name, text in self.windows[start].items()}
            except (TypeError, ValueError, SyntaxError) as wrong:
                raise _no_dataset(self.source, wrong) from None
            self._read[start] = laws
        return self._read[start]


@dataclass
class _Tally:
    meta: dict[str, Any] = field(default_factory=dict)

    def add(self, label: str, amount: int = 1) -> None:
        self.meta[label] = self.meta.get(label, 0) + amount


def is_servegen(path: Path) -> bool:
    """True for a folder of ServeGen clients."""
    return path.is_dir() and any(_NAME.fullmatch(item.name) for item in path.iterdir())


def read_servegen(
    path: str | Path,
    *,
    seed: int = 0,
    from_s: float = 0.0,
    until_s: float | None = None,
    rate_scale: float = 1.0,
    max_cv: float = 20.0,
    max_requests: int = 20_000_000,
) -> Trace:
    """Requests drawn from the pool between `from_s` and `until_s`; each client is a tenant.

    `rate_scale` multiplies all rates. Raises InputError for a folder without clients, a damaged
    file, or more than `max_requests` expected.
    """
    folder = Path(path)
    clients = read_clients(folder)
    end = float("inf") if until_s is None else until_s
    if not (0 <= from_s < end and 0 < rate_scale < float("inf") and max_cv > 0):
        raise InputError(
            "from_s < until_s, rate_scale > 0 and max_cv > 0 are needed", where=str(path)
        )
    expected = rate_scale * sum(
        rate * length
        for client in clients
        for (start, rate, *_), length in zip(client.windows, _widths(client), strict=True)
        if from_s <= start < end
    )
    if expected > max_requests:
        raise InputError(
            f"about {expected:,.0f} requests are more than {max_requests:,}",
            where=str(path),
            mend="take a shorter window (from_s, until_s), a smaller rate_scale, or max_requests",
        )
    tally = _Tally({"clients": len(clients), "seed": seed})
    parts = [
        part for c in clients for part in _draw(c, seed, from_s, end, rate_scale, max_cv, tally)
    ]
    if not parts:
        raise InputError("no requests in this window", where=str(path), mend="take a longer one")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    arrival, prompt, output, tenant = (column[order] for column in columns)
    used, codes = np.unique(tenant, return_inverse=True)
    return Trace.make(
        arrival,
        prompt,
        output,
        tenant=codes,
        tenants=[f"client-{number}" for number in used],
        name=folder.name,
        source=folder.name,
        meta=tally.meta,
    )


def read_clients(folder: Path) -> list[Client]:
    """All clients of a pool, in order of their numbers."""
    if not is_servegen(folder):
        raise InputError(
            "holds no chunk-N-trace.csv",
            where=str(folder),
            mend="give a folder of ServeGen clients",
        )
    names = sorted((int(m[1]), p) for p in folder.iterdir() if (m := _NAME.fullmatch(p.name)))
    return [Client(n, _read_windows(Source(p)), _read_lengths(folder, n)) for n, p in names]


def _read_windows(source: Source) -> list[tuple[float, float, float, str, float]]:
    windows: list[tuple[float, float, float, str, float]] = []
    for number, line in source.lines():
        if not line.strip():
            continue
        cells = line.split(",")
        if len(cells) != 6:
            raise source.error(f"has {len(cells)} cells, not 6", number, "complete the line")
        try:
            start, rate, cv, shape = (float(decimal(cells[i])) for i in (0, 1, 2, 4))
        except ValueError as wrong:
            raise source.error(f"a number {wrong}: {line[:60]!r}", number) from None
        if min(start, rate, cv, shape) < 0 or cells[3] not in ("", "Gamma", "Weibull"):
            raise source.error(f"is no window: {line[:60]!r}", number, "correct the line")
        if windows and start <= windows[-1][0]:
            raise source.error("windows do not follow one another", number, "sort the file")
        windows.append((start, rate, cv, cells[3], shape))
    return windows


def _read_lengths(folder: Path, number: int) -> Lengths | None:
    """The dataset of a client; None where it has no file or no known window."""
    for suffix in (".json", ".json.gz"):
        path = folder / f"chunk-{number}-dataset{suffix}"
        if path.exists():
            break
    else:
        return None
    source = Source(path)
    try:
        windows = parse_json(read_text(source))
        known = {float(decimal(at)): laws for at, laws in windows.items() if _is_known(laws)}
    except (AttributeError, TypeError, ValueError) as wrong:
        raise _no_dataset(source, wrong) from None
    return Lengths(source, dict(sorted(known.items()))) if known else None


def _no_dataset(source: Source, wrong: Exception) -> InputError:
    return source.error(f"is no ServeGen dataset ({str(wrong)[:80]})", mend="fetch it again")


def _is_known(laws: dict[str, str]) -> bool:
    """True where a distribution of prompts and one of outputs is given."""
    given = {name for name, text in laws.items() if text.strip() not in ("", "{}")}
    return "output_tokens" in given and not given.isdisjoint(_PROMPT)


def _law(text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A dict literal {tokens: probability} as values and cumulated probabilities."""
    try:
        weights = ast.literal_eval(text)
    except (RecursionError, MemoryError):
        raise ValueError("a distribution is nested too deeply") from None
    if not isinstance(weights, dict):
        raise ValueError("a distribution is no dict")
    if not weights:
        return np.empty(0, np.int64), np.empty(0)
    values = np.array(list(weights), np.int64)
    share = np.array(list(weights.values()), float)
    if values.min() < 0 or not np.isfinite(share).all() or share.min() < 0 or share.sum() <= 0:
        raise ValueError("a distribution holds negative or unbounded numbers")
    return values, np.cumsum(share) / share.sum()


def _widths(client: Client) -> list[float]:
    """Seconds of each window; the last is as long as the one before it."""
    starts = [window[0] for window in client.windows]
    widths = [b - a for a, b in pairwise(starts)]
    return [*widths, widths[-1] if widths else 600.0]


def _draw(
    client: Client,
    seed: int,
    from_s: float,
    until_s: float,
    rate_scale: float,
    max_cv: float,
    tally: _Tally,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """(arrival ticks, prompt, output, client) of each active window."""
    missing = client.lengths is None
    if missing:
        tally.add("clients_without_lengths")
    for index, ((start, rate, cv, law, shape), width) in enumerate(
        zip(client.windows, _widths(client), strict=True)
    ):
        if not rate or not from_s <= start < until_s:
            continue
        key = client.number * _WINDOWS + index
        amount = rate * rate_scale * width
        extra = float(rng.uniforms(seed, rng.ARRIVALS, key))
        count = int(amount) + int(extra < amount - int(amount))
        if missing:
            tally.add("requests_without_lengths", count)
            continue
        if cv > max_cv:
            tally.add("windows_with_cut_cv")
        if not count:
            continue
        gaps = _gaps(law, shape, max_cv, seed, key, count + 1)
        when = start - from_s + width * (np.cumsum(gaps) / gaps.sum())[:-1]
        prompt, output = _lengths(client, start, seed, key, count, tally)
        yield ticks(when), prompt, output, np.full(count, client.number)


def _gaps(
    law: str, shape: float, max_cv: float, seed: int, key: int, count: int
) -> NDArray[np.float64]:
    """Intervals of the fitted shape, of mean 1; exponential where no law was fitted."""
    u = _uniforms(seed, rng.ARRIVALS, key, 1, count)
    if law == "Gamma" and shape:
        return gamma_gaps(u, max(shape, max_cv**-2))
    if law == "Weibull" and shape:
        return weibull_gaps(u, max(shape, weibull_shape(max_cv)))
    return -np.log1p(-u)


def _lengths(
    client: Client, start: float, seed: int, key: int, count: int, tally: _Tally
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    assert client.lengths is not None
    times = np.array(list(client.lengths.windows))
    inside = times[times <= start]
    at = inside[-1] if inside.size else times[0]
    if not at <= start < at + 21_600:
        tally.add("windows_with_borrowed_lengths")
    laws = client.lengths.at(float(at))
    parts = []
    for place, name in enumerate((*_PROMPT, "output_tokens")):
        values, cumulated = laws.get(name, (np.empty(0, np.int64), np.empty(0)))
        if values.size:
            u = _uniforms(seed, rng.LENGTHS, key, place, count)
            found = np.searchsorted(cumulated, u, side="right")
            parts.append(values[np.minimum(found, values.size - 1)])
        else:
            parts.append(np.zeros(count, np.int64))
    prompt, output = np.sum(parts[:-1], axis=0), parts[-1]
    zeros = int(np.count_nonzero(prompt < 1) + np.count_nonzero(output < 1))
    if zeros:
        tally.add("zero_lengths", zeros)
    return np.maximum(prompt, 1), np.maximum(output, 1)


def _uniforms(seed: int, stream: int, key: int, place: int, count: int) -> NDArray[np.float64]:
    """`count` draws keyed by client, window, place and index."""
    within = np.arange(count, dtype=np.int64)
    return rng.uniforms(seed, stream, within + (key << 26), place + 1)
