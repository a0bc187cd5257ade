"""Explicit SIMD for numba: vectors held in registers, their operations and functions."""
