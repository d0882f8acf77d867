"""KV transfers as flows that share links max-min fairly.

A flow crosses the egress link of its source's NIC and the ingress link of its destination's (link
n and n_nics + n), and between them the links of a fabric, if there is one (its hops; link
2 n_nics + k). Work is in integer units, rates in whole units per tick, so that solving the
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
    x.hops = 0
    if source < p.ends and destination < p.ends:
        _join_fabric(S, f, source * p.ends + destination, tokens * p.kv_bytes)
    _solve(S, f, now)


@handler
def _join_fabric(S: Any, f: int, pair: int, nbytes: int) -> None:
    """A flow takes its place on the links between its NICs."""
    p = S.par[0]
    first = S.path_first[pair]
    for j in range(first, S.path_first[pair + 1]):
        h = f * p.hop_width + j - first
        hop = S.hops[h]
        hop.flow = f
        hop.link = 2 * p.n_nics + S.path_links[j]
        y = S.links[hop.link]
        hop.next = y.head
        hop.previous = -1
        if y.head >= 0:
            S.hops[y.head].previous = h
        y.head = h
        y.flows += 1
        S.link_moved[hop.link] += nbytes
    S.flows[f].hops = S.path_first[pair + 1] - first


@handler
def _leave_fabric(S: Any, f: int, now: int) -> None:
    """The hops of a flow are free; what it has not moved was not moved over them."""
    p = S.par[0]
    x = S.flows[f]
    left = max(0, x.remaining - x.rate * (now - x.last)) // (p.kv_unit // p.kv_bytes)
    for h in range(f * p.hop_width, f * p.hop_width + x.hops):
        hop = S.hops[h]
        y = S.links[hop.link]
        if hop.previous >= 0:
            S.hops[hop.previous].next = hop.next
        else:
            y.head = hop.next
        if hop.next >= 0:
            S.hops[hop.next].previous = hop.previous
        y.flows -= 1
        S.link_moved[hop.link] -= left


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
    if x.hops > 0:
        _leave_fabric(S, f, now)
    _solve(S, f, now)


@handler
def _solve(S: Any, f: int, now: int) -> None:
    """New rates for the flows of the component that the links of flow f belong to."""
    S.glob[0].solves += 1
    n_links, n_flows = _component(S, f)
    if n_flows > 0:
        _fill(S, n_links, n_flows, now)
        _set_timers(S, n_links)


@handler
def _component(S: Any, changed: int) -> tuple[int, int]:
    """Collect links and flows connected to the links of a flow; their books are opened."""
    g = S.glob[0]
    n_nics = S.par[0].n_nics
    links = S.links
    flows = S.flows
    g.stamp += 1
    stamp = g.stamp
    n_links = _reach(S, changed, stamp, np.int64(0))
    n_flows = np.int64(0)
    done = np.int64(0)
    while done < n_links:
        link = np.int64(S.some_links[done])
        done += 1
        k = np.int64(links[link].head)
        if link >= 2 * n_nics:
            while k >= 0:
                f = np.int64(S.hops[k].flow)
                if flows[f].mark != stamp:
                    flows[f].mark = stamp
                    n_flows += 1
                    n_links = _reach(S, f, stamp, n_links)
                k = S.hops[k].next
        else:
            outward = link < n_nics
            while k >= 0:
                x = flows[k]
                if x.mark != stamp:
                    x.mark = stamp
                    n_flows += 1
                    n_links = _collect(S, x.ingress if outward else x.egress, stamp, n_links)
                    if x.hops > 0:
                        n_links = _collect_hops(S, k, stamp, n_links)
                k = x.next_out if outward else x.next_in
        y = links[link]
        y.left = y.capacity
        y.unfixed = y.flows
        y.share = y.capacity // y.flows
    return n_links, n_flows


@handler
def _reach(S: Any, f: int, stamp: int, n_links: int) -> int:
    """Collect the links of a flow that carry something and are not collected yet."""
    x = S.flows[f]
    n_links = _collect(S, x.egress, stamp, n_links)
    n_links = _collect(S, x.ingress, stamp, n_links)
    return _collect_hops(S, f, stamp, n_links)


@handler
def _collect_hops(S: Any, f: int, stamp: int, n_links: int) -> int:
    first = f * S.par[0].hop_width
    for h in range(first, first + S.flows[f].hops):
        n_links = _collect(S, S.hops[h].link, stamp, n_links)
    return n_links


@handler
def _collect(S: Any, link: int, stamp: int, n_links: int) -> int:
    y = S.links[link]
    if y.mark == stamp or y.head < 0:
        return n_links
    y.mark = stamp
    S.some_links[n_links] = link
    return n_links + 1


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
        k = np.int64(links[tightest].head)
        if tightest >= 2 * n_nics:
            while k >= 0:
                f = np.int64(S.hops[k].flow)
                if flows[f].mark == stamp:
                    unfixed -= 1
                    _fix(S, f, share, tightest, now)
                k = S.hops[k].next
        else:
            outward = tightest < n_nics
            while k >= 0:
                x = flows[k]
                if x.mark == stamp:
                    unfixed -= 1
                    _fix(S, k, share, tightest, now)
                k = x.next_out if outward else x.next_in
        links[tightest].unfixed = 0


@handler
def _fix(S: Any, f: int, share: int, tightest: int, now: int) -> None:
    """A flow has its rate; its other links give it."""
    x = S.flows[f]
    x.mark = 0
    rate = max(share, 1)
    if x.rate != rate:
        x.remaining = max(0, x.remaining - x.rate * (now - x.last))
        x.last = now
        x.rate = rate
        x.end = now + (x.remaining + rate - 1) // rate
    if x.egress != tightest:
        _give(S, x.egress, share)
    if x.ingress != tightest:
        _give(S, x.ingress, share)
    if x.hops > 0:
        first = f * S.par[0].hop_width
        for h in range(first, first + x.hops):
            if S.hops[h].link != tightest:
                _give(S, S.hops[h].link, share)


@handler
def _give(S: Any, link: int, share: int) -> None:
    y = S.links[link]
    y.left -= share
    y.unfixed -= 1
    if y.unfixed > 0:
        y.share = y.left // y.unfixed


@handler
def _set_timers(S: Any, n_links: int) -> None:
    """Each ingress link shows the end of its first flow to end (ties: lower request)."""
    n_nics = S.par[0].n_nics
    flows = S.flows
    for k in range(n_links):
        link = np.int64(S.some_links[k])
        if link < n_nics or link >= 2 * n_nics:
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
