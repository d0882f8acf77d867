"""Expert caches: a mixture-of-experts model whose experts do not all fit into the GPU's memory.

What is modelled. A decode step runs a batch of tokens through the layers in order. In each layer
the router chooses ``experts_per_token`` of E experts for each token; the distinct ones of a pass
are its *activations* of that layer. The GPU (HBM) holds at most C experts of all layers, under the
key ``layer * E + expert``; the others are in host memory (or on SSD) and are loaded over one or
several DMA streams. A predictor may say what later layers will need, so that loading overlaps with
compute.

One *visit* is one layer of one pass (one micro-batch of one step). Its life:

1. ``pre``: time before it that is not the layer's own (the predictor's, at the start of a pass).
2. The predictions that are due are queued; the dense part (attention, router, shared expert) runs
   for ``dense`` ticks; streams go on loading.
3. Gate: the activations are known. Resident ones are hits; those in flight or still queued are
   *late*; the others are misses. What is wanted for this visit is loaded first from here on
   (correction at run time); predictions of this visit that were not yet loaded are dropped.
4. Experts are computed one after another, in the order of their keys, the resident ones first;
   with none resident the GPU *stalls* until a load is done.

So, exactly, in ticks:

    duration = sum(pre) + sum(dense) + sum(compute of activations) + stall.

Loads. Each stream carries one expert at a time, for ``load`` ticks of that expert: latency +
bytes * streams / bandwidth (the link is split evenly among the streams), from the tier that the
expert lives in. Demand goes first; then predictions in the order of the visits that they are for.
A load takes its place in HBM when it begins, and is never broken off.

Eviction. Experts of the current visit that are still to be computed are pinned. An expert with an
open prediction is *wanted*: no prefetch evicts it (the prefetch waits), a demand load only if
nothing else is left. Among the rest the policy chooses (`tables.POLICIES`):

- ``lru``: least recently activated (or prefetched); ``lfu``: fewest activations so far, counts
  outlive eviction (arXiv 2511.05814 proposes LFU over LRU for experts);
- ``static``: least popular over the whole trace, the cache preloaded with the most popular;
- ``belady``: next activation farthest in the future (Belady 1966), an oracle;
- ``layer``: layer farthest ahead in the cyclic order of layers; the layer just left is farthest;
- ``random``: the first that may go, from a place drawn by seed and number of the load.

Ties go to the least recently used, then to the lowest place.

Event ranks at one tick: ends of loads in the order of streams, then the GPU. Time is int64 ticks
of 1 ns (`tables.TICKS_PER_S`).

What is not modelled: prefill; where experts are computed on the CPU; the network between GPUs that
share experts; accuracy (predictions only move weights, they never change the output); migration
between DRAM and SSD (an expert's home is fixed by its popularity); contention of loads with the
GPU's own reads of HBM.

Sources: ExpertFlow (arXiv 2410.17954): routing of all layers predicted in one pass, prefetching,
correction at run time, tokens regrouped; Eliseev and Mazur (arXiv 2312.17238): LRU per layer and
speculative loading; arXiv 2511.05814: LFU. Routing is synthetic (`routing`) or a user's trace.
"""

from .simulate import Outcome, run_plan
from .tables import POLICIES, TICKS_PER_S, Plan, make_plan

__all__ = ["POLICIES", "TICKS_PER_S", "Outcome", "Plan", "make_plan", "run_plan"]
