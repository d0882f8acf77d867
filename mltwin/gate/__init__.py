"""The gate: policy metrics held against committed baselines, for continuous integration."""
