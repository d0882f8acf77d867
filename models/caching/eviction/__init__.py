"""Eviction policies, one file each; `mltwin.models.caching.registry` knows them by name."""
