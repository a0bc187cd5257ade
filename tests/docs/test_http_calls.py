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
    learned, predicted, joined = (called(command, served, place) for command in CALLS)
    assert (learned["accepted"], learned["rejected"]) == (1, 0)
    (prediction,) = predicted["predictions"]
    assert isinstance(prediction, float)
    assert joined == {"outcomes": ["joined"]}
    status = "curl -s localhost:8000/v1/models/wine"
    assert called(status, served, place)["delivered"]["mae"] == pytest.approx(abs(prediction - 6))


@pytest.mark.parametrize("name", ["tutorial.md", "daemon.md"])
def test_a_page_opens_with_the_same_calls(name: str) -> None:
    lines = (REPOSITORY / "docs" / name).read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("curl ")][: len(CALLS)] == CALLS
