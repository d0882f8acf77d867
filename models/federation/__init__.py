"""Federated learning as a system in time: clients, a server, transfers, and what is learned.

A run (`simulate.simulate`) is one discrete-event simulation in which the updates are real: a
`hooks.Strategy` dispatches clients and is told what came back; training happens at arrival, against
the model version that the client held. The same policies run on the compiled kernel (`kernel`,
`engine`) and on its SimPy twin (`reference`), event for event. Where a strategy only counts, the
kernel steps by itself and what was learned is worked out afterwards (`lessons`).

Time is int64 ticks of 1 ns. A dispatch of client i at tick t lasts

    receive = latency_i + down_bytes / down_rate_i
    compute = overhead + steps x batch x s_per_sample_i x compute_factor x scale x jitter
    send    = latency_i + up_bytes / up_rate_i

each rounded to whole ticks once, together at least one tick, and begins when the server has made
the version that it sends. The jitter is exp(sigma z - sigma^2 / 2), mean 1. Durations are computed,
never measured. Over shared links (`links`, `transfers`) bytes move at max-min fair rates
(Bertsekas and Gallager, "Data Networks", section 6.5.2), at most at the client's own. A client's
own rate may follow a trace of pieces of constant rate (`tables.LinkTraces`, `rates`): its bytes
begin to move after the latency, and a transfer ends at the first tick by which they have.

Leaving and failing. A client that leaves while at work loses it ("drop"), goes on in its next
interval ("pause": a flow over shared links is taken out, and starts again with what is left) or
ends it all the same ("finish"). With the client's probability a dispatch fails at a uniform point
of its duration. The server knows of a loss after `detect_s`, or never; until then the client counts
as under way.

Order of events at one tick, within a rank by client number:

    =====  ========  ====================================================================
    rank   event     what happens
    =====  ========  ====================================================================
    -      flows     transfers over shared links end
    0      loss      a client leaves or fails while at work; its version is released
    1      arrival   an update is there; `Strategy.arrived` at once, if it is awaited
    2      notice    the server learns of a loss
    3      timer     `Strategy.timer`, by number
    4      refill    a client returns that a refill waits for
    5      stage     bytes of a transfer over shared links begin to move, or pause,
                     or the client's own rate changes
    -      end       the instant is over: refill; then `arrived` with what there is, if
                     nothing is under way; then rates of shared links
    =====  ========  ====================================================================

Draws are keyed: jitter, failure and order of data by (seed, stream, client, number of its
dispatch), selection by (seed, number of the draw). So two strategies under one seed see the same
clients. Uniform selection draws among all clients until 64 draws in a row met nobody idle, then
among the idle ones in order (`idle`).

Costs: bytes, client seconds and joules of dispatches that have ended, in full or for the part that
was done; what is still under way at the end of a run is not counted. A part of a transfer has moved
bytes in proportion to its time (over shared links, or along a trace: what has moved by then).

Laws, checked at the end of every run and at every event in tests: dispatched = arrived + lost +
cancelled + in flight; arrived = used + discarded + pending; versions made = freed + live.

Not modelled: packets, retransmissions and slow start; batteries and heat of devices; radio states
(power is per phase); a server's own queue of connections; clients that do several dispatches at a
time; traces of links among peers, or of links that are shared.
"""
