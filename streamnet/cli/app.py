"""The `streamnet` command: dispatches to its subcommands and prints errors as single lines."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from cyclopts import App, CoercionError, CycloptsError, Group, UnusedCliTokensError

from streamnet.cli.client import client
from streamnet.cli.dead_letters import dead_letters
from streamnet.cli.evaluate import evaluate
from streamnet.cli.exchange import export_model, import_model
from streamnet.cli.inspect import inspect
from streamnet.cli.options import STANDARD_INPUT
from streamnet.cli.predict import predict
from streamnet.cli.replay import replay
from streamnet.cli.run import run as run_file
from streamnet.cli.serve import serve
from streamnet.cli.state import rollback, status, verify
from streamnet.cli.train import train
from streamnet.errors import ConfigurationError, DamagedStateError, StreamnetError

__all__ = ("app", "run")

FAILED, USAGE_ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
DAMAGED = 78  # no state can be gone on from: starting again and again would not help
USAGES: dict[Callable[..., int], str] = {
    replay: "replay [OPTIONS] FILE...",
    train: "train [OPTIONS] FILE...",
    predict: "predict [OPTIONS] MODEL FILE...",
    evaluate: "evaluate [OPTIONS] MODEL FILE...",
    inspect: "inspect FILE",
    run_file: "run [OPTIONS] CONFIG",
    status: "status DIR",
    rollback: "rollback DIR GENERATION",
    dead_letters: "dead-letters list|show|replay DIR [NUMBER]",
    serve: "serve [OPTIONS] CONFIG",
    verify: "verify DIR [GENERATION]",
    export_model: "export MODEL --to FILE",
    import_model: "import [OPTIONS] FILE --model FILE",
}


def _unwrap(text: str | None) -> str:
    """A docstring's paragraphs, each on one line: the terminal's width breaks them."""
    paragraphs = re.split(r"\n\s*\n", text or "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _version() -> str:
    from streamnet.version import __version__

    return __version__


app = App(
    name="streamnet",
    help="Learn from a stream with a whole population of small neural networks at once.",
    version=_version,
    help_epilogue="Every command explains its options: streamnet COMMAND --help",
    help_format="plaintext",
    group_commands=Group("Commands", sort_key=0),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
for command, usage in USAGES.items():
    app.command(
        command,
        name=usage.split()[0],
        help=_unwrap(command.__doc__),
        usage=f"Usage: streamnet {usage}",
        help_epilogue="",
    )
app.command(client)
app.register_install_completion_command()


def run(arguments: list[str]) -> int:
    """Run a command.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrongly called, 130 interrupted, 141 unread; or 128 and
        the number of another signal that ended a run.
    """
    _replace_closed_files()
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(_format_error(error), USAGE_ERROR)
    except ConfigurationError as error:
        return _fail(str(error), USAGE_ERROR)
    except DamagedStateError as error:
        return _fail(str(error), DAMAGED)
    except StreamnetError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", FAILED)
    return code


def _replace_closed_files() -> None:
    """Put an empty file, which can't be written, where the caller closed a standard file.

    Otherwise the next file that is opened would take its place.
    """
    while (handle := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(handle)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - till the end


def _call(arguments: list[str]) -> int:
    from streamnet.cli.terminal import Terminal

    # What a terminal can't show must not end a run.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    tokens = [STANDARD_INPUT if argument == "-" else argument for argument in arguments]
    code = app(tokens, console=Terminal(pipe_width=0))
    return code if isinstance(code, int) else 0


def _format_error(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"{', '.join(error.unused_tokens or ())}: that is more than the command takes"
    text = " ".join(str(error).split()).removesuffix(".")
    if isinstance(error, CoercionError) and error.msg is not None and error.argument is not None:
        # Of what has no name before it, or was repeated, cyclopts does not say which it is.
        named = error.token is not None and error.token.keyword is not None
        text = text if named else f"Invalid value for {error.argument.name}: {text}"
    text = re.sub(r'^Command "(.+?)" parameter ', r"\1: ", text)
    return re.sub(r"([A-Z]+) requires an argument$", r"\1 is missing", text)


def _fail(message: str, code: int) -> int:
    from streamnet.cli.terminal import write_error

    write_error(message.replace(STANDARD_INPUT, "-"))
    return code
