"""Predictions: those of the model, in order, remembered by ID, and explained."""

from __future__ import annotations

import json
from typing import Any

import anyio
import numpy as np
import pytest
from starlette.testclient import TestClient

from streamnet.daemon.http.access import Limits
from streamnet.daemon.http.app import create_app
from streamnet.daemon.predictions import Predictions
from streamnet.errors import NotReadyError
from streamnet.reporting.outcomes import Residuals
from tests.daemon.app_client import SAMPLES, client, is_problem, lines
from tests.daemon.asgi import Talk, http_scope
from tests.daemon.stand_ins import StandIn, StandInRegistry, learned_model, model_of_numbers

SHORT = b'{"x":1}\n'


def test_predictions_are_those_of_the_model(http: TestClient) -> None:
    told = http.post("/v1/models/wine/predict", json={"samples": SAMPLES}).json()
    model = learned_model()
    assert told["predictions"] == model.predict(SAMPLES).tolist()
    assert told["labels"] == list(model.labels)
    assert told["probabilities"] == model.predict_proba(SAMPLES).tolist()
    assert told["generations"] == [7] * 30


@pytest.mark.parametrize("count", [3, 100])
def test_a_problem_names_the_refused_sample_and_the_reason(http: TestClient, count: int) -> None:
    samples = [{"x": 1}] * (count - 1) + [{"x": "many"}]
    refused = http.post("/v1/models/wine/predict", json={"samples": samples})
    assert is_problem(refused, 422, f"sample {count - 1}: column 'x'")
    problem = refused.json()
    assert problem["sample"]["number"] == count - 1
    assert problem["detail"] == f"sample {count - 1}: {problem['sample']['detail']}"
    absent = http.post("/v1/models/absent/predict", json={"samples": samples})
    assert is_problem(absent, 404)
    assert "sample" not in absent.json()


def test_many_lines_are_predicted_in_order(http: TestClient) -> None:
    samples = SAMPLES * 400
    headers = {"content-type": "application/x-ndjson"}
    reply = http.post("/v1/models/wine/predict", content=lines(samples), headers=headers)
    told = [json.loads(line) for line in reply.text.splitlines()]
    assert [line["prediction"] for line in told] == learned_model().predict(samples).tolist()
    highest = learned_model().predict_proba(samples).max(axis=1).tolist()
    assert [line["probability"] for line in told] == highest


def test_probabilities_of_many_labels_are_computed_in_bounded_batches(
    http: TestClient, wine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "streamnet.daemon.http.routes.predictions._MAX_PROBABILITIES", 14
    )  # of 2 labels each
    predict, held = wine.predict, []

    def counted(samples: Any) -> Predictions:
        held.append(len(samples))
        return predict(samples)

    monkeypatch.setattr(wine, "predict", counted)
    headers = {"content-type": "application/x-ndjson"}
    reply = http.post("/v1/models/wine/predict", content=lines(SAMPLES), headers=headers)
    told = [json.loads(line)["prediction"] for line in reply.text.splitlines()]
    assert (told, held) == (learned_model().predict(SAMPLES).tolist(), [7, 7, 7, 7, 2])
    assert http.post("/v1/models/wine/predict", json={"samples": SAMPLES[:7]}).is_success
    refused = http.post("/v1/models/wine/predict", json={"samples": SAMPLES[:8]})
    assert is_problem(refused, 422, "8 samples", "as lines")


def test_a_wrong_line_is_named(http: TestClient) -> None:
    headers = {"content-type": "application/x-ndjson"}
    good = b'{"x": 1}\n\n' * 20_000  # of several slices, every other line blank
    refused = http.post("/v1/models/wine/predict", content=good + b"[1]\n{}", headers=headers)
    assert is_problem(refused, 422, "line 40001 is not a sample: Expected `object`")


def test_a_line_with_a_wrong_value_is_named(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "streamnet.daemon.http.routes.predictions._MAX_PROBABILITIES", 14
    )  # 7 samples at a time
    headers = {"content-type": "application/x-ndjson"}
    for blank in (b"", b" \n"):
        good = (b'{"x": 1}\n' + blank) * 10_000
        text = good + b'{"x": "many"}\n' + good
        refused = http.post("/v1/models/wine/predict", content=text, headers=headers)
        line = good.count(b"\n") + 1
        assert is_problem(refused, 422, f"line {line}: ", "'x'")


def test_responses_much_longer_than_their_requests_are_bounded(registry: StandInRegistry) -> None:
    headers = {"content-type": "application/x-ndjson"}
    http = client(registry, limits=Limits(lines=1000))
    assert http.post("/v1/models/wine/predict", content=SHORT * 10, headers=headers).is_success
    refused = http.post("/v1/models/wine/predict", content=SHORT * 100, headers=headers)
    assert is_problem(refused, 413, "response to 100 lines", "1000 bytes")


def test_a_client_that_does_not_read_its_response_keeps_its_slot(
    registry: StandInRegistry, backend: str
) -> None:
    app = create_app(registry, hosts=None, limits=Limits(batches=1))  # type: ignore[arg-type]
    kind = [(b"host", b"localhost"), (b"content-type", b"application/x-ndjson")]
    scope = http_scope("/v1/models/wine/predict", kind, "POST")
    body = {"type": "http.request", "body": SHORT * 9}
    slow, other, last = (Talk(dict(body)) for _ in range(3))
    slow.reads = False

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(app, dict(scope), slow.receive, slow.send)
            while not slow.sent:  # noqa: ASYNC110 - a thread answers meanwhile
                await anyio.sleep(0.01)
            await app(dict(scope), other.receive, other.send)
            group.cancel_scope.cancel()
        await app(dict(scope), last.receive, last.send)

    anyio.run(main, backend=backend)
    assert (slow.status, other.status, last.status) == (200, 503, 200)


def test_a_prediction_with_an_id_is_remembered_for_its_label(
    http: TestClient, wine: StandIn
) -> None:
    body = {"sample": SAMPLES[25], "id": "a"}
    first = http.post("/v1/models/wine/predict", json=body).json()
    again = http.post("/v1/models/wine/predict", json={"samples": [SAMPLES[0]], "ids": ["a"]})
    assert first["predictions"] == again.json()["predictions"] == ["on"]
    labels = [{"id": "a", "label": "on"}, {"id": "a", "label": "off"}, {"id": "b", "label": 1}]
    told = http.post("/v1/models/wine/labels", json={"labels": labels})
    assert told.json() == {"outcomes": ["joined", "contradictory", "early"]}


def test_before_anything_is_learned_a_sample_with_an_id_is_remembered_without_a_prediction(
    http: TestClient, wine: StandIn
) -> None:
    wine.has_learned_nothing = True
    told = http.post("/v1/models/wine/predict", json={"sample": {"x": 1}, "id": "a"})
    nothing = {"predictions": [None], "generations": [0], "by": ["nothing"]}
    assert (told.status_code, told.json()) == (200, nothing)
    wine.has_learned_nothing = False
    body = {"samples": [{"x": 1}, {"x": 25}], "ids": ["a", "b"]}
    told = http.post("/v1/models/wine/predict", json=body).json()
    assert (told["by"], told["predictions"]) == (["nothing", "model"], [None, "on"])
    assert told["probabilities"][0] == [None] * len(told["labels"])


def test_predictions_are_explained_by_occlusion(http: TestClient) -> None:
    body = {"sample": SAMPLES[25], "explain": True}
    (told,) = http.post("/v1/models/wine/predict", json=body).json()["explanations"]
    model = learned_model()
    on = model.labels.index("on")
    (before,) = model.predict_proba(SAMPLES[25])
    (without,) = model.predict_proba({"y": 1, "shade": "red"})
    assert told["x"] == pytest.approx(before[on] - without[on], abs=1e-9)
    assert max(told, key=told.__getitem__) == "x"


def test_every_column_of_many_samples_is_explained_as_if_it_were_absent(http: TestClient) -> None:
    samples: list[dict[str, Any]] = [
        SAMPLES[25],
        {"x": None, "shade": "blue"},
        {"y": 3, "unheard": "of", "x": 2},
    ]
    body = {"samples": samples, "explain": True}
    told = http.post("/v1/models/wine/predict", json=body).json()
    model = learned_model()
    for sample, label, effects in zip(
        samples, told["predictions"], told["explanations"], strict=True
    ):
        place = model.labels.index(label)
        assert effects.keys() == sample.keys()
        for name, effect in effects.items():
            rest = {other: value for other, value in sample.items() if other != name}
            proba = [model.outputs(one, on_unknown="ignore")[0][place] for one in (sample, rest)]
            assert effect == pytest.approx(proba[0] - proba[1], abs=1e-9), name


def test_whole_numbers_are_ids_as_their_digits(http: TestClient, wine: StandIn) -> None:
    body = {"samples": [{"x": 1}, {"x": 2}], "ids": [17, "18"]}
    assert http.post("/v1/models/wine/predict", json=body).status_code == 200
    assert [*wine.kept] == ["17", "18"]
    labels = {"labels": [{"id": 17, "label": "on"}, {"id": 18, "label": "off"}]}
    assert http.post("/v1/models/wine/labels", json=labels).status_code == 200
    assert wine.labels == {"17": "on", "18": "off"}
    for wrong in (1.5, True, None, ""):
        body = {"samples": [{"x": 1}], "ids": [wrong]}
        assert is_problem(http.post("/v1/models/wine/predict", json=body), 422)


def test_too_large_explanations_are_refused_and_nothing_is_remembered(
    http: TestClient, registry: StandInRegistry
) -> None:
    many = SAMPLES * 300
    ids = [str(number) for number in range(len(many))]
    for more in ({}, {"ids": ids}):
        body = {"samples": many, "explain": True, **more}
        assert is_problem(http.post("/v1/models/wine/predict", json=body), 422, "27000")
    assert registry.models["wine"].kept == {}


def test_there_is_no_prediction_before_the_first_model(
    http: TestClient, wine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_ready(_: Any) -> None:
        raise NotReadyError("no model yet")

    monkeypatch.setattr(wine, "predict", not_ready)
    refused = http.post("/v1/models/wine/predict", json={"samples": SAMPLES})
    assert is_problem(refused, 503, "no model yet")
    assert refused.headers["retry-after"] == "1"


def test_numbers_have_prediction_intervals_from_residuals(
    http: TestClient, wine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Predictions(np.array([3.0, np.nan]), None, (), 1)
    generation = 1
    monkeypatch.setattr(wine, "predict", lambda samples: said._replace(generation=generation))
    told = http.post("/v1/models/wine/predict", json={"samples": SAMPLES[:2]}).json()
    assert (told["predictions"], "intervals" in told) == ([3.0, None], False)
    rng = np.random.default_rng(1)
    residuals = rng.normal(1.0, 2.0, 5000)
    counts, edges = np.histogram(residuals, 25)
    wine.residuals = Residuals(edges.tolist(), counts.tolist())
    generation = 2
    told = http.post("/v1/models/wine/predict", json={"samples": SAMPLES[:2]}).json()
    (low, high), unknown = told["intervals"]
    truths = 3.0 - residuals
    assert 0.89 < np.mean((low < truths) & (truths < high)) < 0.91
    assert unknown == [None, None]


def predict_lines(http: TestClient, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    headers = {"content-type": "application/x-ndjson"}
    reply = http.post("/v1/models/wine/predict", content=lines(samples), headers=headers)
    return [json.loads(line) for line in reply.text.splitlines()]


def test_labels_have_the_prediction_sets_of_a_model_with_an_interval(
    http: TestClient, wine: StandIn
) -> None:
    plain = http.post("/v1/models/wine/predict", json={"samples": SAMPLES}).json()
    assert not plain.keys() & {"sets", "intervals"}
    assert all(
        line.keys() == {"prediction", "probability"} for line in predict_lines(http, SAMPLES)
    )
    wine.model = learned_model(0.8)
    expected = wine.model.predict_set(SAMPLES)
    assert len(set(map(frozenset, expected))) > 1
    told = http.post("/v1/models/wine/predict", json={"samples": SAMPLES}).json()
    assert list(map(set, told["sets"])) == expected
    assert "intervals" not in told
    assert [set(line["set"]) for line in predict_lines(http, SAMPLES)] == expected


def test_numbers_have_the_bounds_of_a_model_with_an_interval(
    http: TestClient, wine: StandIn
) -> None:
    wine.model, wine.residuals = model_of_numbers(), Residuals([-1e6, 1e6], [1000])
    samples = [{"x": i % 30, "y": i % 7} for i in range(60)]
    bounds = wine.model.predict_interval(samples).tolist()
    told = http.post("/v1/models/wine/predict", json={"samples": samples}).json()
    assert told["intervals"] == bounds
    assert "sets" not in told
    told_lines = predict_lines(http, samples)
    assert [line["interval"] for line in told_lines] == bounds
    assert [line["prediction"] for line in told_lines] == told["predictions"]


def test_a_remembered_prediction_keeps_its_set(http: TestClient, wine: StandIn) -> None:
    wine.model = learned_model(0.8)
    ids = [str(i) for i in range(30)]
    body = {"samples": SAMPLES, "ids": ids}
    first = http.post("/v1/models/wine/predict", json=body).json()
    wine.model = learned_model(0.99)
    assert wine.model.predict_set(SAMPLES) != list(map(set, first["sets"]))
    assert http.post("/v1/models/wine/predict", json=body).json() == first


def test_a_prediction_that_was_remembered_without_an_interval_has_none(
    http: TestClient, wine: StandIn
) -> None:
    known = {"samples": SAMPLES[:1], "ids": ["a"]}
    assert "sets" not in http.post("/v1/models/wine/predict", json=known).json()
    wine.model = learned_model(0.9)
    more = {"samples": SAMPLES[:2], "ids": ["a", "b"]}
    none, some = http.post("/v1/models/wine/predict", json=more).json()["sets"]
    assert none is None
    assert set(some) == wine.model.predict_set(SAMPLES[1:2])[0]


def test_a_deeply_nested_value_is_refused(http: TestClient) -> None:
    deep = b'{"x":' + b"[" * 990 + b"]" * 990 + b"}\n"
    headers = {"content-type": "application/x-ndjson"}
    refused = http.post("/v1/models/wine/predict", content=deep, headers=headers)
    assert is_problem(refused, 422)


@pytest.mark.parametrize("sample", [{}, {"zzz": 2}, {"shadde": 2}])
def test_samples_without_a_known_column_are_refused(http: TestClient, sample: Any) -> None:
    reply = http.post("/v1/models/wine/predict", json={"sample": sample})
    assert is_problem(reply, 422)
    assert "model knows" in reply.text or "does not know" in reply.text
    headers = {"content-type": "application/x-ndjson"}
    body = lines([SAMPLES[0], sample])
    reply = http.post("/v1/models/wine/predict", content=body, headers=headers)
    assert is_problem(reply, 422)
    assert "line 2" in reply.text


def test_unknown_columns_are_reported_in_the_reply(http: TestClient) -> None:
    known = next(iter(SAMPLES[0]))
    sample = {**SAMPLES[0], f"{known}s": 1}
    reply = http.post("/v1/models/wine/predict", json={"samples": [SAMPLES[1], sample]}).json()
    (warning,) = reply["warnings"]
    assert f"does not know the column '{known}s'" in warning
    assert reply["predictions"] == learned_model().predict([SAMPLES[1], SAMPLES[0]]).tolist()
    assert (
        "warnings" not in http.post("/v1/models/wine/predict", json={"sample": SAMPLES[0]}).json()
    )
