"""What the commands that look after a state directory make of a daemon's."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from streamnet.errors import StateError
from streamnet.runs.verification import verify
from tests.daemon.hosted_models import hosting, learned, rows


def test_what_a_daemon_has_learned_can_not_be_verified(tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
        await verify(tmp_path / "state")

    with pytest.raises(StateError, match="was written by a daemon, whose samples can't be read"):
        anyio.run(main)
