"""Hosted models with a model for every key: learned, predicted, listed, forgotten, resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.predictions import predict_nothing
from streamnet.daemon.prometheus import Metrics
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import ConfigurationError, NotReadyError
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.modelfiles.model import Model
from streamnet.runs.keys import StoredKeys
from streamnet.runs.replay import replay
from streamnet.settings.daemon import ModelSettings
from tests.conftest import Runner
from tests.daemon.hosted_models import TABLES, hosting, learned, settings_of, until

Row = dict[str, Any]


def rows(count: int, start: int = 0) -> list[Row]:
    """Samples of 9 devices with levels of their own, far apart."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(start + count):
        device, x = int(rng.integers(9)), float(rng.normal())
        found.append({"device": device, "x": x, "y": 50.0 * device + (device - 4) * x})
    return found[start:]


def keyed(**tables: dict[str, Any]) -> ModelSettings:
    """Few keys are in memory at a time."""
    own: dict[str, Any] = {"keys": {"key": ["device"], "resident_keys": 4}}
    return settings_of(**own, **tables)


def list_scores(hosted: HostedModel) -> list[tuple[str, int, float | None]]:
    return [(one.key, one.samples, one.loss) for one in hosted.keys.rank(9).worst]


def test_keys_are_learned_as_in_a_replay_and_predicted_by_their_own_models(
    run: Runner, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(900)))

    async def main() -> list[tuple[str, int, float | None]]:
        async with hosting(tmp_path / "spam", keyed(evaluation={"interval": 0.8})) as hosted:
            with pytest.raises(NotReadyError, match="nothing was learned"):
                hosted.keys.rank(3)
            for start in range(0, 900, 75):
                await hosted.learn(rows(75, start))
            await learned(hosted, 900)
            await hosted.published()
            await until(lambda: hosted.published_model().about["samples"] == 900)
            samples = rows(60, 900)
            truth = np.array([row["y"] for row in samples])
            predictions = hosted.predict(samples)
            predicted = np.array(predictions.values)
            low, high = np.array(predictions.list_intervals()).T
            assert 0.6 < np.mean((low <= truth) & (truth <= high)) < 0.98
            assert (high - low).mean() < 0.1 * np.ptp(truth)
            shared = np.array(hosted.published_model().predict(samples))
            assert np.abs(predicted - truth).mean() < 0.3 * np.abs(shared - truth).mean()
            own = hosted.keys.encode("7", "json")
            assert own is not None
            alone = Model.from_document(SUFFIXES[".json"].decode(own, "7"))
            assert alone.key == "7"
            at = [i for i, row in enumerate(samples) if row["device"] == 7]
            expected = alone.predict([samples[i] for i in at])
            np.testing.assert_allclose(predicted[at], expected, rtol=1e-6)
            details = hosted.keys.describe("7")
            assert details is not None
            last = [row["y"] for row in rows(900) if row["device"] == 7][-1]
            assert details.targets["last target"] == last
            assert hosted.keys.describe("none") is None
            assert hosted.keys.encode("none", "json") is None
            with pytest.raises(ConfigurationError, match="it is the model of a key"):
                hosted.keys.encode("7", "c")
            summary = hosted.keys.rank(5)
            text = await Metrics(lambda: {"spam": hosted}).scrape()
            shown = [line for line in text.splitlines() if line.startswith("streamnet_key_loss{")]
            assert shown == [
                f'streamnet_key_loss{{key="{one.key}",model="spam",rank="{rank}"}} {one.loss!r}'
                for rank, keys in (("worst", summary.worst), ("best", summary.best))
                for one in keys
            ]
            assert len(shown) == 10
            return list_scores(hosted)

    scores = run(main)
    settings = {"candidate": TABLES["population"]["candidate"], "round_size": 64, "seed": 3}
    given = {"population.candidate": settings.pop("candidate"), **settings}
    report = replay(path, target="y", key=["device"], **given).report
    assert [(one["key"], one["samples"], one["loss"]) for one in report["keys"]["worst"]] == scores


def test_a_key_is_forgotten_in_its_place_also_when_the_journal_is_read_again(
    run: Runner, tmp_path: Path
) -> None:
    counts = {str(k): sum(row["device"] == k for row in rows(400)) for k in range(9)}
    counts["3"] = sum(row["device"] == 3 for row in rows(100, 300))

    async def begin() -> None:
        settings = keyed(state={"every_seconds": 3600.0})
        async with hosting(tmp_path / "spam", settings) as hosted:
            await hosted.learn(rows(300))
            await learned(hosted, 300)
            assert await hosted.keys.forget("none") is None
            reply = await hosted.keys.forget("3")
            assert reply is not None
            assert (reply.key, reply.record) == ("3", 300)
            await hosted.learn(rows(100, 300))
            await until(lambda: hosted.status().scored >= 400)
            assert hosted.status().keys == 9
            assert {key: samples for key, samples, _ in list_scores(hosted)} == counts
            kept.extend(list_scores(hosted))

    kept: list[tuple[str, int, float | None]] = []
    run(begin)
    checkpoints = tmp_path / "spam" / "state" / "checkpoints"
    generations = StateDirectory(tmp_path / "spam" / "state").generations
    assert len(generations.numbers()) > 1
    for number in generations.numbers()[1:]:  # as if it had been killed before them
        (checkpoints / f"{number:012d}.checkpoint").unlink()

    async def resume() -> None:
        async with hosting(tmp_path / "spam", keyed()) as hosted:
            await until(lambda: hosted.status().scored >= 400)
            assert list_scores(hosted) == kept

    run(resume)
    assert {
        one.key: one.samples for one in StoredKeys(generations.folder.parent).list_scores()
    } == (counts)


def test_late_labels_teach_keys_and_count_by_the_predictions_that_callers_got(
    run: Runner, tmp_path: Path
) -> None:
    given = rows(600)
    asked = [{name: row[name] for name in ("device", "x")} for row in given]
    labels = [(str(i), row["y"]) for i, row in enumerate(given)]
    errors: list[float] = []
    settings = keyed(state={"every_seconds": 3600.0})

    async def begin() -> None:
        async with hosting(tmp_path / "spam", settings) as hosted:
            for start in range(0, 600, 50):  # labels come some 50 samples after their predictions
                part = slice(start, start + 50)
                predictions = predict_nothing(50) if start < 100 else hosted.predict(asked[part])
                ids = [identity for identity, _ in labels[part]]
                answers = await hosted.remember(ids, asked[part], predictions)
                truths = [row["y"] for row in given[part]]
                pairs = zip(answers, truths, strict=True)
                errors.extend(abs(a.value - y) for a, y in pairs if a.value is not None)
                if start:
                    await hosted.label(labels[start - 50 : start])
                    await learned(hosted, start)
                    await hosted.published()
            assert hosted.status().pending == 50
            assert await hosted.keys.forget("3") is not None
            await hosted.label(labels[550:])
            await until(lambda: hosted.status().scored == 500)
            status = hosted.status()
            assert status.requested == 500  # null answers of numbers do not count
            mean = np.mean(errors)
            assert status.served == pytest.approx(mean)
            assert mean < 0.3 * np.abs(np.array([row["y"] for row in given])).mean()
            known = {key: samples for key, samples, _ in list_scores(hosted)}
            assert "3" not in known
            for device in (0, 8):
                assert known[str(device)] == sum(row["device"] == device for row in given)
            kept.extend(list_scores(hosted))
            served.append(status.served)

    kept: list[tuple[str, int, float | None]] = []
    served: list[Any] = []
    run(begin)
    folder = tmp_path / "spam" / "state"
    for number in StateDirectory(folder).generations.numbers()[1:]:  # as if killed before them
        (folder / "checkpoints" / f"{number:012d}.checkpoint").unlink()

    async def resume() -> None:
        async with hosting(tmp_path / "spam", settings) as hosted:
            await until(lambda: hosted.status().scored == 500)
            assert list_scores(hosted) == kept
            assert hosted.status().served == served[0]

    run(resume)


def test_a_model_without_keys_says_so(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path / "spam") as hosted:
            with pytest.raises(ConfigurationError, match=r"model spam has no keys\.key"):
                hosted.keys.rank(3)

    run(main)


def test_a_model_to_start_from_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"population\.start is 'a.json', but cannot be"):
        keyed(population={"start": "a.json"})


def test_a_model_whose_learner_refuses_keys_fails_before_the_first_sample(
    run: Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with hosting(tmp_path / "spam", keyed(selection={"serve": "champion"})) as hosted:
            await until(lambda: hosted.state == "failed")

    run(main)
    assert "serve is 'champion', but must be 'ensemble' with a key" in caplog.text
