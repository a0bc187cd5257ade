"""Tuning: a peer's setting, chosen in hindsight on the head of the very stream it then learns.

It is not timed, and more than a user could do: no stream tells its head before it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from streamnet.errors import DataError
from tests.benchmarks.peers.measures import measures_of
from tests.benchmarks.peers.peer import Learn, Prepared
from tests.benchmarks.peers.rows import Rows

__all__ = ("HEAD", "tuned")

HEAD = 4000


def tuned(
    rows: Rows, settings: Iterable[str], prepare: Callable[[Rows, str], Learn], head: int = HEAD
) -> Prepared:
    """Prepare the setting whose answers on the first ``head`` samples are best.

    Raises:
        DataError: If every setting diverges.
    """
    first = rows.head(head)
    scores = {setting: _score(first, prepare(first, setting)) for setting in settings}
    best = max(scores, key=lambda setting: scores[setting])
    if not np.isfinite(scores[best]):
        raise DataError(f"all of its settings diverge: {', '.join(scores)}")
    return Prepared(prepare(rows, best), best)


def _score(rows: Rows, learn: Learn) -> float:
    try:
        measures = measures_of(rows, learn())
    except (ArithmeticError, DataError, ValueError):  # how peers say that weights are not finite
        return -np.inf
    return measures["accuracy"] if rows.classification else -measures["mae"]
