"""What notebooks show of models, evaluations and pipelines."""

from __future__ import annotations

import anyio

from streamnet.html_tables import render_confusion
from streamnet.metrics import Evaluation, RegressionEvaluation
from streamnet.online import OnlineClassifier
from streamnet.samples import Task
from tests.learning.streams import stream
from tests.online.estimators import FEW
from tests.pipeline.block_sources import N, Playing, pipeline_of
from tests.reporting.html_text import HtmlText


def test_an_evaluation_shows_its_metrics_and_the_confusion() -> None:
    evaluation = Evaluation.of(["a<b", "a<b", "c"], ["a<b", "c", None], labels=["a<b", "c"])
    texts = HtmlText(evaluation._repr_html_()).texts
    assert texts[texts.index("accuracy") + 1] == "0.3333"
    start = texts.index("truth")
    assert texts[start:] == [
        "truth",
        "a<b",
        "c",
        "(none)",
        "a<b",
        "1",
        "1",
        "0",
        "c",
        "0",
        "0",
        "1",
    ]
    numbers = HtmlText(RegressionEvaluation.of([1.0, 3.0], [1.0, 2.0])._repr_html_()).texts
    assert numbers[numbers.index("mae") + 1] == "0.5000"


def test_a_confusion_is_shaded_by_the_share_of_the_truth() -> None:
    html = render_confusion(["a", "b"], [[3.0, 1.0], [0.0, 0.0]])
    assert [html.count(f",{share})") for share in ("0.45", "0.15", "0.00")] == [1, 1, 2]
    assert "(none)" not in html
    assert render_confusion([str(i) for i in range(16)], [[0.0] * 16] * 16) == ""


def test_a_model_shows_its_columns_and_labels() -> None:
    rows = [{"size": i % 5, "hue": "ab"[i % 2]} for i in range(60)]
    model = OnlineClassifier(FEW).partial_fit(rows, [i % 2 for i in range(60)]).model()
    assert HtmlText(model._repr_html_()).texts == [
        *("Model", "task", "classification", "networks", "2"),
        *("columns", "size (number), hue (category)", "labels", "0, 1"),
    ]
    many = [{f"x{i}": 1.0 for i in range(23)}] * 3
    wide = OnlineClassifier(FEW).partial_fit(many, [0, 1, 0]).model()
    assert any(
        text.endswith("x19 (number) and 3 more") for text in HtmlText(wide._repr_html_()).texts
    )


def test_a_pipeline_shows_its_progress() -> None:
    pipeline = pipeline_of(Playing(stream(Task.CLASSIFICATION, N)))
    assert HtmlText(pipeline._repr_html_()).texts == ["Pipeline", "samples", "none yet"]
    result = anyio.run(pipeline.run)
    texts = HtmlText(pipeline._repr_html_()).texts
    assert f"{N:,} learned" in texts
    assert f"#{result.candidates['candidate'][0]}" in texts
