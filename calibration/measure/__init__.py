"""Timing of kernels on the hardware at hand."""
