"""A replay of a file with a column of weights, from the option to the report."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from sklearn import metrics

from streamnet import replay
from streamnet.engine import Engine
from streamnet.errors import SampleError
from streamnet.modelfiles import Model
from streamnet.runs.inference import write_predictions
from streamnet.settings.run import parse

N = 1500


def write_stream(path: Path) -> tuple[list[str], np.ndarray]:
    """A file whose records have weights, one in 50 an invalid one; valid labels and weights."""
    rng = np.random.default_rng(6)
    x, weight = rng.normal(size=N), rng.choice([0.0, 0.5, 1.0, 4.0], N)
    labels = np.where(x + 0.5 * rng.normal(size=N) > 0, "up", "down")
    texts = [f"{value}" for value in weight]
    for row in range(10, N, 50):
        texts[row] = ["-1", "", "inf", "2e9"][row // 50 % 4]
    lines = [f"{a:.4f},{w},{y}" for a, w, y in zip(x, texts, labels, strict=True)]
    path.write_text("x,w,y\n" + "\n".join(lines) + "\n")
    valid = np.arange(N) % 50 != 10
    return labels[valid].tolist(), weight[valid]


@pytest.mark.parametrize("label_delay", [0, 20])
def test_the_report_is_the_weighted_score_of_the_written_predictions(
    tmp_path: Path, label_delay: int
) -> None:
    path, out = tmp_path / "stream.csv", tmp_path / "predictions.csv"
    labels, weight = write_stream(path)
    given: dict[str, Any] = {"candidates": 2, "max_rejected": 1.0, "label_delay": label_delay}
    letters = tmp_path / "bad.jsonl"
    result = replay(path, target="y", weight="w", predictions=out, dead_letters=letters, **given)
    report = result.report
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == len(labels) == report["learned"]
    said = [row["answer"] for row in rows]
    learned = weight > 0
    assert report["scored"] == learned.sum()
    pair = np.array(labels)[learned], np.array(said)[learned]
    wanted = metrics.accuracy_score(*pair, sample_weight=weight[learned])
    assert report["served"]["accuracy"] == pytest.approx(wanted)
    assert report["rejected_reasons"] == {"weight": 23, "not-finite": 7}
    assert [field.name for field in result.model.fields] == ["x"]


def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "stream.csv"
    write_stream(path)
    given: dict[str, Any] = {"candidates": 2, "max_rejected": 1.0, "round_size": 128}
    given |= {"dead_letters": tmp_path / "bad.jsonl"}
    whole = replay(path, target="y", weight="w", state=tmp_path / "a", limit=1200, **given)
    replay(path, target="y", weight="w", state=tmp_path / "b", limit=700, **given)
    again = replay(
        path, target="y", weight="w", state=tmp_path / "b", limit=1200, resume=True, **given
    )
    for name in ("served", "served_sliding", "served_fading", "baselines", "curve"):
        assert again.report[name] == whole.report[name]
    outputs = [result.model.outputs({"x": 0.3}).tolist() for result in (whole, again)]
    assert outputs[0] == outputs[1]


def test_the_column_of_weights_is_no_unknown_one_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "stream.csv"
    write_stream(path)
    given: dict[str, Any] = {"dead_letters": tmp_path / "bad.jsonl", "max_rejected": 1.0}
    file = tmp_path / "m.json"
    replay(path, target="y", weight="w", candidates=2, limit=300, model=file, **given)
    model = Model.load(file)
    assert model.predict({"x": 1.0, "w": 2.0, "y": "up"}, on_unknown="raise").shape == (1,)
    with pytest.raises(SampleError, match="'v'"):
        model.predict({"x": 1.0, "v": 2.0}, on_unknown="raise")
    out = tmp_path / "p.csv"
    anyio.run(write_predictions, model, [str(path)], out, {"on_unknown": "raise"})
    assert len(out.read_text().splitlines()) == N + 1
    trained = Engine(seed=1, tries=2, epochs=2).fit(str(path), target="y", weight="w")
    assert trained.model.expected_columns == ["y", "w"]


def test_weights_are_a_setting_of_the_source() -> None:
    settings = parse("source = {files = 'a.csv', target = 'y', weight = 'w'}")
    assert settings.source.weight == "w"
