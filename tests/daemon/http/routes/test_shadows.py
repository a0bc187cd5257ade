"""Shadows over HTTP: their predictions, who may post them, and where their scores are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
from starlette.testclient import TestClient

from streamnet.client.operation import Scope
from streamnet.daemon.http.access import Access
from streamnet.daemon.journal.shadows import ShadowPrediction
from tests.daemon.app_client import TOKENS, client, client_beside, is_problem
from tests.daemon.hosted_models import hosting_all, learned, rows, settings_of, until
from tests.daemon.stand_ins import StandIn, StandInRegistry

PATH = "/v1/models/wine/shadows/rival/predictions"


def test_predictions_come_as_json_or_lines(http: TestClient, wine: StandIn) -> None:
    given: list[dict[str, Any]] = [
        {"id": 7, "prediction": "on"},
        {"id": "b", "probabilities": {"on": 0.75, "off": 0.25}},
    ]
    reply = http.post(PATH, json={"predictions": given})
    assert reply.json() == {"outcomes": ["waiting", "waiting"]}
    text = "\n\n".join(json.dumps({**one, "prediction": "off"}) for one in given)
    headers = {"content-type": "application/x-ndjson"}
    reply = http.post(f"{PATH}?ack=queued", content=text, headers=headers)
    assert (reply.status_code, reply.json()) == (202, {"outcomes": ["duplicate", "duplicate"]})
    assert wine.posted["rival"] == {
        "7": ShadowPrediction("7", "on", None),
        "b": ShadowPrediction("b", None, {"on": 0.75, "off": 0.25}),
    }


def test_a_request_that_is_no_prediction_is_refused(http: TestClient, wine: StandIn) -> None:
    for line, phrase in {
        '{"id": "a"}': "one of prediction and probabilities must be given",
        '{"id": "a", "probabilities": {}}': "length",
        '{"id": "a", "probabilities": {"on": 2}}': "<= 1",
        '{"id": "a", "label": "on"}': "label",
    }.items():
        given = http.post(PATH, content=f'{{"predictions": [{line}]}}')
        assert is_problem(given, 422, phrase)
        headers = {"content-type": "application/x-ndjson"}
        text = f'{{"id": 1, "prediction": 2}}\n{line}\n'
        assert is_problem(http.post(PATH, content=text, headers=headers), 422, "line 2", phrase)
    other = PATH.replace("rival", "A%20b")
    assert is_problem(http.post(other, json={"predictions": []}), 422, "the shadow's name is 'A b'")
    assert not wine.posted


def test_a_shadow_is_removed_once(http: TestClient) -> None:
    http.post(PATH, json={"predictions": [{"id": 1, "prediction": "on"}]})
    assert [one["shadow"] for one in http.get("/v1/models/wine/shadows").json()] == ["rival"]
    shadow = "/v1/models/wine/shadows/rival"
    assert http.delete(shadow).status_code == 204
    assert is_problem(http.delete(shadow), 404, "there is no shadow 'rival'")
    assert http.get("/v1/models/wine/shadows").json() == []


def test_a_token_of_a_shadow_posts_predictions_and_no_more(registry: StandInRegistry) -> None:
    http = client(registry, access=Access({TOKENS[scope]: {scope} for scope in Scope}))
    body = {"predictions": [{"id": 1, "prediction": "on"}]}
    for scope in Scope:
        headers = {"authorization": f"Bearer {TOKENS[scope]}"}
        allowed = scope in (Scope.SHADOW, Scope.ADMIN)
        assert http.post(PATH, json=body, headers=headers).status_code == (200 if allowed else 403)
    headers = {"authorization": f"Bearer {TOKENS[Scope.SHADOW]}"}
    sample = {"sample": {"x": 1}}
    assert http.post("/v1/models/wine/predict", json=sample, headers=headers).status_code == 403
    assert http.delete("/v1/models/wine/shadows/rival", headers=headers).status_code == 403


def test_a_shadow_is_on_the_leader_board_of_a_model_that_learns_nothing_from_it(
    tmp_path: Path,
) -> None:
    samples = rows(40)
    plain = [{name: one[name] for name in ("x", "w")} for one in samples]

    async def main() -> None:
        settings = settings_of(source={"task": "classification"})
        async with hosting_all(tmp_path, wine=settings) as registry:
            hosted = registry.models["wine"]
            await hosted.opened()
            async with client_beside(registry) as http:
                await http.post("/v1/models/wine/samples", json={"samples": rows(200)})
                await learned(hosted, 200)
                await hosted.published()
                wrong = {"predictions": [{"id": 0, "probabilities": {"a": 0.2}}]}
                assert is_problem(await http.post(PATH, json=wrong), 422, "must sum to 1")
                ids = [*range(40)]
                asked = {"samples": plain, "ids": ids}
                answers = (await http.post("/v1/models/wine/predict", json=asked)).json()
                given: list[dict[str, Any]] = [
                    {"id": i, "prediction": one["y"] if i % 4 else "c"}
                    for i, one in enumerate(samples)
                ]
                await http.post(PATH, json={"predictions": given[:30]})
                labels = [{"id": i, "label": one["y"]} for i, one in enumerate(samples)]
                await http.post("/v1/models/wine/labels", json={"labels": labels})
                reply = await http.post(PATH, json={"predictions": given[28:]})
                assert reply.json()["outcomes"] == ["duplicate"] * 2 + ["late"] * 10
                await until(lambda: hosted.status().requested == 40)
                truths = [one["y"] for one in samples[:30]]
                own = count_equal([one["prediction"] for one in given], truths) / 30
                served = count_equal(answers["predictions"], truths) / 30
                status = (await http.get("/v1/models/wine")).json()
                (line,) = status["shadows"]
                assert (line["scored"], line["late"]) == (30, 10)
                assert line["sliding"] == {"samples": 30, "shadow": own, "served": served}
                assert status["accepted"] == status["learned"] == 240
                tracks = (await http.get("/v1/models/wine/scores")).json()
                assert [one["track"] for one in tracks][-1] == "rival"
                assert tracks[-1]["overall"]["accuracy"] == own
                assert tracks[-1]["overall"]["log_loss"] is None
                assert tracks[-1]["shadow"]["overall"]["served"]["accuracy"] == served
                assert not any("shadow" in one for one in tracks[:-1])
                text = (await http.get("/metrics")).text
                labels_of = 'model="wine",shadow="rival"'
                assert f"streamnet_shadow_scored_total{{{labels_of}}} 30.0" in text
                place = f'horizon="sliding",{labels_of}'
                assert f"streamnet_shadow_score{{{place}}} {own!r}" in text
                assert f"streamnet_shadow_served_score{{{place}}} {served!r}" in text

    anyio.run(main)


def count_equal(answers: list[str], truths: list[str]) -> int:
    return sum(answer == truth for answer, truth in zip(answers, truths, strict=False))
