"""What is odd about a trace, in plain sentences with counts, before it misleads a study."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.ticks import TICKS_PER_S

from .table import Trace

FEW = 200
LEVELS = ("error", "warning", "note")
_RESOLUTION_TICKS = 10**9  # 1 ms: coarser clocks are told
_UNITS = ((10**12, "s"), (10**9, "ms"), (10**6, "us"))


@dataclass(frozen=True)
class Finding:
    """One oddity.

    level: error (rows that cannot be used), warning (results may mislead), note (good to know).
    about: what it concerns, one word of `order, rows, clock, gaps, lengths, ...`.
    count: of the requests or places it concerns. text: a sentence.
    """

    level: str
    about: str
    count: int
    text: str

    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def findings(trace: Trace) -> list[Finding]:
    """All findings, worst first; none for a trace without oddities."""
    if not len(trace):
        return [Finding("error", "rows", 0, "The trace holds no request.")]
    found = [
        *_reading(trace.meta),
        *_size(trace),
        *_clock(trace),
        *_gaps(trace),
        *_drift(trace),
        *_duplicates(trace),
        *_lengths("prompt", trace.prompt),
        *_lengths("output", trace.output),
        *_blocks(trace),
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _reading(meta: dict[str, Any]) -> Iterator[Finding]:
    """What the reader had to do."""
    back = int(meta.get("sorted", 0))
    if back:
        yield Finding(
            "warning",
            "order",
            back,
            f"Times go back at {_times(back)}; the requests were sorted by arrival.",
        )
    failed = int(meta.get("failed", 0) or 0)
    if failed:
        yield Finding(
            "note", "rows", failed, f"{_requests(failed)} had failed and {_were(failed)} left out."
        )


def _size(trace: Trace) -> Iterator[Finding]:
    n = len(trace)
    if n < FEW:
        yield Finding(
            "warning",
            "rows",
            n,
            f"There are only {_requests(n)}: the 99th percentile rests on "
            f"{'one' if n >= 100 else 'less than one'} of them.",
        )


def _clock(trace: Trace) -> Iterator[Finding]:
    """Resolution of the clock, and requests that share an instant."""
    gaps = np.diff(trace.arrival)
    if len(gaps) == 0:
        return
    same = int((gaps == 0).sum())
    step = int(np.gcd.reduce(gaps[gaps > 0])) if (gaps > 0).any() else 0
    if step == 0:
        yield Finding(
            "warning", "clock", same + 1, f"All {_requests(len(trace))} arrive at one instant."
        )
        return
    even = bool((gaps == gaps[0]).all())
    if even:
        yield Finding(
            "warning",
            "clock",
            len(gaps),
            f"Every request comes exactly {_duration(int(gaps[0]))} after the one before it: the "
            "arrivals look made up, not measured.",
        )
    elif step >= _RESOLUTION_TICKS:
        yield Finding(
            "warning" if same > len(trace) // 20 else "note",
            "clock",
            same,
            f"Times are whole multiples of {_duration(step)}, and {_requests(same)} "
            f"({_share(same, len(trace))}) share an instant with the one before"
            f"{_usual(gaps, step)}: what is shorter than that cannot be seen.",
        )
    elif same > len(trace) // 20:
        yield Finding(
            "note",
            "clock",
            same,
            f"{_requests(same)} ({_share(same, len(trace))}) arrive at the very instant of the "
            "one before: in batches.",
        )


def _usual(gaps: NDArray[np.int64], step: int) -> str:
    """The step that most instants are apart, where it is coarser than the clock."""
    steps, counts = np.unique(gaps[gaps > 0], return_counts=True)
    most = int(np.argmax(counts))
    if 2 * counts[most] <= counts.sum() or int(steps[most]) == step:
        return ""
    return f"; most instants are {_duration(int(steps[most]))} apart"


def _gaps(trace: Trace) -> Iterator[Finding]:
    """Holes: gaps far beyond what the other gaps are like, that take a part of the span."""
    gaps = np.diff(trace.arrival)
    if len(gaps) < FEW:
        return
    span = int(trace.arrival[-1] - trace.arrival[0])
    usual = float(np.quantile(gaps, 0.99))
    holes = np.flatnonzero((gaps > 20 * max(usual, 1.0)) & (gaps > span / 200))
    if len(holes):
        widest = int(holes[np.argmax(gaps[holes])])
        lost = _share(int(gaps[holes].sum()), span)
        yield Finding(
            "warning",
            "gaps",
            len(holes),
            f"No request comes for {_duration(int(gaps[widest]))} from "
            f"{trace.arrival[widest] / TICKS_PER_S:,.1f} s on; {_places(len(holes), 'gap')} like "
            f"that {'takes' if len(holes) == 1 else 'take'} {lost} of the time: bursts, or was the "
            "recording interrupted?",
        )


def _drift(trace: Trace) -> Iterator[Finding]:
    """A rate that is far from steady: averages over the trace then describe no part of it."""
    if len(trace) < 10 * FEW:
        return
    arrived = trace.arrival - trace.arrival[0]
    tenths = np.bincount(np.minimum(arrived * 10 // max(int(arrived[-1]), 1), 9), minlength=10)
    if tenths.max() > 3 * max(int(tenths.min()), 1):
        yield Finding(
            "note",
            "rate",
            int(tenths.max()),
            f"The rate is far from steady: the busiest tenth of the time holds {tenths.max():,} "
            f"requests, the quietest {tenths.min():,}.",
        )


def _duplicates(trace: Trace) -> Iterator[Finding]:
    """Rows that say the same as one before them."""
    labels = ("arrival", "prompt", "output", "tenant", "session")
    columns = np.stack([getattr(trace, label).astype(np.int64) for label in labels])
    order = np.lexsort(columns[::-1])
    same = (np.diff(columns[:, order], axis=1) == 0).all(axis=0)
    count = int(same.sum())
    if count:
        few = count <= max(3, len(trace) // 1000)
        yield Finding(
            "note" if few else "warning",
            "duplicates",
            count,
            f"{_requests(count)} ({_share(count, len(trace))}) repeat another one's time and "
            "lengths: were lines written twice?",
        )


def _lengths(label: str, tokens: NDArray[np.int32]) -> Iterator[Finding]:
    """Constant, clipped, far out, or of one token."""
    n, top = len(tokens), int(tokens.max())
    if n > 1 and (tokens == tokens[0]).all():
        yield Finding(
            "warning",
            label,
            n,
            f"Every {label} has exactly {top:,} tokens: a benchmark's lengths, not users'.",
        )
        return
    p99 = float(np.quantile(tokens, 0.99))
    clipped = int((tokens == top).sum())
    if clipped >= max(10, n // 100):
        yield Finding(
            "warning",
            label,
            clipped,
            f"{_share(clipped, n)} of the {label}s have exactly the greatest length, {top:,} "
            "tokens: they look cut off at a limit.",
        )
    elif top > 10 * p99:
        far = int((tokens > 10 * p99).sum())
        yield Finding(
            "warning",
            label,
            far,
            f"{_places(far, label)} {'is' if far == 1 else 'are'} more than ten times as long as "
            f"the 99th percentile ({p99:,.0f} tokens), up to {top:,}.",
        )
    single = int((tokens == 1).sum())
    if single > max(3, n // 100):
        yield Finding(
            "note",
            label,
            single,
            f"{_share(single, n)} of the {label}s have one token only"
            + (" (refused, filtered or failed requests?)." if label == "output" else "."),
        )


def _blocks(trace: Trace) -> Iterator[Finding]:
    if trace.block_tokens and trace.shared_prefix() == 0:
        yield Finding(
            "note", "prefix", 0, "There are prefix blocks, but no prompt shares one with another."
        )


def _duration(ticks: int) -> str:
    size, unit = next(((s, u) for s, u in _UNITS if ticks >= s), (1, "ps"))
    return f"{ticks / size:,.4g} {unit}"


def _share(part: int, whole: int) -> str:
    share = 100 * part / max(whole, 1)
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


def _requests(count: int) -> str:
    return _places(count, "request")


def _times(count: int) -> str:
    return _places(count, "place")


def _places(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
