"""River's linear models, tuned: kind and learning rate are chosen on the stream's head.

FTRL (McMahan et al. 2013, Ad click prediction: a view from the trenches) gets categories as words
of one input each, so that columns of many values suit it.
"""

from __future__ import annotations

from typing import Any

from tests.benchmarks.peers.adapters.one_by_one import one_by_one, with_shares
from tests.benchmarks.peers.peer import BOTH, Learn, Peer, Prepared
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.scales import running_standardized
from tests.benchmarks.peers.tuning import tuned
from tests.benchmarks.peers.views import one_hot, tokens

__all__ = ("PEERS",)

_WORDS = 1024  # inputs for a text
_FTRL = ("FTRL 0.005", "FTRL 0.02", "FTRL 0.1", "FTRL 0.5")
_RATES = ("SGD 0.005", "SGD 0.02", "SGD 0.1", "SGD 0.5", "SGD 2", "Adam 0.01")


def _model(rows: Rows, setting: str) -> Any:
    from river import linear_model, optim, preprocessing

    kind, _, rate = setting.partition(" ")
    model: Any
    if kind == "ALMA":
        model = linear_model.ALMAClassifier()
    else:
        optimizer = (optim.Adam if kind == "Adam" else optim.SGD)(float(rate))
        if not rows.classification:
            linear = linear_model.LinearRegression(optimizer)
            model = preprocessing.TargetStandardScaler(linear)
        elif len(rows.labels) == 2:
            model = linear_model.LogisticRegression(optimizer)
        else:
            model = linear_model.SoftmaxRegression(optimizer)
    # Counts of words stay as they are: to center them would make each input of each sample full.
    return model if rows.texts else preprocessing.StandardScaler() | model


def _learn(rows: Rows, setting: str) -> Learn:
    return one_by_one(_model(rows, setting), one_hot(rows, _WORDS), rows)


def _prepare(rows: Rows, _: int) -> Prepared:
    binary = rows.classification and len(rows.labels) == 2
    return tuned(rows, _RATES + (("ALMA",) if binary else ()), _learn)


def _learn_ftrl(rows: Rows, setting: str) -> Learn:
    from river import linear_model, optim, preprocessing

    optimizer = optim.FTRLProximal(alpha=float(setting.rpartition(" ")[2]))
    numbers, found = tokens(rows)
    scaled = running_standardized(numbers).tolist() if numbers.size else [[]] * len(found)
    inputs = [
        {**{str(i): x for i, x in enumerate(row)}, **dict.fromkeys(own, 1.0)}
        for row, own in zip(scaled, found, strict=True)
    ]
    if not rows.classification:
        linear = linear_model.LinearRegression(optimizer)
        return one_by_one(preprocessing.TargetStandardScaler(linear), inputs, rows)
    kind = (
        linear_model.LogisticRegression if len(rows.labels) == 2 else linear_model.SoftmaxRegression
    )
    return with_shares(kind(optimizer), inputs, rows)


def _prepare_ftrl(rows: Rows, _: int) -> Prepared:
    return tuned(rows, _FTRL, _learn_ftrl)


PEERS = (
    Peer("river-linear", "river", BOTH, random=False, prepare=_prepare),
    Peer("river-ftrl", "river", BOTH, random=False, prepare=_prepare_ftrl),
)
