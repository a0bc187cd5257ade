"""CapyMOA's ensembles, by CapyMOA's own prequential loop over an ARFF file; 100 members.

Boosted trees have as many iterations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from streamnet.samples import Task
from tests.benchmarks.peers.adapters.arff import write_arff
from tests.benchmarks.peers.peer import NUMBERS, WORDS, Answers, Peer, Prepared
from tests.benchmarks.peers.rows import Rows

__all__ = ("PEERS",)

_WORDS = 256  # inputs for a text
_CLASSIFIERS = {
    "arf": "AdaptiveRandomForestClassifier",
    "srp": "StreamingRandomPatches",
    "levbag": "LeveragingBagging",
    "sgbt": "StreamingGradientBoostedTrees",
}
_REGRESSORS = {"arf-regressor": "AdaptiveRandomForestRegressor", "soknl": "SOKNL"}


def _prepare(kind: str, members: int) -> Callable[[Rows, int], Prepared]:
    def prepare(rows: Rows, seed: int) -> Prepared:
        from capymoa import classifier, regressor
        from capymoa.evaluation import prequential_evaluation
        from capymoa.stream import ARFFStream

        folder = tempfile.TemporaryDirectory()
        path = Path(folder.name, "stream.arff")
        write_arff(rows, path, _WORDS)
        stream = ARFFStream(path)
        make: Any = getattr(classifier if rows.classification else regressor, kind)
        # A seed of 0 is taken for none by some of them.
        size = "boosting_iterations" if kind.endswith("BoostedTrees") else "ensemble_size"
        model = make(stream.get_schema(), random_seed=seed + 1, **{size: members})

        def learn() -> Answers:
            # Its quick loop, in Java, keeps answers as whole numbers: of no use for regression.
            evaluate = partial(prequential_evaluation, optimise=rows.classification)
            results = evaluate(stream, model, store_predictions=True)
            folder.cleanup()
            return [float(answer) for answer in results.predictions()]

        return Prepared(learn, f"{kind}, {members} members")

    return prepare


def _peer(name: str, kind: str, tasks: tuple[Task, ...], members: int = 100) -> Peer:
    prepare = _prepare(kind, members)
    return Peer(f"capymoa-{name}", "capymoa", tasks, random=True, prepare=prepare, command="java")


PEERS = (
    *(_peer(name, kind, WORDS) for name, kind in _CLASSIFIERS.items()),
    _peer("arf-10", _CLASSIFIERS["arf"], WORDS, members=10),
    *(_peer(name, kind, NUMBERS) for name, kind in _REGRESSORS.items()),
)
