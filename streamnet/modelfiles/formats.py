"""The registry of model formats; their code is imported when it is first needed.

To add a format, write a module with ``encode`` and ``recognizes``, and ``decode`` if models can be
loaded from it, and add a line to the table below. Output files, exports, the command line, the
daemon's media types and the clients all read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, final

from streamnet.errors import ConfigurationError, ModelFileError


@final
@dataclass(frozen=True)
class ModelFormat:
    """A file format of models."""

    name: str
    suffix: str  # with the dot
    media_type: str
    module: str  # with encode(document), recognizes(data) and, if loadable, decode(data, where)
    loadable: bool = True
    foreign: bool = False  # for other programs: what `streamnet export` writes

    def encode(self, document: dict[str, Any]) -> bytes:
        """Encode a model document as the content of a file.

        Raises:
            ConfigurationError: If the format cannot represent the model.
        """
        data: bytes = import_module(self.module).encode(document)
        return data

    def decode(self, data: bytes, where: str) -> dict[str, Any]:
        """Decode the content of a file, called ``where`` in messages.

        Raises:
            ModelFileError: If it is damaged or in another format, or this one is not loadable.
        """
        if not self.loadable:
            raise ModelFileError(f"{where} has the format {self.name}, which can't be loaded")
        document: dict[str, Any] = import_module(self.module).decode(data, where)
        return document

    def recognizes(self, data: bytes) -> bool:
        """Whether the content of a file looks like this format."""
        return bool(import_module(self.module).recognizes(data))


FORMATS: dict[str, ModelFormat] = {}
"""All formats by name."""

SUFFIXES: dict[str, ModelFormat] = {}
"""The format in which models are saved in files with a suffix, from which they can be loaded."""


def register(model_format: ModelFormat) -> None:
    """Add a format; of several loadable ones with one suffix, the first writes files."""
    FORMATS[model_format.name] = model_format
    if model_format.loadable:
        SUFFIXES.setdefault(model_format.suffix, model_format)


for _format in (
    ModelFormat(
        "safetensors",
        ".safetensors",
        "application/octet-stream",
        "streamnet.modelfiles.safetensors_format",
    ),
    ModelFormat("json", ".json", "application/json", "streamnet.modelfiles.json_format"),
    ModelFormat(
        "gopher", ".json", "application/json", "streamnet.modelfiles.gopher_format", foreign=True
    ),
    ModelFormat(
        "onnx",
        ".onnx",
        "application/x-onnx",
        "streamnet.modelfiles.onnx_format",
        loadable=False,
        foreign=True,
    ),
    ModelFormat(
        "c", ".c", "text/x-c", "streamnet.modelfiles.c_format", loadable=False, foreign=True
    ),
):
    register(_format)


def find_format(data: bytes, suffix: str = "") -> ModelFormat:
    """Find the format of a file's content among those with its suffix, or all if it is unknown.

    If none recognizes the content, returns the first of them, whose ``decode`` says what is wrong.
    """
    formats = [one for one in FORMATS.values() if one.loadable]
    formats = [one for one in formats if one.suffix == suffix] or formats
    return next((one for one in formats if one.recognizes(data)), formats[0])


def list_foreign() -> dict[str, ModelFormat]:
    """Formats for other programs by name."""
    return {name: one for name, one in FORMATS.items() if one.foreign}


def get_format(name: str) -> ModelFormat:
    """Return the format of a name.

    Raises:
        ConfigurationError: If there is no such format.
    """
    if name not in FORMATS:
        raise ConfigurationError(f"format is {name!r}, but must be one of {', '.join(FORMATS)}")
    return FORMATS[name]


def find_export(name: str | None, suffix: str) -> ModelFormat:
    """Find the format of an export by its name, or without one by the suffix of its file.

    Raises:
        ConfigurationError: If there is no such format.
    """
    if name is not None:
        return get_format(name)
    found = [one for one in (*list_foreign().values(), *FORMATS.values()) if one.suffix == suffix]
    if not found:
        suffixes = dict.fromkeys(one.suffix for one in FORMATS.values())
        raise ConfigurationError(
            f"the file of an export ends in {suffix!r}, but must end in {', '.join(suffixes)} "
            "if the format is not named"
        )
    return found[0]
