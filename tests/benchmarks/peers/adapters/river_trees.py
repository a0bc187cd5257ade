"""River's trees and their ensembles: ten members, as River has them by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.benchmarks.peers.adapters.one_by_one import one_by_one, with_shares
from tests.benchmarks.peers.peer import BOTH, WORDS, Peer, Prepared
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.views import plain

__all__ = ("PEERS",)

_WORDS = 256  # inputs for a text


def _forest(rows: Rows, seed: int) -> Any:
    from river import forest

    kind = forest.ARFClassifier if rows.classification else forest.ARFRegressor
    return kind(nominal_attributes=list(rows.words), seed=seed)


def _patches(rows: Rows, seed: int) -> Any:
    from river import ensemble, tree

    nominal = list(rows.words)
    if rows.classification:
        model = tree.HoeffdingTreeClassifier(
            grace_period=50, delta=0.01, nominal_attributes=nominal
        )
        return ensemble.SRPClassifier(model, seed=seed)
    base = tree.HoeffdingTreeRegressor(grace_period=50, delta=0.01, nominal_attributes=nominal)
    return ensemble.SRPRegressor(base, seed=seed)


def _bagging(rows: Rows, seed: int) -> Any:
    from river import ensemble, tree

    base = tree.HoeffdingTreeClassifier(nominal_attributes=list(rows.words))
    return ensemble.LeveragingBaggingClassifier(base, seed=seed)


def _adaptive_tree(rows: Rows, seed: int) -> Any:
    from river import tree

    if rows.classification:
        return tree.HoeffdingAdaptiveTreeClassifier(nominal_attributes=list(rows.words), seed=seed)
    return tree.HoeffdingAdaptiveTreeRegressor(nominal_attributes=list(rows.words), seed=seed)


def _prepare(make: Callable[[Rows, int], Any]) -> Callable[[Rows, int], Prepared]:
    def prepare(rows: Rows, seed: int) -> Prepared:
        from river import preprocessing

        model = make(rows, seed)
        setting = type(model).__name__
        if not rows.classification:
            # Their leaves hold linear models, which explode on inputs as they come.
            model = preprocessing.StandardScaler() | model
            setting = f"StandardScaler, {setting}"
        loop = with_shares if rows.classification else one_by_one
        return Prepared(loop(model, plain(rows, _WORDS), rows), setting)

    return prepare


PEERS = (
    Peer("river-arf", "river", BOTH, random=True, prepare=_prepare(_forest)),
    Peer("river-srp", "river", BOTH, random=True, prepare=_prepare(_patches)),
    Peer("river-levbag", "river", WORDS, random=True, prepare=_prepare(_bagging)),
    Peer("river-hat", "river", BOTH, random=True, prepare=_prepare(_adaptive_tree)),
)
