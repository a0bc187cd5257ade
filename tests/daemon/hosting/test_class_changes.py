"""Classes that are merged or retired over HTTP: journaled, learned from there on, and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamnet.client.schemas import ClassChangeReply, ClassLine, Outcome
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.errors import ConfigurationError, NotReadyError
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, last_events, learned, rows, settings_of, until


async def settled(hosted: HostedModel) -> None:
    await until(lambda: not hosted.queued)


def changes_of(hosted: HostedModel) -> dict[str, str | None]:
    classes = hosted.classes() or []
    return {
        one.label: one.merged_into for one in classes if one.retired or one.merged_into is not None
    }


def test_a_class_is_merged_and_everything_shows_it(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            with pytest.raises(NotReadyError, match="nothing was learned"):
                await hosted.change_classes("c", "b")
            await hosted.learn(rows(300))
            await learned(hosted, 300)
            await until(lambda: hosted.status().scored == 300)
            before = hosted.measures()
            assert await hosted.change_classes("c", "b") == ClassChangeReply("c", "b", 300)
            await settled(hosted)
            assert hosted.measures() == before
            assert await hosted.change_classes("c", "b") == ClassChangeReply("c", "b", None)
            await hosted.learn(rows(100, 300))
            await learned(hosted, 400)
            await until(lambda: hosted.status().scored == 400)
            lines = hosted.classes() or []
            counts = [sum(row["y"] == label for row in rows(300)) for label in "abc"]
            counts[1] += sum(row["y"] in "bc" for row in rows(100, 300))
            counts[0] += sum(row["y"] == "a" for row in rows(100, 300))
            labels = [row["y"] for row in rows(300)]
            ordered = sorted("abc", key=labels.index)
            assert lines == [
                ClassLine(label, counts["abc".index(label)], "b" if label == "c" else None)
                for label in ordered
            ]
            await until(lambda: any(e.kind == "classes" for e in last_events(hosted, 1000)))
            (event,) = [e for e in last_events(hosted, 1000) if e.kind == "classes"]
            assert event.data == {"number": 300, "label": "c", "into": "b"}
            history = hosted.history()
            assert history is not None
            assert [(m.number, m.text) for m in history.marks if m.kind == "classes"] == [
                (300, "'c' merged into 'b'")
            ]
            await until(lambda: hosted.champion() is not None)
            await until(lambda: "c" not in hosted.champion().labels)  # type: ignore[union-attr]
            predictions = hosted.predict(rows(20))
            assert "c" not in predictions.labels
            assert predictions.probabilities is not None
            assert predictions.probabilities.sum(axis=1) == pytest.approx([1.0] * 20)

    run(main)


def test_a_retired_class_is_rejected_also_after_a_restart(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(200))
            await learned(hosted, 200)
            await hosted.change_classes("c")
            await settled(hosted)
            assert changes_of(hosted) == {"c": None}
            await until(lambda: hosted.status().scored == 200)
            bits = hosted.measures()
        async with hosting(tmp_path) as hosted:
            await until(lambda: hosted.classes() is not None)
            await settled(hosted)
            await until(lambda: hosted.status().scored == 200)
            assert changes_of(hosted) == {"c": None}
            assert hosted.measures() == bits
            await hosted.learn([*rows(10), {"x": 0.5, "w": "u", "y": "c"}])
            await settled(hosted)
            wanted = 1 + sum(row["y"] == "c" for row in rows(10))
            await until(lambda: len(hosted.rejected().last) == wanted)
            assert hosted.rejected().by_reason == {"retired-class": wanted}
            assert (
                hosted.rejected().last[-1].detail == "label 'c' is that of a class that is retired"
            )
            assert hosted.status().accepted == 211
            assert hosted.status().learned == 211 - wanted
            for label, into in (("b", "c"), ("x", "b")):
                with pytest.raises(
                    ConfigurationError, match=r"but that class is retired|must be a"
                ):
                    await hosted.change_classes(label, into)

    run(main)


def test_of_contradictory_changes_that_wait_the_first_one_counts(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(200))
            await learned(hosted, 200)
            await hosted.pause()
            for label, into in (("c", "b"), ("b", "c"), ("c", "a")):
                assert (await hosted.change_classes(label, into)).record is not None
            assert changes_of(hosted) == {}
            await hosted.resume()
            await settled(hosted)
            assert changes_of(hosted) == {"c": "b"}
            assert hosted.rejected().by_reason == {"class-change": 2}
            assert [letter.raw for letter in hosted.rejected().last] == ["b", "c"]

    run(main)


def test_a_late_label_is_read_as_what_its_class_is_merged_into(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(200))
            await learned(hosted, 200)
            await hosted.published()
            await hosted.remember(["1", "2"], rows(2), hosted.predict(rows(2)))
            await hosted.change_classes("c", "b")
            await hosted.change_classes("a")
            assert await hosted.label([("1", "c"), ("2", "a")]) == [Outcome.JOINED] * 2
            await settled(hosted)
            await until(lambda: hosted.status().requested == 1)
            assert hosted.rejected().by_reason == {"retired-class": 1}
            counts = {one.label: one.samples for one in hosted.classes() or []}
            assert counts["b"] == 1 + sum(row["y"] == "b" for row in rows(200))

    run(main)


def test_numbers_have_no_classes(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        settings = settings_of(source={"target": "x", "task": "regression"})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(rows(20))
            await learned(hosted, 20)
            assert hosted.classes() == []
            with pytest.raises(ConfigurationError, match="the task is regression"):
                await hosted.change_classes("a", "b")

    run(main)
