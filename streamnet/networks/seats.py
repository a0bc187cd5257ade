"""Seats: a thread's working memory for the candidates that it has in work at once.

In a small network each part of a step waits for the one before. With several candidates seated, and
each part done for all of them in turn, the processor works for one while another waits.
"""

from __future__ import annotations

from threading import local
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.aligned import aligned_zeros
from streamnet.networks.touched import Touched
from streamnet.networks.turns import take_turn

__all__ = (
    "ASKED",
    "EMPTY",
    "LEARNS",
    "RESTS",
    "SEAT",
    "SEATS",
    "SeatArrays",
    "Seats",
    "new_seats",
    "seats_of",
    "take_seat",
)

SeatArrays = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64], NDArray[Any]]
SEATS = 2
EMPTY, RESTS, ASKED, LEARNS = range(4)  # phases of a seat


class _Seat(NamedTuple):
    """Columns of what a seat stands at."""

    phase: int = 0  # EMPTY, RESTS in this step, is ASKED, or LEARNS what it was asked
    candidate: int = 1
    sample: int = 2  # of the block
    repeat: int = 3  # 0 for the sample itself, then its rehearsals
    slot: int = 4  # of the sample to learn, in memory
    active: int = 5  # outputs in use
    touched: int = 6  # how many rows the sample touches
    ahead: int = 7  # slot of the next rehearsal, if there is one


SEAT = _Seat()


class Seats(NamedTuple):
    """Working memory of one thread, a row for each seat."""

    now: NDArray[np.int64]  # shape=(SEATS, columns), see SEAT
    scratch: NDArray[np.floating]  # shape=(SEATS, size), see `forward`
    touched: Touched  # shape=(SEATS, most) each


def new_seats(size: int, touched: int, dtype: DTypeLike) -> Seats:
    """Empty seats.

    Args:
        size: Numbers of working memory that a candidate needs.
        touched: Rows that a sample can touch.
        dtype: float32 or float64.
    """
    line = np.dtype(dtype)
    scratch = aligned_zeros(SEATS * size, line).reshape(SEATS, size)
    place, share = np.zeros((SEATS, touched), np.int64), np.zeros((SEATS, touched), line)
    return Seats(np.zeros((SEATS, len(SEAT)), np.int64), scratch, Touched(place, share))


def seats_of(kept: local, size: int, touched: int, dtype: DTypeLike) -> SeatArrays:
    """The arrays of the seats that this thread keeps, large enough for these; see `new_seats`."""
    seats: Seats | None = getattr(kept, "seats", None)
    if seats is None or seats.touched.place.shape[1] < touched:
        seats = kept.seats = new_seats(size, touched, dtype)
    return seats.now, seats.scratch, *seats.touched


@inlined
def take_seat(order, turns, seats, s):
    """Let the next candidate sit down in seat ``s``; 1, or 0 if there is none."""
    now = seats.now[s]
    turn = take_turn(turns)
    if turn >= order.size:
        simd.put(now, SEAT.phase, EMPTY)
        return 0
    scratch = seats.scratch[s]
    # What lies beyond the outputs in use, and fills up vectors, must be zero.
    for j in range(scratch.size):
        simd.put(scratch, j, 0)
    simd.put(now, SEAT.phase, RESTS)
    simd.put(now, SEAT.candidate, simd.pick(order, turn))
    simd.put(now, SEAT.sample, 0)
    simd.put(now, SEAT.repeat, 0)
    return 1
