"""Models of several networks: kept to the bit, answering as the learner, in any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ModelFileError
from streamnet.modelfiles import Model
from streamnet.modelfiles.document import digest
from streamnet.networks.frozen_population import FrozenPopulation
from streamnet.samples import Task
from tests.learning.streams import differences
from tests.modelfiles.models import SAMPLES, SEVERAL, block_of, learned, several

TASKS = pytest.mark.parametrize("task", list(Task))
BLOCK = {task: block_of(task, 400) for task in Task}


def remade(model: Model, **parts: Any) -> Model:
    """The same model with other parts."""
    document = model.document()
    networks = [(network.settings, network.weights) for network in model.networks]
    given = {"encoder": document["encoder"], "networks": networks, **parts}
    return Model(**{"ensemble": document["ensemble"], "dtype": document["dtype"], **given})


@TASKS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_all_networks_are_restored_exactly(
    tmp_path: Path, task: Task, dtype: str, suffix: str
) -> None:
    model = several(task, dtype)
    path = tmp_path / f"m.{suffix}"
    model.save(path)
    loaded = Model.load(path)
    assert differences(loaded.document(), model.document()) == []
    assert len(loaded.networks) == 3
    assert np.array_equal(loaded.outputs(BLOCK[task]), model.outputs(BLOCK[task]))
    assert loaded.predict(SAMPLES).tolist() == model.predict(SAMPLES).tolist()
    assert loaded.describe() == model.describe()
    assert loaded.describe().endswith(" and 2 more")


@TASKS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_predicts_like_its_learner(task: Task, dtype: str) -> None:
    learner = learned(task, dtype)
    model = learner.model()
    answers = learner.predict(BLOCK[task], without_lags=True)
    # The champion comes first in a model, so sums are reckoned in another order.
    found = model.outputs(BLOCK[task]).reshape(answers.shape)
    assert found == pytest.approx(answers, rel=1e-12)
    assert not np.array_equal(learner.predict(BLOCK[task]), answers), "the ensemble knows more"


@TASKS
def test_a_served_champion_predicts_alone(task: Task) -> None:
    learner = learned(task, serve="champion")
    model = learner.model()
    # Unless it needs the last targets: then another network predicts without them.
    lagged = [network.settings.lags for network in model.networks]
    assert lagged in ([False], [True, False])
    document = model.document()
    assert document["ensemble"] is None
    second = (model.networks[-1].settings, model.networks[-1].weights)
    with pytest.raises(ModelFileError, match="there are 2 networks, but 1 are needed"):
        Model(encoder=document["encoder"], networks=[second, second])
    answers = learner.predict(BLOCK[task], without_lags=True)
    assert np.array_equal(model.outputs(BLOCK[task]).reshape(answers.shape), answers)


@TASKS
def test_it_has_the_champion_first_and_no_network_with_lags(task: Task) -> None:
    learner = learned(task)
    model = learner.model()
    champion = learner.serving.champion
    assert champion is not None
    assert model.settings == model.networks[0].settings == champion.settings
    kept = [network.settings for network in model.networks]
    assert sorted(kept, key=SEVERAL.index) == [s for s in SEVERAL if not s.lags]
    assert model.about["candidate"] == champion.serial


@TASKS
def test_a_sample_is_predicted_alone_as_among_others(task: Task) -> None:
    model = several(task)
    together = model.outputs(SAMPLES)
    alone = np.concatenate([model.outputs(sample) for sample in SAMPLES])
    assert np.array_equal(alone, together)


@TASKS
def test_predicting_does_not_change_a_model(task: Task) -> None:
    model = learned(task).model()
    before = digest(model.document())
    first = model.outputs(BLOCK[task])
    assert np.array_equal(model.outputs(BLOCK[task]), first)
    assert digest(model.document()) == before


@TASKS
@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_the_ensemble_determines_the_number_of_networks(task: Task, count: int) -> None:
    model = several(task)
    parts = [(network.settings, network.weights) for network in model.networks]
    with pytest.raises(ModelFileError, match=f"there are {count} networks, but 3 are needed"):
        remade(model, networks=[*parts, *parts][:count])
    document = model.document()
    kept = {str(i): document["networks"][str(i % 3)] for i in range(count)}
    with pytest.raises(ModelFileError, match="m: there are"):
        Model.from_document(document | {"networks": kept}, "m")


@TASKS
def test_without_an_ensemble_there_is_one_network(task: Task) -> None:
    with pytest.raises(ModelFileError, match="there are 3 networks, but 1 are needed"):
        remade(several(task), ensemble=None)


@TASKS
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", np.full((4, 5), np.nan)),
        ("weights", np.zeros((4, 6))),
        ("members", np.ones(6, np.uint8)),
        ("combined", np.full((2, 6), -1.0)),
        ("fading", 7.0),
        ("last", None),
    ],
)
def test_a_damaged_ensemble_is_refused(task: Task, name: str, value: Any) -> None:
    document = several(task).document()
    document["ensemble"] = document["ensemble"] | {name: value}
    with pytest.raises(ModelFileError, match="m: ensemble: "):
        Model.from_document(document, "m")


@TASKS
def test_an_ensemble_of_the_other_task_is_refused(task: Task) -> None:
    other = next(one for one in Task if one is not task)
    with pytest.raises(ModelFileError, match="ensemble: "):
        remade(several(task), ensemble=several(other).document()["ensemble"])


def broken(task: Task) -> Model:
    """A model, one network of which has no finite answer to samples with one of the rows."""
    model = several(task)
    slot = next(i for i, network in enumerate(model.networks) if not network.settings.hidden)
    parts = [(network.settings, dict(network.weights)) for network in model.networks]
    weights = parts[slot][1]
    weights["sparse"] = weights["sparse"].copy()
    weights["sparse"][3] = 3e38
    return remade(model, networks=parts)


@TASKS
def test_networks_without_a_finite_prediction_are_left_out(task: Task) -> None:
    model = broken(task)
    slot = next(i for i, network in enumerate(model.networks) if not network.settings.hidden)
    inputs = model._encoder.transform(BLOCK[task])
    silent = (
        FrozenPopulation(model.networks[slot : slot + 1], task=task).predict(inputs).alive[0] == 0
    )
    assert 0 < silent.sum() < len(silent)
    outputs = model.outputs(BLOCK[task])
    assert np.isfinite(outputs).all()
    if task is Task.CLASSIFICATION:
        assert outputs.sum(axis=1) == pytest.approx(1.0, abs=1e-12)


@TASKS
@pytest.mark.parametrize("make", [several, broken])
def test_many_threads_may_predict_at_once(task: Task, make: Any) -> None:
    model = make(task)
    parts = [BLOCK[task].part(start, start + 40) for start in range(0, 400, 40)]
    expected = [model.outputs(part).tobytes() for part in parts]
    rows = [model.outputs(sample).tobytes() for sample in SAMPLES]
    fresh = Model.from_document(model.document())  # nobody has asked it yet

    def ask(turn: int) -> bool:
        one, sample = turn % len(parts), turn % len(SAMPLES)
        same = fresh.outputs(parts[one]).tobytes() == expected[one]
        return bool(same and fresh.outputs(SAMPLES[sample]).tobytes() == rows[sample])

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(300)))
