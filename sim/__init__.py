"""The simulation kernel: what every discrete-event model needs, and nothing of machine learning.

- `ticks`, `errors`: integer time; the errors a user may meet
- `cachedir`, `jit`: where compiled kernels are kept; ``@kernel`` and ``@handler``
- `records`, `world`, `heap`: record tables, the state of a run as one pointer, timers
- `rng`, `rng_arrays`: keyed random numbers, scalar and in arrays
- `eventlog`, `stats`: what happened, and how sure we are of it
- `runspec`, `store`, `executors`: what a run is, where results lie, many runs at once
"""

if __name__ != "mltwin.sim":
    raise ImportError("import it as 'mltwin.sim', not '" + __name__ + "'")
