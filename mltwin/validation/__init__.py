"""How far the twin is from measured deployments."""
