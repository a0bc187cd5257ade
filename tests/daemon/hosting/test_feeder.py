"""Files of a model's run file are learned like samples that are sent, each of them once."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, final

import anyio
import pytest

from streamnet.client.schemas import Feed, Status
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.durability.files import FileSystem
from streamnet.errors import BusyError, ConfigurationError
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.rejections import Rejections
from streamnet.samples import DeadLetter
from streamnet.settings.daemon import ModelSettings, parse, parse_model
from streamnet.sources import open_files
from streamnet.sources.columns import Columns
from tests.conftest import Runner
from tests.daemon.hosted_models import TABLES, hosting, learned, rows, until
from tests.daemon.kills import left
from tests.daemon.stand_ins import learned_model
from tests.durability.disks import Faulty

HEADER = "x,day,w,note,y\n"


@final
class FullForAWhile(Faulty):
    """The real disk, which refuses some writes to the journal and then takes them."""

    def __init__(self) -> None:
        super().__init__(FileSystem(), -1, "ENOSPC")
        self.written = self.refused = 0

    def write(self, handle: int, data: bytes) -> int:
        self.written += 1
        if self.written in (8, 9, 15):
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(handle, data)


def line(i: int) -> str:
    day = f"2026-03-{1 + i % 28:02d}T{i % 24:02d}:30:00Z"
    number = "" if i % 11 == 5 else f"{i % 7 / 7}"
    label = "" if i % 13 == 7 else "abc"[i * i % 7 % 3]
    return f"{number},{day},{'uv'[i % 2]},{i % 3},{label}\n"


def text(count: int, *, bad: bool = True) -> str:
    """Lines of a file, of which some are none, and some have no label."""
    return HEADER + "".join(
        "nonsense,1\n" if bad and i % 97 == 13 else line(i) for i in range(count)
    )


def fed(*files: Path, **tables: dict[str, Any]) -> ModelSettings:
    """Settings that only a run file may have."""
    given = {"source": {"target": "y", "files": [str(file) for file in files]}} | tables
    given["source"] = {"target": "y", "files": [str(f) for f in files]} | tables.get("source", {})
    return ModelSettings.model_validate(
        {name: TABLES.get(name, {}) | given.get(name, {}) for name in {*TABLES, *given}}
    )


def feed_of(hosted: HostedModel) -> Feed:
    (found,) = hosted.status().feeds
    return found


async def fed_to(hosted: HostedModel, count: int) -> None:
    """Wait until so many records are in the journal, or there are no more."""
    await until(lambda: feed_of(hosted).records >= count or feed_of(hosted).state == "ended")


async def ended(hosted: HostedModel) -> None:
    await until(lambda: feed_of(hosted).state != "reading" and not hosted.queued)


def _scored_all(status: Status) -> bool:
    return status.scored + status.unlabeled == status.learned


def test_a_file_is_learned_to_its_end_as_by_a_replay(run: Runner, tmp_path: Path) -> None:
    """Against a pipeline that reads the file itself: all scores and all rejected records agree."""

    async def main() -> None:
        (tmp_path / "a.csv").write_text(text(1500))
        settings = fed(tmp_path / "a.csv")
        async with hosting(tmp_path / "model", settings) as hosted:
            await ended(hosted)
            await hosted.published()
            await until(lambda: _scored_all(hosted.status()))
            status, feed, rejected = hosted.status(), feed_of(hosted), hosted.rejected()
            history = hosted.history()
            fields = hosted.published_model().fields
        assert feed.state == "ended"
        assert (feed.records, feed.stream) == (1500, str(tmp_path / "a.csv"))

        letters: list[DeadLetter] = []
        pipeline = Pipeline(
            open_files([tmp_path / "a.csv"], columns=Columns(target="y")),
            candidates=[table.build() for table in settings.population.candidate or ()],
            seed=3,
            round_size=64,
            evolution={"every": 0},
            rejections=Rejections(share=1.0),
            sinks=(lambda served: letters.extend(served.predicted.encoded.block.rejected),),
        )
        report = (await pipeline.run()).report
        assert status.learned == report["learned"] == 1500 - len(letters)
        assert status.served == report["served"]["accuracy"]
        assert status.unlabeled == report["unlabeled"] > 100
        assert status.rejected == dict(pipeline.rejections.reasons)
        assert [row.line for row in rejected.last] == [letter.line for letter in letters]
        assert rejected.last[0].source == str(tmp_path / "a.csv")
        assert rejected.last[0].raw == "nonsense,1"
        assert pipeline.schema is not None
        assert fields == pipeline.schema.fields
        assert history is not None

    run(main)


def test_senders_have_space_while_a_file_is_read(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "a.csv").write_text(text(3000, bad=False))
        settings = fed(tmp_path / "a.csv", intake={"max_queued": 64})
        async with hosting(tmp_path / "model", settings) as hosted:
            sent = 0
            for start in range(0, 100, 5):
                while True:
                    try:
                        sent += (await hosted.learn(rows(5, start), durable=False)).accepted
                        break
                    except BusyError:
                        await anyio.sleep(0.001)
            was_reading = feed_of(hosted).state == "reading"
            await ended(hosted)
            assert was_reading
            assert hosted.status().learned == 3000 + sent == 3100

    run(main)


def test_a_file_uses_half_of_the_queue(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "a.csv").write_text(text(500, bad=False))
        settings = fed(tmp_path / "a.csv", intake={"max_queued": 100})
        async with hosting(tmp_path / "model", settings) as hosted:
            hosted.current_run().source.pause()
            await until(lambda: hosted.queued >= 50)
            sent = 100 - hosted.queued
            for _ in range(sent):
                await hosted.learn(rows(1), durable=False)
            assert hosted.queued == 100
            assert feed_of(hosted).state == "reading"
            with pytest.raises(BusyError):
                await hosted.learn(rows(1))
            hosted.current_run().source.resume()
            await ended(hosted)
            assert hosted.status().learned == 500 + sent

    run(main)


def test_a_paused_model_reads_nothing_until_it_is_resumed(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "a.csv").write_text(text(500, bad=False))
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "paused").touch()
        async with hosting(tmp_path / "model", fed(tmp_path / "a.csv")) as hosted:
            await until(lambda: feed_of(hosted).connected)
            assert feed_of(hosted).state == "paused"
            await anyio.sleep(0.1)
            assert feed_of(hosted).records == 0
            await hosted.resume()
            await ended(hosted)
            assert hosted.status().learned == 500

    run(main)


def test_a_followed_file_is_resumed_after_a_stop(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "live.csv"
        path.write_text(text(300))
        settings = fed(path, source={"follow": True})
        for count in (300, 500, 900):
            async with hosting(tmp_path / "model", settings) as hosted:
                await fed_to(hosted, count)
                with path.open("a") as file:
                    file.write("".join(line(i) for i in range(100)))
                await fed_to(hosted, count + 100)
                await until(lambda: not hosted.queued)
                assert feed_of(hosted).state == "reading"
            with path.open("a") as file:
                file.write("".join(line(i) for i in range(100 if count == 300 else 300)))

    run(main)


def test_a_failing_file_does_not_stop_the_model(run: Runner, tmp_path: Path) -> None:
    """A followed file that is cut: the same message as elsewhere, and senders are served."""

    async def main() -> None:
        path = tmp_path / "live.csv"
        path.write_text(text(300))
        settings = fed(path, source={"follow": True})
        async with hosting(tmp_path / "model", settings) as hosted:
            await until(lambda: feed_of(hosted).records == 300)
            path.write_text(HEADER)
            await until(lambda: feed_of(hosted).state == "failed")
            assert str(path) in str(feed_of(hosted).failure)
            assert hosted.state == "learning"
            await hosted.learn(rows(20))
            await learned(hosted, 300 - 3 + 20)

    run(main)


def test_a_file_that_appears_late_is_read_when_the_model_is_resumed(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path / "model", fed(tmp_path / "a.csv")) as hosted:
            await until(lambda: feed_of(hosted).state == "failed")
            (tmp_path / "a.csv").write_text(text(200))
            await hosted.resume()
            await ended(hosted)
            assert feed_of(hosted).records == 200

    run(main)


def test_too_many_rejected_records_stop_the_file_and_none_is_lost(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        many = HEADER + "".join(line(i) if i % 3 else "nonsense\n" for i in range(1000))
        (tmp_path / "a.csv").write_text(many)
        settings = fed(tmp_path / "a.csv", source={"rejected_window": 100})
        async with hosting(tmp_path / "model", settings) as hosted:
            await until(lambda: feed_of(hosted).state == "failed" and not hosted.queued)
            assert "of the last 100 records were rejected" in str(feed_of(hosted).failure)
            records = feed_of(hosted).records
            assert 0 < records < 200
            # Each time it is resumed it reads on, to the end.
            for _ in range(100):
                await hosted.resume()
                await until(lambda: feed_of(hosted).state != "reading" and not hosted.queued)
                if feed_of(hosted).state == "ended":
                    break
            assert feed_of(hosted).records == 1000
            assert hosted.status().learned == sum(1 for i in range(1000) if i % 3)

    run(main)


@pytest.mark.parametrize(
    "more", [{"epochs": 3}, {"limit": 700}, {"shuffle_buffer": 50}, {"epochs": 2, "limit": 300}]
)
def test_a_restart_changes_no_bit(run: Runner, tmp_path: Path, more: dict[str, int]) -> None:
    async def main() -> None:
        (tmp_path / "a.csv").write_text(text(1000))
        settings = fed(tmp_path / "a.csv", source=more, intake={"max_queued": 200})
        async with hosting(tmp_path / "whole", settings) as hosted:
            await ended(hosted)
            whole = hosted.status().learned
        for wanted in (100, 350, 600):
            async with hosting(tmp_path / "parts", settings) as hosted:
                await fed_to(hosted, wanted)
        async with hosting(tmp_path / "parts", settings) as hosted:
            await ended(hosted)
            assert hosted.status().learned == whole
        assert left(tmp_path / "parts") == left(tmp_path / "whole")

    run(main)


def test_a_disk_that_is_full_for_a_while_loses_no_sample(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "a.csv").write_text(text(1000, bad=False))
        files = FullForAWhile()
        settings = fed(tmp_path / "a.csv", intake={"max_queued": 100})
        async with hosting(tmp_path / "model", settings, files=files) as hosted:
            await ended(hosted)
            assert files.refused > 0
            assert hosted.status().learned == feed_of(hosted).records == 1000

    run(main)


def test_files_need_not_have_all_columns_of_a_start(run: Runner, tmp_path: Path) -> None:
    learned_model().save(tmp_path / "start.json")
    lines = (f"{i % 30},red,{'on' if i % 30 > 20 else 'off'}\n" for i in range(90))
    (tmp_path / "a.csv").write_text("x,shade,lit\n" + "".join(lines))
    source = {"target": "lit", "files": [str(tmp_path / "a.csv")]}
    start = {"start": str(tmp_path / "start.json")}
    settings = ModelSettings.model_validate({"source": source, "population": start})

    async def main() -> None:
        async with hosting(tmp_path / "model", settings) as hosted:
            await ended(hosted)
            await learned(hosted, 90)
            assert feed_of(hosted).records == 90

    run(main)


def test_only_a_run_file_may_name_files() -> None:
    named = {"source": {"target": "y", "files": ["/etc/passwd"]}}
    with pytest.raises(ConfigurationError, match="files cannot be named over HTTP"):
        parse_model(named)
    with pytest.raises(ConfigurationError, match="files cannot be named over HTTP"):
        parse_model({"source": {"target": "y"}, "population": {"start": "/etc/passwd"}})
    found = parse("[model.a.source]\ntarget = 'y'\nfiles = 'a.csv'\nfollow = true\n")
    assert found.model["a"].source.files == ("a.csv",)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("files = '-'", "a daemon has no such input"),
        ("files = 'a.svm'\nformat = 'libsvm'", "no names"),
        ("follow = true", "there are no source.files"),
    ],
)
def test_sources_that_a_daemon_cannot_use_are_refused(keys: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(f"[model.a.source]\ntarget = 'y'\n{keys}\n")
