"""The engine on small sets: what it promises, and what gopher-neural got wrong."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    mean_absolute_error,
    root_mean_squared_error,
)

from streamnet.datasets import Sample, Set
from streamnet.engine import Engine, Improvement
from streamnet.engine.contest import Contest
from streamnet.engine.data import DataSplit, split_data
from streamnet.engine.engine import evaluate_baselines
from streamnet.errors import ConfigurationError, DataError, NoCandidateError
from streamnet.metrics import Evaluation, RegressionEvaluation
from streamnet.modelfiles import Model
from streamnet.networks.population import Population
from streamnet.samples import Task
from streamnet.selection.criteria import find_criterion
from streamnet.settings.candidate import CandidateSettings
from tests.engine.sets import SONAR, WINE, moons, quick, slope


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in report.items() if "seconds" not in name}
    return kept | {"settings": {**report["settings"], "threads": 0}}


def test_a_learnable_set_is_learned(tmp_path: Path) -> None:
    engine = Engine(seed=1, tries=2)
    trained = engine.fit(moons(300))
    assert trained.evaluation.measures()["accuracy"] > 0.93
    assert (engine.winner, engine.evaluation) == (trained.model, trained.evaluation)
    trained.model.save(tmp_path / "model.json")
    again = Model.load(tmp_path / "model.json")
    rows = [{"x": 0.0, "y": 1.0}, {"x": 1.0, "y": -0.5}]
    assert again.predict(rows).tolist() == ["up", "down"]
    assert (again.outputs(rows) == trained.model.outputs(rows)).all()


def test_numbers_outside_0_to_1_are_learned() -> None:
    trained = Engine(seed=1, tries=2, epochs=30, regression_threshold=0.5).fit(slope(200))
    measures = trained.evaluation.measures()
    assert measures["r2"] > 0.97
    assert trained.report["evaluation"]["correct"] > 20


def test_the_outcome_does_not_depend_on_threads_and_is_the_same_each_time() -> None:
    reports = [quick(seed=3, threads=threads).fit(moons()).report for threads in (1, 2, 2)]
    plain = [json.dumps(without_times(report), sort_keys=True) for report in reports]
    assert plain[0] == plain[1] == plain[2]


def test_another_seed_splits_and_initializes_differently() -> None:
    values = [quick(seed=seed).fit(moons()).report["members"][0]["value"] for seed in (1, 2)]
    assert values[0] != values[1]


def test_the_reported_part_does_not_influence_the_choice() -> None:
    """Whatever becomes of its targets, history and model stay the same to the bit."""
    settings = quick().settings
    block = moons(100).block()
    parts = split_data(block, settings)
    assert parts.test is not None
    spoiled = replace(parts.test, target=np.full(len(parts.test), "up", object))

    def outcome(parts: DataSplit) -> tuple[list[Improvement], NDArray[np.float64]]:
        judge = find_criterion("distance")
        contest = Contest(Task.CLASSIFICATION, parts, judge, settings, None)
        anyio.run(contest.run)
        return contest.best_epochs.history, contest.model().outputs(block)

    history, outputs = outcome(parts)
    history_then, outputs_then = outcome(parts._replace(test=spoiled))
    assert history == history_then
    assert (outputs == outputs_then).all()


def test_initial_weights_differ_between_tries_and_agree_between_rates() -> None:
    settings = [CandidateSettings(hidden=(4,), learning_rate=rate) for rate in (0.1, 0.2, 0.1)]
    population = Population(settings, task=Task.REGRESSION, serials=[0, 0, 1])
    population.reserve(dense=3, rows=0, outputs=1)
    first, same, other = (population.extract(slot)["first"] for slot in range(3))
    assert (first == same).all()
    assert (first != other).any()


def test_gophers_protocol_trains_one_network_per_try_through_all_rates() -> None:
    engine = quick(protocol="gopher", epochs=2, learning_rate=0.4, decay=0.1, tries=3)
    report = engine.fit(moons()).report
    assert (report["candidates"], report["epochs"], report["passes"]) == (3, 8, 24)
    assert report["samples"] == {"training": 84, "validation": 36}
    assert report["reported"] == "validation"
    assert len(report["members"]) == 1
    settings = report["members"][0]["settings"]
    assert (settings["schedule"], settings["decay_steps"]) == ("linear", 2 * 84)
    assert settings["decay"] == pytest.approx(0.1)


def test_gophers_protocol_reports_the_validation_part() -> None:
    trained = quick(protocol="gopher", criterion="accuracy").fit(moons())
    best = trained.report["members"][0]["value"]
    assert trained.evaluation.measures()["accuracy"] == best


@pytest.mark.parametrize("name", ["accuracy", "f1", "simple", "distance", "gopher.accuracy"])
def test_the_history_only_ever_gets_better(name: Any) -> None:
    told: list[Improvement] = []
    engine = Engine(hidden=(8,), epochs=6, tries=2, criterion=name, on_improvement=told.append)
    engine.fit(moons())
    values = [one.value for one in told]
    assert tuple(told) == engine.history
    assert values == sorted(values, reverse=name == "distance")
    assert len(set(values)) == len(values) > 0


def test_rates_at_which_all_weights_explode_leave_no_winner() -> None:
    with pytest.raises(NoCandidateError, match="no network"):
        quick(learning_rate=1e6, decay=0.0, network={"loss": "squared"}).fit(slope())


def test_raw_targets_are_not_transformed() -> None:
    network = {"target_transform": "log"}
    with pytest.raises(ConfigurationError, match="target_transform is 'log', but must be 'none'"):
        quick(network=network, encoder={"target_scaling": "none"}).fit(slope())


def test_a_rate_at_which_weights_explode_does_not_win() -> None:
    engine = quick(learning_rate=1e5, decay=99999.9, tries=1, network={"loss": "squared"})
    trained = engine.fit(slope())
    assert [member["learning_rate"] for member in trained.report["members"]] == [0.1]


def test_a_decay_of_0_is_one_rate_and_ends() -> None:
    assert quick(decay=0.0, tries=1).fit(moons()).report["candidates"] == 1


def test_a_class_of_one_sample_may_fall_into_any_part() -> None:
    for seed in range(4):
        rows = moons(60)
        rows.add(Sample([9.0, 9.0], label="alone"))
        evaluation = quick(seed=seed).fit(rows).evaluation
        assert np.isfinite(evaluation.measures()["accuracy"])


def test_a_file_sorted_by_class_is_learned_better_in_random_order() -> None:
    def distance(order: str) -> float:
        engine = quick(order=order, epochs=2, decay=0.0, refit=False)
        return float(engine.fit(SONAR).report["members"][0]["value"])

    assert distance("random") < distance("file")


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    quick().fit(moons())
    assert capfd.readouterr() == ("", "")


def test_the_callers_layers_are_not_changed() -> None:
    hidden = [8]
    quick(hidden=hidden).fit(moons())
    assert hidden == [8]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"decay": -0.1}, "decay is -0.1, but must be >= 0"),
        ({"training_split": 1.0}, "training_split is 1.0, but must be < 1"),
        ({"training_split": 0.0}, "training_split is 0.0"),
        ({"tries": 0}, "tries is 0, but must be >= 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"ensemble": 0}, "ensemble is 0"),
        ({"half_life": -1.0}, "half_life is -1.0"),
        ({"protocol": "other"}, "protocol is 'other', but must be 'holdout' or 'gopher'"),
        ({"order": "other"}, "order is 'other'"),
        ({"criterion": "other"}, "criterion is 'other'"),
        ({"protocol": "gopher", "refit": True}, "refit is True"),
        ({"network": {"schedule": "step"}}, "network has 'schedule'"),
        ({"network": {"nonsense": 1}}, "nonsense is not a known setting of CandidateSettings"),
        ({"nonsense": 1}, "nonsense is not a known setting of Engine; known here: hidden, "),
        ({"tries": 1000, "decay": 0.0001}, "must make <= 10,000 candidates"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        quick(**settings).fit(moons())


def test_iterations_bound_the_refit_too() -> None:
    trained = quick(epochs=8, iterations=100).fit(moons(100))
    assert trained.report["epochs"] == 2
    assert trained.evaluation.measures()["accuracy"] > 0.5


def test_stopping_the_refit_keeps_the_earlier_choice() -> None:
    async def run() -> None:
        engine = quick(epochs=2000)
        async with anyio.create_task_group() as group:
            group.start_soon(engine.run, moons())
            while not ((now := engine.progress()) and now.refitting):
                await anyio.lowlevel.checkpoint()
            engine.stop()
        assert engine.trained is not None
        assert not engine.trained.report["refitted"]
        assert engine.evaluation.measures()["accuracy"] > 0.5

    anyio.run(run)


def test_blocks_are_learned_and_samples_without_a_target_left_out() -> None:
    block = moons(60).block()
    assert block.target is not None
    target = block.target.copy()
    target[:10] = None
    report = quick().fit([replace(block, target=target), moons(20).block()]).report
    assert sum(report["samples"].values()) == 70
    with pytest.raises(DataError, match="no sample has a target"):
        quick().fit(replace(block, target=np.full(60, None, object)))
    with pytest.raises(ConfigurationError, match="the data have no target"):
        quick().fit(replace(block, target=None))


def test_the_error_of_a_failing_part_is_raised_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("out of luck")

    monkeypatch.setattr("streamnet.engine.holdout.HoldoutEvaluator.evaluate", fail)
    with pytest.raises(OSError, match="out of luck"):
        quick().fit(moons())


def test_candidates_are_described_and_progress_is_reported() -> None:
    engine = quick()
    assert (engine.progress(), engine.history) == (None, ())
    engine.fit(moons())
    assert engine.describe(3) == "try 2: relu 8, sgd 0.05, inverse 0.00198413"
    now = engine.progress()
    assert now is not None
    assert (now.candidates, now.best) == (4, engine.history[-1])


def test_a_criterion_of_labels_is_refused_for_numbers() -> None:
    with pytest.raises(ConfigurationError, match="criterion is 'accuracy', but for a regression"):
        quick(criterion="accuracy").fit(slope())


@pytest.mark.parametrize("task", [None, "regression"])
@pytest.mark.parametrize(("name", "value"), [("loss", "cross_entropy"), ("output", "softmax")])
def test_networks_for_labels_are_refused_for_numbers(
    task: str | None, name: Any, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is '{value}', but for a regression"):
        Engine(task, network={name: value}).fit(slope())


def test_a_part_without_samples_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without a sample"):
        quick().fit(moons(4))


def test_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        quick().fit(Set("classification"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError):
        quick().fit(tmp_path / "empty.csv")


def test_another_task_than_that_of_the_data_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="task is 'regression', but that of the data"):
        quick(task="regression").fit(moons())


def test_files_of_any_format_are_learned_with_the_last_column_as_target(tmp_path: Path) -> None:
    rows = moons(60)
    rows.save(tmp_path / "moons.csv")
    rows.save(tmp_path / "moons.svm")
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress((tmp_path / "moons.csv").read_bytes()))
    lines = [json.dumps({"x": s.vector[0], "y": s.vector[1], "kind": s.label}) for s in rows]
    (tmp_path / "moons.jsonl").write_text("\n".join(lines))
    for name in ("moons.csv", "packed.csv.gz", "moons.jsonl", "moons.svm"):
        trained = quick().fit(tmp_path / name)
        assert len(trained.model.labels) == 2, name
        assert sum(trained.report["samples"].values()) == 60


def test_words_and_missing_values_are_encoded(tmp_path: Path) -> None:
    rows = "".join(
        f"{'' if i % 5 == 0 else i % 3},{('red', 'blue')[i % 2]},{('stop', 'go')[i % 2]}\n"
        for i in range(80)
    )
    (tmp_path / "signals.csv").write_text("size,colour,what\n" + rows)
    trained = quick(epochs=10).fit(tmp_path / "signals.csv")
    assert trained.evaluation.measures()["accuracy"] == 1.0


def test_the_encoder_is_fitted_on_the_training_part_only() -> None:
    engine = quick(refit=False)
    block = moons(60).block()
    training = split_data(block, engine.settings).training
    model = engine.fit(block).model
    center = model.document()["encoder"]["moments"][0][1]
    assert center == pytest.approx(training.numbers[:, 0].mean())


def test_records_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "moons.csv"
    moons(60).save(path)
    path.write_text(path.read_text() + "1.0,2.0,3.0,up\n")
    engine = quick()
    assert engine.fit(path).report["rejected"] == 1
    assert engine.rejected[0].line == 62


def test_stopping_keeps_the_best_so_far() -> None:
    async def run() -> None:
        judged = threading.Event()
        engine = quick(epochs=100_000, on_improvement=lambda _: judged.set())
        async with anyio.create_task_group() as group:
            group.start_soon(engine.run, moons())
            await anyio.to_thread.run_sync(judged.wait)
            engine.stop()
        assert engine.trained is not None
        report = engine.trained.report
        assert report["stopped"]
        assert not report["refitted"]
        assert report["epochs"] < 100_000

    anyio.run(run)


def test_stopping_before_the_first_epoch_leaves_nothing() -> None:
    engine = quick()
    engine.stop()
    with pytest.raises(NoCandidateError, match="stopped before an epoch was scored"):
        engine.fit(moons())
    with pytest.raises(NoCandidateError):
        _ = engine.winner


def test_batches_are_learned_as_well_at_a_larger_rate() -> None:
    engine = quick(batch_size=8, learning_rate=0.3, decay=0.1, epochs=20)
    trained = engine.fit(moons())
    assert trained.evaluation.measures()["accuracy"] > 0.9
    assert "batches of 8" in engine.describe(0)


def test_the_error_names_a_rate_that_no_network_survives() -> None:
    with pytest.raises(
        NoCandidateError, match="learning_rate is 1e\\+06, which is too large for relu"
    ):
        quick(learning_rate=1e6, decay=0.0).fit(moons())


def test_sonar_reaches_the_promised_accuracy() -> None:
    """The figure of ten seeds comes from benchmarks/engine.py."""
    found = [Engine(seed=s, epochs=25, tries=3).fit(SONAR).evaluation.measures() for s in range(4)]
    assert np.mean([one["accuracy"] for one in found]) >= 0.78


def test_raw_inputs_of_any_size_are_learned() -> None:
    """Sulphur dioxide in the hundreds and chlorides in the hundredths: gopher's units saturate."""
    engine = Engine("regression", epochs=6, tries=1)
    assert engine.fit(WINE, target="quality").evaluation.measures()["r2"] > 0.25


def test_a_training_part_with_too_many_labels_is_refused() -> None:
    """Whatever the order in which they come: a label that was refused has no output."""
    labels = [f"user{i}" for i in range(1400)]
    block = moons(1400).block()
    block = replace(block, target=np.array(labels, object))
    message = r"has 1,120 labels in the training part, but there may be 1,000"
    with pytest.raises(DataError, match=message):
        quick(training_split=0.8).fit(block)


random = np.random.default_rng(0)


def labels(n: int, shares: tuple[float, ...]) -> Set:
    rows = Set("classification", columns=("x",))
    for label in random.choice(["a", "b", "c"], n, p=shares):
        rows.add(Sample([0.0], label=str(label)))
    return rows


def test_labels_are_compared_with_the_most_frequent_one_of_the_training_part() -> None:
    training, reported = (
        labels(n, shares).block() for n, shares in ((70, (0.2, 0.6, 0.2)), (30, (0.6, 0.2, 0.2)))
    )
    assert reported.target is not None
    truth = reported.target.tolist()
    model = Evaluation.of(truth, truth, labels=("a", "b", "c"))
    (name, found), *others = evaluate_baselines(training, reported, model).items()
    dummy = DummyClassifier(strategy="most_frequent").fit(training.numbers, training.target)
    said = dummy.predict(reported.numbers)
    assert (name, others) == ("majority", [])
    assert set(said) == {"b"}
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, said))


def test_numbers_are_compared_with_the_mean_of_the_training_part() -> None:
    parts = []
    for n, level in ((70, 3.0), (30, 5.0)):
        rows = Set("regression", columns=("x",))
        for value in random.normal(level, 1.0, n).tolist():
            rows.add(Sample([0.0], value=value))
        parts.append(rows.block())
    training, reported = parts
    assert reported.target is not None
    model = RegressionEvaluation.of(reported.target, reported.target)
    (name, found), *others = evaluate_baselines(training, reported, model).items()
    said = DummyRegressor().fit(training.numbers, training.target).predict(reported.numbers)
    assert (name, others) == ("mean", [])
    assert found["mae"] == pytest.approx(mean_absolute_error(reported.target, said))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(reported.target, said))


def test_the_mean_of_the_largest_numbers_does_not_overflow() -> None:
    rows = Set("regression", columns=("x",))
    for _ in range(4):
        rows.add(Sample([0.0], value=1e300))
    block = rows.block()
    assert (
        evaluate_baselines(block, block, RegressionEvaluation.of([1.0], [1.0]))["mean"]["mae"]
        == 0.0
    )
