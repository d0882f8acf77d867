"""Sweeps: many runs of varied scenarios, on every core or a cluster, that survive being killed."""
