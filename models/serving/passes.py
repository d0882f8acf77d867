"""Passes over all requests of a run: laid out for the kernel, counted, read out, measured.

Each is one compiled loop that does not hold the interpreter's lock, so that runs of a sweep in
threads do not wait for one another; the same steps in NumPy are dozens of calls, each of which
takes the lock back. `mltwin.serving_metrics` holds the definitions of what is measured here, in
NumPy; the two agree bit for bit.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import array_type, kernel, types

from .hooks import REQUEST
from .layout import PROGRESS
from .tables import CANCELLED, DONE, REFUSED, STATE_NAMES

_LOW_BITS = 0xFFFFFFFF
TICKS_PER_MS = 1e9

# What `count_states` counts behind the states.
OUT_OF_ORDER = len(STATE_NAMES)  # done, with a first or last token before what must precede it
UNEVEN = OUT_OF_ORDER + 1  # done, with other than its tokens
STATE_COUNTS = UNEVEN + 1

# What `tally` counts and adds up; `done` of each: of completed requests only.
(
    N_DONE,
    N_REFUSED,
    N_CANCELLED,
    PROMPT_TOKENS,  # done
    OUTPUT_TOKENS,  # done
    PREEMPTIONS,
    DECODE_HIGH,  # done: upper words of first token to last, ticks; with the lower ones the sum
    DECODE_LOW,
    N_ENDED,  # requests with an end
    LAST_END,  # ticks at which the client has it
    FIRST_SENT,  # ticks
    TOKENS_MISSING,  # and on: requests that break a law, in the order of `LAWS`
    TOKEN_BEFORE_ARRIVAL,
    LAST_BEFORE_FIRST,
    ADMITTED_BEFORE_ARRIVAL,
    FIRST_BEFORE_ADMISSION,
    TALLIES,
) = range(17)
LAWS = {
    TOKENS_MISSING: "completed requests with tokens missing",
    TOKEN_BEFORE_ARRIVAL: "tokens before the request's arrival",
    LAST_BEFORE_FIRST: "last tokens before the first",
    ADMITTED_BEFORE_ARRIVAL: "requests admitted before they arrived",
    FIRST_BEFORE_ADMISSION: "first tokens before admission",
}

TTFT, TPOT, E2E, QUEUE, TRANSFER_TIME, LATENCIES = range(6)


def _given(dtype: Any) -> Any:
    """The Numba type of a column that is only read."""
    return types.Array(array_type(dtype).dtype, 1, "C", readonly=True)


_I8, _I32, _I64, _F64 = map(_given, (np.int8, np.int32, np.int64, np.float64))
_OUT_I8, _OUT_I32, _OUT_I64 = map(array_type, (np.int8, np.int32, np.int64))
_INFO, _REQ = array_type(REQUEST), array_type(PROGRESS)


@kernel(
    types.void(
        *(_INFO, _OUT_I64, _REQ, _OUT_I64),
        *(_I64, _I32, _I32, _I32, _I64, _I32, _I32, _I32, _I32),
        *(types.int64, types.int64),
    )
)
def lay_out(
    info: Any,
    info_words: Any,
    req: Any,
    req_words: Any,
    arrival: Any,
    prompt: Any,
    output: Any,
    predicted: Any,
    deadline: Any,
    tenant: Any,
    session: Any,
    priority: Any,
    n_ids: Any,
    closed: int,
    never: int,
) -> None:
    """Write every field of the requests' two tables, which may hold anything before.

    `*_words` are the tables as int64. A column of length 0 stands for its default; in a closed loop
    all arrive at 0.
    """
    n = len(info)
    for i in range(len(info_words)):
        info_words[i] = 0
    for i in range(len(req_words)):
        req_words[i] = 0
    for i in range(n):
        if closed == 0:
            info[i].arrival = arrival[i]
        info[i].prompt = prompt[i]
        info[i].predicted = predicted[i]
        info[i].deadline = deadline[i] if len(deadline) > 0 else never
        if len(tenant) > 0:
            info[i].tenant = tenant[i]
        info[i].session = session[i] if len(session) > 0 else -1
        if len(priority) > 0:
            info[i].priority = priority[i]
        req[i].first = -1
        req[i].finish = -1
        req[i].scheduled = -1
        req[i].replica = -1
        req[i].source = -1
        req[i].child = -1
        req[i].sibling = -1
        req[i].output = output[i]
        req[i].need = prompt[i]
        if len(n_ids) > 0:
            req[i].n_ids = n_ids[i]


@kernel(types.void(_INFO, _REQ, _OUT_I64))
def count_states(info: Any, req: Any, counts: Any) -> None:
    """Requests in each state, and of the completed ones those that are OUT_OF_ORDER or UNEVEN."""
    for i in range(len(req)):
        state = req[i].state
        counts[state] += 1
        if state == DONE:
            first = req[i].first
            if first < info[i].arrival or req[i].finish < first:
                counts[OUT_OF_ORDER] += 1
            if info[i].generated != req[i].output:
                counts[UNEVEN] += 1


@kernel(types.void(_INFO, _REQ, *[_OUT_I64] * 5, *[_OUT_I32] * 6, _OUT_I8))
def read_out(
    info: Any,
    req: Any,
    arrival: Any,
    scheduled: Any,
    first: Any,
    finish: Any,
    transfer: Any,
    generated: Any,
    cached: Any,
    prefill_replica: Any,
    replica: Any,
    preempted: Any,
    attempts: Any,
    state: Any,
) -> None:
    """The columns of the result from the tables of the kernel."""
    for i in range(len(req)):
        arrival[i] = info[i].arrival
        generated[i] = info[i].generated
        cached[i] = info[i].cached
        attempts[i] = info[i].attempts
        scheduled[i] = req[i].scheduled
        first[i] = req[i].first
        finish[i] = req[i].finish
        transfer[i] = req[i].transfer
        prefill_replica[i] = req[i].source
        replica[i] = req[i].replica
        preempted[i] = req[i].preempted
        state[i] = req[i].state


@kernel(types.void(_I8, *[_I64] * 4, *[_I32] * 4, _I64, _I64, _OUT_I64))
def tally(
    state: Any,
    arrival: Any,
    scheduled: Any,
    first: Any,
    finish: Any,
    prompt: Any,
    output: Any,
    generated: Any,
    preempted: Any,
    frontend: Any,
    returned: Any,
    found: Any,
) -> None:
    """Counts and sums over requests into `found` (TALLIES zeros); see the list of names above.

    `frontend` and `returned` may have length 0 for none.
    """
    for i in range(len(state)):
        code = state[i]
        sending = arrival[i] - (frontend[i] if len(frontend) > 0 else 0)
        if i == 0 or sending < found[FIRST_SENT]:
            found[FIRST_SENT] = sending
        if finish[i] >= 0:
            end = finish[i] + (returned[i] if len(returned) > 0 else 0)
            if found[N_ENDED] == 0 or end > found[LAST_END]:
                found[LAST_END] = end
            found[N_ENDED] += 1
        found[PREEMPTIONS] += preempted[i]
        found[TOKEN_BEFORE_ARRIVAL] += first[i] >= 0 and first[i] < arrival[i]
        found[ADMITTED_BEFORE_ARRIVAL] += scheduled[i] >= 0 and scheduled[i] < arrival[i]
        if code == DONE:
            found[N_DONE] += 1
            found[PROMPT_TOKENS] += prompt[i]
            found[OUTPUT_TOKENS] += output[i]
            took = finish[i] - first[i]
            found[DECODE_LOW] += took & _LOW_BITS
            found[DECODE_HIGH] += took >> 32
            found[TOKENS_MISSING] += generated[i] != output[i]
            found[LAST_BEFORE_FIRST] += finish[i] < first[i]
            found[FIRST_BEFORE_ADMISSION] += first[i] < scheduled[i]
        elif code == REFUSED:
            found[N_REFUSED] += 1
        elif code == CANCELLED:
            found[N_CANCELLED] += 1


@kernel(
    types.int64(
        *(_I8, *[_I64] * 5, _I32, _I64, _I64, _F64, _I8),
        *(types.Array(types.float64, 2, "C"), _OUT_I64),
    )
)
def measure(
    state: Any,
    arrival: Any,
    scheduled: Any,
    first: Any,
    finish: Any,
    transfer: Any,
    output: Any,
    frontend: Any,
    returned: Any,
    limits: Any,
    limited: Any,
    found: Any,
    count: Any,
) -> int:
    """Latencies in ms of the requests that have them, in their order.

    Args:
        limits, limited: of each latency, and whether it has one (ms, 0 or 1; LATENCIES of each).
        found: LATENCIES rows of as many columns as there are requests.
        count: how many of each row are filled.
        state ... returned: columns as `tally` takes them.

    Returns:
        How many requests completed within every limit; a TPOT limit cannot fail one token.
    """
    value = np.zeros(LATENCIES)
    kept = 0
    for i in range(len(state)):
        if state[i] != DONE:
            continue
        sending = arrival[i] - (frontend[i] if len(frontend) > 0 else 0)
        back = returned[i] if len(returned) > 0 else 0
        value[TTFT] = (first[i] + back - sending) / TICKS_PER_MS
        value[E2E] = (finish[i] + back - sending) / TICKS_PER_MS
        value[QUEUE] = (scheduled[i] - arrival[i]) / TICKS_PER_MS
        if output[i] > 1:
            value[TPOT] = (finish[i] - first[i]) / (output[i] - 1) / TICKS_PER_MS
        if transfer[i] > 0:
            value[TRANSFER_TIME] = transfer[i] / TICKS_PER_MS
        good = 1
        for k in range(LATENCIES):
            has = (k != TPOT or output[i] > 1) and (k != TRANSFER_TIME or transfer[i] > 0)
            if has:
                found[k, count[k]] = value[k]
                count[k] += 1
            if limited[k] != 0 and (not value[k] <= limits[k] if has else k != TPOT):
                good = 0
        kept += good
    return kept
