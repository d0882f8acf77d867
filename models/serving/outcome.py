"""What a run of the serving system leaves: columns per request and replica, totals, event log.

Kernel and reference both end in an `Outcome`; tests compare the two with `==`.
"""

import functools
from dataclasses import dataclass, field

import numpy as np

# kinds of event in the log: (time, kind, entity, value)
(
    ARRIVE,  # request; tenant
    REFUSE,  # request; reason
    PARK,  # request; 0
    QUEUE,  # request; replica
    ADMIT,  # request; replica (prefill starts, or a swapped request returns)
    FIRST,  # request; replica
    PREEMPT,  # request; replica
    HAND_OVER,  # request; destination
    TRANSFER_START,  # request; destination
    TRANSFER_END,  # request; destination
    FINISH,  # request; replica
    CANCEL,  # request; the state it was in
    LOST,  # request; the replica that failed
    REPLICA_STATE,  # replica; new state
    REPLICA_ROLE,  # replica; new role
    ITERATION,  # replica; tokens (logged as it is planned, when skipping is off)
    FETCH_START,  # request; replica (it leaves the queue for blocks from the stores)
    FETCH_END,  # request; replica (it queues again)
) = range(18)
EVENT_NAMES = (
    "arrive",
    "refuse",
    "park",
    "queue",
    "admit",
    "first",
    "preempt",
    "hand_over",
    "transfer_start",
    "transfer_end",
    "finish",
    "cancel",
    "lost",
    "replica_state",
    "replica_role",
    "iteration",
    "fetch_start",
    "fetch_end",
)

BY_POLICY, TOO_LONG = range(2)  # reasons of a refusal
REFUSE_REASONS = ("refused by the admission policy", "longer than the KV memory of its replica")

_FIRST_OCTAVE, _LAST_OCTAVE, _PER_OCTAVE = 20, 52, 64
GAP_BINS = (_LAST_OCTAVE - _FIRST_OCTAVE) * _PER_OCTAVE + 2


def gap_bin(gap: int) -> int:
    """Histogram bin of a token gap in ticks.

    Bin 0 holds gaps below 2**20 ticks (1 us); then 64 equal bins to each octave, so that a bin is
    at most 1/64 of its value wide; the last bin holds 2**52 ticks (75 min) and more.
    """
    octave = gap.bit_length() - 1
    if octave < _FIRST_OCTAVE:
        return 0
    if octave >= _LAST_OCTAVE:
        return GAP_BINS - 1
    return 1 + (octave - _FIRST_OCTAVE) * _PER_OCTAVE + ((gap - (1 << octave)) >> (octave - 6))


@functools.cache
def gap_bin_edges() -> np.ndarray:
    """int64 lower edges of the histogram's bins, GAP_BINS of them; read-only."""
    octaves = np.repeat(np.arange(_FIRST_OCTAVE, _LAST_OCTAVE), _PER_OCTAVE).astype(np.int64)
    steps = np.tile(np.arange(_PER_OCTAVE), _LAST_OCTAVE - _FIRST_OCTAVE).astype(np.int64)
    edges = (1 << octaves) + (steps << (octaves - 6))
    found = np.concatenate([[0], edges, [1 << _LAST_OCTAVE]])
    found.flags.writeable = False
    return found


REQUEST_COLUMNS = (
    "arrival",  # ticks
    "scheduled",  # ticks at which it was first admitted to a batch, -1 never
    "first",  # ticks of its first token, -1 none
    "finish",  # ticks at which it was done, refused or cancelled, -1 still there
    "transfer",  # ticks between its prefill's end and its arrival at the decode replica
    "generated",  # output tokens
    "cached",  # prompt tokens found in the prefix cache at its last admission
    "state",
    "prefill_replica",  # where its last prefill ended, -1
    "replica",  # where it was last, -1
    "preempted",  # times
    "attempts",  # pre-emptions and failures
)
REPLICA_COLUMNS = (
    "iterations",
    "prefill_tokens",
    "decode_tokens",
    "busy_prefill",  # ticks of iterations that prefill
    "busy_decode",  # ticks of iterations that only decode
    "sequences",  # sum of nseq over iterations
    "contexts",  # sum of ctx over iterations
    "preemptions",
    "peak_blocks",  # most blocks ever held by requests (evictable ones not counted)
    "up_ticks",  # ticks starting, up or draining
)
FETCH_COLUMNS = (  # of runs with stores only
    "fetched",  # tokens brought from the stores
    "fetch_wait",  # ticks out of the queue for that, or for another's fetch
)
STORE_TOTALS = (  # of runs with stores only; blocks but for the first two
    "fetches",
    "followed",  # times that a request waited for another's fetch
    "copies",  # fetched though another replica had them in its HBM
    "duplicates",  # copies of blocks in HBM beyond the first, summed over ends of requests
    "host_read",
    "host_written",
    "host_evicted",
    "host_refused",
    "host_used",  # at the end
    "pool_read",
    "pool_written",
    "pool_evicted",
    "pool_refused",
    "pool_used",
)
TOTALS = ("hit_tokens", "evictions", "flows", "refused", "cancelled", "done", "end")


@dataclass
class Outcome:
    """Columns of a finished run.

    requests: REQUEST_COLUMNS, each of n; replicas: REPLICA_COLUMNS, each of r; totals: TOTALS
    (`end` is the time of the last event); stores: STORE_TOTALS where there are stores, and then
    requests have FETCH_COLUMNS too; fabric: int64 bytes moved over each of its links;
    gaps: int64 histogram of token gaps; log: record array
    (time, kind, entity, value) or None; batches: what ran when, or None.
    """

    requests: dict[str, np.ndarray]
    replicas: dict[str, np.ndarray]
    totals: dict[str, int]
    gaps: np.ndarray
    log: np.ndarray | None = None
    batches: np.ndarray | None = None
    counters: dict[str, int] = field(default_factory=dict)
    stores: dict[str, int] = field(default_factory=dict)
    fabric: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def differences(self, other: "Outcome") -> list[str]:
        """Where two outcomes differ, in words; empty when they are equal bit for bit."""
        found = []
        for part in ("requests", "replicas"):
            mine, theirs = getattr(self, part), getattr(other, part)
            for name in mine:
                bad = np.flatnonzero(np.asarray(mine[name]) != np.asarray(theirs[name]))
                if len(bad):
                    i = int(bad[0])
                    found.append(
                        f"{part}.{name}: {len(bad)} differ, first at {i}: "
                        f"{mine[name][i]} != {theirs[name][i]}"
                    )
        found += [
            f"totals.{k}: {self.totals[k]} != {other.totals[k]}"
            for k in TOTALS
            if self.totals[k] != other.totals[k]
        ]
        found += [
            f"stores.{k}: {self.stores.get(k)} != {other.stores.get(k)}"
            for k in sorted({*self.stores, *other.stores})
            if self.stores.get(k) != other.stores.get(k)
        ]
        if not np.array_equal(self.fabric, other.fabric):
            found.append(f"fabric: {self.fabric.tolist()} != {other.fabric.tolist()}")
        if not np.array_equal(self.gaps, other.gaps):
            found.append(f"gaps: {self.gaps.sum()} and {other.gaps.sum()} counted, bins differ")
        return found
