"""Caches: objects of unit or given size, under any eviction and admission policy.

What is modelled: a cache with a capacity in objects or bytes, an eviction policy (`eviction`), an
admission policy, a time to live that is checked when an object is asked for (lazily), pins. One
compiled kernel a policy works on dense ids and flat tables; the step of a single request is the
same code, so that other systems call it. Time is int64 ticks of 1 ns where it matters (expiry), so
that a run may last 292 years.

What is not: hash collisions, the memory of the index itself, locks and threads of a real cache;
objects that change their content.

- `tables`: records and the one World type of all policies
- `lists`, `heaps`, `sketch`: the structures that policies are made of
- `driver`: what happens at a request, made from the parts that a policy gives
- `admission`: who may enter
- `eviction/`: one file a policy, each with its source
- `registry`: policies by name; `cache`: a cache to replay and to step
- `tiers`: several caches and an origin in time, with links that share bandwidth (event ranks and
  rules in its docstring; `tiers_tables` the plan and state, `tiers_moves` what enters and leaves,
  `tiers_links` the links, `tiers_run` a run, `tiers_reference` all of it in plain Python)
- `reference/`: every policy once more in plain Python, obvious and slow
"""

TICKS_PER_S = 10**9
