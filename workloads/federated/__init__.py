"""Federations: who the clients are, and what data each of them has.

    from mltwin.workloads.federated import datasets, populations, splits

    pool = datasets.digits(seed=1)
    examples = splits.dirichlet(pool, 100, alpha=0.3, seed=1)
    clients = populations.population(
        examples.samples, speed="fedscale", availability="flash_strict", seed=1
    )

Data: `datasets` (real, with the extra `federated`), `drawn` (Gaussian classes, FedProx's synthetic
data) and `from_files` (a user's) make a `pool.Pool`; `splits` deals it out, with `sizes` for how
much each client has; `skew` says what a split did to labels, and swaps some.

Clients: `populations.population` joins a law of `speeds`, a law of `presences` and, by `copula`, a
correlation between speed, availability, data and labels; `energy` adds watts and memory.

Links that change: `link_traces` makes clients follow traces, drawn or measured.

Measured clients: `fedscale` and `flash` (devices, availability), `throughput` (4G and 5G, MobiPerf,
bandwidth traces), `latency` (matrices), `stragglers` (noise of machines) read the published files.
`device_law` and `renewal` are laws fitted to them by `fits`, which `shipped` holds ready.

Every draw is keyed (`draws`): the same seed gives the same clients and the same data to every
algorithm, and to a client whatever the number of others.
"""
