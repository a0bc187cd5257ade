"""Weights of samples that are sent to a hosted model, with or without their label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.journal.delayed_labels import SentLabel
from streamnet.daemon.predictions import predict_nothing
from streamnet.samples import Task
from streamnet.settings.daemon import ModelSettings
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, settings_of, until

WEIGHTS = (0.0, 1.0, 4.0, None)  # the last one counts as 1


def weighted_settings(task: Task) -> ModelSettings:
    source = {"target": "y", "task": str(task), "weight": "w"}
    return settings_of(source=source, evaluation={"window": 10_000})


def sample(i: int, task: Task) -> tuple[dict[str, Any], Any]:
    noise = float(np.random.default_rng(i).normal())
    row: dict[str, Any] = {"x": i % 7, "w": WEIGHTS[i % 4]}
    if row["w"] is None:
        del row["w"]
    return row, i % 7 + noise if task is Task.REGRESSION else "ab"[int(i % 7 + noise > 3)]


@pytest.mark.parametrize("sent_with", ["sample", "label"])
@pytest.mark.parametrize("task", list(Task))
def test_predictions_count_by_the_weights_of_their_samples(
    run: Runner, tmp_path: Path, task: Task, sent_with: str
) -> None:
    """Against scikit-learn's sample_weight, of what a caller got, across a restart.

    A weight that comes with a label stands in place of that of the sample.
    """
    said, truths, weights = [], [], []

    async def ask(hosted: HostedModel, numbers: range) -> None:
        samples, labels = zip(*(sample(i, task) for i in numbers), strict=True)
        ids, nothing = list(map(str, numbers)), predict_nothing(len(samples))
        predictions = nothing if hosted.has_learned_nothing else hosted.predict(samples)
        sent = list(map(SentLabel, ids, labels))
        rows = samples
        if sent_with == "label":
            sent = [
                one._replace(weight=row.get("w")) for one, row in zip(sent, samples, strict=True)
            ]
            other = {0.0: 3.0, 1.0: 7.0}  # than that of the label, which counts
            rows = tuple({**row, "w": other.get(row.get("w"), 1.0)} for row in samples)
            if numbers.start % 40:
                await hosted.label(sent)  # before their predictions
        kept = await hosted.remember(ids, rows, predictions)
        await hosted.label(sent)
        for one, truth, row in zip(kept, labels, samples, strict=True):
            weight = row.get("w", 1.0)
            if weight and (one.value is not None or task is Task.CLASSIFICATION):
                said.append(one.value or "none")
                truths.append(truth)
                weights.append(weight)

    async def main() -> None:
        for life in range(2):
            async with hosting(tmp_path, weighted_settings(task)) as hosted:
                if life:
                    await hosted.published()
                for start in range(200 * life, 200 * life + 200, 20):
                    await ask(hosted, range(start, start + 20))
                    if not start:
                        await hosted.published()
                await until(lambda: hosted.status().scored == len(said))
                assert not hosted.rejected().total
                assert [name for name, _ in hosted.published_model().fields] == ["x"]
                pair: Any = truths, said
                measure = metrics.accuracy_score
                if task is Task.REGRESSION:
                    measure = metrics.mean_absolute_error
                expected = measure(*pair, sample_weight=weights)
                assert hosted.status().served == pytest.approx(expected)

    run(main)


def test_samples_with_their_label_count_by_their_weights_too(run: Runner, tmp_path: Path) -> None:
    rows = [{**x, "y": y} for x, y in (sample(i, Task.CLASSIFICATION) for i in range(400))]

    async def main() -> None:
        async with hosting(tmp_path, weighted_settings(Task.CLASSIFICATION)) as hosted:
            await hosted.learn(rows)
            await learned(hosted, 300)
            await until(lambda: hosted.status().scored == 200)  # without those of weight 0
            await until(lambda: sum(hosted.rejected().by_reason.values()) == 100)
            reasons = hosted.rejected().by_reason
            assert reasons == {"weight": 100}  # a label is there, but no weight

    run(main)
