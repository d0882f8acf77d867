"""A server side that aggregates in a tree: always on, behind a broker, or as LIFL does it.

A step of the server's model takes U updates of S bytes. They arrive at the service, are brought to
nodes, folded by leaf aggregators (`fan_in` updates each), whose sums are folded by one aggregator
a node (three levels) and at last by the top one: then the version is made. `service.Running` is
the model of one service, `simulate.simulate_aggregation` runs it alone, and a `Service` in
`Plan.aggregation` lets a federation's server wait for it.

Three designs (`tables.DESIGNS`) differ in six things, each a field of `tables.Service`:

| | always on | broker | lifl |
|---|---|---|---|
| `hops`: how a message gets from one aggregator to the next | gRPC | broker | shared memory |
| `placement`: the node of an update | over all | over all | the fullest with room |
| `timing`: an aggregator folds | when all is there | when all is there | what has come |
| `scaling`: how many leaves | fixed | as updates come | EWMA of the queue |
| `reuse`: an idle leaf may become a parent | - | no | yes |
| `levels`: of the tree | 2 | 2 | 3 |

Time is int64 ticks of 1 ns. Work waits in line (first come, first served) for what it needs: a core
of a node, a node's NIC inwards or outwards, a core of the broker. Each takes

    fold = S / fold_rate            one core; a sum of updates counts as one
    serialise = S / serialise_rate  one core, at either end of a hop between processes
    sidecar = S / sidecar_rate      one core, at either end of a hop through the broker
    broker = S / broker_rate        one core of the broker, per message
    NIC = S / nic_rate              at either end of a way between machines, which also takes
                                    `latency_s`
    start = cold_start_s            one core of the node, of a new instance

and the ways of a message are (`routes`)

    update, gRPC or shared memory   NIC, serialise
    update, broker                  NIC, broker, NIC, latency, NIC, sidecar, serialise
    sum, gRPC                       serialise, (NIC, latency, NIC between nodes,) serialise
    sum, broker                     serialise, sidecar, NIC, latency, NIC, broker, NIC, latency,
                                    NIC, sidecar, serialise
    sum, shared memory              within a node a reference (`pass_s`), else as gRPC

Order of events at one tick:

| rank | event | by |
|---|---|---|
| 0 | DONE: a part of some work has ended | number of the work |
| 1 | ARRIVAL: an update has arrived | its place in the step |
| 2 | CLOSE: no more updates come in this step | - |

Rules of the tree. The k-th update of a node goes to leaf k div `fan_in`; at CLOSE the one that is
not full is told so. Fixed leaves have their clients: the step's client k (by number) sends to leaf
k mod `leaves`, which knows how many they are. A parent with one child is none: the child's sum goes
on as the parent's. A sum waits where it was made until a sibling exists or cannot come. The top one
stands on the node of the step's first update; always on, on the first node. A leaf holds its
instance from its first update (lazily: from when it is full) to its sum; leaves of a node hold at
most `leaf_limit` of them and wait in line beyond; parents always get one. An instance that was idle
longer than `keep_alive_s` is gone.

`scaling = "ewma"`: with a step's first update, instances are started for ceil(Q / fan_in) leaves,
where Q is the moving average, over steps, of the highest number of updates that had arrived and
were not folded: Q <- ewma Q_last + (1 - ewma) Q. `placement = "pack"` is best fit: of the nodes
with room for one more (`node_updates`, less what has come and is not folded) the one with the
least.

Steps are served one after another: an update that arrives while the step before it is being
aggregated waits.

What is from where. LIFL (Qi, Ramakrishnan and Lee, MLSys 2024, arXiv 2405.10968) names eager
aggregation, shared memory, locality-aware placement, exact scaling and reuse; its code
(github.com/cisco-open/flame, docs/lifl, and ShixiongQi/flame, syncfl/best_fit.py) shows references
passed between aggregators of a node, three levels against Flame's two, lazy aggregation as Flame's
only kind, and best fit with room for 20 updates a node. The formulae of its planner could not be
read: what the average is of, when instances start and how groups are formed is ours.

Not modelled: failures, clients' own links (an arrival is when the upload has ended), the way of the
new version to the clients, sharing of a NIC by messages (they go one after another).
"""

from .outcome import AggregationRun as AggregationRun
from .service import Running as Running
from .simulate import simulate_aggregation as simulate_aggregation
from .tables import DESIGNS as DESIGNS
from .tables import Service as Service
from .tables import design as design
