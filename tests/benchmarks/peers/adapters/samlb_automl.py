"""SAMLB's streaming AutoML with its defaults: ASML and EvoAutoML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.benchmarks.peers.adapters.one_by_one import one_by_one
from tests.benchmarks.peers.peer import BOTH, Peer, Prepared
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.views import matrix

__all__ = ("PEERS",)

_WORDS = 256  # inputs for a text


def _asml(rows: Rows, seed: int) -> Any:
    from samlb.framework import classification, regression

    if rows.classification:
        return classification.AutoStreamClassifier(seed=seed)
    return regression.AutoStreamRegressor(seed=seed)


def _evolution(rows: Rows, seed: int) -> Any:
    from samlb.framework import classification, regression

    if rows.classification:
        return classification.EvolutionaryBaggingClassifier(seed=seed)
    return regression.EvolutionaryBaggingRegressor(seed=seed)


def _prepare(make: Callable[[Rows, int], Any]) -> Callable[[Rows, int], Prepared]:
    def prepare(rows: Rows, seed: int) -> Prepared:
        model = make(rows, seed)
        inputs, names = matrix(rows, _WORDS)
        samples = [dict(zip(names, row, strict=True)) for row in inputs.tolist()]
        return Prepared(one_by_one(model, samples, rows), type(model).__name__)

    return prepare


PEERS = (
    Peer("samlb-asml", "samlb", BOTH, random=True, prepare=_prepare(_asml)),
    Peer("samlb-evoautoml", "samlb", BOTH, random=True, prepare=_prepare(_evolution)),
)
