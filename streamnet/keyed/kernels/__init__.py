"""Kernels that predict and learn the samples of all keys, one after the other."""
