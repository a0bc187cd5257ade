"""The first calls of README.md and the pages work, one after the other."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.conftest import IN_CI
from tests.daemon.processes import Server
from tests.docs.conftest import LONGEST, Place
from tests.docs.documents import README, REPOSITORY

CALLS = [line for line in README.read_text("utf-8").splitlines() if line.startswith("curl ")]

pytestmark = [
    pytest.mark.timeout(LONGEST),
    pytest.mark.skipif(
        shutil.which("curl") is None and not IN_CI, reason="no curl, which CI needs"
    ),
]


def called(command: str, server: Server, place: Place) -> dict[str, Any]:
    """The JSON that a command prints, run by the shell that a reader has."""
    reply: dict[str, Any] = json.loads(place.run(["sh", "-c", command], **place.calling(server)))
    return reply


def test_a_sample_is_learned_another_predicted_and_its_label_joined(
    served: Server, place: Place
) -> None:
    calls = iter(CALLS)
    learned = called(next(calls), served, place)
    assert (learned["accepted"], learned["rejected"]) == (1, 0)
    before = status_of(served, place, scored=1)
    (prediction,) = called(next(calls), served, place)["predictions"]
    assert isinstance(prediction, float)
    assert called(next(calls), served, place) == {"outcomes": ["joined"]}
    after = status_of(served, place, scored=2)
    assert (before["requested"], after["requested"]) == (0, 1)
    error = 2 * after["served"] - before["served"]
    assert error == pytest.approx(abs(prediction - 6))


def status_of(served: Server, place: Place, *, scored: int) -> dict[str, Any]:
    """The status once so many samples are scored, and a model is published."""
    while True:
        found = called("curl -s localhost:8000/v1/models/wine", served, place)
        if found["scored"] == scored and found["generation"]:
            return found


@pytest.mark.parametrize("name", ["tutorial.md", "daemon.md"])
def test_a_page_opens_with_the_same_calls(name: str) -> None:
    lines = (REPOSITORY / "docs" / name).read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("curl ")][: len(CALLS)] == CALLS
