"""``streamnet client``: a subcommand for each operation of the daemon's API; answers are JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NamedTuple

from cyclopts import App, Parameter

from streamnet.cli.options import integer_option

if TYPE_CHECKING:
    from streamnet.client.clients import Client

__all__ = (
    "RETRY_SECONDS",
    "Daemon",
    "change",
    "client",
    "create",
    "dead_letters",
    "delete",
    "download",
    "events",
    "label",
    "learn",
    "models",
    "predict",
    "show",
    "status",
    "upload",
)

_URL, _URL_VARIABLE = "http://localhost:8000", "STREAMNET_URL"
RETRY_SECONDS = 30.0  # seconds in which a request is sent again
_CHUNK_BYTES = 1 << 18  # bytes of a file that are sent at a time


@Parameter(name="*")
@dataclass(frozen=True)
class Daemon:
    """Which daemon is asked."""

    url: Annotated[
        str | None,
        Parameter(metavar="URL", help=f"Where the daemon is; default ${_URL_VARIABLE}, or {_URL}."),
    ] = None
    token_env: Annotated[
        str, Parameter(metavar="NAME", help="Environment variable that holds the token.")
    ] = "STREAMNET_TOKEN"  # noqa: S105 - a name

    @contextmanager
    def asked(self, name: str | None = None) -> Iterator[Client]:
        """A client of it, to be asked about the model of a name.

        Raises:
            ConfigurationError: If no model may have the name: it would ask for something else.
        """
        from streamnet.settings.daemon import check_model_name
        from streamnet.validation import check_extra

        if name is not None:
            check_model_name(name)
        check_extra("serve", "httpx")
        from streamnet.client.clients import Client

        url = self.url or os.environ.get(_URL_VARIABLE) or _URL
        with Client(
            url, token=os.environ.get(self.token_env) or None, patience=RETRY_SECONDS
        ) as found:
            yield found


DEFAULT_DAEMON = Daemon()
Name = Annotated[str, Parameter(metavar="MODEL", help="Name of the model.")]
Lines = Annotated[str, Parameter(metavar="FILE", help="JSON lines; - is standard input.")]
OutputFile = Annotated[Path, Parameter(metavar="FILE", help="The file to write.")]
Queued = Annotated[bool, Parameter(negative="", help="Don't wait until it is on the disk.")]

client = App(
    name="client",
    help="Ask a daemon, a command for each of its operations; answers are JSON.",
    help_format="plaintext",
    help_epilogue="",
)


@client.command
def models(*, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """List all models."""
    with daemon.asked() as asked:
        return _show(asked.models())


@client.command
def status(name: Name, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Show where a model stands."""
    with daemon.asked(name) as asked:
        return _show(asked.status(name))


@client.command
def show(
    name: Name,
    part: Literal["champion", "leaders", "history", "confusion", "rejected"],
    /,
    *,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Show what a model tells of its champion, its candidates, its scores, its errors."""
    with daemon.asked(name) as asked:
        return _show(getattr(asked, part)(name))


@client.command
def create(
    name: Name,
    settings: Annotated[Path, Parameter(help="TOML file: what stands below [model.NAME].")],
    /,
    *,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Make a model."""
    with daemon.asked(name) as asked:
        return _show(asked.create(name, _read_tables(settings)))


@client.command(usage="Usage: streamnet client upload [OPTIONS] NAME FILE [SETTINGS]")
def upload(
    name: Name,
    file: Annotated[Path, Parameter(help="Model file, .safetensors or .json.")],
    settings: Annotated[
        Path | None,
        Parameter(help="TOML file: what stands below [model.NAME]; the model file has the rest."),
    ] = None,
    /,
    *,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Make a model that goes on with a model file, and answers from the start."""
    with daemon.asked(name) as asked:
        suffix = _check_format(file)
        with _open_input(str(file)) as opened:
            data = opened.read()
        values = {} if settings is None else _read_tables(settings)
        return _show(asked.upload(name, data, suffix, values))


@client.command
def change(
    verb: Literal["pause", "resume", "reset"], name: Name, /, *, daemon: Daemon = DEFAULT_DAEMON
) -> int:
    """Pause a model, let it learn on, or let it forget everything."""
    with daemon.asked(name) as asked:
        return _show(getattr(asked, verb)(name))


@client.command
def delete(name: Name, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Delete a model and its state."""
    with daemon.asked(name) as asked:
        asked.delete(name)
    return 0


@client.command
def learn(
    name: Name,
    file: Lines,
    /,
    *,
    key: Annotated[
        str | None,
        Parameter(metavar="KEY", help="The same file under the same key is learned once."),
    ] = None,
    queued: Queued = False,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Let a model learn samples, one a line, as fast as it is able to."""
    with daemon.asked(name) as asked, _open_input(file) as lines:
        return _show(asked.learn_lines(name, _read_chunks(lines), key=key, durable=not queued))


@client.command
def predict(
    name: Name,
    file: Lines,
    /,
    *,
    ids: Annotated[
        str | None,
        Parameter(metavar="COLUMN", help="Column of an id, by which `label` joins the truth."),
    ] = None,
    explain: Annotated[
        bool, Parameter(negative="", help="Tell which inputs moved each answer.")
    ] = False,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Answer samples, one a line."""
    lines = _read_json_lines(file)
    named = None if ids is None else [str(_pop_column(line, ids, file)) for line in lines]
    samples = [line.value for line in lines]
    with daemon.asked(name) as asked, _map_line_numbers(file, [line.number for line in lines]):
        return _show(asked.predict(name, samples, ids=named, explain=explain))


@client.command
def label(
    name: Name, file: Lines, /, *, queued: Queued = False, daemon: Daemon = DEFAULT_DAEMON
) -> int:
    """Tell the truth for predictions; a line is {"id": ..., "label": ...}."""
    lines = _read_json_lines(file)
    labels = [
        (str(_pop_column(line, "id", file)), _pop_column(line, "label", file)) for line in lines
    ]
    with daemon.asked(name) as asked, _map_line_numbers(file, [line.number for line in lines]):
        return _show(asked.label(name, labels, durable=not queued))


@client.command
def events(
    name: Name,
    /,
    *,
    after: Annotated[
        int | None, integer_option("Begin behind the event of this id.", metavar="ID")
    ] = None,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Tell what happens in a model, a line for each event, until the daemon stops."""
    import msgspec

    with daemon.asked(name) as asked:
        for event in asked.events(name, after):
            print(msgspec.json.encode(event).decode(), flush=True)
    return 0


@client.command
def dead_letters(name: Name, to: OutputFile, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Take home all records that a model rejected, as JSON lines."""
    with daemon.asked(name) as asked:
        _check_writable(to)
        _write(to, asked.dead_letters(name))
    return 0


@client.command
def download(name: Name, to: OutputFile, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Take a model home, in the format of the file's suffix: .safetensors or .json."""
    with daemon.asked(name) as asked:
        suffix = _check_format(to)
        _check_writable(to)
        _write(to, asked.download(name, suffix))
    return 0


def _check_format(path: Path) -> str:
    """The format of a model file, by its suffix: known before a daemon is asked."""
    from streamnet.errors import ConfigurationError
    from streamnet.modelfiles.formats import SUFFIXES

    if path.suffix not in SUFFIXES:
        rule = f"must end in {' or '.join(SUFFIXES)}"
        raise ConfigurationError(f"{path} ends in {path.suffix!r}, but {rule}")
    return path.suffix.removeprefix(".")


def _check_writable(to: Path) -> None:
    """Refuse a file that can't be written, before anybody is asked."""
    from streamnet.durability.files import OutputPath, check_output_paths

    check_output_paths([OutputPath("file", to)])


def _write(to: Path, data: bytes) -> None:
    from streamnet.durability.files import write_durably
    from streamnet.errors import OutputError

    try:
        write_durably(to, data)
    except OSError as error:  # which names the file that was to become this one
        raise OutputError(f"{to} can't be written: {error.strerror}") from error


def _read_tables(path: Path) -> dict[str, Any]:
    from streamnet.settings.run import parse_toml, read_text

    return parse_toml(read_text(path), str(path))


def _show(answer: Any) -> int:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    return 0


@contextmanager
def _open_input(file: str) -> Iterator[BinaryIO]:
    from streamnet.cli.options import STANDARD_INPUT
    from streamnet.errors import DataError

    if file in ("-", STANDARD_INPUT):
        yield sys.stdin.buffer
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - it is closed below
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    with opened:
        yield opened


def _read_chunks(file: BinaryIO) -> Iterable[bytes]:
    # What is there, since more of a pipe may come late or never.
    while piece := file.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]
        yield piece


class _Line(NamedTuple):
    number: int  # in its file, from 1
    value: dict[str, Any]


def _read_json_lines(file: str) -> list[_Line]:
    """The lines of a file that are not blank."""
    import msgspec

    from streamnet.errors import DataError

    decoder = msgspec.json.Decoder(dict[str, Any])
    decoded = []
    with _open_input(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                decoded.append(_Line(number, decoder.decode(line)))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise DataError(f"{file}, line {number} is no JSON object: {error}") from error
    return decoded


def _pop_column(line: _Line, column: str, file: str) -> Any:
    from streamnet.errors import DataError

    if column not in line.value:
        raise DataError(f"{file}, line {line.number} has no {column!r}")
    return line.value.pop(column)


@contextmanager
def _map_line_numbers(file: str, numbers: Sequence[int]) -> Iterator[None]:
    """Tell on which line stands what a daemon refuses, in place of its number in the request."""
    from streamnet.errors import DataError, RefusedError

    try:
        yield
    except RefusedError as error:
        if error.number is None:
            raise
        raise DataError(f"{file}, line {numbers[error.number]}: {error.detail}") from error
