"""A pipeline refuses parts of another type when it is made, and takes numbers of numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from streamnet.learning.serving import Served
from streamnet.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import IterableSource
from tests.conftest import Runner


def source() -> IterableSource:
    return IterableSource([{"x": i % 3, "y": "ab"[i % 2]} for i in range(100)], target="y")


async def late(_: object) -> None:
    """A sink that nobody would await."""


class Late:
    """Another one."""

    async def __call__(self, _: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"state": "folder"}, "state is 'folder', but must be a State or None"),
        ({"start": "m.json"}, "start is 'm.json', but must be a Model or None"),
        ({"rejections": 5}, "rejections is 5, but must be a Rejections or None"),
        ({"threads": "2"}, "threads is '2', but must be a whole number"),
        ({"threads": 0}, "threads is 0, but must be >= 1"),
        ({"inline_seconds": "x"}, "inline_seconds is 'x', but must be a number"),
        ({"block_size": 2.5}, r"block_size is 2\.5, but must be a whole number"),
        ({"sinks": [5]}, "sinks has 5, but must have functions"),
        ({"sinks": [late]}, "sinks has <function late .*, but must have functions"),
        ({"sinks": [Late()]}, "sinks has <.*Late object .*, but must have functions"),
        ({"sinks": print}, "sinks is <built-in function print>, but must be a list of functions"),
        ({"prepare": lambda *_: print}, "sinks is <built-in function print>, but must be a list"),
        ({"window": "9"}, "window is '9', but must be a whole number"),
        ({"alpha": "0.1"}, r"alpha is '0\.1', but must be a number"),
        ({"encoder": {"autoencoder": 4}}, r"encoder\.autoencoder is 4, but must be a dict"),
        ({"encoder": {"clip": "x"}}, "clip is 'x', but must be a number"),
    ],
)
def test_a_part_of_another_type_is_refused(
    run: Runner, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(Pipeline(source(), **given).run)


def test_sinks_that_can_be_read_only_once_are_called(run: Runner) -> None:
    given: list[Served] = []
    prepared: list[Served] = []
    once: Any = (iter(sinks) for sinks in ([given.append], [prepared.append]))
    run(Pipeline(source(), sinks=next(once), prepare=lambda *_: next(once)).run)
    assert sum(len(served.serials) for served in given) == 100
    assert prepared == given


def test_a_run_with_numbers_of_numpy_is_that_with_pythons(run: Runner, tmp_path: Path) -> None:
    def learned(state: State, kind: Any, real: Any, dtype: Any) -> Any:
        candidates = [CandidateSettings(hidden=(kind(4),), learning_rate=real(0.25))]
        encoder: Any = {"clip": real(4), "max_categories": kind(9)}
        pipeline = Pipeline(
            source(),
            candidates=candidates,
            state=state,
            threads=kind(1),
            alpha=real(0.25),
            dtype=dtype,
            encoder=encoder,
        )
        return run(pipeline.run)

    ours = learned(State(tmp_path / "a"), int, float, "float64")
    theirs = learned(State(tmp_path / "b"), np.int64, np.float32, np.float64)
    assert json.loads(json.dumps(theirs.report))["served"] == ours.report["served"]
    assert theirs.model.document()["checksum"] == ours.model.document()["checksum"]
    resumed = Pipeline(
        source(),
        candidates=[CandidateSettings(hidden=(4,), learning_rate=0.25)],
        state=State(tmp_path / "b", resume=True),
        alpha=0.25,
        dtype="float64",
        encoder={"clip": 4.0, "max_categories": 9},
    )
    assert run(resumed.run).report["learned"] == 100
