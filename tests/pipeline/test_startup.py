"""What compiles ahead of a run is ended with it, however that begins."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import Event, move_on_after

from streamnet.errors import DataError
from streamnet.pipeline import pipeline
from streamnet.pipeline.pipeline import compile_in_background
from tests.conftest import Runner


class Ahead:
    """It notes that it was ended."""

    ended = 0

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("how", ["well", "by an error", "by a cancellation"])
def test_it_is_ended(how: str, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, given = Ahead(), []

    def begun(dtype: str) -> Any:
        given.append(dtype)
        return ahead

    monkeypatch.setattr(pipeline, "start_compiling", begun)

    async def opening() -> None:
        async with compile_in_background("float64") as found:
            assert id(found) == id(ahead)
            assert not ahead.ended
            if how == "by an error":
                raise DataError("it can't be opened")
            if how == "by a cancellation":
                with move_on_after(10):
                    await Event().wait()

    async def main() -> None:
        if how == "by an error":
            with pytest.raises(DataError, match="can't be opened"):
                await opening()
        else:
            with move_on_after(0.05):
                await opening()

    run(main)
    assert (ahead.ended, given) == (1, ["float64"])


def test_where_nothing_is_to_be_compiled_nobody_is_ended(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "start_compiling", lambda _: None)

    async def main() -> None:
        async with compile_in_background("float32") as found:
            assert found is None

    run(main)
