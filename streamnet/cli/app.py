"""The `streamnet` command: dispatches to its subcommands and prints errors as single lines."""

from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple

from cyclopts import App, CoercionError, CycloptsError, Group, UnusedCliTokensError

from streamnet.cli import STANDARD_INPUT
from streamnet.errors import ConfigurationError, DamagedStateError, StreamnetError

FAILED, USAGE_ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
DAMAGED = 78  # no state can be resumed from: restarting would not help


class Command(NamedTuple):
    """A command, whose module is imported when it is called."""

    function: str  # "module:name" in streamnet.cli
    usage: str
    summary: str  # first sentence of the function's docstring


COMMANDS = {
    "replay": Command(
        "replay:replay",
        "[OPTIONS] FILE...",
        "Learn data files as a stream: every sample is predicted, scored, and only then learned.",
    ),
    "train": Command(
        "train:train",
        "[OPTIONS] FILE...",
        "Learn data files in epochs: many networks at once, the best of which are kept.",
    ),
    "predict": Command(
        "models:predict",
        "[OPTIONS] MODEL FILE...",
        "Predict every sample in files with a saved model; nothing is learned.",
    ),
    "evaluate": Command(
        "models:evaluate",
        "[OPTIONS] MODEL FILE...",
        "Score a saved model on labeled files; nothing is learned.",
    ),
    "inspect": Command("models:inspect", "FILE", "Show the content of a model file or a report."),
    "run": Command(
        "replay:run",
        "[OPTIONS] CONFIG",
        "Run a run file, resuming from its state directory if there is a state.",
    ),
    "sweep": Command(
        "sweep:sweep",
        "[OPTIONS] FILE...",
        "Replay each file with each seed and each combination of settings, several at a time.",
    ),
    "status": Command(
        "state:status",
        "DIR",
        "Show the status of a state directory: position, generations, model and limits.",
    ),
    "rollback": Command(
        "state:rollback",
        "DIR GENERATION",
        "Make the next run resume from an earlier generation, under a new lineage.",
    ),
    "classes": Command(
        "state:classes",
        "merge|retire DIR LABEL [INTO]",
        "Merge or retire a class of a stopped run, before the first sample of the next one.",
    ),
    "keys": Command(
        "state:keys",
        "list|show|forget|export DIR [KEY...]",
        "List, show, forget or export the models of keys in a state directory.",
    ),
    "dead-letters": Command(
        "state:dead_letters",
        "list|show|replay DIR [NUMBER]",
        "List or show rejected records, or write them to a file so that they can be learned.",
    ),
    "serve": Command(
        "serve:serve",
        "[OPTIONS] [CONFIG]",
        "Learn and predict over HTTP, with a live dashboard, until a signal arrives.",
    ),
    "warm": Command(
        "warm:warm",
        "[OPTIONS] [CONFIG]",
        "Compile all kernels into the cache, so that no later start has to.",
    ),
    "verify": Command(
        "state:verify",
        "DIR [GENERATION]",
        "Learn the same files again, up to a generation, and compare every bit of the state.",
    ),
    "export": Command(
        "models:export_model",
        "MODEL --to onnx|c|gopher",
        "Write a model as ONNX, as a C file, or as a JSON file of gopher-neural.",
    ),
    "import": Command(
        "models:import_model",
        "[OPTIONS] FILE --model FILE",
        "Convert a network of gopher-neural to a model that can predict and continue to learn.",
    ),
}


def _unwrap(text: str | None) -> str:
    """Put each paragraph of a docstring on one line, to be wrapped to the terminal."""
    paragraphs = re.split(r"\n\s*\n", text or "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _version() -> str:
    from streamnet.version import __version__

    return __version__


app: App = App(
    name="streamnet",
    help="Learn from a data stream with a population of small neural networks.",
    version=_version,
    help_epilogue="For the options of a command: streamnet COMMAND --help",
    help_format="plaintext",
    group_commands=Group("Commands", sort_key=0),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
for _name, _command in COMMANDS.items():
    app.command(
        f"streamnet.cli.{_command.function}",
        name=_name,
        help=_command.summary,
        usage=f"Usage: streamnet {_name} {_command.usage}",
        help_epilogue="",
    )
# Imported when it is used, since it imports the whole API.
app.command(
    "streamnet.cli.client:client",
    name="client",
    help="Talk to a daemon, with a command for each of its operations; responses are JSON.",
)
app.register_install_completion_command()


def load_command(name: str) -> None:
    """Import the function of a command, whose whole docstring becomes the command's help."""
    command = app[name]
    command.help = _unwrap(command.default_command.__doc__)


def run(arguments: list[str]) -> int:
    """Run a command.

    Returns:
        The exit code: 0 success, 1 failure, 2 usage error, 78 damaged state, 130 interrupted, 141
        broken pipe; or 128 plus the number of another signal that ended a run.
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
        # The reader of our output is gone; the interpreter must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", FAILED)
    return code


def _replace_closed_files() -> None:
    """Open the null device, read-only, in place of standard files that the caller closed.

    Otherwise the next file that is opened would take their place.
    """
    while (handle := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(handle)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until exit


def _call(arguments: list[str]) -> int:
    from streamnet.cli.terminal import Terminal

    # Characters that a terminal can't show must not end a run.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    if arguments and arguments[0] in COMMANDS:
        load_command(arguments[0])
    tokens = [STANDARD_INPUT if argument == "-" else argument for argument in arguments]
    code = app(tokens, console=Terminal(pipe_width=0))
    return code if isinstance(code, int) else 0


def _format_error(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected argument: {', '.join(error.unused_tokens or ())}"
    text = " ".join(str(error).split()).removesuffix(".")
    if isinstance(error, CoercionError) and error.msg is not None and error.argument is not None:
        # For positional and repeated arguments, cyclopts does not name the argument.
        named = error.token is not None and error.token.keyword is not None
        text = text if named else f"Invalid value for {error.argument.name}: {text}"
    text = re.sub(r'^Command "(.+?)" parameter ', r"\1: ", text)
    return re.sub(r"([A-Z]+) requires an argument$", r"\1 is missing", text)


def _fail(message: str, code: int) -> int:
    from streamnet.cli.terminal import write_error

    write_error(message.replace(STANDARD_INPUT, "-"))
    return code
