"""KV transfers as flows that share links max-min fairly.

A flow crosses the egress link of its source's NIC and the ingress link of its destination's (link
n and n_nics + n). Work is in integer units, rates in whole units per tick, so that solving the
component that a change touches gives, bit for bit, what solving everything would give.

Progressive filling (Bertsekas and Gallager, "Data Networks", section 6.5.2): again and again the
link whose remaining capacity per unfixed flow is smallest (ties to the lower link) fixes that rate
for its flows.
"""

from typing import Any

import numpy as np

from mltwin.sim.heap import heap_remove, heap_set
from mltwin.sim.jit import handler

from .queues import fail_request

TRANSFER_END = 4
ERROR_FLOWS = 2
_UNLIMITED = 2**62


@handler
def flow_start(S: Any, i: int, source: int, destination: int, tokens: int, now: int) -> None:
    """The KV of `tokens` tokens of request i starts to move from replica to replica."""
    S.glob[0].flows += 1
    flow_begin(S, i, np.int64(S.nic_of[source]), np.int64(S.nic_of[destination]), tokens, now)


@handler
def flow_begin(S: Any, i: int, source: int, destination: int, tokens: int, now: int) -> None:
    """The KV of `tokens` tokens of request i starts to move from NIC to NIC."""
    g = S.glob[0]
    p = S.par[0]
    if g.free_flows == 0:
        fail_request(S, ERROR_FLOWS, i, destination)
        return
    g.free_flows -= 1
    f = np.int64(S.free_flow[g.free_flows])
    x = S.flows[f]
    x.remaining = tokens * p.kv_unit
    x.rate = 0
    x.last = now
    x.request = i
    x.egress = source
    x.ingress = p.n_nics + destination
    out = S.links[x.egress]
    x.next_out = out.head
    x.previous_out = -1
    if out.head >= 0:
        S.flows[out.head].previous_out = f
    out.head = f
    out.flows += 1
    into = S.links[x.ingress]
    x.next_in = into.head
    x.previous_in = -1
    if into.head >= 0:
        S.flows[into.head].previous_in = f
    into.head = f
    into.flows += 1
    _solve(S, x.egress, x.ingress, now)


@handler
def flow_end(S: Any, f: int, now: int) -> None:
    """Flow f leaves the network, complete or not."""
    g = S.glob[0]
    x = S.flows[f]
    out = S.links[x.egress]
    into = S.links[x.ingress]
    if x.previous_out >= 0:
        S.flows[x.previous_out].next_out = x.next_out
    else:
        out.head = x.next_out
    if x.next_out >= 0:
        S.flows[x.next_out].previous_out = x.previous_out
    if x.previous_in >= 0:
        S.flows[x.previous_in].next_in = x.next_in
    else:
        into.head = x.next_in
    if x.next_in >= 0:
        S.flows[x.next_in].previous_in = x.previous_in
    out.flows -= 1
    into.flows -= 1
    S.free_flow[g.free_flows] = f
    g.free_flows += 1
    if into.head < 0:
        heap_remove(S, S.par[0].n_replicas + x.ingress - S.par[0].n_nics)
    _solve(S, x.egress, x.ingress, now)


@handler
def _solve(S: Any, first: int, second: int, now: int) -> None:
    """New rates for the flows of the component that the two links belong to."""
    S.glob[0].solves += 1
    n_links, n_flows = _component(S, first, second)
    if n_flows > 0:
        _fill(S, n_links, n_flows, now)
        _set_timers(S, n_links)


@handler
def _component(S: Any, first: int, second: int) -> tuple[int, int]:
    """Collect links and flows connected to the two links; their books are opened."""
    g = S.glob[0]
    n_nics = S.par[0].n_nics
    links = S.links
    flows = S.flows
    g.stamp += 1
    stamp = g.stamp
    n_links = np.int64(0)
    n_flows = np.int64(0)
    if links[first].head >= 0:
        links[first].mark = stamp
        S.some_links[0] = first
        n_links = np.int64(1)
    if links[second].head >= 0:
        links[second].mark = stamp
        S.some_links[n_links] = second
        n_links += 1
    done = np.int64(0)
    while done < n_links:
        link = np.int64(S.some_links[done])
        done += 1
        outward = link < n_nics
        f = links[link].head
        while f >= 0:
            x = flows[f]
            if x.mark != stamp:
                x.mark = stamp
                n_flows += 1
                other = x.ingress if outward else x.egress
                if links[other].mark != stamp:
                    links[other].mark = stamp
                    S.some_links[n_links] = other
                    n_links += 1
            f = x.next_out if outward else x.next_in
        y = links[link]
        y.left = y.capacity
        y.unfixed = y.flows
        y.share = y.capacity // y.flows
    return n_links, n_flows


@handler
def _fill(S: Any, n_links: int, n_flows: int, now: int) -> None:
    """Progressive filling over the collected links, which keep their places beyond `active`."""
    links = S.links
    flows = S.flows
    some = S.some_links
    n_nics = S.par[0].n_nics
    stamp = S.glob[0].stamp
    active = n_links
    unfixed = n_flows
    while unfixed > 0:
        share = np.int64(_UNLIMITED)
        tightest = np.int64(-1)
        k = np.int64(0)
        while k < active:
            link = np.int64(some[k])
            y = links[link]
            if y.unfixed == 0:
                active -= 1
                some[k] = some[active]
                some[active] = link
                continue
            if y.share < share or (y.share == share and link < tightest):
                share = y.share
                tightest = link
            k += 1
        rate = max(share, 1)
        outward = tightest < n_nics
        f = links[tightest].head
        while f >= 0:
            x = flows[f]
            if x.mark == stamp:
                x.mark = 0
                unfixed -= 1
                if x.rate != rate:
                    x.remaining = max(0, x.remaining - x.rate * (now - x.last))
                    x.last = now
                    x.rate = rate
                    x.end = now + (x.remaining + rate - 1) // rate
                y = links[x.ingress] if outward else links[x.egress]
                y.left -= share
                y.unfixed -= 1
                if y.unfixed > 0:
                    y.share = y.left // y.unfixed
            f = x.next_out if outward else x.next_in
        links[tightest].unfixed = 0


@handler
def _set_timers(S: Any, n_links: int) -> None:
    """Each ingress link shows the end of its first flow to end (ties: lower request)."""
    n_nics = S.par[0].n_nics
    flows = S.flows
    for k in range(n_links):
        link = np.int64(S.some_links[k])
        if link < n_nics:
            continue
        f = S.links[link].head
        best = f
        while f >= 0:
            x = flows[f]
            y = flows[best]
            if x.end < y.end or (x.end == y.end and x.request < y.request):
                best = f
            f = x.next_in
        S.links[link].next_end = best
        heap_set(S, S.par[0].n_replicas + link - n_nics, flows[best].end, TRANSFER_END)
