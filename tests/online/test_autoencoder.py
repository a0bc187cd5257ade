"""The auto-encoder on its own, inside the estimators, models and runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from pickle import dumps, loads
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import streamnet
from streamnet.errors import ConfigurationError, DataError, ModelFileError
from streamnet.modelfiles import json_format
from streamnet.modelfiles.document import add_checksum
from streamnet.online import AutoEncoder
from streamnet.settings.run import parse
from tests.cli.invocation import Cli
from tests.online.estimators import FEW, flat, samples


def people(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Age and income go together, and so do job and age; some ages are missing."""
    random = np.random.default_rng(seed)
    age = random.uniform(20, 60, count)
    income = 1000 * age + random.normal(0, 500, count)
    job = np.array(["pupil", "cook", "pilot"])[np.searchsorted([30, 45], age)]
    gone = random.random(count) < 0.05
    return [
        {"age": None if g else float(a), "income": float(i), "job": str(j), "note": f"the {j}"}
        for a, i, j, g in zip(age, income, job, gone, strict=True)
    ]


def taught(count: int = 4000, **given: Any) -> AutoEncoder:
    kinds = {"note": streamnet.Kind.TEXT}
    return AutoEncoder(**{"code": 6, "kinds": kinds, **given}).partial_fit(people(count))


def test_learning_one_by_one_or_in_blocks_gives_the_same_bits() -> None:
    rows = people(200)
    single, many = AutoEncoder(4, seed=2), AutoEncoder(4, seed=2)
    for row in rows:
        single.learn_one(row)
    many.partial_fit(rows)
    assert flat(single.export_state()) == flat(many.export_state())
    assert single.score_one(rows[7]) == many.score(rows)[7]
    assert single.encode_one(rows[7]).tolist() == many.encode(rows)[7].tolist()
    one, same = single.reconstruct_one(rows[7]), many.reconstruct(rows)[7]
    assert one.keys() == same.keys()
    assert one["job"] == same["job"]
    assert one["income"] == pytest.approx(same["income"], rel=1e-9)


def test_reconstructions_are_in_the_units_of_the_columns() -> None:
    coder = taught()
    rows = [row for row in people(300, seed=1) if row["age"] is not None]
    restored = coder.reconstruct(rows)
    assert set(restored[0]) == {"age", "income", "job"}  # texts can't be told
    jobs = [row["job"] == back["job"] for row, back in zip(rows, restored, strict=True)]
    assert np.mean(jobs) > 0.9
    for name in ("age", "income"):
        true = np.array([row[name] for row in rows])
        back = np.array([np.nan if r[name] is None else r[name] for r in restored])
        assert np.nanmedian(abs(back - true)) < 0.2 * true.std()
    assert coder.decode(coder.encode(rows)) == restored


def test_a_category_whose_values_are_hashed_is_absent() -> None:
    rows = [{"job": f"job {i}", "x": float(i % 3)} for i in range(50)]
    coder = AutoEncoder(2, encoder={"max_categories": 0}).partial_fit(rows)
    assert coder.reconstruct_one(rows[0]).keys() == {"x"}


def test_an_always_missing_value_is_reconstructed_as_missing() -> None:
    rows: list[dict[str, Any]] = [{"x": 1.0, "job": "cook"}, {"x": 2.0, "job": "pilot"}]
    coder = AutoEncoder(2).partial_fit(rows + 500 * [{"x": None, "job": None}])
    assert coder.reconstruct_one({}) == {"x": None, "job": None}


def test_a_combination_that_breaks_the_rule_is_unusual_though_each_value_is_not() -> None:
    rows = people(6000)
    random = np.random.default_rng(3)
    planted = (random.random(6000) < 0.03) & (np.arange(6000) > 1000)
    for i in np.flatnonzero(planted):
        rows[i]["income"] = rows[int(random.integers(6000))]["income"]
    scores = AutoEncoder(6).score_and_learn(rows)
    assert np.isfinite(scores).all()
    values = np.array([row["income"] for row in rows])
    plain = abs(values - values.mean())
    assert roc_auc_score(planted[1000:], plain[1000:]) < 0.6
    assert roc_auc_score(planted[1000:], scores[1000:]) > 0.8


def test_queries_change_nothing_and_may_have_any_columns() -> None:
    coder = taught(300)
    before = flat(coder.export_state())
    strange: list[dict[str, Any]] = [{"age": 33.0, "unheard": 1}, {}, {"job": "astronaut"}]
    coder.score(strange)
    assert coder.encode([]).shape == (0, 6)
    assert coder.score([]).shape == (0,)
    assert coder.decode(np.empty((0, 6))) == []
    assert flat(coder.export_state()) == before
    assert AutoEncoder(3).encode_one({"x": 1}).tolist() == [0.0, 0.0, 0.0]
    assert AutoEncoder(3).score_and_learn([]).shape == (0,)


def test_an_unreadable_value_is_reported_and_the_samples_before_it_are_learned() -> None:
    rows: list[dict[str, Any]] = [{"x": 1.0}, {"x": 2.0}, {"x": "much"}, {"x": 3.0}]
    coder, shorter = AutoEncoder(2), AutoEncoder(2)
    with pytest.raises(DataError, match="sample 2: column 'x'"):
        coder.partial_fit(rows)
    shorter.partial_fit(rows[:2])
    assert flat(coder.export_state()["encoder"]) == flat(shorter.export_state()["encoder"])
    with pytest.raises(DataError, match="sample 2: column 'x'"):
        coder.score(rows)
    with pytest.raises(DataError, match=r"^column 'x'"):
        coder.learn_one(rows[2])
    with pytest.raises(DataError):
        coder.score([3])


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_saved_auto_encoder_continues_with_the_same_bits(tmp_path: Path, suffix: str) -> None:
    rows = people(400)
    coder = AutoEncoder(4, hidden=[8], kinds={"note": streamnet.Kind.TEXT}, encoder={"clip": 4.0})
    coder.partial_fit(rows[:200])
    coder.save(tmp_path / f"coder.{suffix}")
    loaded = AutoEncoder.load(tmp_path / f"coder.{suffix}")
    assert flat(loaded.export_state()) == flat(coder.export_state())
    assert loaded.score_and_learn(rows).tobytes() == coder.score_and_learn(rows).tobytes()
    assert flat(loaded.export_state()) == flat(coder.export_state())


@pytest.mark.parametrize("copied", [copy, deepcopy, lambda coder: loads(dumps(coder))])
def test_a_copy_continues_independently_with_the_same_bits(copied: Callable[[Any], Any]) -> None:
    coder, rows = taught(200), people(100)
    other, codes = copied(coder), coder.encode(rows).tobytes()
    other.partial_fit(rows)
    assert coder.encode(rows).tobytes() == codes
    coder.partial_fit(rows)
    assert coder.encode(rows).tobytes() == other.encode(rows).tobytes() != codes


def test_a_file_that_is_no_auto_encoder_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    classifier = streamnet.OnlineClassifier(FEW).partial_fit(samples(50), ["a", "b"] * 25)
    classifier.model().save(path)
    with pytest.raises(ModelFileError, match=r"model.json is not a streamnet autoencoder"):
        AutoEncoder.load(path)
    taught(50).save(path)
    with pytest.raises(ModelFileError, match=r"model.json is not a streamnet model"):
        streamnet.Model.load(path)
    path.write_text(path.read_text().replace('"number": 50', '"number": 51'))
    with pytest.raises(ModelFileError, match="does not match its checksum"):
        AutoEncoder.load(path)
    with pytest.raises(ConfigurationError, match="must end in one of"):
        taught(50).save(tmp_path / "coder.txt")


def test_wrong_settings_are_reported() -> None:
    with pytest.raises(ConfigurationError, match="code is 0, but must be >= 1"):
        AutoEncoder(0).learn_one({"x": 1})
    with pytest.raises(ConfigurationError, match="inputs is not a known setting of AutoEncoder"):
        AutoEncoder(inputs="add")  # type: ignore[call-arg]
    with pytest.raises(
        ConfigurationError, match=r"code has shape \(2, 3\), but must have \(n, 2\)"
    ):
        AutoEncoder(2).decode(np.zeros((2, 3)))


# ------------------------------------------------------- in estimators, models and runs


@pytest.mark.parametrize("use", ["add", "replace"])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_model_with_an_auto_encoder_predicts_the_same_after_loading(
    tmp_path: Path, use: str, suffix: str
) -> None:
    rows = people(600)
    labels = ["old" if row["income"] > 40_000 else "young" for row in rows]
    settings: Any = {"autoencoder": {"code": 4, "inputs": use}}
    estimator = streamnet.OnlineClassifier(FEW, encoder=settings, seed=9).partial_fit(rows, labels)
    assert estimator.served["accuracy"] > 0.8
    model = estimator.model()
    model.save(tmp_path / f"m.{suffix}")
    loaded = streamnet.Model.load(tmp_path / f"m.{suffix}")
    assert loaded.predict_proba(rows).tobytes() == model.predict_proba(rows).tobytes()
    scores = loaded.outlier_scores(rows[:50])
    assert scores.tobytes() == model.outlier_scores(rows[:50]).tobytes()
    assert estimator.outlier_score_one(rows[7]) == scores[7]
    assert loaded.outlier_scores([]).shape == (0,)
    strange = {**rows[7], "income": -90_000.0}
    assert estimator.outlier_score_one(strange) > max(3.0, scores[7])


def test_without_an_auto_encoder_there_are_no_outlier_scores() -> None:
    estimator = streamnet.OnlineClassifier(FEW).partial_fit(samples(50), ["a", "b"] * 25)
    for ask in (estimator.outlier_score_one, estimator.model().outlier_scores):
        with pytest.raises(ConfigurationError, match="autoencoder is None, but must be given"):
            ask(samples(1)[0])


def test_an_estimator_resumes_from_its_state_and_shares_its_seed_with_the_auto_encoder() -> None:
    rows, targets = people(300), [row["income"] for row in people(300)]
    settings: dict[str, Any] = {"encoder": {"autoencoder": {"code": 3}}}
    first = streamnet.OnlineRegressor(FEW, seed=4, **settings).partial_fit(rows, targets)
    second = streamnet.OnlineRegressor(FEW, seed=4, **settings)
    second.restore_state(first.export_state())
    first.partial_fit(rows, targets)
    second.partial_fit(rows, targets)
    assert flat(first.export_state()) == flat(second.export_state())
    other = streamnet.OnlineRegressor(FEW, seed=5, **settings).partial_fit(rows, targets)
    scores = [e.outlier_score_one(rows[0]) for e in (first, other)]
    assert scores[0] != scores[1]


def test_replay_resumes_from_a_checkpoint_with_the_same_predictions(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["age", "income", "job", "note"])
        writer.writeheader()
        writer.writerows(people(1500))
    given: dict[str, Any] = {
        "target": "job",
        "hidden": "8",
        "dead_letters": tmp_path / "rejected.jsonl",
        "autoencoder": {"code": 3, "hidden": [6]},
    }
    state = tmp_path / "state"
    streamnet.replay(path, limit=700, state=state, predictions=tmp_path / "a.csv", **given)
    given["limit"] = 9000
    streamnet.replay(path, state=state, resume=True, predictions=tmp_path / "a.csv", **given)
    streamnet.replay(path, predictions=tmp_path / "b.csv", **given)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == 1500
    assert np.isfinite([float(row["outlier"]) for row in rows]).all()


def test_the_command_line_enables_the_auto_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = Cli(capsys)
    path = tmp_path / "x.csv"
    path.write_text("x,y\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(300)))
    out, report = tmp_path / "p.jsonl", tmp_path / "r.json"
    options = ["--target", "y", "--hidden", "4", "--predictions", out, "--report", report]
    options += ["--dead-letters", tmp_path / "rejected.jsonl", "--quiet"]
    assert call("replay", path, *options, "--autoencoder", 2).code == 0
    assert json.loads(out.read_text().splitlines()[-1])["outlier"] is not None
    told = json.loads(report.read_text())
    assert told["settings"]["encoder"] == {"autoencoder": {"code": 2}}
    wrong = call("replay", path, "--target", "y", "--autoencoder", 0)
    assert wrong.code != 0
    assert "--autoencoder" in wrong.complaint
    assert "must be >= 1" in wrong.complaint


def test_a_run_file_states_the_rule_of_a_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"noise is 2.0, but must be < 1"):
        parse("encoder.autoencoder.noise = 2.0")


def test_a_file_with_contradictory_parts_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "coder.json"
    taught(50).save(path)
    whole = json.loads(path.read_text())
    spoils: list[dict[str, Any]] = [
        {"kinds": 3},
        {"reader": None},
        {"encoder": {}},
        {"kinds": {"x": "colour"}},
    ]
    for spoil in spoils:
        parts = {name: part for name, part in whole.items() if name != "checksum"}
        document = json_format.decode(json.dumps({**parts, **spoil}).encode(), "x")
        path.write_bytes(json_format.encode(add_checksum(document)))
        with pytest.raises(ModelFileError, match="damaged"):
            AutoEncoder.load(path)
