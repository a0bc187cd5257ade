"""config/replay.toml tells what a key is by default, where it shows something else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from streamnet.features import Encoder
from streamnet.features.autoencoder import AutoEncoderSettings
from streamnet.learning import Learner
from streamnet.networks import CandidateSettings
from streamnet.pipeline import Pipeline, State
from streamnet.selection.search.evolution import Evolution

TEXT = (Path(__file__).parents[2] / "config" / "replay.toml").read_text()
TABLES: dict[str, Callable[..., Any]] = {
    "[run]": Pipeline,
    "[encoder]": Encoder,
    "[encoder.autoencoder]": AutoEncoderSettings,
    "[[population.candidate]]": CandidateSettings,
    "[evaluation]": Learner,
    "[selection]": Learner,
    "[search]": Evolution,
    "[state]": State,
}


def comment_above(key: str, table: str) -> str:
    """The comment that a key shares with those between it and the key."""
    lines = table[: re.search(rf"^{key} = ", table, re.MULTILINE).start()].splitlines()  # type: ignore[union-attr]
    while lines and not lines[-1].startswith("#"):
        lines.pop()
    return "".join(lines[-4:])


@pytest.mark.parametrize("name", TABLES)
def test_a_comment_tells_a_default_that_is_not_shown(name: str) -> None:
    table = TEXT.partition(f"\n{name}\n")[2].partition("\n[")[0]
    defaults = signature(TABLES[name]).parameters
    for key, shown in tomllib.loads(table).items():
        if key not in defaults:
            assert key == "dir"  # which has none
        elif defaults[key].default != (tuple(shown) if isinstance(shown, list) else shown):
            told = "default" in comment_above(key, table)
            assert told or (defaults[key].default, shown) == (None, {}), key
