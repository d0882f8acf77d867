"""Searches: the goodput frontier, the smallest cluster, Pareto fronts, optimisation, sensitivity."""
