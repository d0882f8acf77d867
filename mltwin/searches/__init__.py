"""Searches: how far a scenario reaches, how small a cluster will do, what is best, what matters.

- `goodput`: the highest rate that keeps the SLO;
- `cluster`: the fewest GPUs (or dollars) that keep it, and `planning`: colocated or disaggregated;
- `pareto`: the points that nothing beats;
- `optimise`: the best values of any fields, by Optuna;
- `sensitivity`: which field matters.

All of them know only `Scenario` and the rows of `mltwin.sweeps.jobs`, so they serve every system
(`planning` excepted), on every backend, and go on where they were from a store.
"""
