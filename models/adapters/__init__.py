"""LoRA adapters in the memory of a GPU: paging, learned routing, KV split across agents, sharing.

Four models, each with a plain-Python twin that agrees with it step by step:

========== ============ =====================================================================
kernel     twin         what
========== ============ =====================================================================
`paging`   `reference`  requests wait for their adapter, which is paged in over one link
`bandit`   `learning`   POLAR: a router that learns which adapter helps, with a cache controller
`agents`   `splitting`  KV of agents that share a base model, kept as base and low-rank parts
`arbiter`  `dividing`   KV blocks, adapters and experts compete for one budget of bytes
========== ============ =====================================================================

`sizes` counts the bytes of an adapter and of a token's KV in each scheme.

Paging (timed; ticks of 1 ns, `TICKS_PER_S`)
--------------------------------------------
A request names an adapter and has a service time. It is *hit* if the adapter is resident when it
arrives, a *delayed hit* if the adapter is on its way or queued for the link (the loads coalesce),
else a *miss*, which queues a load. The link carries one load at a time, first in, first out: each
takes latency + bytes / bandwidth, and holds its bytes from its beginning. A request is *ready* when
its adapter is resident, and starts in the order of arrival among the ready ones when one of the
`slots` is free. An adapter with requests waiting or running is pinned. The load at the head of the
queue waits until the adapters without requests free enough room; they go in the order of the
eviction policy's score, and none goes before there is room enough in all.

Events are totally ordered by (time, rank, entity):

===== ============ ===========
rank  event        entity
===== ============ ===========
0     load end     adapter
1     service end  request
2     arrival      request
===== ============ ===========

After each event ready requests start, then a load begins if the link is idle.

Not modelled: a request's service time does not depend on which others run (no batching effects),
weights are not split over GPUs, an adapter is whole before it is of use, and no adapter is fetched
before it is asked for. Pinned adapters are never evicted, so that under permanent overload an
adapter without residents waits until another one's requests have all ended.

Routing
-------
The joint caching and routing problem of POLAR (arXiv 2604.16583) as a linear contextual bandit; see
`bandit` for the equations and for what the public text of the paper leaves open.
"""

TICKS_PER_S = 10**9
"""Ticks of a second in `paging`."""
