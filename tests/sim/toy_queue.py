"""A toy system on the simulation kernel: c servers, one first-come queue (M/M/c).

Shared by several tests; ``python toy_queue.py`` prints the digest of a run. `heapq_log` is the
same model in plain Python with the standard library's heap, as an independent reference.
"""

import heapq
from collections import deque

import numpy as np
from numba import int64, void

from mltwin.sim.eventlog import EventLog, log_event, log_full
from mltwin.sim.heap import heap_pop, heap_set, heap_slot, heap_time, make_timers
from mltwin.sim.jit import array_type, handler, kernel
from mltwin.sim.records import record, table
from mltwin.sim.rng import ARRIVALS, SERVICE, exponentials, keyed_exponential
from mltwin.sim.ticks import NEVER
from mltwin.sim.world import World, world_type

PAR = record("PAR", [("seed", "i8"), ("customers", "i8"), ("servers", "i8")])
STATE = record("STATE", [("next", "i8"), ("head", "i8"), ("busy", "i8"), ("waited", "i8")])
ARRIVE, START, LEAVE = 0, 1, 2
MOST_ROWS_AN_EVENT = 2

CHOOSE = int64(array_type(np.int64), int64)


@kernel(CHOOSE)
def lowest(free, servers):
    for server in range(servers):
        if free[server] < 0:
            return server
    return -1


@kernel(CHOOSE)
def highest(free, servers):
    for server in range(servers - 1, -1, -1):
        if free[server] < 0:
            return server
    return -1


def make(seed, customers=400, servers=3, load=0.9, log_rows=10_000, choose=lowest, kind=World):
    log = EventLog(log_rows)
    mean = 10**12
    gaps = np.rint(exponentials(seed, ARRIVALS, np.arange(customers)) * mean).astype(np.int64)
    world = kind(
        par=table(1, PAR, seed=seed, customers=customers, servers=servers),
        state=table(1, STATE),
        arrival=np.cumsum(gaps),
        service=np.full(1, int(mean * servers * load), np.int64),
        serving=np.full(servers, -1, np.int64),
        **make_timers(servers),
        **log.tables(),
    )
    return world.bind(choose=(CHOOSE, choose)), log


_example, _ = make(0, customers=1)
WORLD = world_type(
    {name: array.dtype for name, array in _example.tables().items()}, {"choose": CHOOSE}
)


def advance_body(S, until):
    par = S.par[0]
    state = S.state[0]
    while True:
        if log_full(S, MOST_ROWS_AN_EVENT):
            return
        arrival = np.int64(NEVER)
        if state.next < par.customers:
            arrival = S.arrival[state.next]
        leave = heap_time(S)
        now = min(arrival, leave)
        if now > until or now == NEVER:
            return
        if arrival <= leave:
            log_event(S, now, ARRIVE, state.next, 0)
            state.next += 1
            if state.busy < par.servers:
                start(S, now, S.choose(S.serving, par.servers))
        else:
            server = heap_slot(S)
            log_event(S, now, LEAVE, S.serving[server], server)
            S.serving[server] = -1
            state.busy -= 1
            if state.head < state.next:
                start(S, now, server)
            else:
                heap_pop(S)


def start_body(S, now, server):
    state = S.state[0]
    customer = state.head
    state.head += 1
    state.busy += 1
    state.waited += now - S.arrival[customer]
    S.serving[server] = customer
    draw = keyed_exponential(S.par[0].seed, SERVICE, customer, 0)
    heap_set(S, server, now + np.int64(np.rint(draw * S.service[0])), 0)
    log_event(S, now, START, customer, server)


start = handler(start_body)
advance = kernel(void(WORLD, int64))(advance_body)


def run(seed, until=NEVER - 1, advance=advance, **options):
    """Run to the end, draining the log as needed; world and log."""
    world, log = make(seed, **options)
    while True:
        advance(world, until)
        if not (log.drain() and len(log.log) < 10_000):
            return world, log


def heapq_log(seed, customers=400, servers=3, load=0.9):
    """The log of the same model, written without anything of the kernel but its draws."""
    mean = 10**12
    gaps = np.rint(exponentials(seed, ARRIVALS, np.arange(customers)) * mean).astype(np.int64)
    arrivals = np.cumsum(gaps).tolist()
    times = np.rint(exponentials(seed, SERVICE, np.arange(customers)) * int(mean * servers * load))
    events = [(time, 0, customer) for customer, time in enumerate(arrivals)]  # sorted: a heap
    serving = [None] * servers
    queue, rows = deque(), []

    def begin(now, server):
        customer = queue.popleft()
        serving[server] = customer
        heapq.heappush(events, (now + int(times[customer]), 1, server))
        rows.append((now, START, customer, server))

    while events:
        now, rank, entity = heapq.heappop(events)
        if rank == 0:
            rows.append((now, ARRIVE, entity, 0))
            queue.append(entity)
            if None in serving:
                begin(now, serving.index(None))
        else:
            rows.append((now, LEAVE, serving[entity], entity))
            serving[entity] = None
            if queue:
                begin(now, entity)
    return rows


if __name__ == "__main__":
    print(" ".join(run(seed, customers=60)[1].digest() for seed in range(3)))
