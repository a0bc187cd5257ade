"""Checks of output paths: they fail before hours of work, not after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from streamnet.errors import ConfigurationError

__all__ = ("OutputPath", "check_output_paths")

_STANDARD_INPUT = "-"


class OutputPath(NamedTuple):
    """A file that a command is to write."""

    name: str  # of the setting, for the message
    path: str | os.PathLike[str]
    suffixes: tuple[str, ...] = ()  # that it may have; () for any
    replaced: bool = True  # as a whole when all is done, rather than written where it stands


def check_output_paths(
    outputs: Iterable[OutputPath], inputs: Mapping[str, str] | None = None
) -> None:
    """Refuse outputs that can't be written, or would overwrite an input or one another.

    Nothing is changed: an output that exists keeps its content, and one that doesn't is not made.

    Args:
        outputs: Files to be written.
        inputs: Files to be read, names or glob patterns, and what each is: ``"the model"``.

    Raises:
        ConfigurationError: Naming the setting, its value and what is wrong with it.

    >>> check_output_paths([OutputPath("report", "report.txt", (".json",))])
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: report is 'report.txt', but must end in .json
    """
    taken = dict(_identify_inputs(inputs or {}))
    for output in outputs:
        path = Path(output.path)
        identity = _identify_file(path)
        shown = f"{output.name} is {os.fspath(output.path)!r}, but"
        if output.suffixes and path.suffix not in output.suffixes:
            raise ConfigurationError(f"{shown} must end in {' or '.join(output.suffixes)}")
        if identity in taken:
            raise ConfigurationError(f"{shown} that is {taken[identity]}")
        if path.is_dir():
            raise ConfigurationError(f"{shown} that is a folder")
        if not path.absolute().parent.is_dir():
            raise ConfigurationError(f"{shown} its folder does not exist")
        try:
            _probe_writable(path, replaced=output.replaced)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"{shown} it can't be written: {reason}") from error
        taken[identity] = f"where {output.name} goes"


def _identify_inputs(inputs: Mapping[str, str]) -> Iterator[tuple[object, str]]:
    for name, what in inputs.items():
        pattern = has_magic(name) and not Path(name).exists()
        for match in glob(name, recursive=True) if pattern else [name]:  # noqa: PTH207 - absolute and relative patterns alike
            if match != _STANDARD_INPUT:
                yield _identify_file(Path(match)), what


def _identify_file(path: Path) -> object:
    """What is equal for two names of one file, also by way of links."""
    try:
        known = path.stat()
    except OSError:
        return path.resolve()
    return known.st_dev, known.st_ino


def _probe_writable(path: Path, *, replaced: bool) -> None:
    """Do what is to be done later, since permissions alone don't tell whether it will work."""
    if path.is_file():
        path.open("ab").close()
    elif path.exists():  # a device or a pipe, which might wait for someone who reads it
        if not os.access(path, os.W_OK):
            raise PermissionError(None, "Permission denied")
        return
    if replaced or not path.exists():
        TemporaryFile(dir=path.absolute().parent).close()
