"""Read replicas: what they follow, what they answer and refuse, and what they say of their age."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import anyio
import httpx2
import pytest

from streamnet import objects
from streamnet.client.clients import Client
from streamnet.daemon.replicas.replica_set import ReplicaSet
from streamnet.durability.state_directory import ModelPublisher
from streamnet.errors import ConfigurationError, RefusedError
from streamnet.modelfiles import Model, safetensors_format
from streamnet.settings.daemon import load_or_follow, parse
from streamnet.settings.replica import ReplicaSection
from tests.daemon.app_client import client_beside, is_problem, lines
from tests.daemon.hosted_models import hosting_all, learned, rows, settings_of
from tests.daemon.processes import Server
from tests.daemon.stand_ins import learned_model, model_of_numbers

LINEAGE = "ab" * 8
SAMPLE = {"x": 25, "y": 3, "shade": "red"}
IN_TIME = 120.0


def publish(folder: Path, generation: int, model: Model | None = None) -> bytes:
    """Publish a model as a run does in its state directory."""
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    document = (model or learned_model()).document()
    data = safetensors_format.encode(document)
    ModelPublisher(folder / "models").publish(data, generation, LINEAGE, 600)
    return data


@asynccontextmanager
async def following(
    of: object, **more: Any
) -> AsyncIterator[tuple[ReplicaSet, httpx2.AsyncClient]]:
    """A replica that has looked once, and a client of it; it looks again when `poll` is called."""
    replicas = ReplicaSet(ReplicaSection(of=str(of), **more))
    await replicas.poll()
    async with client_beside(replicas) as http:
        yield replicas, http


async def predicted(http: httpx2.AsyncClient, name: str = "churn") -> httpx2.Response:
    return await http.post(f"/v1/models/{name}/predict", json={"samples": [SAMPLE]})


@pytest.mark.asyncio
async def test_a_replica_predicts_what_the_model_in_the_state_directory_does(
    tmp_path: Path,
) -> None:
    publish(tmp_path / "churn", 7)
    async with following(tmp_path / "churn") as (_, http):
        reply = await predicted(http)
        body = reply.json()
        expected = learned_model().predict_proba([SAMPLE])[0].tolist()
        assert body["predictions"] == learned_model().predict([SAMPLE]).tolist()
        assert body["probabilities"] == [expected]
        assert body["generations"] == [7]
        assert 0 <= body["age"] <= float(reply.headers["streamnet-model-age"]) < 60
        streamed = await http.post(
            "/v1/models/churn/predict",
            content=lines([SAMPLE] * 3),
            headers={"content-type": "application/x-ndjson"},
        )
        assert [json.loads(line)["prediction"] for line in streamed.text.splitlines()] == ["on"] * 3
        assert "streamnet-model-age" in streamed.headers
        explained = await http.post(
            "/v1/models/churn/predict", json={"sample": SAMPLE, "explain": True}
        )
        assert set(explained.json()["explanations"][0]) == {"x", "y", "shade"}
        assert (await http.get("/v1/models/churn/champion")).json()["generation"] == 7
        file = tmp_path / "model.safetensors"
        file.write_bytes((await http.get("/v1/models/churn/model")).content)
        assert Model.load(file).predict([SAMPLE]).tolist() == ["on"]


@pytest.mark.asyncio
async def test_what_learns_or_knows_labels_is_refused_and_the_writer_named(tmp_path: Path) -> None:
    publish(tmp_path / "churn", 1)
    async with following(tmp_path / "churn", writer="https://learner:8000") as (_, http):
        path = "/v1/models/churn"
        for method, place, body in (
            ("POST", "samples", {"sample": SAMPLE}),
            ("POST", "labels", {"labels": []}),
            ("POST", "predict", {"sample": SAMPLE, "id": "a"}),
            ("POST", "pause", None),
            ("GET", "history", None),
            ("GET", "leaders", None),
        ):
            reply = await http.request(method, f"{path}/{place}", json=body)
            assert is_problem(reply, 409, "read replica", "https://learner:8000"), place
        assert is_problem(await http.post("/v1/models", json={"name": "new"}), 409, "read replica")
        assert is_problem(await http.delete(path), 409, "read replica")
        assert is_problem(await http.get("/v1/models/absent"), 404)


@pytest.mark.asyncio
async def test_newer_models_replace_older_ones_and_damaged_ones_do_not(tmp_path: Path) -> None:
    folder = tmp_path / "churn"
    publish(folder, 1)
    async with following(folder) as (replicas, http):
        publish(folder, 2)
        assert (await predicted(http)).json()["generations"] == [1]
        await replicas.poll()
        assert (await predicted(http)).json()["generations"] == [2]
        publish(folder, 3)
        (folder / "models" / ModelPublisher.file_name(3, LINEAGE)).write_bytes(b"half a model")
        await replicas.poll()
        assert (await predicted(http)).json()["generations"] == [2]
        (trouble,) = (await http.get("/v1/models/churn")).json()["troubles"]
        assert trouble["kind"] == "replica"
        assert "checksum" in trouble["message"]
        publish(folder, 4)
        await replicas.poll()
        assert (await predicted(http)).json()["generations"] == [4]
        assert (await http.get("/v1/models/churn")).json()["troubles"] == []


@pytest.mark.asyncio
async def test_age_and_silence_are_known_and_may_be_limited(tmp_path: Path) -> None:
    folder = tmp_path / "churn"
    publish(folder, 1)
    pointer = folder / "models" / "current.json"
    os.utime(pointer, (time() - 500, time() - 500))
    async with following(folder, max_age=400.0, max_silence=1e-9) as (_, http):
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        told = ready.json()
        assert told["status"] == "stale"
        assert 500 <= told["model_age"] < 600
        assert (await predicted(http)).json()["predictions"] == ["on"]  # it answers all the same
        status = (await http.get("/v1/models/churn")).json()
        assert (status["state"], status["replica_of"]) == ("following", str(folder))
        message = status["troubles"][0]["message"]
        assert re.search(r"its model is 5\d\d seconds old; the limit is 400", message)
        metrics = (await http.get("/metrics")).text
        values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
        assert 500 <= float(values['streamnet_model_age{model="churn"}']) < 600
        assert 0 <= float(values['streamnet_replica_silence{model="churn"}']) < 60
        assert values['streamnet_predicted_total{model="churn"}'] == "1.0"
        assert values['streamnet_state{model="churn",state="following"}'] == "1.0"
        assert 'streamnet_learned_total{model="churn"}' not in values
    async with following(folder, max_silence=1e-9) as (_, http):
        assert (await http.get("/readyz")).json()["status"] == "stale"
    async with following(folder, max_age=600.0, max_silence=60.0) as (_, http):
        assert (await http.get("/readyz")).status_code == 200


@pytest.mark.asyncio
async def test_a_folder_that_is_gone_or_empty_is_absent_and_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    publish(folder / "one" / "state", 1)
    publish(folder / "two" / "state", 5)
    (folder / ".lock").touch()
    async with following(folder) as (replicas, http):
        assert [one["name"] for one in (await http.get("/v1/models")).json()] == ["one", "two"]
        publish(folder / "three" / "state", 2, model_of_numbers())
        shutil.rmtree(folder / "one")
        await replicas.poll()
        told = {one["name"]: one["generation"] for one in (await http.get("/v1/models")).json()}
        assert told == {"three": 2, "two": 5}
        three = (await predicted(http, "three")).json()
        assert len(three["intervals"][0]) == 2  # those of the model
        folder.rename(tmp_path / "unmounted")
        await replicas.poll()
        folder.mkdir()
        await replicas.poll()
        assert (await predicted(http, "two")).json()["generations"] == [5]
        assert (await http.get("/readyz")).status_code == 200


@pytest.mark.asyncio
async def test_the_models_of_a_run_in_a_bucket_are_followed(bucket: str, tmp_path: Path) -> None:
    def store(generation: int) -> None:
        publish(tmp_path / "run", generation)
        models = tmp_path / "run" / "models"
        for path in sorted(models.iterdir(), key=lambda path: path.name == "current.json"):
            objects.write(f"{bucket}/runs/churn/models/{path.name}", path.read_bytes())

    objects.write(f"{bucket}/runs/churn/checkpoints/000000000001.checkpoint", b"")
    store(1)
    async with following(f"{bucket}/runs/churn") as (replicas, http):
        reply = (await predicted(http)).json()
        assert (reply["predictions"], reply["generations"]) == (["on"], [1])
        assert 0 <= reply["age"] < 60
        store(2)
        await replicas.poll()
        assert (await predicted(http)).json()["generations"] == [2]
        for info in objects.list_below(f"{bucket}/runs/churn"):
            objects.delete(info.url)
        await replicas.poll()
        assert (await predicted(http)).json()["generations"] == [2]


@pytest.mark.asyncio
async def test_the_folder_of_a_daemon_is_followed_while_it_learns(tmp_path: Path) -> None:
    async with hosting_all(tmp_path / "models", spam=settings_of()) as registry:
        spam = registry.models["spam"]
        await spam.opened()
        async with following(tmp_path / "models") as (replicas, http):
            assert is_problem(await predicted(http, "spam"), 503, "there is no model yet")
            await spam.learn(rows(400))
            await learned(spam, 400)
            with anyio.fail_after(IN_TIME):
                while replicas.models["spam"].age is None:
                    await replicas.poll()
            sample = {"x": 0.5, "w": "u"}
            reply = await http.post("/v1/models/spam/predict", json={"sample": sample})
            assert reply.json()["predictions"][0] in ("a", "b", "c")


@pytest.mark.asyncio
async def test_before_the_writer_was_reached_no_model_is_known_to_be_absent(tmp_path: Path) -> None:
    async with following(tmp_path / "absent") as (_, http):
        assert is_problem(await predicted(http), 503, "was not reached yet")
        assert (await http.get("/readyz")).json()["status"] == "starting"


WRITER = """
[serve]
dir = "{folder}/models"
port = {port}
token_file = "{folder}/tokens"

[model.lamp]
source.target = "label"
population.candidates = 2
intake.publish_seconds = 0.05
state.every_seconds = 0.2
"""
TOKENS = "learner-learner-learner read,learn,admin\nreplica-replica-replica read\n"
REPLICA = """
[serve]
port = 0

[replica]
of = "http://replaced:1"
token_env = "WRITER_TOKEN"
poll_seconds = 0.05
max_silence = 1.0
"""


def samples(count: int, start: int = 0) -> list[dict[str, object]]:
    return [
        {"x": i % 30, "shade": ("red", "blue")[i % 2], "label": "on" if i % 30 > 20 else "off"}
        for i in range(start, start + count)
    ]


def wait(condition: Callable[[], object]) -> None:
    deadline = monotonic() + IN_TIME
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)


def test_a_replica_answers_while_its_writer_learns_is_killed_and_comes_back(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamnet", "serve"]
    (tmp_path / "tokens").write_text(TOKENS)
    (tmp_path / "tokens").chmod(0o600)
    (tmp_path / "replica.toml").write_text(REPLICA)

    def start_writer(port: int) -> Server:
        path = tmp_path / "writer.toml"
        path.write_text(WRITER.format(folder=tmp_path, port=port))
        return Server([*command, str(path)])

    servers = [writer := start_writer(0)]
    callers = [admin := Client(writer.url, token="learner-learner-learner")]
    try:
        admin.learn("lamp", samples(500))
        wait(lambda: admin.status("lamp").generation)
        replica = Server(
            [*command, str(tmp_path / "replica.toml"), "--replica-of", writer.url],
            WRITER_TOKEN="replica-replica-replica",
        )
        servers.append(replica)
        callers.append(client := Client(replica.url, patience=IN_TIME))
        wait(lambda: client.predict("lamp", [{"x": 25}]).predictions == ["on"])
        generations: list[int] = []
        failures: list[Exception] = []
        is_over = threading.Event()

        def load() -> None:
            with Client(replica.url, patience=0.0) as caller:
                while not is_over.is_set():
                    try:
                        reply = caller.predict("lamp", [{"x": 25}, {"x": 2}])
                        assert reply.predictions == ["on", "off"], reply
                        generations.extend(reply.generations[:1])
                    except (AssertionError, RefusedError) as error:
                        failures.append(error)

        thread = threading.Thread(target=load)
        thread.start()
        for part in range(6):
            before = admin.status("lamp").version
            admin.learn("lamp", samples(300, 500 + 300 * part))
            while admin.status("lamp").version == before:
                sleep(0.02)
        newest = admin.status("lamp").generation
        assert newest is not None
        wait(lambda: (client.status("lamp").generation or 0) >= newest)
        with pytest.raises(RefusedError, match=f"read replica of {writer.url}") as refused:
            client.learn("lamp", samples(1))
        assert refused.value.status == 409
        writer.end(signal.SIGKILL)
        wait(lambda: httpx2.get(f"{replica.url}/readyz").json()["status"] == "stale")
        answered = len(generations)
        wait(lambda: len(generations) > answered + 5)
        assert (client.predict("lamp", [{"x": 25}]).age or 0.0) > 1.0
        servers.append(start_writer(writer.port))
        wait(lambda: httpx2.get(f"{replica.url}/readyz").status_code == 200)
        admin.learn("lamp", samples(300, 5000))
        wait(lambda: (client.status("lamp").generation or 0) > newest)
        is_over.set()
        thread.join()
        assert not failures
        assert generations == sorted(generations)
        assert len(set(generations)) > 3
        assert replica.end(signal.SIGTERM)[0] == 0
    finally:
        for caller in callers:
            caller.close()
        for server in servers:
            if server.process.poll() is None:
                server.process.kill()
            server.process.communicate(timeout=IN_TIME)


def test_settings_that_contradict_each_other_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, message in (
        ("replica.of = 'x'\nmodel.a.source.target = 'y'", "model.a is given, but a daemon with"),
        ("replica.of = 'http://u:p@host'", "of must be the address of a daemon"),
        ("replica.of = 's3://b/c'\nreplica.token_env = 'T'", "which is no daemon"),
        ("replica.of = 'http://host'\nreplica.name = 'a'", "the daemon names its models"),
        ("replica.poll_seconds = 2.0", "replica.of"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            parse(text)
    with pytest.raises(ConfigurationError, match="a run file must be given"):
        load_or_follow(None, None)
    assert load_or_follow(None, "runs/churn").replica == ReplicaSection(of="runs/churn")
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(ConfigurationError, match="there is no such variable"):
        ReplicaSet(ReplicaSection(of="http://host", token_env="ABSENT"))
