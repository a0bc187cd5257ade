"""A model whose queue is full: new samples are refused, what is taken already is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamnet.daemon.hosting.hosted_model import check_backpressure
from streamnet.daemon.predictions import Outcome
from streamnet.errors import BusyError, ConflictError
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, rows, settings_of


def test_what_is_sent_again_is_answered_though_the_queue_is_full(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path, settings_of(intake={"max_queued": 100})) as hosted:
            await hosted.learn(rows(20))
            await learned(hosted, 20)
            await hosted.published()
            await hosted.remember(["a", "b"], rows(2), hosted.predict(rows(2)))
            await hosted.pause()
            receipt = await hosted.learn(rows(99), key="k")
            assert await hosted.label([("a", "a")]) == [Outcome.JOINED]
            with pytest.raises(BusyError):
                await hosted.learn(rows(1), key="other")
            with pytest.raises(BusyError):
                await hosted.learn(rows(1))
            with pytest.raises(BusyError):
                await hosted.label([("a", "a"), ("b", "b")])
            assert await hosted.learn(rows(99), key="k") == receipt._replace(duplicate=True)
            with pytest.raises(ConflictError, match="'k' was used for other samples"):
                await hosted.learn(rows(98), key="k")
            told = await hosted.label([("a", "a"), ("a", "b")])
            assert told == [Outcome.DUPLICATE, Outcome.CONTRADICTORY]
            assert hosted.queued == 100

    run(main)


@pytest.mark.parametrize(
    ("queued", "pace", "seconds"),
    [(100, 20.0, 0.5), (190, 20.0, 5.0), (100, 0.0, 1.0), (100, 1e9, 0.1), (100, 1e-9, 60.0)],
)
def test_a_sender_is_to_come_again_when_a_tenth_of_the_room_is_free(
    queued: int, pace: float, seconds: float
) -> None:
    check_backpressure("spam", queued=99, most=100, pace=pace)
    with pytest.raises(BusyError) as caught:
        check_backpressure("spam", queued=queued, most=100, pace=pace)
    assert caught.value.retry_after == pytest.approx(seconds)
