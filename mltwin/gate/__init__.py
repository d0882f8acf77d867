"""The gate: policy metrics held against committed baselines, for continuous integration.

- `tolerances`: which way a metric is better and how much of a change matters;
- `baseline`: what is committed for each scenario;
- `runs`: the runs of now;
- `difference`, `verdict`: statistics and what they say;
- `check`: the whole; `outcome`: what it found, as data and exit code;
- `render`, `junit`: the same for people and for CI servers;
- `update`: new baselines; `plugin`: the pytest fixture.
"""
