"""Measured operator tables of NVIDIA's aiconfigurator as operators of a GPU profile."""
