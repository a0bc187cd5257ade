"""Insight into a model: which columns matter, and where it errs most, as its last samples show."""

from __future__ import annotations

from typing import Any, NamedTuple

import anyio
import numpy as np
import pytest

import streamnet
from streamnet.learning.serving import Served
from streamnet.modelfiles.model import Model
from streamnet.pipeline import Pipeline
from streamnet.reporting.insight import MAX_SAMPLES, RecentSamples, build_insight
from streamnet.reporting.report import Insight
from streamnet.samples import Task
from streamnet.sources import IterableSource

COUNT = 1500


class Run(NamedTuple):
    """A stream that was learned, with what was served for it, and the insight at its end."""

    rows: list[dict[str, Any]]
    answers: list[Any]  # of the last samples: a number, or the probabilities by label
    model: Model
    recent: RecentSamples
    insight: Insight


def rows(task: Task) -> list[dict[str, Any]]:
    """Samples of which x and the shade tell the target, and z tells nothing."""
    random = np.random.default_rng(5)
    found = []
    for i in range(COUNT):
        x, z, shade = random.normal(), random.normal(), "red" if random.random() < 0.5 else "blue"
        y = 3 * x + (shade == "red")
        target = y if task is Task.REGRESSION else "high" if y > 0.5 else "low"
        found.append(
            {"x": x, "z": z, "shade": shade, "at": f"2026-01-{1 + i % 28:02}", "y": target}
        )
    return found


@pytest.fixture(scope="module", params=list(Task))
def run(request: pytest.FixtureRequest) -> Run:
    recent, served = RecentSamples(), list[Served]()
    samples = rows(request.param)
    candidates = [streamnet.CandidateSettings(learning_rate=rate) for rate in (0.1, 0.03)]
    pipeline = Pipeline(
        IterableSource(samples, target="y"), candidates=candidates, sinks=(recent, served.append)
    )
    model = anyio.run(pipeline.run).model
    assert pipeline.learner is not None
    labels = list(pipeline.learner.encoder.labels)
    answers = [row for part in served for row in part.answers.tolist()]
    if labels:
        answers = [dict(zip(labels, row, strict=False)) for row in answers]
    return Run(samples, answers, model, recent, build_insight(recent, model, request.param, labels))


def test_the_columns_that_tell_the_target_matter_most(run: Run) -> None:
    loss = {one.column: one.loss for one in run.insight.importance}
    assert set(loss) == {"x", "z", "shade", "at"}
    assert run.insight.importance[0].column == "x"
    assert loss["shade"] > 3 * max(abs(loss["z"]), abs(loss["at"]))
    assert run.insight.permuted == run.insight.samples == MAX_SAMPLES


def test_importance_is_the_loss_by_a_permutation_of_the_column(run: Run) -> None:
    last = run.rows[-MAX_SAMPLES:]
    order = np.random.default_rng(0).permutation(len(last))
    permuted = [{**row, "x": last[other]["x"]} for row, other in zip(last, order, strict=True)]

    def error(samples: list[dict[str, Any]]) -> float:
        inputs = [{name: row[name] for name in row if name != "y"} for row in samples]
        outputs = run.model.outputs(inputs)
        truths = [row["y"] for row in samples]
        if run.insight.task is Task.REGRESSION:
            return float(np.abs(outputs.ravel() - truths).mean())
        places = [run.model.labels.index(truth) for truth in truths]
        return 1.0 - float(outputs[np.arange(len(places)), places].mean())

    (loss,) = (one.loss for one in run.insight.importance if one.column == "x")
    assert loss == pytest.approx(error(permuted) - error(last), rel=1e-6)


def test_the_biggest_errors_are_those_of_the_served_predictions(run: Run) -> None:
    first = COUNT - MAX_SAMPLES
    errors = []
    for number in range(first, COUNT):
        truth, answer = run.rows[number]["y"], run.answers[number]
        if run.insight.task is Task.REGRESSION:
            errors.append((abs(answer - truth), number))
        elif max(answer, key=answer.get) != truth:
            errors.append((1.0 - answer[truth], number))
    biggest = sorted(errors, key=lambda pair: -pair[0])[:10]
    assert [one.number for one in run.insight.errors] == [number for _, number in biggest]
    for found, (error, number) in zip(run.insight.errors, biggest, strict=True):
        assert found.error == pytest.approx(error)
        assert found.truth == run.rows[number]["y"]
        assert found.sample["x"] == run.rows[number]["x"]


def test_the_last_sample_can_be_sent_again(run: Run) -> None:
    last = run.insight.last
    assert last == {
        **{name: run.rows[-1][name] for name in ("x", "z", "shade")},
        "at": f"{run.rows[-1]['at']}T00:00:00",
    }
    (again,), (once,) = (
        run.model.outputs([last]),
        run.model.outputs([run.rows[-1]], on_unknown="ignore"),
    )
    assert again.tolist() == once.tolist()


def test_too_few_samples_say_nothing_of_columns() -> None:
    insight = build_insight(RecentSamples(), None, Task.REGRESSION, ())
    assert (insight.samples, insight.importance, insight.errors, insight.last) == (0, [], [], None)
