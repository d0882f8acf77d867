"""Networks: what is wired to what, flows that share links, collectives.

Modelled: directed links with bandwidth and latency (`topology`, `builders`), the ways of flows over
them (`routing`), and transfers as fluid flows. Two fidelities behind one call (`simulate`):

- ``alphabeta``: latency, then bytes over the narrowest link of the way, as if nothing else were
  sent;
- ``maxmin``: flows share links max-min fairly by weight, each at most its cap (Bertsekas and
  Gallager, "Data Networks", section 6.5.2). Rates are worked out anew only where a change reaches
  (`solver`, `repair`); `certificate` says whether rates are max-min fair, and `reference` is the
  plain-Python twin.

Collectives (`collectives`) are transfers with dependencies: closed forms, single steps, or one
pipelined flow an edge. `nccl` and `collectives_experts` are fits to measured tables.

Time is int64 ticks of 1 ps, bytes and rates are float64; a flow ends at the first whole tick at
which nothing of it is left. Within an instant: links change, in the order given; flows end, by
number; flows that waited for them, and those released now, begin to wait out their delay, by
number; those whose delay is over begin to move; then rates are worked out once for all of it.

Not modelled: packets, queues and their losses, congestion control and its ramp-up, pause frames,
adaptive routing. A flow takes nothing from others while its latency lasts. A collective by ``ring``
is one ring; NCCL's several channels over all NICs of a node are ``hierarchical``.
"""
