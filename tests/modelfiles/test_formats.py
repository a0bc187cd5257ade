"""The registry of model formats: each one is complete, and a new one needs nothing else."""

from __future__ import annotations

import pickle
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.modelfiles import Model
from streamnet.modelfiles.formats import FORMATS, SUFFIXES, ModelFormat, find_format, register
from tests.learning.streams import differences
from tests.modelfiles.models import small


@pytest.mark.parametrize("one", FORMATS.values(), ids=FORMATS)
def test_a_format_has_the_functions_that_it_declares(one: ModelFormat) -> None:
    module = import_module(one.module)
    assert one.suffix.startswith(".")
    assert one.media_type.count("/") == 1
    assert callable(module.encode)
    assert callable(module.recognizes)
    assert hasattr(module, "decode") is one.loadable


@pytest.mark.parametrize("one", SUFFIXES.values(), ids=SUFFIXES)
def test_each_format_recognizes_only_its_own_files(one: ModelFormat) -> None:
    data = one.encode(small().document())
    assert [other for other in FORMATS.values() if other.recognizes(data)] == [one]
    assert find_format(data) is find_format(data, one.suffix) is one


def test_media_types_of_uploads_differ() -> None:
    assert len({one.media_type for one in SUFFIXES.values()}) == len(SUFFIXES)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A format as somebody would add it: a module, and a line of the registry."""
    module = ModuleType("toy_format")
    start = b"toy:"

    def decode(data: bytes, where: str) -> Any:
        if not data.startswith(start):
            raise ModelFileError(f"{where} is no toy")
        return pickle.loads(data[len(start) :])

    monkeypatch.setattr(module, "encode", lambda d: start + pickle.dumps(d), raising=False)
    monkeypatch.setattr(module, "recognizes", lambda data: data.startswith(start), raising=False)
    monkeypatch.setattr(module, "decode", decode, raising=False)
    monkeypatch.setitem(sys.modules, "toy_format", module)
    register(ModelFormat("toy", ".toy", "application/x-toy", "toy_format"))
    yield module
    del FORMATS["toy"], SUFFIXES[".toy"]


def test_a_new_format_is_saved_exported_loaded_and_recognized(toy: Any, tmp_path: Path) -> None:
    small().save(tmp_path / "m.toy")
    small().export(tmp_path / "no_suffix", "toy")
    for name in ("m.toy", "no_suffix"):
        again = Model.load(tmp_path / name)
        assert differences(again.document(), small().document()) == []
    (tmp_path / "m.toy").write_bytes(b"else")
    with pytest.raises(ModelFileError, match=r"m\.toy is no toy"):
        Model.load(tmp_path / "m.toy")


def test_a_format_that_is_only_written_is_never_read(toy: Any, tmp_path: Path) -> None:
    register(ModelFormat("toy", ".toy", "application/x-toy", "toy_format", loadable=False))
    small().export(tmp_path / "m.toy", "toy")
    with pytest.raises(ModelFileError, match=r"m\.toy is damaged or no safetensors model"):
        Model.load(tmp_path / "m.toy")
    with pytest.raises(ModelFileError, match="m has the format toy, which can't be loaded"):
        FORMATS["toy"].decode(b"", "m")


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="format is 'pmml', but must be one of safetensors, json, gopher"
    ):
        small().export(tmp_path / "m.pmml", "pmml")
    with pytest.raises(
        ConfigurationError, match=r"ends in '\.pmml', but must end in \.safetensors"
    ):
        small().export(tmp_path / "m.pmml")
