"""LLM serving: replicas that batch requests iteration by iteration, and the network between them.

What is modelled
----------------
Requests arrive (open loop, closed loop at fixed concurrency, or turn by turn in sessions), are
admitted, routed to a replica, wait, are prefilled, decoded token by token in a continuously
re-formed batch, perhaps moved from a prefill to a decode replica over shared links, perhaps
pre-empted, cancelled or struck by a failure, and finish. KV memory is paged, reference counted and
may cache prefixes. Every decision is a hook (`hooks`) that a policy fills.

What is not modelled
--------------------
Token values (no early stop other than the trace's output length), speculative decoding, padding of
static batches, ranks of an attention-data-parallel group that wait for each other (each is a
replica of its own, whose table assumes that the others hold an equal batch), packet-level network
effects, and the cost of prefix hashing. Sliding windows shrink attention time in the table but not
the KV blocks held.

Order of events
---------------
Time is int64 ticks of 1 ps. Events are totally ordered by (time, rank, entity); never by insertion.

===== ================ ==========================================================================
rank  event            entity and order among equals
===== ================ ==========================================================================
0     control          scripted events in table order; then replica ready by replica; then scale;
                       then snapshot of the stale view
1     cancel           request id
2     arrival          request id
3     hand-over        destination replica; first in, first out within one
4     transfer end     ingress link, a store's behind the replicas'; then request id; then the
                       landings of fetches by request id
5     iteration end    replica (commit, then plan)
6     iteration start  replica (plan)
===== ================ ==========================================================================

A cause with rank >= 5 never has an effect on another replica at its own instant: hand-overs and
released arrivals are at least one tick later. That is what lets identical iterations be skipped
without changing a single bit. (Stores are such an effect: see Waking for what is not skipped then.)

The rules, in the order in which a request meets them
-----------------------------------------------------
*Arrival.* A request arrives `front` ticks after its client sent it (tokeniser, HTTP server).
`arrived`: the tenant's counters rise. `admit` may refuse. If no replica that is up has
the prefill role the request is parked, else `route` names one. A request whose
prompt + output + 1 tokens need more blocks than that replica has is refused as too long, and so is
a prompt longer than max_tokens where the engine has `refuse_over_budget`. Otherwise it is queued:
`priority` (event ENQUEUE, the tenant's `waiting` not yet raised for it) gives its key; the waiting
queue is ordered by (key, id).

*Blocks.* A request with kv tokens in memory holds ceil(kv / B) blocks, B = block tokens. available
= free + evictable. `take(n)` uses free blocks first, then evicts. Under reserve = PROMPT a waiting
request takes the blocks of all `need` tokens when admitted, under FULL those of prompt + output
(and never more; also where it arrives by transfer), under CHUNK those of its first chunk. `need` =
prompt + tokens generated so far. The peak of blocks held is noted at the end of each plan.

*Prefix cache.* The longest run of leading block ids resident on the replica, at most
(need - 1) // B blocks, is a hit: those blocks are pinned (one reference each) and not computed.
When a prefill completes, ids up to need // B become shared: an id already resident is pinned and
the private copy freed, else the private block becomes the resident one. When a request finishes,
ids up to (prompt + output - 1) // B are shared likewise (its last token has no KV); so are those of
a request that joins after a transfer, up to need // B. Engines with `keep_preempted`: at a
pre-emption by recompute the blocks that the trace does not name (generated tokens, prompts without
ids) get ids that no other request has, and ids up to kv // B are shared before all are released; so
the request finds again what has not been evicted meanwhile. Routing does not look at such ids.
Releasing walks the shared blocks from the tail to the head; a block without references becomes
evictable, most recent last. The eviction order is LRU (least recently released first), or the
`evict` hook's score, smallest first, ties by the order of release.
Policies that ask for it (queue=True) know how many requests of the replica's waiting queue want a
block: those (WAITING, REMOTE) that have its id among their first (need - 1) // B, whether or not
the blocks before it are resident. A request counts from joining the queue (after its key is made)
until it leaves; at both its blocks that are evictable are scored anew, head first, and keep their
place in the order of release. An admitted request pins what it hits, leaves the queue, then takes
its blocks. A block that becomes resident knows at once what waits for it. On a replica that fails
nothing is released, so nothing is scored for that; those that leave its queue are told as ever.

*Stores.* Prefix blocks that the trace names may live beyond the HBM: in a host tier of each
replica, in a pool that all share, or in both. With write = EVICTION a block that leaves the HBM is
written to the host tier of its replica, and what leaves that for it to the pool; with COMPLETION
each block is written to both, tail first, as its request makes it shared. A block that a store
cannot take (it has no room at all, or all in it are being read) is passed on likewise, or lost.
Writing a block that is there gains it rank. Writes take no time and no bandwidth: they run against
the direction of the fetches. The first to go has the smallest (score, stamp); a stamp is new at
each write and at the end of each read (fifo: when the block comes). Scores: lru and fifo 0; lfu the
times written or read; cost the score of the last that went + 1 + c depth. Blocks that are being
read stay. A replica that fails or stops loses its host tier, not written anywhere.

*Fetches.* A WAITING request that is the head of its queue and has not fetched since it was last
admitted looks beyond its h hit blocks: its host tier goes on to block m, the pool from there to
block k (of those that the trace names, at most (need - 1) // B). If block h is on its way to the
replica already, for another request, it leaves the queue and returns when that has landed. Else if
k > h, and under fetch = CHEAPER the fetch is shorter than the time that it saves, it waits until
its `need` tokens fit (FULL: prompt + output; the rule of admission for PROMPT), pins its h hits and
the k - h blocks in their stores, leaves the queue, takes k - h blocks, and up to two flows start:
host tier to replica over the tier's own link, pool to replica over the pool's egress and the
ingress of the replica's NIC. Shorter: t(need - h B after h B) - t(need - k B after k B), each alone
in an iteration that is not cut, exceeds the larger of the flows' times, at the share that one flow
more would have of each link now, plus the latency. The last flow's end and the largest latency of
the stores read bring the landing: the blocks become resident, unless they are, all are released as
if the request had finished, and it goes back to the queue with its key and is admitted like any
other that hits. It counts in the batch meanwhile. So nothing but fetches holds blocks for them, and
these end.

*Plan (rank 5, 6)* of replica r, which is up or draining:

1. Transfers that have arrived join the decode set in order of arrival; one that was cancelled
   meanwhile gives its blocks back instead.
2. Waiting keys are recomputed (`priority`, event REKEY, in queue order) if the policy is
   EVERY_ITERATION, or ON_EVENT and something was queued, joined the decode set, finished or was
   pre-empted here since the last time.
3. Mixed engines (`mixed` = 1):
   a. Decode needs one block for every decoding request with kv % B == 0. The partial prefill, if
      any, gets chunk = min(need - kv, max_tokens - decoding) and needs
      ceil((kv + chunk) / B) - blocks held (0 unless reserve = CHUNK). While the sum exceeds what is
      available the decoding or partial request with the largest (`preempt` score, id) is
      pre-empted, and the needs are counted again. Then the blocks are taken.
   b. Unless something was pre-empted and the batch is not empty, waiting requests are admitted from
      the head of the queue (below).
   Split engines (`mixed` = 0): waiting requests are admitted first (static engines: only when
   nothing decodes; engines with `wait_iterations` = w: only when nothing decodes, or requests wait
   and w decode iterations have passed since the count was last reset, which it is then and by every
   prefill iteration). If any prefill was admitted the iteration is prefill only, otherwise it is
   decode only and step 3a applies to it; if that leaves nothing to decode, admission is tried
   again, and so on. Split engines never chunk.
4. Asynchronous engines (`asynchronous` = 1) plan an iteration when the one before it starts, so a
   plan at the end of iteration j knows what was there when j began, and that j ends the requests
   whose last token it makes (their length is known). It does not admit a request queued after j
   began: admission ends at a head that was. The blocks and the places in the batch that j's end has
   given back (finished, handed over, cancelled; a transfer's end apart) count as taken, in step 3a
   and in admission. All this is usable one plan later. Where nothing can run under these limits,
   nothing was planned ahead: step 3 is done again without them. An idle replica has no limits.
5. An iteration of tok tokens, ctx = sum over decoding requests of kv + 1, nseq sequences that get
   tokens and
   work = sum over chunks of chunk * kv_before + chunk * (chunk + 1) / 2 takes
   t = a + b tok + (c + d tok) ctx + e nseq + f work ticks, cell (a, b, c, d) by tok and ctx, plus
   the swap copies of this plan. Iterations with work > 0 may have rows of cells and an e of their
   own. With tok = 0 the replica is idle.

*Admission from the head*, repeated while the head fits: decoding + new + transfers in flight to
this replica < max_batch, the token budget is > 0 (mixed: max_tokens - tokens so far; split: the
same, decode tokens not counted), and (availability always less the watermark unless the replica
holds no request at all):

- WAITING: hit blocks h; blocks to take n as `reserve` says, less h; n <= available - (hit blocks
  without references). `whole_prompt` engines (vLLM with scheduler_reserve_full_isl) need that for
  the blocks of all `need` tokens, but take n. Engines that don't chunk also need need - h B <=
  budget unless nothing else is scheduled in this iteration. `peak` engines (LightLLM) also need
  the largest future token use to fit. Engines with `batch_wait_iterations` = w (TensorRT-LLM): a
  first prompt that fits is held back, which ends the admission, while something decodes, decoding
  + need of all that wait < batch_wait_tokens, and fewer than w plans in a row have held one back;
  a prompt that is admitted first in a plan sets that count to 0. (The engine itself counts only
  those waiting prompts that fit.) chunk = min(need - h B, budget). A prefill that ends in this
  iteration is *new*, one that does not becomes the *partial*.
- SWAPPED: kv // B + 1 <= available. It joins the decode set at once, kv tokens are copied in.
- REMOTE (its KV is at the source replica): need // B + 1 - h <= available - unreferenced hits.
  Takes ceil(need / B) - h blocks, leaves the queue and the flow of (need - h B) tokens starts; it
  uses no tokens of the budget. Without anything to move it has arrived at once.

*Commit (rank 5)*: every decoding request of a decode or mixed iteration gains a token; those
complete finish in id order; then the new prefills, in order of admission, gain their next token
(the first sets `first`), share their blocks, and finish, are placed, or decode here. Placing: if
some other up replica has the decode role, `place_decode` names a replica; another than the source
(on which the request must fit, else it stays) starts a hand-over that arrives max(1, latency) ticks
later, where the request is queued as REMOTE with a new key. Last, cancellations that came during
the iteration take effect, in the order in which they came.

*Pre-emption.* Recompute: blocks released, kv = 0, need = prompt + generated, back to the queue with
its key. Swap (decoding requests only, if the host has room for its blocks): blocks released, kv
kept, SWAPPED. A copy of kv tokens adds kv * swap_ticks to the iteration, out and in alike.

*Transfers.* Max-min fair over the source's egress and the destination's ingress link, in whole
units per tick. The end frees the source's blocks and marks the request as arrived at the
destination, which joins it at its next plan. Source and destination are woken.

*Cancel.* Waiting (also SWAPPED, REMOTE, parked): leaves at once. In the batch: at the end of the
iteration that runs. In hand-over or transfer: when that ends. In a fetch: when that lands.

*Token gaps.* Each output token but a request's first counts one gap, the time since its previous
token, in a histogram with 64 bins an octave (`outcome.gap_bin`).

*Waking.* An idle replica plans at the same instant (rank 6). A busy one is left alone unless it is
in a skip of identical iterations that the news could change: then it plans at the first iteration
end at or after the instant. A plan that held something back for a later one is a single iteration.
With stores a skip ends before its first eviction, which is news to all, and there is none while a
request waits and the batch has room.

*End.* A run ends with its last request, or when nothing can happen any more. Requests that are then
parked, or wait for those to end, are left unfinished; any other state is an error.

*Failure.* The iteration that runs is lost, as is all KV on the replica, its cache too. Every
request that is there, on its way there or whose KV is there is routed again in id order (attempts
+ 1, need = prompt + generated; one whose client has given up meanwhile is cancelled instead). Flows
from and to it end.

Sources: KV pools: Qin et al., "Mooncake", FAST 2025; Zuo et al., "CloudMatrix384", arXiv
2506.12708; a fetch before a request is admitted: vLLM's asynchronous KV connectors (state
WAITING_FOR_REMOTE_KVS); continuous batching: Yu et al., "Orca", OSDI 2022; paged KV: Kwon et al.,
"PagedAttention", SOSP 2023; chunked prefill: Agrawal et al., "Sarathi-Serve", OSDI 2024;
disaggregation: Zhong et al., "DistServe", OSDI 2024 and Patel et al., "Splitwise", ISCA 2024;
max-min fairness by progressive filling: Bertsekas and Gallager, "Data Networks", section 6.5.2.
"""
