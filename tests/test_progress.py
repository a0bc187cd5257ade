"""Progress bars count what is learned, and show nothing unless that is asked for."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

from streamnet import progress
from streamnet.errors import ConfigurationError, DataError
from streamnet.online import AutoEncoder, OnlineClassifier, OnlineRegressor
from streamnet.runs.replay import replay
from streamnet.runs.sweep import replay_many
from tests.online.estimators import FEW, flat

N = 2500
ROWS = [{"x": float(i % 10), "y": i % 7} for i in range(N)]


@pytest.fixture(autouse=True)
def _every_update_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast samples are learned."""
    monkeypatch.setattr(progress, "_load_tqdm", lambda: partial(tqdm, mininterval=0, miniters=1))


def counts(printed: str) -> list[tuple[int, int]]:
    """How much was done of how much, at each update."""
    return [(int(a), int(b)) for a, b in re.findall(r"(\d+)/(\d+) \[", printed)]


@pytest.mark.parametrize("way", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", [OnlineClassifier, OnlineRegressor, AutoEncoder])
def test_an_estimator_counts_samples_to_the_last_one_and_learns_the_same(
    kind: Any, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    estimators = [kind(4) if kind is AutoEncoder else kind(FEW) for _ in range(2)]
    targets = [i % 2 for i in range(N)]
    getattr(estimators[0], way)(ROWS, targets)
    assert capsys.readouterr() == ("", "")
    getattr(estimators[1], way)(ROWS, targets, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    found = counts(printed.err)
    assert found[-1] == (N, N)
    assert {(1024, N), (2048, N)} <= set(found)
    assert flat(estimators[0].export_state()) == flat(estimators[1].export_state())


def test_a_bar_ends_where_a_sample_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [*ROWS[:1500], {"x": [1]}, *ROWS[:9]]
    with pytest.raises(DataError):
        OnlineRegressor(FEW).partial_fit(rows, [1.0] * len(rows), progress=True)
    printed = capsys.readouterr().err
    assert counts(printed)[-1] == (1024, len(rows))
    assert printed.endswith("\n")


def test_a_replay_ends_with_all_records_and_the_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("a.csv")
    path.write_text("x,y\n" + "short,of,fields\n" + "".join(f"{i % 9},{i % 3}\n" for i in range(N)))
    result = replay(path, target="y", task="classification", candidates=2, progress=True)
    printed = capsys.readouterr().err
    assert counts(printed)[-1] == (N + 1, N + 1)
    score = result.report["served_sliding"]["accuracy"]
    assert float(re.findall(r"accuracy ([\d.]+)", printed)[-1]) == pytest.approx(score, abs=1e-3)
    replay_many(path, target="y", candidates=1, seeds=[1, 2], results="sweep", progress=True)
    assert counts(capsys.readouterr().err)[-1] == (2, 2)


def test_a_total_that_is_unknown_or_changes_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.ProgressBar(True, unit="things") as bar:
        bar.show(3, None)
        bar.show(5, 20, "as yet")
        bar.advance(2)
    printed = capsys.readouterr().err
    assert "0 things" in printed
    assert counts(printed)[-1] == (7, 20)
    assert "as yet" in printed


def test_without_tqdm_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    progress._load_tqdm.cache_clear()
    monkeypatch.setattr("streamnet.validation.find_spec", lambda name: None)
    estimator = OnlineRegressor(FEW)
    with pytest.raises(ConfigurationError, match=r"tqdm is not installed.*streamnet-learn\[progr"):
        estimator.partial_fit(np.ones((2, 1)), [1, 2], progress=True)
    assert estimator.partial_fit(np.ones((2, 1)), [1, 2]).n_features_in_ == 1
    with pytest.raises(ConfigurationError, match="progress is 1, but must be True or False"):
        replay("a.csv", progress=1)  # type: ignore[arg-type]


def test_what_few_runs_need_is_not_imported_with_the_package() -> None:
    import subprocess

    program = """if True:
        import sys, streamnet.runs.replay
        found = "polars" in sys.modules
        import streamnet.online
        sys.exit(found or "tqdm" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
