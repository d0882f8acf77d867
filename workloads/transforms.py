"""Traces from traces. Each keeps prefix blocks, sessions and tenants, and is deterministic.

Where a request goes, those it would have released come at their nominal arrival instead.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim import rng_arrays as rng
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S, ticks

from .table import COLUMNS, MAX_TIME, MAX_TOKENS, Trace


def select(trace: Trace, rows: NDArray[Any]) -> Trace:
    """The requests at `rows` (a mask, or rising indices), times unchanged."""
    chosen = np.arange(len(trace))[rows]
    place = np.full(len(trace) + 1, -1, np.int64)
    place[chosen] = np.arange(chosen.size)
    columns = {label: getattr(trace, label)[chosen] for label in COLUMNS}
    columns["after"] = place[columns["after"]]
    columns["delay"] = np.where(columns["after"] >= 0, columns["delay"], 0)
    return trace.changed(
        **columns,
        block_start=trace.block_start[chosen],
        block_count=trace.block_count[chosen],
    )


def head(trace: Trace, count: int) -> Trace:
    """The first `count` requests."""
    if count < 0:
        raise InputError(f"count = {count} is negative", where="head")
    return select(trace, np.arange(min(count, len(trace)))) if count < len(trace) else trace


def window(trace: Trace, from_s: float, until_s: float) -> Trace:
    """Requests with nominal arrival in [from_s, until_s), counted anew from `from_s`."""
    if not 0 <= from_s <= until_s:
        raise InputError(f"from_s = {from_s}, until_s = {until_s} is no window", where="window")
    low, high = _ticks(from_s, "from_s"), _ticks(until_s, "until_s")
    first, last = np.searchsorted(trace.arrival, [low, high], side="left")
    kept = select(trace, np.arange(first, last))
    return kept.changed(arrival=kept.arrival - low, meta=_noted(trace, "window", [from_s, until_s]))


def scale_rate(trace: Trace, factor: float) -> Trace:
    """Arrivals `factor` times as fast; think times and timeouts stay, being people's."""
    if not 0 < factor < float("inf"):
        raise InputError(f"factor = {factor} is not above 0", where="scale_rate")
    last = int(trace.arrival.max(initial=0))
    if last > factor * MAX_TIME:
        most = MAX_TIME / TICKS_PER_S / 86_400
        raise InputError(
            f"at {factor:.3g} times its rate the trace lasts more than {most:.0f} days",
            where="scale_rate",
            mend="take a higher rate or fewer requests",
        )
    arrival = np.rint(trace.arrival / factor).astype(np.int64)
    return trace.retimed(arrival, sessions=True, meta=_noted(trace, "scale_rate", factor))


def with_arrivals(trace: Trace, spec: Mapping[str, Any], seed: int = 0) -> Trace:
    """The same requests in the same order at the times of a process (`workloads.arrivals`).

    Sessions become open: nothing releases anything, all come at the drawn times.
    """
    from .arrivals import arrival_ticks

    return trace.retimed(
        arrival_ticks(spec, len(trace), seed),
        sessions=False,
        meta=_noted(trace, "with_arrivals", {**spec, "seed": seed}),
    )


def with_poisson(trace: Trace, rate_per_s: float, seed: int = 0) -> Trace:
    """`with_arrivals` of a Poisson process."""
    return with_arrivals(trace, {"process": "poisson", "rate_per_s": rate_per_s}, seed)


def thin(trace: Trace, fraction: float, seed: int = 0) -> Trace:
    """About this fraction of the requests; a session stays or goes as a whole.

    Draws are keyed by session (by row where there is none) and nested: the requests kept at 0.2
    are among those kept at 0.5.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction = {fraction} is not in 0..1", where="thin")
    lone = trace.session < 0
    rows = np.arange(len(trace))
    u = np.where(
        lone,
        rng.uniforms(seed, rng.THINNING, rows, 0),
        rng.uniforms(seed, rng.THINNING, np.where(lone, 0, trace.session), 1),
    )
    kept = select(trace, u < fraction)
    return kept.changed(meta=_noted(trace, "thin", {"fraction": fraction, "seed": seed}))


def splice(
    first: Trace, second: Trace, *, gap_s: float = 0.0, shared_blocks: bool = False
) -> Trace:
    """`second` after `first`, its time 0 at the last arrival of `first` plus `gap_s`.

    Tenants of the same name are one, sessions are kept apart. Blocks are kept apart too, unless
    `shared_blocks`, which takes equal numbers for equal blocks. Both must have one block size.
    """
    return _join(
        first, second, int(first.arrival.max(initial=0)) + _ticks(gap_s, "gap_s"), shared_blocks
    )


def merge(first: Trace, second: Trace) -> Trace:
    """Both at once, on one clock, otherwise as `splice`."""
    return _join(first, second, 0, False)


def repeat(
    trace: Trace, times: int, *, gap_s: float | None = None, fresh_blocks: bool = True
) -> Trace:
    """The trace `times` times in a row, `gap_s` (default: its mean gap) between the copies.

    `fresh_blocks`: each copy has blocks of its own; False: later copies find those of the first.
    """
    if times < 1 or times * len(trace) > 1 << 30:
        raise InputError(
            f"times = {times} is not in 1..{(1 << 30) // max(1, len(trace))}", where="repeat"
        )
    if gap_s is None:
        gap_s = trace.span_s / max(1, len(trace) - 1)
    n = len(trace)
    copy = np.repeat(np.arange(times), n)
    columns = {label: np.tile(getattr(trace, label), times) for label in COLUMNS}
    step = int(trace.arrival.max(initial=0)) + _ticks(gap_s, "gap_s")
    _check_span(step * (times - 1) + int(trace.arrival.max(initial=0)), "repeat")
    columns["arrival"] = columns["arrival"] + copy * step
    columns["after"] = np.where(columns["after"] >= 0, columns["after"] + copy * n, -1)
    sessions = int(trace.session.max(initial=-1)) + 1
    columns["session"] = np.where(columns["session"] >= 0, columns["session"] + copy * sessions, -1)
    start = np.tile(trace.block_start, times)
    ids = trace.block_ids.astype(np.int64)
    if fresh_blocks and ids.size:
        start = start + copy * ids.size
        ids = np.tile(ids, times) + np.repeat(np.arange(times), ids.size) * (int(ids.max()) + 1)
    return trace.changed(
        **columns,
        block_start=start,
        block_count=np.tile(trace.block_count, times),
        block_ids=ids,
        meta=_noted(trace, "repeat", {"times": times, "fresh_blocks": fresh_blocks}),
    )


def limit_tokens(
    trace: Trace, *, prompt: int = MAX_TOKENS, output: int = MAX_TOKENS, context: int = MAX_TOKENS
) -> Trace:
    """Prompts and outputs clipped; `context` clips the prompt first, then the output.

    A prompt keeps its leading blocks; blocks that fall off are dropped.
    """
    if min(prompt, output) < 1 or context < 2:
        raise InputError("limits must be at least 1, context at least 2", where="limit_tokens")
    kept_prompt = np.minimum(trace.prompt, min(prompt, context - 1))
    kept_output = np.minimum(np.minimum(trace.output, output), context - kept_prompt)
    count = trace.block_count
    if trace.block_tokens:
        whole = (kept_prompt == trace.prompt) & (kept_output == trace.output)
        # A cut list must not name a block of which only a part is left: its id means the whole.
        full = (kept_prompt.astype(np.int64) + kept_output) // trace.block_tokens
        cut_prompt = np.minimum(full, kept_prompt // trace.block_tokens)
        most = np.where(kept_prompt == trace.prompt, full, cut_prompt)
        count = np.where(whole, count, np.minimum(count, most))
    return trace.changed(
        prompt=kept_prompt,
        output=kept_output,
        block_count=count,
        meta=_noted(trace, "limit_tokens", [prompt, output, context]),
    )


def _join(first: Trace, second: Trace, shift: int, shared_blocks: bool) -> Trace:
    if first.block_tokens and second.block_tokens and first.block_tokens != second.block_tokens:
        raise InputError(
            f"blocks of {first.block_tokens} and of {second.block_tokens} tokens do not mix",
            where="splice",
            mend="read both with one block_tokens",
        )
    _check_span(int(second.arrival.max(initial=0)) + shift, "splice")
    names = tuple(dict.fromkeys((*first.tenants, *second.tenants)))
    number = np.array([names.index(name) for name in second.tenants])
    sessions = int(first.session.max(initial=-1)) + 1
    moved = {label: getattr(second, label).astype(np.int64) for label in COLUMNS}
    moved["arrival"] += shift
    moved["tenant"] = number[second.tenant]
    moved["session"][second.session >= 0] += sessions
    moved["after"][second.after >= 0] += len(first)
    ids = second.block_ids.astype(np.int64)
    if not shared_blocks:
        ids += int(first.block_ids.max(initial=-1)) + 1
    columns = {label: np.concatenate([getattr(first, label), moved[label]]) for label in COLUMNS}
    return first.changed(
        **columns,
        tenants=names,
        block_start=np.concatenate([first.block_start, second.block_start + first.block_ids.size]),
        block_count=np.concatenate([first.block_count, second.block_count]),
        block_ids=np.concatenate([first.block_ids, ids]),
        block_tokens=first.block_tokens or second.block_tokens,
        name=f"{first.name}+{second.name}",
        source=f"{first.source}+{second.source}",
        meta={"first": first.meta, "second": second.meta},
        sort=True,
    )


def _noted(trace: Trace, step: str, value: Any) -> dict[str, Any]:
    """The meta with one more step in its list of transforms."""
    return {**trace.meta, "transforms": [*trace.meta.get("transforms", []), [step, value]]}


def _ticks(value_s: float, label: str) -> int:
    try:
        return int(ticks(float(value_s)))
    except ValueError as wrong:
        raise InputError(str(wrong), where=label) from None


def _check_span(last: int, where: str) -> None:
    if last > MAX_TIME:
        raise InputError("the trace would become too long", where=where, mend="take fewer requests")
