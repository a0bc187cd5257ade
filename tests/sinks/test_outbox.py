"""The outbox: each record once and in order, whatever fails, and nothing dropped meanwhile."""

from __future__ import annotations

import logging
from threading import Thread

import pytest

from streamnet.errors import OutputError
from streamnet.sinks.outbox import MAX_WAITING, Outbox
from tests.sinks.memory import MemoryDestination
from tests.sources.brokers.servers import wait_until


def put(outbox: Outbox, count: int) -> None:
    for _ in range(count):
        outbox.put(b"%d" % outbox.number)


def test_records_are_held_once_and_in_order_whatever_part_of_a_batch_was_lost() -> None:
    destination = MemoryDestination(0, 3, 1, 700, 2)
    outbox = Outbox("answers", destination)
    outbox.begin()
    put(outbox, 3000)
    outbox.flush()
    outbox.close()
    assert destination.numbers() == list(range(3000))
    assert [record.value for record in destination.held] == [b"%d" % i for i in range(3000)]
    assert destination.opened == 6


def test_a_full_outbox_lets_others_wait_and_drops_nothing() -> None:
    destination = MemoryDestination()
    outbox = Outbox("answers", destination)
    outbox.begin()
    destination.goes_on.clear()
    put(outbox, MAX_WAITING)
    assert outbox.is_full
    waiting = Thread(target=outbox.wait_for_room, daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    assert outbox.status().waiting == MAX_WAITING
    destination.goes_on.set()
    waiting.join(60)
    assert not waiting.is_alive()
    outbox.flush()
    outbox.close()
    assert destination.numbers() == list(range(MAX_WAITING))


def test_a_destination_that_is_away_is_waited_for_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    destination = MemoryDestination()
    destination.away = True
    outbox = Outbox("answers", destination)
    with caplog.at_level(logging.WARNING, "streamnet.sinks"):
        outbox.begin()
        put(outbox, 10)
        wait_until(lambda: outbox.status().error == "it is away", "failure")
        assert outbox.status().waiting == 10
        destination.away = False
        outbox.flush()
        wait_until(lambda: not outbox.status().error, "recovery")
    outbox.close()
    assert destination.numbers() == list(range(10))
    assert [record.getMessage() for record in caplog.records] == [
        "answers memory waits: it is away; trying again",
        "answers memory: delivered again",
    ]


def test_a_checkpoint_waits_for_what_it_holds_as_long_as_there_is_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamnet.sinks.outbox.STALLED_SECONDS", 0.1)
    destination = MemoryDestination()
    outbox = Outbox("answers", destination)
    outbox.begin()
    outbox.export_state()
    destination.goes_on.clear()
    put(outbox, 5)
    outbox.sync()  # the state holds none of them
    outbox.export_state()
    with pytest.raises(OSError, match=r"^answers memory waits: it does not answer$"):
        outbox.sync()
    destination.goes_on.set()
    outbox.flush()
    outbox.sync()
    outbox.close()


def test_a_run_that_resumes_does_not_send_again_what_is_held() -> None:
    destination = MemoryDestination()
    first = Outbox("answers", destination)
    first.begin()
    put(first, 10)
    state = first.export_state()
    put(first, 7)
    first.flush()
    first.close()
    second = Outbox("answers", destination)
    second.restore_state(state)
    put(second, 20)
    second.flush()
    second.close()
    assert destination.numbers() == list(range(30))


def test_records_that_a_destination_had_confirmed_and_lost_end_the_run() -> None:
    destination = MemoryDestination()
    outbox = Outbox("answers", destination)
    outbox.begin()
    put(outbox, 10)
    outbox.flush()
    del destination.held[6:]
    destination.failures = [0]
    put(outbox, 1)
    with pytest.raises(OutputError, match=r"^answers memory has lost the last 4 records that it"):
        outbox.flush()
    with pytest.raises(OutputError):
        put(outbox, 1)
    outbox.close()


def test_another_destination_gets_what_follows() -> None:
    outbox = Outbox("answers", MemoryDestination())
    outbox.begin()
    put(outbox, 10)
    outbox.flush()
    outbox.close()
    other = MemoryDestination()
    resumed = Outbox("answers", other)
    resumed.restore_state({**outbox.export_state(), "to": "elsewhere"})
    assert resumed.number == 10
    resumed.close()


def test_an_unexpected_error_reaches_who_gives_records() -> None:
    class Broken(MemoryDestination):
        def send(self, records: object) -> None:
            raise ZeroDivisionError("division by zero")

    outbox = Outbox("answers", Broken())
    outbox.begin()
    put(outbox, 1)
    with pytest.raises(OutputError, match=r"^answers memory: ZeroDivisionError: division by zero$"):
        outbox.flush()
    outbox.close()


def test_closing_ends_waiting_for_a_destination_that_is_away() -> None:
    destination = MemoryDestination()
    destination.away = True
    outbox = Outbox("answers", destination)
    outbox.begin()
    put(outbox, 1)
    waiting = Thread(target=outbox.flush, daemon=True)
    waiting.start()
    outbox.close()
    waiting.join(60)
    assert not waiting.is_alive()
