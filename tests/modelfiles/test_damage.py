"""Damaged and hostile model files: refused, or the same model; never anything else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.errors import ModelFileError, StreamnetError
from streamnet.modelfiles import Model, json_format, safetensors_format
from streamnet.modelfiles.document import digest, verify_document
from streamnet.samples import Task
from tests.learning.streams import differences
from tests.modelfiles.models import loaded, small

FORMATS = pytest.mark.parametrize(
    "form", [json_format, safetensors_format], ids=["json", "safetensors"]
)


def load(form: ModuleType, data: bytes) -> Model | None:
    """The model, or None if it is refused."""
    try:
        return loaded(form, data)
    except ModelFileError:
        return None


@pytest.mark.no_cover
@FORMATS
@pytest.mark.parametrize("change", [0x01, 0x20, 0x80, 0xFF])
def test_a_changed_byte_is_refused_or_changes_nothing(form: ModuleType, change: int) -> None:
    original = small().document()
    data = form.encode(original)
    passed = 0
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= change
        model = load(form, bytes(bad))
        if model is not None:
            passed += 1
            assert differences(model.document(), original) == [], f"byte {at}"
    assert passed < len(data) / 4  # white space, and little else, may change


@FORMATS
def test_a_file_cut_short_is_refused_or_changes_nothing(form: ModuleType) -> None:
    original = small().document()
    data = form.encode(original)
    for length in range(len(data)):
        model = load(form, data[:length])
        if model is not None:
            assert data[length:].strip() == b"", f"cut at {length}"


@FORMATS
def test_bytes_behind_the_end_are_refused_or_change_nothing(form: ModuleType) -> None:
    original = small().document()
    for tail in (b"\x00", b"{}", b"\n", b"x" * 100):
        model = load(form, form.encode(original) + tail)
        if model is not None:
            assert tail == b"\n"


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place of a JSON tree: what holds it, and its name or number there."""
    names: Any = []
    if isinstance(value, dict):
        names = list(value)
    elif isinstance(value, list):
        names = range(len(value))
    for name in names:
        yield value, name
        yield from places(value[name])


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**40, 1e308, -1.5, 0.5, 5e-324]),
    st.text(max_size=3),
    st.sampled_from(["number", "time", "text", "category", "float64", "softmax", "adam", "object"]),
    st.lists(st.integers(-1, 4), max_size=3),
    st.just([4096] * 8),
    st.just([[[[]]]]),
    st.just({}),
    st.just({"dtype": "float32", "shape": [1, 2], "values": [1, 2]}),
    st.just({"dtype": "int64", "shape": [0, 2], "values": []}),
    st.just({"dtype": "int64", "shape": [-5], "values": []}),
    st.just({"dtype": "object", "shape": [], "values": []}),
)
TREES = {task: json.loads(json_format.encode(small(task).document())) for task in Task}


@pytest.mark.no_cover
@settings(max_examples=600)
@given(st.sampled_from(list(Task)), st.data())
def test_a_hostile_document_is_refused_or_makes_a_model(task: Task, data: st.DataObject) -> None:
    tree = copy.deepcopy(TREES[task])
    for _ in range(data.draw(st.integers(1, 3))):
        holder, name = data.draw(st.sampled_from(list(places(tree))))
        deed = data.draw(st.sampled_from(["put", "put", "put", "delete", "copy"]))
        if deed == "delete":
            del holder[name]
        elif deed == "copy":
            other, place = data.draw(st.sampled_from(list(places(tree))))
            holder[name] = copy.deepcopy(other[place])
        else:
            holder[name] = copy.deepcopy(data.draw(VALUES))
        if not tree:
            return
    try:
        document = json_format.decode(json.dumps(tree).encode(), "m")
        with suppress(TypeError):  # arrays in lists have no digest
            document["checksum"] = digest(document)  # as one would who means harm
        verify_document(document, "m")
        model = Model.from_document(document, "m")
    except ModelFileError:
        return
    document = model.document()
    assert document["checksum"] == digest(document)
    with suppress(StreamnetError):  # such as fields whose kinds no sample can have
        assert len(model.predict([{"x": 1.0, "w": "u"}, {"x": 2.0, "w": ""}])) == 2


@pytest.mark.parametrize("depth", [500, 5_000, 200_000])
@pytest.mark.parametrize("pair", ["[]", ("{", "}")])
def test_deep_nesting_is_refused(depth: int, pair: Any) -> None:
    opening = '{"a":' if pair[0] == "{" else "["
    text = '{"format":"streamnet-model","version":1,"about":'
    text += opening * depth + "1" + pair[1] * depth + "}"
    assert load(json_format, text.encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"format": NaN}',
        '{"a": 1, "a": 1}',
        '{"x": {"dtype": "float32", "shape": [2], "values": [1e999, -1e999]}}',
        '{"x": {"dtype": "float32", "shape": [3], "values": [1]}}',
        '{"x": {"dtype": "<f4", "shape": [1], "values": [1]}}',
        '{"x": {"dtype": "int32", "shape": [1], "values": [1e30]}}',
        '{"x": {"dtype": "int64", "shape": [1], "values": [9223372036854775808]}}',
        '{"x": {"dtype": "uint8", "shape": [1], "values": ["a"]}}',
        '{"x": {"dtype": "uint8", "shape": "a", "values": [1]}}',
        '{"x": {"dtype": ["uint8"], "shape": [1], "values": [1]}}',
        '{"x": ' + "9" * 5000 + "}",
    ],
)
def test_an_invalid_array_or_number_is_refused(text: str) -> None:
    assert load(json_format, text.encode()) is None


def test_the_error_names_the_file_and_what_is_wrong() -> None:
    data = bytearray(json_format.encode(small().document()))
    at = data.index(b'"seed": 0') + 8
    data[at : at + 1] = b"1"
    with pytest.raises(ModelFileError, match=r"^m is damaged: its content does not match"):
        verify_document(json_format.decode(bytes(data), "m"), "m")
