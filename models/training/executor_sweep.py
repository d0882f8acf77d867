"""`sweep(world)`: all times of a graph in one pass, where no event has to be sorted.

For order "issue" without slowdown and network the order of a stream is a dependency on the task
before, so times are longest paths. `executor_kernel` gives the same ones (tests hold it) and takes
three times as long.
"""

from typing import Any

import numpy as np
from numba import void

from mltwin.sim.jit import handler, kernel

from .executor_tables import WORLD


def sweep_body(S: Any) -> None:
    """Start and end of every task that can run; the others keep a negative end."""
    state = S.state[0]
    for task in range(len(S.work)):
        S.start[task] = 0
    for server in range(len(S.running)):
        for place in range(S.queue_first[server] + 1, S.queue_first[server + 1]):
            S.pending[S.queue[place]] += 1
    tail: Any = np.int64(0)
    for task in range(len(S.work)):
        if S.pending[task] == 0:
            tail = arrive(S, task, tail)
    done: Any = np.int64(0)
    while done < tail:
        task = S.ended[done]
        done += 1
        end = S.start[task] + S.duration[task]
        S.end[task] = end
        for place in range(S.next_first[task], S.next_first[task + 1]):
            tail = follow(S, S.next_task[place], end, tail)
        server = S.server[task]
        if server >= 0:
            S.head[server] += 1
            place = S.queue_first[server] + S.head[server]
            if place < S.queue_first[server + 1]:
                tail = follow(S, S.queue[place], end, tail)
    state.ended = done


@handler
def follow(S: Any, task: int, end: int, tail: int) -> Any:
    """One thing that the task waited for has ended."""
    S.start[task] = max(S.start[task], end)
    left = S.pending[task] - 1
    S.pending[task] = left
    return arrive(S, task, tail) if left == 0 else np.int64(tail)


@handler
def arrive(S: Any, task: int, tail: int) -> Any:
    """The task waits for nothing but its group; the last of a group starts it."""
    group = S.group[task]
    if group < 0:
        S.ended[tail] = task
        return np.int64(tail + 1)
    S.absent[group] -= 1
    if S.absent[group] > 0:
        return np.int64(tail)
    latest: Any = np.int64(0)
    for place in range(S.group_first[group], S.group_first[group + 1]):
        latest = max(latest, S.start[S.group_task[place]])
    for place in range(S.group_first[group], S.group_first[group + 1]):
        S.start[S.group_task[place]] = latest
        S.ended[tail] = S.group_task[place]
        tail += 1
    return np.int64(tail)


sweep = kernel(void(WORLD))(sweep_body)
