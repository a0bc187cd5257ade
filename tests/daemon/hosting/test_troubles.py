"""Troubles of a model are shown as what they are, with the time since when, and logged."""

from __future__ import annotations

import logging
from pathlib import Path
from time import time

import pytest

from streamnet.client.schemas import Status
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.troubles import Finding, TroubleLog
from streamnet.daemon.prometheus import Metrics
from streamnet.errors import ConflictError
from tests.conftest import Runner
from tests.daemon.app_client import lines
from tests.daemon.hosted_models import hosting, last_events, learned, rows, settings_of, until

MISSPELT = settings_of(source={"target": "clas"}, intake={"max_queued": 200})


def sample_value(hosted: HostedModel, series: str) -> float:
    """The value of a series in the text of all metrics."""
    text = Metrics(lambda: {hosted.name: hosted}).text()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(series))


def kinds(status: Status) -> list[str]:
    return [trouble.kind for trouble in status.troubles]


def test_a_misspelt_target_is_reported_and_a_sample_that_has_it_ends_the_trouble(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path, MISSPELT) as hosted:
            await hosted.learn(lines(rows(150)))
            told = "none of the 150 samples so far has the target 'clas'; their columns are x, w, y"
            await until(lambda: any(told in one.message for one in hosted.status().troubles))
            (trouble,) = hosted.status().troubles
            assert (trouble.kind, trouble.refuses) == ("target", False)
            assert sample_value(hosted, 'streamnet_trouble{model="spam",trouble="target"}') == 1
            await hosted.learn(lines(rows(100)))
            await until(lambda: "'clas'" in (hosted.status().refusing or ""))
            assert sample_value(hosted, 'streamnet_refusing{model="spam"}') == 1
            with pytest.raises(ConflictError, match="none has the target 'clas'"):
                await hosted.learn(lines(rows(1)))
        async with hosting(tmp_path, MISSPELT) as hosted:  # nor after a restart
            await until(lambda: "'clas'" in (hosted.status().refusing or ""))
            await hosted.learn(lines([{"x": 1, "w": "u", "clas": "a"}] * 3))
            await until(lambda: hosted.status().scored == 3)
            await until(lambda: not hosted.status().troubles)
            status = hosted.status()
            assert (status.learned, status.unlabeled, status.refusing) == (253, 250, None)

    run(main)


def test_with_a_task_samples_without_the_target_are_a_trouble_and_not_refused(
    run: Runner, tmp_path: Path
) -> None:
    settings = settings_of(source={"target": "clas", "task": "classification"})

    async def main() -> None:
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(rows(120))
            await until(lambda: hosted.status().unlabeled == 120)
            (trouble,) = hosted.status().troubles
            assert (trouble.kind, trouble.refuses) == ("target", False)
            assert "none of the 120 samples" in trouble.message

    run(main)


def test_labels_that_change_after_many_samples_show_in_the_window_and_are_a_trouble(
    run: Runner, tmp_path: Path
) -> None:
    # The last label is right in 7 of 8 of these, and nothing else says what comes next.
    noise = [row | {"y": "abc"[i // 8 % 3]} for i, row in enumerate(rows(260))]
    settings = settings_of(evaluation={"window": 250})

    async def main() -> Status:
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(rows(3000))
            await learned(hosted, 3000)
            before = hosted.status()
            assert before.sliding is not None
            assert (before.troubles, before.sliding.samples) == ([], 250)
            await hosted.learn(noise)
            await until(lambda: hosted.status().scored >= 3260)
            series = 'streamnet_served{horizon="sliding",model="spam"}'
            assert sample_value(hosted, series) == hosted.status().sliding.served  # type: ignore[union-attr]
            return hosted.status()

    status = run(main)
    assert status.sliding is not None
    assert status.fading is not None
    assert status.served is not None
    assert status.sliding.served is not None
    assert status.served > 0.9
    assert status.sliding.served < 0.8
    assert status.served > (status.fading.served or 0) > status.sliding.served
    assert kinds(status) == ["score"]
    assert "over the last 250 samples accuracy is" in status.troubles[0].message


def test_rejected_records_have_a_time_and_too_many_are_a_trouble(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(64))
            await learned(hosted, 64)
            for reason in ("json", "number", "target-missing"):
                series = f'streamnet_rejected_total{{model="spam",reason="{reason}"}}'
                assert sample_value(hosted, series) == 0  # so that increase() sees the first one
            before = time()
            await hosted.learn(b"\x1f\x8b\n" * 500)
            await until(lambda: hosted.rejected().total == 500)
            when = hosted.rejected().last[-1].time
            assert when is not None
            assert before <= when <= time()
            assert b'"time":' in hosted.dead_letters.read_bytes()
            await until(lambda: "rejected" in kinds(hosted.status()))

    run(main)


def test_the_beginning_and_the_end_of_a_trouble_are_logged_with_the_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = EventLog()
    troubles = TroubleLog("spam", events, clock=iter([1.0, 2.0, 3.0, 4.0]).__next__)
    with caplog.at_level(logging.INFO, "streamnet.daemon"):
        troubles.update({"disk": Finding("no space", refuses=True)})
        troubles.update({"disk": Finding("no space at all", refuses=True)})
        troubles.update({})
        troubles.update({"disk": Finding("no space")})
    told = [
        (r.getMessage(), r.levelname, vars(r)["model"], vars(r)["change"]) for r in caplog.records
    ]
    assert told == [
        ("model spam: no space", "WARNING", "spam", "began"),
        ("model spam: no space at all (it has ended)", "INFO", "spam", "ended"),
        ("model spam: no space", "WARNING", "spam", "began"),
    ]
    assert [trouble.since for trouble in troubles.current] == [4.0]
    assert [event.data["change"] for event in events._kept] == ["began", "ended", "began"]


def test_what_has_to_last_is_no_trouble_before_it_has() -> None:
    troubles = TroubleLog("spam", EventLog(), clock=iter([1.0, 5.0, 8.0, 11.0, 18.0]).__next__)
    full = {"queue": Finding("full", refuses=True, patience=10.0)}
    found = []
    for present in (full, full, {}, full, full):  # it was full for 4 s, then only for 7 s
        troubles.update(present)  # type: ignore[arg-type]
        found.append((len(troubles.current), troubles.refusing))
    assert found == [(0, "full"), (0, "full"), (0, None), (0, "full"), (0, "full")]
    troubles = TroubleLog("spam", EventLog(), clock=iter([1.0, 11.0]).__next__)
    troubles.update(full)  # type: ignore[arg-type]
    troubles.update(full)  # type: ignore[arg-type]
    assert [trouble.since for trouble in troubles.current] == [1.0]


def test_how_long_labels_take_is_measured_and_known_after_a_restart(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(64))
            await hosted.published()
            predictions = hosted.predict([{"x": 0.5}])
            await hosted.remember(["a"], [{"x": 0.5}], predictions)
            assert hosted.status().label_delay is None
            before = time()
            await hosted.label([("a", "b")])
            delay = hosted.status().label_delay
            assert delay is not None
            assert 0 <= delay <= time() - before + 60
        async with hosting(tmp_path) as hosted:
            assert hosted.status().label_delay == delay

    run(main)


def test_events_of_troubles_are_in_the_log_of_the_model(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path, MISSPELT) as hosted:
            await hosted.learn(lines(rows(150)))
            await until(lambda: hosted.status().troubles)
            event = last_events(hosted, 1)[0]
            assert (event.kind, event.data["trouble"]) == ("trouble", "target")

    run(main)
