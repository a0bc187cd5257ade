"""A run file that is read again: what may change is used, all else is refused and forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamnet.cli.run import reload
from streamnet.errors import ConfigurationError
from streamnet.runs.replay import Replay
from streamnet.settings.run import load

CONFIG = """
[source]
files = "stream.csv"
target = "y"
[state]
dir = "state"
models = 4
"""
KINDS = CONFIG.replace('"y"', '"y"\nkinds = {c = "text"}')
CANDIDATE = CONFIG + "[[population.candidate]]\nhidden = 4\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run file in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("stream.csv").write_text("c,y\n1,a\n2,b\n")
    path = Path("run.toml")
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (KINDS, "source.kinds.c is text, but was not given"),
        (CANDIDATE, "population.candidate.count is 1, but was not given"),
        (CONFIG + "[selection]\nalpha = 0.5\n", "selection.alpha is 0.5, but was not given"),
    ],
)
def test_what_is_new_in_a_run_file_is_refused_and_the_original_is_not(
    config: Path, text: str, phrase: str
) -> None:
    replay = Replay(load(config), resume=True)
    config.write_text(text)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"can't change during a run$") as raised:
            reload(replay, config)
        assert f"run.toml: {phrase}" in str(raised.value)
        assert str(raised.value).count(", but was ") <= 10
    config.write_text(CONFIG)
    assert reload(replay, config) == "run.toml was reloaded: nothing changed"
    config.write_text(CONFIG.replace("4", "9"))
    assert reload(replay, config) == "run.toml was reloaded: state.models changed"
