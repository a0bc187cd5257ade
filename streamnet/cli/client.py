"""``streamnet client``: a subcommand for each operation of the daemon's API; responses are JSON.

Operations that need no more than the model's name get their command from the table of operations;
those that read or write files are defined here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NamedTuple

import msgspec
from cyclopts import App, Parameter

from streamnet.cli import STANDARD_INPUT
from streamnet.cli.options import integer_option
from streamnet.client.operation import Operation
from streamnet.client.operations import OPERATIONS, UPLOADS
from streamnet.durability.files import OutputPath, check_output_paths, write_durably
from streamnet.errors import ConfigurationError, DataError, OutputError, RefusedError
from streamnet.modelfiles.formats import FORMATS, get_format
from streamnet.settings.daemon import check_model_name
from streamnet.settings.toml import parse_toml, read_text
from streamnet.validation import check_extra

if TYPE_CHECKING:
    from streamnet.client import Client


_URL, _URL_VARIABLE = "http://localhost:8000", "STREAMNET_URL"
RETRY_SECONDS = 30.0
_CHUNK_BYTES = 1 << 18


@Parameter(name="*")
@dataclass(frozen=True)
class Daemon:
    """The daemon to connect to."""

    url: Annotated[
        str | None,
        Parameter(
            metavar="URL", help=f"Address of the daemon; default ${_URL_VARIABLE}, or {_URL}."
        ),
    ] = None
    token_env: Annotated[
        str, Parameter(metavar="NAME", help="Environment variable that holds the token.")
    ] = "STREAMNET_TOKEN"  # noqa: S105 - a variable's name

    @contextmanager
    def connect(self, name: str | None = None) -> Iterator[Client]:
        """Connect a client; raises ConfigurationError if the model's name is invalid."""
        if name is not None:
            check_model_name(name)
        check_extra("serve", "httpx")
        from streamnet.client import Client

        url = self.url or os.environ.get(_URL_VARIABLE) or _URL
        token = os.environ.get(self.token_env) or None
        with Client(url, token=token, patience=RETRY_SECONDS) as found:
            yield found


DEFAULT_DAEMON = Daemon()
Name = Annotated[str, Parameter(metavar="MODEL", help="Name of the model.")]
Lines = Annotated[str, Parameter(metavar="FILE", help="JSON lines; - is standard input.")]
OutputFile = Annotated[Path, Parameter(metavar="FILE", help="File to write.")]
FormatName = Annotated[
    str | None,
    Parameter(
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}; default the one of the file's suffix, json for .json.",
    ),
]
Queued = Annotated[bool, Parameter(negative="", help="Don't wait until it is on the disk.")]

client: App = App(
    name="client",
    help="Talk to a daemon, with a command for each of its operations; responses are JSON.",
    help_format="plaintext",
    help_epilogue="",
)


# ---------------------------------------------------------- commands that use files


@client.command
def create(
    name: Name,
    settings: Annotated[Path, Parameter(help="TOML file: the content of [model.NAME].")],
    /,
    *,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Create a model."""
    with daemon.connect(name) as connected:
        return _show(connected.create(name, parse_toml(read_text(settings), str(settings))))


@client.command(usage="Usage: streamnet client upload [OPTIONS] NAME FILE [SETTINGS]")
def upload(
    name: Name,
    file: Annotated[Path, Parameter(help="Model file, .safetensors or .json.")],
    settings: Annotated[
        Path | None,
        Parameter(help="TOML file: the content of [model.NAME]; the model file has the rest."),
    ] = None,
    /,
    *,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Create a model that continues from a model file and predicts from the start."""
    with daemon.connect(name) as connected:
        suffix = _check_suffix(file)
        with _open_input(str(file)) as opened:
            data = opened.read()
        tables = {} if settings is None else parse_toml(read_text(settings), str(settings))
        return _show(connected.upload(name, data, suffix, tables))


@client.command
def learn(
    name: Name,
    file: Lines,
    /,
    *,
    key: Annotated[
        str | None,
        Parameter(metavar="KEY", help="Idempotency key: the same file and key are learned once."),
    ] = None,
    queued: Queued = False,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Learn samples, one per line, as fast as the daemon takes them."""
    with daemon.connect(name) as connected, _open_input(file) as lines:
        chunks = _read_chunks(lines)
        return _show(connected.learn_lines(name, chunks, key=key, durable=not queued))


@client.command
def predict(
    name: Name,
    file: Lines,
    /,
    *,
    ids: Annotated[
        str | None,
        Parameter(metavar="COLUMN", help="Column of an ID, by which `label` joins the label."),
    ] = None,
    explain: Annotated[
        bool, Parameter(negative="", help="Explain each prediction by its columns.")
    ] = False,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Predict samples, one per line."""
    lines = _read_json_lines(file)
    identities = None if ids is None else [str(_pop_column(line, ids, file)) for line in lines]
    samples, numbers = [line.value for line in lines], [line.number for line in lines]
    with daemon.connect(name) as connected, _map_line_numbers(file, numbers):
        return _show(connected.predict(name, samples, ids=identities, explain=explain))


@client.command
def label(
    name: Name, file: Lines, /, *, queued: Queued = False, daemon: Daemon = DEFAULT_DAEMON
) -> int:
    """Send the labels of predictions; a line is {"id": ..., "label": ...}."""
    lines = _read_json_lines(file)
    labels = [
        (str(_pop_column(line, "id", file)), _pop_column(line, "label", file)) for line in lines
    ]
    with daemon.connect(name) as connected, _map_line_numbers(file, [one.number for one in lines]):
        return _show(connected.label(name, labels, durable=not queued))


Shadow = Annotated[str, Parameter(metavar="SHADOW", help="Name of the shadow.")]


@client.command
def shadow_predict(
    name: Name,
    shadow: Shadow,
    file: Lines,
    /,
    *,
    queued: Queued = False,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Send predictions of another model; a line is {"id": ..., "prediction": ...}.

    With probabilities of labels, also as "probabilities".
    """
    lines = _read_json_lines(file)
    given = [
        (str(_pop_column(line, "id", file)), *map(line.value.get, ("prediction", "probabilities")))
        for line in lines
    ]
    with daemon.connect(name) as connected, _map_line_numbers(file, [one.number for one in lines]):
        return _show(connected.shadow_predict(name, shadow, given, durable=not queued))


@client.command
def remove_shadow(name: Name, shadow: Shadow, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Forget a shadow, its predictions and its scores."""
    with daemon.connect(name) as connected:
        return _show(connected.remove_shadow(name, shadow))


@client.command
def merge_class(
    name: Name,
    label: Annotated[str, Parameter(metavar="LABEL", help="Label of the class to merge.")],
    into: Annotated[str, Parameter(metavar="INTO", help="Label of the other class.")],
    /,
    *,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Read a label as another one from now on."""
    with daemon.connect(name) as connected:
        return _show(connected.merge_class(name, label, into))


@client.command
def retire_class(
    name: Name,
    label: Annotated[str, Parameter(metavar="LABEL", help="Label of the class to retire.")],
    /,
    *,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Give a class no probability from now on, and reject samples with its label."""
    with daemon.connect(name) as connected:
        return _show(connected.retire_class(name, label))


Key = Annotated[str, Parameter(metavar="KEY", help="The key; several columns are joined by |.")]


@client.command
def keys(
    name: Name,
    /,
    *,
    count: Annotated[int, integer_option("How many of the worst and of the best keys.")] = 20,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Return how many keys have models of their own, with the worst and the best of them."""
    with daemon.connect(name) as connected:
        return _show(connected.keys(name, count))


@client.command
def key(name: Name, key: Key, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Return what is known about the model of a key."""
    with daemon.connect(name) as connected:
        return _show(connected.key(name, key))


@client.command
def forget_key(name: Name, key: Key, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Delete the model of a key and its last targets; if it comes again, it is new."""
    with daemon.connect(name) as connected:
        return _show(connected.forget_key(name, key))


@client.command
def download_key(
    name: Name,
    key: Key,
    file: OutputFile,
    /,
    *,
    to: FormatName = None,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Download the model for one key, in the format of the file's suffix."""
    with daemon.connect(name) as connected:
        chosen = _find_format(file, to)
        check_output_paths([OutputPath("file", file)])
        _write(file, connected.download_key(name, key, chosen))
    return 0


@client.command
def events(
    name: Name,
    /,
    *,
    after: Annotated[
        int | None, integer_option("Start after the event of this ID.", metavar="ID")
    ] = None,
    daemon: Daemon = DEFAULT_DAEMON,
) -> int:
    """Show events as they happen, one per line, until the daemon stops."""
    with daemon.connect(name) as connected:
        for event in connected.events(name, after):
            print(msgspec.json.encode(event).decode(), flush=True)
    return 0


@client.command
def dead_letters(name: Name, to: OutputFile, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
    """Download the rejected records of a model as JSON lines."""
    with daemon.connect(name) as connected:
        check_output_paths([OutputPath("file", to)])
        _write(to, connected.dead_letters(name))
    return 0


@client.command
def download(
    name: Name, file: OutputFile, /, *, to: FormatName = None, daemon: Daemon = DEFAULT_DAEMON
) -> int:
    """Download a model, in the format of the file's suffix, also as ONNX or a C file."""
    with daemon.connect(name) as connected:
        chosen = _find_format(file, to)
        check_output_paths([OutputPath("file", file)])
        _write(file, connected.download(name, chosen))
    return 0


# ----------------------------------------------------- commands from the operations


def _build_command(operation: Operation[..., Any, Any]) -> Callable[..., int]:
    def call_model(name: Name, /, *, daemon: Daemon = DEFAULT_DAEMON) -> int:
        with daemon.connect(name) as connected:
            return _show(getattr(connected, operation.name)(name))

    def call_daemon(*, daemon: Daemon = DEFAULT_DAEMON) -> int:
        with daemon.connect() as connected:
            return _show(getattr(connected, operation.name)())

    return call_model if operation.has_name else call_daemon


for _operation in OPERATIONS.values():
    _command_name = _operation.name.replace("_", "-")
    if _operation.takes_only_name and _command_name not in client:
        client.command(
            _build_command(_operation), name=_command_name, help=f"{_operation.summary}."
        )


# ----------------------------------------------------------------- files and output


def _find_format(path: Path, name: str | None) -> str:
    """Find the format of a file to write, before a daemon is called."""
    if name is not None:
        return get_format(name).name
    for one in FORMATS.values():
        if one.suffix == path.suffix:
            return one.name
    suffixes = " or ".join(dict.fromkeys(one.suffix for one in FORMATS.values()))
    raise ConfigurationError(f"{path} ends in {path.suffix!r}, but must end in {suffixes}")


def _check_suffix(path: Path) -> str:
    """Check the suffix of a file to upload, before a daemon is called."""
    suffix = path.suffix.removeprefix(".")
    if suffix not in UPLOADS:
        rule = f"must end in {' or '.join(f'.{name}' for name in UPLOADS)}"
        raise ConfigurationError(f"{path} ends in {path.suffix!r}, but {rule}")
    return suffix


def _write(to: Path, data: bytes) -> None:
    try:
        write_durably(to, data)
    except OSError as error:  # its filename is that of a temporary file
        raise OutputError(f"{to} can't be written: {error.strerror}") from error


def _show(response: Any) -> int:
    if isinstance(response, bytes):
        print(response.decode(), end="")
    elif response is not None:
        print(msgspec.json.format(msgspec.json.encode(response), indent=2).decode())
    return 0


@contextmanager
def _open_input(file: str) -> Iterator[BinaryIO]:
    if file in ("-", STANDARD_INPUT):
        yield sys.stdin.buffer
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - it is closed below
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    with opened:
        yield opened


def _read_chunks(file: BinaryIO) -> Iterator[bytes]:
    # `read1` returns what a pipe holds now; more may come late or never.
    return iter(partial(file.read1, _CHUNK_BYTES), b"")  # type: ignore[attr-defined]


class _Line(NamedTuple):
    number: int  # in its file, from 1
    value: dict[str, Any]


def _read_json_lines(file: str) -> list[_Line]:
    """Read the lines of a file that are not blank."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    decoded = []
    with _open_input(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                decoded.append(_Line(number, decoder.decode(line)))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise DataError(f"{file}, line {number} is not a JSON object: {error}") from error
    return decoded


def _pop_column(line: _Line, column: str, file: str) -> Any:
    if column not in line.value:
        raise DataError(f"{file}, line {line.number} has no {column!r}")
    return line.value.pop(column)


@contextmanager
def _map_line_numbers(file: str, numbers: Sequence[int]) -> Iterator[None]:
    """Report a refused item by its line instead of its number in the request."""
    try:
        yield
    except RefusedError as error:
        if error.number is None:
            raise
        raise DataError(f"{file}, line {numbers[error.number]}: {error.detail}") from error
