"""Counter-based random numbers: a pure function of their key, independent of drawing order.

A key is a sequence of integers such as (seed, candidate, sample, draw), mixed by the finalizer of
SplitMix64 (Steele, Lea and Flood 2014), in which every input bit flips every output bit with
probability about one half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import jit


@jit
def mix_key(key: Any, part: Any) -> Any:
    """The key of the sequence ``key`` followed by ``part``."""
    z = np.uint64(key) ^ (np.uint64(part) + np.uint64(0x9E3779B97F4A7C15))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    z = z * np.uint64(0xD6E8FEB86659FD93) + np.uint64(0x9E3779B97F4A7C15)
    return z ^ (z >> np.uint64(32))


def fill_uniform(out: NDArray[np.float64], key: int, first: int) -> None:
    """Fill ``out`` with the numbers of ``key`` from number ``first`` on, uniform in [-1, 1)."""
    # A Python int would be converted to a signed one.
    _fill(out, np.uint64(key), first)


@jit
def _fill(out: NDArray[np.float64], key: Any, first: int) -> None:
    for i in range(out.size):
        bits = mix_key(np.uint64(key), np.uint64(first + i)) >> np.uint64(11)
        out[i] = np.float64(bits) * (2.0 / 9007199254740992.0) - 1.0


@jit
def fill_rows(out: NDArray[Any], key: Any, first: int, limit: float) -> None:
    """Fill each row of ``out``, shape=(rows, n), with numbers uniform in [-limit, limit).

    Row i equals `fill_uniform` with the key ``mix_key(key, first + i)``, a uint64.
    """
    for i in range(out.shape[0]):
        row = mix_key(np.uint64(key), np.uint64(first + i))
        for j in range(out.shape[1]):
            bits = mix_key(row, np.uint64(j)) >> np.uint64(11)
            out[i, j] = (np.float64(bits) * (2.0 / 9007199254740992.0) - 1.0) * limit


def derive_key(*parts: int) -> int:
    """The key of a sequence of integers.

    >>> derive_key(0, 1) == derive_key(0, 1), derive_key(0, 1) == derive_key(1, 0)
    (True, False)
    """
    key = 0
    mask = (1 << 64) - 1
    for part in parts:
        z = key ^ ((part + 0x9E3779B97F4A7C15) & mask)
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        z = (z * 0xD6E8FEB86659FD93 + 0x9E3779B97F4A7C15) & mask
        key = z ^ (z >> 32)
    return key


def permutation(key: int, n: int) -> NDArray[np.intp]:
    """A permutation of ``n`` items that depends only on the key."""
    draws = np.empty(n, np.float64)
    fill_uniform(draws, key, 0)
    return np.argsort(draws, kind="stable")
