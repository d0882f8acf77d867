"""What the simulator costs: requests per second, events, memory, start-up.

`python -m benchmarks.serving` measures and compares with the bars. `cases` says what is run,
`child` measures in a process of its own (`process`), `serving` drives it and prints, `counts` holds
the work per request that no machine changes, `peers` how fast other simulators are.
"""
