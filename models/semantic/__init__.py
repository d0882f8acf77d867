"""Semantic caches: answers of an LLM, found again by the similarity of their queries.

A query belongs to a category and has an embedding. The cache looks for a resident, unexpired entry
of the same category whose cosine similarity is at least the category's threshold; if there is one,
its answer is served, else the LLM is asked and the answer becomes an entry. Which earlier queries
are near is found once for a workload (`Neighbours`), so that any policy replays on integers.

What is modelled

- Lookup. Earlier queries in falling similarity (equal ones: the earliest first) down to the
  threshold; the first that is resident and not older than the TTL is a hit. An entry found too old
  is removed. Without a hit, a query that the LLM is answering right now and that is near enough
  may be joined (`coalesce`): the best such one, and the query waits for its answer.
- Categories have a threshold, a TTL and a quota of entries. A full quota evicts by LRU, FIFO, LFU
  (fewest hits, then LRU), expired entries first and then LRU (`ttl`), or GreedyDual (`gdsf`, Cao
  and Irani, USENIX ITS 1997, with frequency as Cherkasova, HPL-98-69: keep by inflation +
  uses x cost of the LLM call; all entries have one size). A hit refreshes its entry, not its age.
- False hits: the entry's intent is another than the query's. Stale hits: the intent is the same,
  but its content has changed since the entry's query came in.
- Latency. Every lookup costs embedding and search (a table over the number of entries, so that any
  law will do), a hit fetches the answer from the store besides, a miss asks the LLM after the
  lookup. The LLM has `servers` that each do one call at a time, first come first served, or no
  limit. Calls take what `service` says.
- Load-adaptive policies (Wang et al., arXiv 2510.26835: thresholds fall and TTLs rise as the model
  behind is loaded). Every `period` the calls in the system per server are smoothed,
  `load += (now - load) * gain`; with x = (load - low) / (high - low) within 0 and 1, a category's
  threshold is `threshold - x (threshold - lowest)` and its TTL `ttl + x (longest - ttl)`.

Not modelled: answers of several turns; the quality of an answer beyond right, false and stale; what
an approximate index misses (recall of HNSW is above 0.99 at usual settings); queues before the
embedding model and the index; eviction across categories.

Time is int64 ticks of 1 ns. Similarities and thresholds are integers, millionths. Events are taken
in the order (time, rank, query):

| rank | event |
|---|---|
| 0 | the LLM has answered: its server is free, the answer becomes an entry, the next call starts |
| 1 | the controller looks at the load and sets thresholds and TTLs |
| 2 | a call reaches the LLM: it starts or waits |
| 3 | a query arrives: the cache decides |

The cache is read at the arrival; the costs of the lookup delay the answer and the call.

Break-even. With m for embedding and search, f for fetching and L for the LLM, a cache with hit
ratio h answers in m + h f + (1 - h) L on average. That is less than L from `h* = m / (L - f)` on.
"""
