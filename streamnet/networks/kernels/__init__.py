"""Compiled kernels of one prequential step: forward, backward, update."""
