"""`advance(world, until)`: a graph's tasks in time.

An instant has three parts, and comes back as long as something ends at it:

1. Tasks end: those of servers in the order of server numbers, those without a server by task
   number, then those that the network has delivered. What they release becomes ready; tasks
   without a server begin at once, and end at once if they take no time.
2. Idle servers that have something to choose take it: the next task by number if it is ready
   (order "issue", as a CUDA stream), or the ready task of the highest priority, the lowest number
   among equals (order "ready"). A task of a group then waits for the others of its group; the last
   one starts all. In order "ready" tasks of a group become ready together, when all are.
3. Transfers that began are given to the network, which shares its links once for all of them.

Part 2 sees all ends of the instant, so no result depends on their order.

While a collective or transfer of a device runs, compute tasks of that device do `slow` units of
work a tick instead of `full`. A task of d ticks has d * full units and ends at the first tick at
which all are done: integers, so cutting a run into pieces changes nothing.
"""

from typing import Any

import numpy as np
from numba import int64, void

from mltwin.sim.heap import (
    heap_pop,
    heap_set,
    heap_slot,
    heap_time,
    pairs_pop,
    pairs_push,
)
from mltwin.sim.jit import handler, kernel
from mltwin.sim.ticks import NEVER

from .executor_tables import WIRED, WORLD
from .tables import COLLECTIVE, COMPUTE, TRANSFER


@handler
def release_first(S: Any) -> None:
    """Make ready what waits for nothing; once."""
    state = S.state[0]
    if state.begun:
        return
    state.begun = 1
    for server in range(len(S.running)):
        if not S.par[0].by_priority:
            S.head[server] = S.queue_first[server]
        mark(S, server)
    for group in range(len(S.unready)):
        if S.unready[group] == 0 and S.group_first[group + 1] > S.group_first[group]:
            ready_group(S, 0, group)
    for task in range(len(S.work)):
        if S.pending[task] == 0:
            ready_alone(S, 0, task)


@handler
def mark(S: Any, server: int) -> None:
    """Have part 2 look at a server."""
    if not S.marked[server]:
        S.marked[server] = 1
        S.marks[S.state[0].marked] = server
        S.state[0].marked += 1


@handler
def end_task(S: Any, now: int, task: int) -> None:
    """Part 1 for one task."""
    state = S.state[0]
    S.end[task] = now
    S.ended[state.ended] = task
    state.ended += 1
    server = S.server[task]
    if server >= 0:
        S.running[server] = -1
        mark(S, server)
        work = S.work[task]
        if work == COLLECTIVE or work == TRANSFER or work == WIRED:
            talk(S, now, S.device[server], -1)
    for place in range(S.next_first[task], S.next_first[task + 1]):
        waiting = S.next_task[place]
        left = S.pending[waiting] - 1
        S.pending[waiting] = left
        if left == 0:
            ready(S, now, waiting)


@handler
def ready(S: Any, now: int, task: int) -> None:
    """All that the task waits for has ended."""
    group = S.group[task]
    if group >= 0:
        S.unready[group] -= 1
        if S.unready[group] == 0:
            ready_group(S, now, group)
    ready_alone(S, now, task)


@handler
def ready_alone(S: Any, now: int, task: int) -> None:
    """A ready task goes where it can be chosen, unless its group decides that."""
    server = S.server[task]
    if server < 0:
        take(S, now, task)
    elif not S.par[0].by_priority:
        if S.running[server] < 0 and S.queue[S.head[server]] == task:
            mark(S, server)
    elif S.group[task] < 0:
        push(S, server, task)
        mark(S, server)


@handler
def ready_group(S: Any, now: int, group: int) -> None:
    """In order "ready" the members of a group can be chosen from now on."""
    if S.par[0].by_priority:
        for place in range(S.group_first[group], S.group_first[group + 1]):
            member = S.group_task[place]
            if S.server[member] >= 0:
                push(S, S.server[member], member)
                mark(S, S.server[member])


@handler
def choose(S: Any, now: int, server: int) -> None:
    """Part 2 for one server."""
    S.marked[server] = 0
    if S.running[server] >= 0:
        return
    if S.par[0].by_priority:
        if S.head[server] > 0:
            take(S, now, pop(S, server))
    elif S.head[server] < S.queue_first[server + 1]:
        task = S.queue[S.head[server]]
        if S.pending[task] == 0:
            S.head[server] += 1
            take(S, now, task)


@handler
def take(S: Any, now: int, task: int) -> None:
    """A task holds its server: it begins, or waits for the others of its group."""
    if S.server[task] >= 0:
        S.running[S.server[task]] = task
    group = S.group[task]
    if group < 0:
        begin(S, now, task)
        return
    S.absent[group] -= 1
    if S.absent[group] == 0:
        for place in range(S.group_first[group], S.group_first[group + 1]):
            begin(S, now, S.group_task[place])


@handler
def begin(S: Any, now: int, task: int) -> None:
    """A task runs from now on."""
    state = S.state[0]
    S.start[task] = now
    server = S.server[task]
    work = S.work[task]
    if server >= 0 and (work == COLLECTIVE or work == TRANSFER or work == WIRED):
        talk(S, now, S.device[server], 1)
    if work == WIRED:
        S.sends[state.sends] = task
        state.sends += 1
    elif server < 0:
        if S.duration[task] == 0:
            S.instants[state.instant_tail] = task
            state.instant_tail += 1
        else:
            pairs_push(S.loose, S.loose_count, now + S.duration[task], task)
    elif work == COMPUTE and S.par[0].full != S.par[0].slow:
        S.left[server] = S.duration[task] * S.par[0].full
        S.since[server] = now
        set_timer(S, now, server, rate(S, S.talking[S.device[server]]))
    else:
        heap_set(S, server, now + S.duration[task], 0)


@handler
def talk(S: Any, now: int, device: int, change: int) -> None:
    """A communication of a device begins (+1) or ends (-1): its compute tasks change their rate."""
    before = rate(S, S.talking[device])
    S.talking[device] += change
    after = rate(S, S.talking[device])
    if before == after:
        return
    for server in range(S.server_first[device], S.server_first[device + 1]):
        task = S.running[server]
        if task >= 0 and S.start[task] >= 0 and S.work[task] == COMPUTE:
            S.left[server] -= before * (now - S.since[server])
            S.since[server] = now
            set_timer(S, now, server, after)


@handler
def rate(S: Any, talking: int) -> Any:
    """Units of work a tick of compute beside so many communications."""
    return S.par[0].slow if talking > 0 else S.par[0].full


@handler
def set_timer(S: Any, now: int, server: int, units: int) -> None:
    """Wake at the first tick at which nothing is left; a task that is done ends now."""
    heap_set(S, server, now - (min(-S.left[server], np.int64(0)) // units), 0)


@handler
def push(S: Any, server: int, task: int) -> None:
    """Add to a server's heap of ready tasks, which stands in its part of `queue`."""
    first = S.queue_first[server]
    place = S.head[server]
    S.head[server] = place + 1
    while place > 0:
        parent = (place - 1) >> 1
        above = S.queue[first + parent]
        if goes_before(S, above, task):
            break
        S.queue[first + place] = above
        place = parent
    S.queue[first + place] = task


@handler
def pop(S: Any, server: int) -> Any:
    """Take the first of a server's ready tasks. There must be one."""
    first = S.queue_first[server]
    count = S.head[server] - 1
    S.head[server] = count
    best = S.queue[first]
    task = S.queue[first + count]
    place: Any = np.int64(0)
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and goes_before(S, S.queue[first + child + 1], S.queue[first + child]):
            child += 1
        if goes_before(S, task, S.queue[first + child]):
            break
        S.queue[first + place] = S.queue[first + child]
        place = child
    S.queue[first + place] = task
    return best


@handler
def goes_before(S: Any, one: int, other: int) -> bool:
    """Whether a ready task is chosen before another."""
    if S.priority[one] != S.priority[other]:
        return S.priority[one] > S.priority[other]
    return one < other


@handler
def end_due(S: Any, now: int) -> None:
    """Part 1 for all tasks but the network's."""
    while heap_time(S) == now:
        server = heap_slot(S)
        heap_pop(S)
        end_task(S, now, S.running[server])
    while S.loose_count[0] > 0 and S.loose[0].time == now:
        end_task(S, now, pairs_pop(S.loose, S.loose_count))
    end_instants(S, now)


@handler
def end_instants(S: Any, now: int) -> None:
    """Tasks without a server and without a duration; each may release further ones."""
    state = S.state[0]
    while state.instant_head < state.instant_tail:
        task = S.instants[state.instant_head]
        state.instant_head += 1
        end_task(S, now, task)


@handler
def choose_all(S: Any, now: int) -> None:
    """Part 2."""
    state = S.state[0]
    for place in range(state.marked):
        choose(S, now, S.marks[place])
    state.marked = 0


@handler
def next_time(S: Any) -> Any:
    """When something ends next, or what is due at this instant; NEVER if nothing runs."""
    state = S.state[0]
    if state.instant_head < state.instant_tail or state.marked > 0 or state.sends > 0:
        return state.now
    loose = S.loose[0].time if S.loose_count[0] > 0 else np.int64(NEVER)
    return min(heap_time(S), loose)


def advance_body(S: Any, until: int) -> None:
    """Handle all instants up to and including `until`."""
    release_first(S)
    while True:
        now = next_time(S)
        if now > until or now == NEVER:
            return
        S.state[0].now = now
        end_due(S, now)
        choose_all(S, now)


advance = kernel(void(WORLD, int64))(advance_body)
