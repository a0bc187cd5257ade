"""What a guest costs beyond its own time: ``python -m tests.benchmarks.guests``.

Models of River learn a made-up stream alone (predict, then learn), and as the guest of a learner of
two small networks; the same learner learns it without the guest. All three take turns. Printed is
the processor time of each, and the overhead: what the guest adds to the learner beyond what it
takes alone, relative to the latter. Medians of several turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from river import ensemble, forest, linear_model, naive_bayes, preprocessing, tree
from river.datasets import synth

from streamnet.learning.learner import ROUND, Learner
from streamnet.samples import Block, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader

CANDIDATES = [CandidateSettings(hidden=(8,)), CandidateSettings(hidden=(16,))]
MODELS: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: (
        preprocessing.StandardScaler() | linear_model.LogisticRegression()
    ),
    "Gaussian naive Bayes": naive_bayes.GaussianNB,
    "Hoeffding tree": tree.HoeffdingTreeClassifier,
    "leveraging bagging of 5 trees": lambda: ensemble.LeveragingBaggingClassifier(
        tree.HoeffdingTreeClassifier(), n_models=5, seed=1
    ),
    "adaptive random forest": lambda: forest.ARFClassifier(seed=1),
}


def make_samples(count: int) -> tuple[list[dict[str, Any]], list[Any]]:
    """Samples of eight numbers with one of two labels."""
    stream = synth.RandomRBF(seed_model=7, seed_sample=7, n_classes=2, n_features=8, n_centroids=40)
    pairs = [({f"x{k}": v for k, v in x.items()}, bool(y)) for x, y in stream.take(count)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def measure(work: Callable[[], None]) -> float:
    """Processor time of some work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def learn_alone(model: Any, rows: Sequence[dict[str, Any]], labels: Sequence[Any]) -> None:
    """Predict and then learn each sample."""
    for x, y in zip(rows, labels, strict=True):
        model.predict_proba_one(x)
        model.learn_one(x, y)


def learn_blocks(learner: Learner, block: Block) -> None:
    """Learn all samples, a round at a time."""
    for start in range(0, len(block), ROUND):
        stop = min(start + ROUND, len(block))
        learner.learn(block.part(start, stop), ends_round=stop - start == ROUND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    rows, labels = make_samples(given.samples)
    block = RowReader(Columns(target="y", task=Task.CLASSIFICATION)).read(rows, labels)

    def make(guests: dict[str, Any] | None = None) -> Learner:
        return Learner(task=Task.CLASSIFICATION, candidates=CANDIDATES, guests=guests)

    learn_blocks(make(), block)  # compiles
    print(f"{'microseconds a sample':32}{'alone':>9}{'without':>9}{'with':>9}{'overhead':>10}")
    for name, model in MODELS.items():
        times: list[list[float]] = [[], [], []]
        for _ in range(given.turns):
            own, with_it, without = model(), make({"guest": model()}), make()
            times[0].append(measure(partial(learn_alone, own, rows, labels)))
            times[1].append(measure(partial(learn_blocks, without, block)))
            times[2].append(measure(partial(learn_blocks, with_it, block)))
        alone, without_it, joined = (1e6 * statistics.median(t) / given.samples for t in times)
        overhead = statistics.median(
            (both - base - single) / single for single, base, both in zip(*times, strict=True)
        )
        print(f"{name:32}{alone:9.1f}{without_it:9.1f}{joined:9.1f}{overhead:10.1%}")


if __name__ == "__main__":
    main()
