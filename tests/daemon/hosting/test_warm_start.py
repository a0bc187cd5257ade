"""A model file that is sent becomes a model that answers at once; any other file is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from starlette.testclient import TestClient

from streamnet.client.operation import Scope
from streamnet.daemon.hosting.model_run import build_settings, decode_model
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.http.app import create_app
from streamnet.errors import ConfigurationError, ConflictError, StreamnetError
from streamnet.modelfiles import Model, json_format, safetensors_format
from streamnet.modelfiles.document import add_checksum
from streamnet.online import OnlineClassifier
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.daemon import parse_model
from tests.conftest import Runner
from tests.daemon.app_client import TOKENS, client, is_problem
from tests.daemon.hosted_models import learned, until
from tests.daemon.stand_ins import StandInRegistry, learned_model

FORMATS = {".safetensors": safetensors_format, ".json": json_format}
MEDIA = {".safetensors": "application/octet-stream", ".json": "application/json"}
SETTINGS = '{"source": {"target": "lit"}}'
SAMPLES = [{"x": i % 30, "y": i % 7, "shade": ("red", "blue")[i % 2]} for i in range(60)]


@cache
def file_of(suffix: str) -> bytes:
    data: bytes = FORMATS[suffix].encode(learned_model().document())
    return data


def put(http: TestClient, data: bytes, suffix: str, name: str = "lamp", **more: Any) -> Any:
    headers = {"content-type": MEDIA[suffix], **more.pop("headers", {})}
    params = {"settings": more.pop("settings", SETTINGS)}
    return http.put(f"/v1/models/{name}/model", content=data, headers=headers, params=params)


# ----------------------------------------------------------------------- what it does


def test_its_intervals_go_on_where_those_of_the_file_were(run: Runner, tmp_path: Path) -> None:
    model = learned_model(0.9)
    data: bytes = FORMATS[".json"].encode(model.document())

    async def main() -> None:
        settings = build_settings(json.loads(SETTINGS), decode_model(data, ".json"))
        for life in range(2):
            registry = Registry(tmp_path)
            async with anyio.create_task_group() as group:
                await group.start(registry.run)
                if not life:
                    await registry.create("lamp", settings, (".json", data))
                lamp = registry.models["lamp"]
                await lamp.opened()
                await lamp.published()
                if not life:
                    found = lamp.predict(SAMPLES).intervals
                    assert_array_equal(found, model.intervals(model.outputs(SAMPLES)))
                rows = [{**row, "lit": "on" if int(row["x"]) > 20 else "off"} for row in SAMPLES]
                await lamp.learn(rows)
                await learned(lamp, 60 * (life + 1))
                await until(lambda: lamp.status().scored == 60 * (life + 1))  # noqa: B023 - awaited
                intervals = lamp.status().intervals
                assert intervals is not None
                assert (intervals.level, intervals.scored) == (0.9, 60 * (life + 1))
                registry.stop()

    run(main)


@pytest.mark.parametrize("suffix", FORMATS)
def test_it_predicts_before_it_learned_anything_and_across_restarts(
    run: Runner, tmp_path: Path, suffix: str
) -> None:
    """Against the model of the file itself: the same answers, to the bit."""
    expected = learned_model().outputs(SAMPLES)

    async def main() -> None:
        settings = build_settings(json.loads(SETTINGS), decode_model(file_of(suffix), suffix))
        for life in range(3):
            registry = Registry(tmp_path)
            async with anyio.create_task_group() as group:
                await group.start(registry.run)
                if not life:
                    await registry.create("lamp", settings, (suffix, file_of(suffix)))
                lamp = registry.models["lamp"]
                await lamp.opened()
                await lamp.published()
                if not life:
                    assert_array_equal(lamp.predict(SAMPLES).probabilities, expected)
                rows = [{**row, "lit": "on" if int(row["x"]) > 20 else "off"} for row in SAMPLES]
                await lamp.learn(rows)
                await learned(lamp, 60 * (life + 1))
                registry.stop()
        assert (tmp_path / "lamp" / f"start{suffix}").read_bytes() == file_of(suffix)

    run(main)


def test_it_continues_with_the_networks_of_the_file(run: Runner, tmp_path: Path) -> None:
    """What is learned first is answered by what the file knows, not by a beginner."""

    async def main() -> None:
        registry = Registry(tmp_path)
        async with anyio.create_task_group() as group:
            await group.start(registry.run)
            model = decode_model(file_of(".json"), ".json")
            settings = build_settings(json.loads(SETTINGS), model)
            lamp = await registry.create("lamp", settings, (".json", file_of(".json")))
            await lamp.opened()
            rows = [{**row, "lit": "on" if int(row["x"]) > 20 else "off"} for row in SAMPLES]
            fresh = await registry.create("fresh", parse_model(json.loads(SETTINGS)))
            await fresh.opened()
            for hosted in (lamp, fresh):
                await hosted.learn(rows)
                await learned(hosted, 60)
            # Scores are told by a later stage than what was learned.
            await until(lambda: {lamp.status().scored, fresh.status().scored} == {60})
            served = [model.status().served or 0.0 for model in (lamp, fresh)]
            assert served[0] > served[1]
            assert len(lamp.leaders()) == len(model.networks)
            await lamp.reset()
            await lamp.published()
            assert lamp.predict({"x": 25}).values.tolist() == ["on"]
            registry.stop()

    run(main)


def test_a_folder_without_settings_is_no_model(run: Runner, tmp_path: Path) -> None:
    """As a power cut leaves it, before the settings were written: the next model is a new one."""
    (tmp_path / "lamp").mkdir()
    (tmp_path / "lamp" / "start.json").write_bytes(b"{}")

    async def main() -> None:
        registry = Registry(tmp_path)
        async with anyio.create_task_group() as group:
            await group.start(registry.run)
            assert registry.models == {}
            model = decode_model(file_of(".json"), ".json")
            settings = build_settings(json.loads(SETTINGS), model)
            lamp = await registry.create("lamp", settings)
            await lamp.opened()
            assert lamp.state == "learning"
            with pytest.raises(ConflictError):
                await registry.create("lamp", settings, (".json", file_of(".json")))
            registry.stop()

    run(main)


# --------------------------------------------------------------------------- over HTTP


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_creates_a_model_once(suffix: str) -> None:
    registry = StandInRegistry("wine")
    http = client(registry)
    made = put(http, file_of(suffix), suffix)
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/models/lamp"
    assert registry.starts["lamp"] == (suffix, file_of(suffix))
    assert registry.settings["lamp"].source.target == "lit"
    assert is_problem(put(http, file_of(suffix), suffix), 409, "lamp")
    assert is_problem(put(http, file_of(suffix), suffix, "wine"), 409, "wine")
    packed = gzip.compress(file_of(suffix))
    sent = put(http, packed, suffix, "other", headers={"content-encoding": "gzip"})
    assert sent.status_code == 201
    assert registry.starts["other"] == (suffix, file_of(suffix))


def test_the_target_is_that_of_the_file_unless_another_is_named() -> None:
    document = learned_model().document()
    document["about"] = {**document["about"], "target": "lit"}
    del document["checksum"]
    model = decode_model(json_format.encode(add_checksum(document)), ".json")
    assert build_settings({}, model).source.target == "lit"
    assert build_settings({"source": {"target": "z"}}, model).source.target == "z"
    with pytest.raises(ConfigurationError, match=r"source\.target is 'x', but that is an input"):
        build_settings({"source": {"target": "x"}}, model)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            '{"population": {"candidates": 3}}',
            "population is given, but the model file determines it",
        ),
        ('{"encoder": {"scaling": "rank"}}', "encoder is given, but the model file determines it"),
        ('{"source": {"target": "z", "task": "regression"}}', "start is for classification"),
        ('{"source": {"target": "z", "files": ["/etc/passwd"]}}', "cannot be named over HTTP"),
        ('{"source": {"targt": "z"}}', "targt"),
        ('{"start": "/etc/passwd"}', "start"),
        ('{"source": 3}', "source"),
        ('{"selection": {"criterion": "rmse"}, "source": {"target": "z"}}', "criterion"),
        ("{}", "source.target is not given"),
    ],
)
def test_settings_that_do_not_fit_the_file_are_refused(given: str, message: str) -> None:
    http = client(StandInRegistry())
    assert is_problem(put(http, file_of(".json"), ".json", settings=given), 422, message)


def test_foreign_files_are_refused() -> None:
    http = client(StandInRegistry(), limits=Limits(max_model=2_000_000))
    good = file_of(".json")
    assert is_problem(put(http, b"", ".json"), 422, "damaged")
    assert is_problem(put(http, b"", ".safetensors"), 422, "damaged")
    assert is_problem(put(http, good, ".safetensors"), 422, "damaged")
    assert is_problem(put(http, good[:-9], ".json"), 422, "damaged")
    assert is_problem(put(http, b'{"Layers": [], "Weights": []}', ".json"), 422, "is not a")
    assert is_problem(put(http, b"{" * 100_000, ".json"), 422, "damaged")
    assert is_problem(put(http, b" " * 2_000_001, ".json"), 413, "2000000")
    bomb = gzip.compress(b" " * 2_000_001)
    packed = {"content-encoding": "gzip"}
    assert is_problem(put(http, bomb, ".json", headers=packed), 413, "2000000")
    assert is_problem(put(http, good, ".json", headers={"content-type": "text/plain"}), 415)
    for wrong in ("{", "[]", "no", "[" * 10_000, ""):
        told = put(http, good, ".json", settings=wrong)
        assert is_problem(told, 422, "settings is not a JSON object: ")
    deep = '{"a":' * 20 + "1" + "}" * 20
    assert is_problem(put(http, good, ".json", settings=deep), 422, "nested too deeply")


def test_only_an_admin_may() -> None:
    access = Access({token: {scope} for scope, token in TOKENS.items()})
    http = client(StandInRegistry(), access=access)
    for scope, token in TOKENS.items():
        answer = put(http, file_of(".json"), ".json", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == (201 if scope is Scope.ADMIN else 403)


# ------------------------------------------------------------------------ mutated files


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where something stands in a document."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, part in value.items():
            yield from places(part, (*path, name))


@cache
def small_model() -> Model:
    """Two networks that know three columns: so that many files can be tried."""
    learner = OnlineClassifier(
        [CandidateSettings(hidden=(4,)), CandidateSettings(hidden=(3, 2), activation="relu")]
    )
    for row in SAMPLES:
        learner.learn_one(row, "on" if int(row["x"]) > 20 else "off")
    return learner.model()


PLACES = [path for path in places(small_model().document()) if path != ("checksum",)]
STRANGE = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 2**40, 2**70, -(2**63), 1e308, -0.5, "", "x", "a\0b"),
        *([], {}, [0], ["x", None], {"0": 1}, "float32", "classification", "regression"),
    ]
)
ARRAYS = st.sampled_from(
    [
        np.zeros((0, 0), np.float32),
        np.zeros((1, 1), np.float64),
        np.full(3, np.nan, np.float32),
        np.array([2**62, -1]),
        np.zeros(70_000, np.uint8),
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A good document with some of its parts replaced or removed, and its checksum right again."""
    document = deepcopy(small_model().document())
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PLACES))
        holder: Any = document
        for name in path[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or path[-1] not in holder:
            continue
        if draw(st.integers(0, 4)):
            old = holder[path[-1]]
            if isinstance(old, np.ndarray) and old.size and draw(st.booleans()):
                changed = old.copy()
                spot = draw(st.integers(0, old.size - 1))
                changed.flat[spot] = draw(st.sampled_from([0, 1, -1, 120, 1e30]))
                holder[path[-1]] = changed
            else:
                holder[path[-1]] = draw(STRANGE | ARRAYS)
        else:
            del holder[path[-1]]
    document.pop("checksum", None)
    try:
        return add_checksum(document)
    except (TypeError, ValueError):
        return document


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of a mutated document, or a good file with some of its bytes changed."""
    suffix = draw(st.sampled_from(list(FORMATS)))
    if draw(st.booleans()):
        try:
            return suffix, FORMATS[suffix].encode(draw(documents()))
        except (TypeError, ValueError, OverflowError):
            pass
    data = bytearray(FORMATS[suffix].encode(small_model().document()))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 9))] = draw(st.binary(max_size=9))
    return suffix, bytes(data)


REGISTRY = StandInRegistry()
HTTP = TestClient(
    create_app(REGISTRY, limits=Limits(max_rate=1e9)),  # type: ignore[arg-type]
    raise_server_exceptions=False,
)


def check(sent: tuple[str, bytes]) -> None:
    suffix, data = sent
    answer = put(HTTP, data, suffix)
    assert answer.status_code in (201, 422), answer.text
    if answer.status_code == 201:
        # It was taken for sound, so it must answer, or say in words why not.
        del REGISTRY.models["lamp"]
        with suppress(StreamnetError):
            decode_model(data, suffix).outputs(SAMPLES[:3])


@given(files())
@settings(max_examples=150, deadline=None)
def test_a_mutated_file_is_read_or_refused(sent: tuple[str, bytes]) -> None:
    check(sent)


@pytest.mark.long
@pytest.mark.timeout(7200)
@given(files())
@settings(max_examples=100_000, deadline=None)
def test_a_hundred_thousand_mutated_files_are_read_or_refused(sent: tuple[str, bytes]) -> None:
    check(sent)
