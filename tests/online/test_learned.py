"""What an estimator shows of its learning is what a replay of the same samples shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from streamnet.online import OnlineClassifier, OnlineRegressor
from streamnet.runs.replay import replay
from tests.reporting.html_text import HtmlText


def test_frames_and_plots_are_those_of_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    x = draw.integers(0, 10, 3500)
    y = np.where(np.arange(3500) < 2000, x > 4, draw.random(3500) < 0.5)
    labels = ["ab"[int(one)] for one in y]
    Path("a.csv").write_text(
        "x,y\n" + "\n".join(f"{a},{b}" for a, b in zip(x, labels, strict=True))
    )
    result = replay("a.csv", target="y", seed=2)
    estimator = OnlineClassifier(seed=2)
    rows = [{"x": int(one)} for one in x]
    for start in range(0, 3500, 700):
        estimator.partial_fit(rows[start : start + 700], labels[start : start + 700])
    assert estimator.curve.equals(result.curve)
    assert estimator.leader_board.equals(result.candidates)
    assert len(estimator.drifts) > 0
    assert estimator.drifts.equals(result.drifts)
    for kind in ("scores", "confusion", "calibration"):
        assert estimator.plot(kind)._repr_png_() == result.plot(kind)._repr_png_()
    for kind in ("residuals", "importance"):
        with pytest.raises(ConfigurationError, match=f"kind is '{kind}', but "):
            estimator.plot(kind)  # type: ignore[arg-type]


def test_a_notebook_shows_the_curve_and_the_best_candidates() -> None:
    estimator = OnlineRegressor(seed=1)
    assert "svg" not in estimator._repr_html_()
    estimator.partial_fit([{"x": i % 9} for i in range(600)], [float(i % 9) for i in range(600)])
    shown = HtmlText(html := estimator._repr_html_())
    assert "<svg" in html
    for number in estimator.leader_board["candidate"].head(10):
        assert f"#{number}" in shown.texts


def test_before_the_first_sample_frames_are_empty_and_there_is_no_plot() -> None:
    estimator = OnlineClassifier()
    assert [len(frame) for frame in (estimator.curve, estimator.drifts)] == [0, 0]
    with pytest.raises(ConfigurationError, match="samples is empty, but a plot needs one"):
        estimator.plot()
