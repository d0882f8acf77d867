"""Training: task graphs, steps built from a model and a plan, long runs with failures.

- `graph`, `executor`: tasks on the streams of devices, what they wait for, groups that start
  together, transfers over a network; `critical_path` says why a run takes as long as it does, and
  `graph_reference` is the SimPy twin. Ticks of 1 ps; the rules of an instant: `executor_kernel`.
- `plan`, `memory`, `operators`, `step`: a training step of a transformer under data, tensor,
  pipeline, context and expert parallelism, its memory and MFU; `search` ranks all plans.
- `reliability`: days to months of a synchronous job with stragglers, failures, checkpoints and
  elasticity. Ticks of 1 ns.
- `coding`: gradient codes that spare waiting for the slowest workers.

Sources of the formulas and the limits of fidelity stand in each module.
"""
