"""A hosted model: samples, predictions, labels, backpressure and rejected records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import anyio
import numpy as np
import pytest
from msgspec.structs import replace

from streamnet.client.schemas import Outcome, Receipt, Status
from streamnet.daemon.hosting.hosted_model import HostedModel, check_backpressure
from streamnet.daemon.predictions import predict_nothing
from streamnet.errors import BusyError, ConfigurationError, ConflictError, NotReadyError
from streamnet.modelfiles import Model
from streamnet.online.estimators import OnlineClassifier
from streamnet.pipeline import Pipeline
from streamnet.pipeline.rejections import STATE_DEAD_LETTERS
from streamnet.reporting.outcomes import Confusion, Residuals
from streamnet.sources import IterableSource
from tests.conftest import Runner
from tests.daemon.app_client import client_beside
from tests.daemon.hosted_models import (
    hosting,
    hosting_all,
    last_events,
    learned,
    left,
    rows,
    settings_of,
    until,
)

T = TypeVar("T")


def there(value: T | None) -> T:
    """What surely is not None."""
    assert value is not None
    return value


def test_samples_sent_in_pieces_are_learned_as_by_a_replay(run: Runner, tmp_path: Path) -> None:
    stream = rows(500)

    async def main() -> tuple[Any, Status]:
        async with hosting(tmp_path) as hosted:
            text = "".join(json.dumps(row) + "\n" for row in stream[:100]).encode()
            first = await hosted.learn(text)
            await hosted.learn(stream[100:101], durable=False)
            last = await hosted.learn(stream[101:])
            assert (first.first, first.last, last.first, last.last) == (0, 99, 101, 499)
            await learned(hosted, 500)
            champion = there(await there(hosted.model_run).pipeline.glance())
            return champion.model.outputs(stream), hosted.status()

    outputs, status = run(main)
    assert (status.accepted, status.learned, status.in_flight) == (500, 500, 0)
    pipeline = Pipeline(
        IterableSource(stream, target="y"),
        candidates=[table.build() for table in settings_of().population.candidate or ()],
        evolution={"every": 0},
        round_size=64,
        seed=3,
    )
    np.testing.assert_array_equal(outputs, run(pipeline.run).model.outputs(stream))


def test_a_stopped_model_resumes_bit_for_bit(run: Runner, tmp_path: Path) -> None:
    async def main(folder: Path, stops: list[int]) -> None:
        for start, stop in zip([0, *stops], [*stops, 600], strict=True):
            async with hosting(folder) as hosted:
                await hosted.learn(rows(stop - start, start))
                if stop == 600:  # otherwise it is stopped wherever it is
                    await learned(hosted, 600)

    run(main, tmp_path / "whole", [])
    run(main, tmp_path / "stopped", [1, 250, 251])
    stopped, whole = left(tmp_path / "stopped"), left(tmp_path / "whole")
    assert stopped[0] == whole[0] == 600
    assert stopped[1] == whole[1]


def test_it_predicts_as_soon_as_something_is_learned(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            with pytest.raises(NotReadyError, match="nothing was learned"):
                hosted.predict({"x": 1})
            assert hosted.champion() is None
            await hosted.learn(rows(3))
            await hosted.published()
            predictions = hosted.predict(rows(5))
            assert predictions.probabilities is not None
            np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1.0)
            assert set(predictions.values) <= set("abc")
            generations = [predictions.generation]
            for part in range(20):
                await hosted.learn(rows(50, 50 * part))
                await anyio.sleep(0.01)
                generations.append(hosted.predict(rows(1)[0]).generation)
            assert generations == sorted(generations)
            assert there(hosted.champion()).generation >= generations[-1]
            last = generations[-1]
        async with hosting(tmp_path) as hosted:
            await hosted.published()
            assert hosted.predict(rows(1)).generation > last

    run(main)


def test_a_key_is_accepted_once(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            receipt = await hosted.learn(rows(10), key="k")
            again = await hosted.learn(rows(10), key="k", durable=False)
            assert again == replace(receipt, duplicate=True)
            with pytest.raises(ConflictError, match="key 'k' was used for other samples"):
                await hosted.learn(rows(11), key="k")
        async with hosting(tmp_path) as hosted:
            assert await hosted.learn(rows(10), key="k") == replace(receipt, duplicate=True)
            assert hosted.status().accepted == 10
            assert hosted.status().duplicates == 1

    run(main)


def test_labels_join_late_and_out_of_order_and_after_a_restart(run: Runner, tmp_path: Path) -> None:
    asked = [{key: row[key] for key in ("x", "w")} for row in rows(4)]

    before = 0.0

    async def main() -> None:
        nonlocal before
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(200))
            await learned(hosted, 200)
            await hosted.published()
            served = there(hosted.outcomes())
            assert isinstance(served, Confusion)
            before = np.trace(served.matrix)
            answers = hosted.predict(asked)
            kept = await hosted.remember("abcd", asked, answers)
            assert kept == answers.rows()
            later = hosted.predict(asked)._replace(generation=99)
            assert await hosted.remember("ab", asked[:2], later) == kept[:2]
            with pytest.raises(ConflictError, match="id 'a' was used for another sample"):
                await hosted.remember("a", asked[1:2], later)
            assert await hosted.label([("d", "a")]) == [Outcome.JOINED]
            await learned(hosted, 201)
        async with hosting(tmp_path) as hosted:
            labels = [("c", "b"), ("a", "b"), ("d", "a"), ("d", "b"), ("e", "a")]
            outcomes = await hosted.label(labels)
            assert outcomes == ["joined", "joined", "duplicate", "contradictory", "early"]
            await learned(hosted, 203)
            await until(lambda: hosted.status().scored == 203)
            status = hosted.status()
            assert status.pending == 1
            assert status.outcomes["joined"] == 3
            truths = ["b", "b", "a"]
            values = [kept[place].value for place in (2, 0, 3)]
            hits = sum(a == b for a, b in zip(values, truths, strict=True))
            served = there(hosted.outcomes())
            assert (status.scored, status.requested) == (203, 3)
            assert isinstance(served, Confusion)
            assert np.trace(served.matrix) == before + hits
            with pytest.raises(ConflictError, match="id 'a' was used before, and is settled"):
                await hosted.remember("a", asked[:1], later)

    run(main)


@pytest.mark.parametrize("early", [True, False])
def test_a_model_fed_only_by_predictions_and_their_labels_starts(
    run: Runner, tmp_path: Path, early: bool
) -> None:
    samples = [{key: row[key] for key in ("x", "w")} for row in rows(300)]
    labels = [(str(i), row["y"]) for i, row in enumerate(rows(300))]
    ids = [identity for identity, _ in labels]

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await until(lambda: hosted.has_learned_nothing)
            if early:
                assert await hosted.label(labels[:200]) == ["early"] * 200
                assert hosted.status().early == 200
            kept = await hosted.remember(ids, samples, predict_nothing(300))
            assert kept == predict_nothing(300).rows()
        async with hosting(tmp_path) as hosted:
            outcomes = await hosted.label(labels)
            assert outcomes == ["duplicate" if early else "joined"] * 200 + ["joined"] * 100
            await learned(hosted, 300)
            await hosted.published()
            assert not hosted.has_learned_nothing
            status = hosted.status()
            assert (status.task, status.pending, status.early) == ("classification", 0, 0)
            assert status.outcomes["joined"] == 300
            assert hosted.predict(samples).generation > 0

    run(main)


def test_large_batches_are_accepted_in_pieces(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(20))
            await hosted.published()
            many = rows(2500)
            ids = [str(number) for number in range(len(many))]
            kept = await hosted.remember(ids, many, hosted.predict(many))
            assert len(kept) == 2500
            outcomes = await hosted.label([(one, "a") for one in reversed(ids)])
            assert outcomes == ["joined"] * 2500
            assert await hosted.label([]) == []
            await learned(hosted, 2520)
            assert there(hosted.model_run).committer.journal.synced > 0

    run(main)


def test_a_prediction_without_a_label_expires(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        settings = settings_of(intake={"max_age": 0.3, "publish_seconds": 0.05})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(rows(20))
            await hosted.published()
            await hosted.remember("a", [{"x": 1}], hosted.predict([{"x": 1}]))
            await until(lambda: hosted.status().outcomes.get("given_up") == 1)
            assert await hosted.label([("a", "b")]) == [Outcome.EXPIRED]

    run(main)


def test_samples_without_a_label_are_learned_as_by_an_estimator(
    run: Runner, tmp_path: Path
) -> None:
    """They are neither rejected nor scored, but change scales: predictions agree to the bit."""
    given = [
        row if i % 3 else {name: value for name, value in row.items() if name != "y"}
        for i, row in enumerate(rows(600))
    ]
    single = OnlineClassifier(
        [table.build() for table in settings_of().population.candidate or ()],
        seed=3,
        evolution={"every": 0},
    )
    for row in given:
        single.learn_one({name: row.get(name) for name in ("x", "w")}, row.get("y"))

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            receipt = await hosted.learn(given[:100])
            assert (receipt.accepted, receipt.unlabeled, receipt.rejected) == (100, 34, 0)
            for start in range(100, 600, 50):
                await hosted.learn(given[start : start + 50])
            await learned(hosted, 600)
            await until(lambda: hosted.status().scored == 400)
            status = hosted.status()
            assert (status.accepted, status.unlabeled, status.requested) == (600, 200, 0)
            assert (status.rejected, status.pending) == ({}, 0)
            assert hosted.measures() == single.served

    run(main)


def test_before_the_first_label_nothing_is_learned_to_predict_with(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = settings_of(source={"target": "y", "task": "classification"})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn([{"x": 1.0}] * 10)
            await learned(hosted, 10)
            assert hosted.has_learned_nothing
            await hosted.learn(rows(10))
            await hosted.published()
            assert not hosted.has_learned_nothing

    run(main)


def test_rejected_samples_are_counted_and_kept(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            strange: list[Any] = [{"x": 1}, *rows(5), 7, {"x": 1, "y": None}]
            receipt = await hosted.learn(strange)
            assert receipt == Receipt(7, 1, False, 0, 7, unlabeled=2)
            await until(lambda: not hosted.queued and len(hosted.rejected().last) == 1)
            assert [letter.raw for letter in hosted.rejected().last] == ["7"]
            text = b'{"x": 1\n\n[1]\n{"x": 1}\n{"x": "text", "y": "a"}'
            assert await hosted.learn(text) == Receipt(2, 2, False, 8, 11)
            await until(lambda: not hosted.queued and len(hosted.rejected().last) == 4)
            rejected = hosted.rejected()
            assert rejected.total == 4
            assert rejected.by_reason == {"json": 3, "number": 1}
            assert '{"x": 1' in [letter.raw for letter in rejected.last]
            assert (await hosted.learn(b" \n")).first is None
            assert (await hosted.learn([])).accepted == 0
            with pytest.raises(ConfigurationError, match="line 2 is longer than 1,048,576 bytes"):
                await hosted.learn(b'{"x": 1}\n' + b" " * 10 + b"1" * (1 << 21))
            with pytest.raises(ConfigurationError, match="sample 0: it can't be encoded as JSON"):
                await hosted.learn([{"x": object(), "y": "a"}])

    run(main)


def test_samples_beyond_the_queue_are_refused_and_pausing_keeps_the_others(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path, settings_of(intake={"max_queued": 100})) as hosted:
            await hosted.learn(rows(10))
            await learned(hosted, 10)
            await hosted.pause()
            await hosted.pause()
            assert hosted.state == "paused"
            await hosted.learn(rows(99))
            await hosted.learn(rows(1))
            with pytest.raises(
                BusyError, match="has 100 samples waiting to be learned; the limit is 100"
            ) as e:
                await hosted.learn(rows(1))
            assert 0.1 <= e.value.retry_after <= 60.0
            with pytest.raises(BusyError):
                await hosted.label([("a", "b")])
            assert hosted.status().learned == 10
        async with hosting(tmp_path, settings_of(intake={"max_queued": 100})) as hosted:
            await until(lambda: hosted.state == "paused")
            assert hosted.status().learned == 10
            await hosted.resume()
            await learned(hosted, 110)
            assert (await hosted.learn(rows(1))).first == 110
            kinds = [
                event.data["state"] for event in last_events(hosted, 9) if event.kind == "state"
            ]
            assert kinds == ["paused", "learning"]

    run(main)


def test_a_new_model_has_learned_nothing_not_an_unknown_number(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            status = hosted.status()
            assert not hosted.unknown_counts
            assert status.learned == status.switches == status.drifts == 0
            hosted.stop()
            await until(lambda: hosted.state == "stopped")
            assert "learned" in hosted.unknown_counts

    run(main)


def test_a_sender_should_retry_soon_if_the_pace_is_unknown(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path, settings_of(intake={"max_queued": 100})) as hosted:
            await hosted.pause()
            await hosted.learn(rows(100))
            with pytest.raises(BusyError) as caught:
                await hosted.learn(rows(1))
            assert caught.value.retry_after == 1.0

    run(main)


def test_contradictory_settings_are_reported_each_time(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path, settings_of(source={"drop": ["y"]})) as hosted:
            for _ in range(2):
                await until(lambda: hosted.state == "failed")
                assert hosted.failure == "drop has 'y', but that is the target"
                with pytest.raises(NotReadyError, match="model spam is failed: drop has 'y'"):
                    hosted.predict({"x": 1})
                await hosted.resume()

    run(main)


def test_status_champion_leaders_and_history_are_reported(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            assert hosted.history() is None
            assert hosted.outcomes() is None
            assert hosted.leaders() == []
            with pytest.raises(ConfigurationError, match="format is 'pickle', but must be"):
                hosted.encode_model("pickle")
            await hosted.learn(rows(640))
            await learned(hosted, 640)
            await until(lambda: hosted.status().generation)
            (tmp_path / "model.json").write_bytes(hosted.encode_model("json"))
            model = Model.load(tmp_path / "model.json")
            assert there(hosted.champion()).labels == list(model.labels)
            history = there(hosted.history())
            assert hosted.status().scored == 640
            assert history.samples[-1] == 640
            assert history.metric == "accuracy"
            weights = np.diff(history.samples, prepend=0)
            series = np.array(history.series["served"], np.float64)
            served = np.average(series, weights=weights)
            assert served == pytest.approx(hosted.status().served)
            assert {mark.kind for mark in history.marks} == {"champion"}
            confusion = hosted.outcomes()
            assert isinstance(confusion, Confusion)
            assert np.sum(confusion.matrix) == 640 - 1
            leaders = hosted.leaders()
            assert [row.champion for row in leaders].count(True) == 1
            assert sorted(row.candidate for row in leaders) == [0, 1]
            assert sum(there(row.weight) for row in leaders) == pytest.approx(1.0)
            tracks = there(hosted.scores())
            assert [one.track for one in tracks if one.served] == ["ensemble"]
            known = {one.track: one.overall["accuracy"] for one in tracks}
            status = hosted.status()
            assert known["ensemble"] == pytest.approx(status.served)
            assert {name: known[name] for name in status.baselines} == pytest.approx(
                status.baselines
            )
            overview = hosted.overview()
            assert overview.served == status.served
            assert overview.curve[-1] == pytest.approx(np.mean(series[-1:]))
            await until(lambda: hosted.status().checkpoint_age is not None)
            kinds = {event.kind for event in last_events(hosted, 100)}
            assert {"champion", "checkpoint", "state"} <= kinds

    run(main)


def test_insight_is_of_samples_with_late_labels_too(run: Runner, tmp_path: Path) -> None:
    asked = [{key: row[key] for key in ("x", "w")} for row in rows(2)]

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(200))
            await learned(hosted, 200)
            await hosted.published()
            await hosted.remember("ab", asked, hosted.predict(asked))
            await hosted.label([("a", "never seen")])
            recent = hosted.current_run().journal_output.recent
            await until(lambda: len(recent.cases()) == 201)
            due, insight = [hosted.is_insight_due], hosted.insight()
            assert [*due, hosted.is_insight_due] == [True, False]
            assert insight.samples == insight.permuted == 201
            late = {error.number: error.truth for error in insight.errors}
            assert late[200] == "never seen"
            assert there(insight.last)["x"] == asked[-1]["x"]

    run(main)


def test_explanations_are_not_counted_as_predictions(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path) as models, client_beside(models) as http:
            spam = await models.create("spam", settings_of())
            await spam.opened()
            await spam.learn(rows(100))
            await spam.published()
            body = {"samples": rows(2), "explain": True}
            answer = await http.post("/v1/models/spam/predict", json=body)
            assert all(answer.json()["explanations"])
            assert spam.status().predicted == 2
            assert there(spam.model_run).publisher.predicted == 2

    run(main)


def test_numbers_have_residuals(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn([{"x": i % 5, "y": 2.0 * (i % 5)} for i in range(300)])
            await learned(hosted, 300)
            await until(lambda: hosted.status().scored == 300)
            before = there(hosted.status().served)
            await hosted.published()
            found = hosted.outcomes()
            assert isinstance(found, Residuals)
            assert sum(found.counts) == 300
            assert there(hosted.history()).metric == "mae"
            predictions = hosted.predict([{"x": 1}])
            assert predictions.probabilities is None
            await hosted.remember("a", [{"x": 1}], predictions)
            await hosted.label([("a", 2)])
            error = abs(predictions.values[0] - 2.0)
            await learned(hosted, 301)
            await until(lambda: hosted.status().scored == 301)
            status = hosted.status()
            assert (status.scored, status.requested) == (301, 1)
            assert there(status.served) * 301 - before * 300 == pytest.approx(error)

    run(main)


def test_an_interval_is_computed_again_in_each_run_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reset, generations start again."""
    hosted = HostedModel("spam", settings_of(), tmp_path)
    errors = [-1.0, 1.0]
    monkeypatch.setattr(HostedModel, "outcomes", lambda _: Residuals(list(errors), [100]))
    first = hosted.interval(3)
    errors[:] = [-1000.0, 1000.0]
    assert hosted.interval(3) == first
    hosted.run_count = 2
    later = hosted.interval(3)
    assert first is not None
    assert later is not None
    assert later[1] > 100 * first[1]


def test_repeated_requests_are_answered_though_the_queue_is_full(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path, settings_of(intake={"max_queued": 100})) as hosted:
            await hosted.learn(rows(20))
            await learned(hosted, 20)
            await hosted.published()
            await hosted.remember(["a", "b"], rows(2), hosted.predict(rows(2)))
            await until(lambda: not hosted.queued)
            await hosted.pause()
            receipt = await hosted.learn(rows(99), key="k")
            assert await hosted.label([("a", "a")]) == [Outcome.JOINED]
            with pytest.raises(BusyError):
                await hosted.learn(rows(1), key="other")
            with pytest.raises(BusyError):
                await hosted.learn(rows(1))
            with pytest.raises(BusyError):
                await hosted.label([("a", "a"), ("b", "b")])
            assert await hosted.learn(rows(99), key="k") == replace(receipt, duplicate=True)
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
def test_a_sender_should_retry_when_a_tenth_of_the_queue_is_free(
    queued: int, pace: float, seconds: float
) -> None:
    check_backpressure("spam", queued=99, most=100, pace=pace)
    with pytest.raises(BusyError) as caught:
        check_backpressure("spam", queued=queued, most=100, pace=pace)
    assert caught.value.retry_after == pytest.approx(seconds)


def test_rejected_records_are_stored_once_across_restarts(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        for life in range(3):
            async with hosting(tmp_path) as hosted:
                for number in range(20):
                    place = 20 * life + number
                    await hosted.learn(b'{"x": 1, "y": "a"}\n[%d]\n' % place)
                await learned(hosted, 20 * (life + 1))
                await until(lambda: not hosted.queued)
            path = tmp_path / "state" / STATE_DEAD_LETTERS
            assert hosted.dead_letters == path
            letters = [json.loads(line) for line in path.read_bytes().splitlines()]
            assert [letter["raw"] for letter in letters] == [
                f"[{number}]" for number in range(20 * (life + 1))
            ]

    run(main)


def test_the_last_rejected_records_are_shown_once_across_restarts(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        for life in range(3):
            async with hosting(tmp_path) as hosted:
                await learned(hosted, 2 * life)
                assert len(hosted.rejected().last) == life
                await hosted.learn(b'{"x": 1, "y": "a"}\n[%d]\n{"x": 2, "y": "b"}\n' % life)
                await learned(hosted, 2 * (life + 1))
                # They are counted first, and shown at once after that.
                await until(lambda: len(hosted.rejected().last) > life)  # noqa: B023 - awaited
                told = hosted.rejected()
                assert told.total == len(told.last) == life + 1
                assert [letter.raw for letter in told.last] == [
                    f"[{number}]" for number in range(life + 1)
                ]

    run(main)
