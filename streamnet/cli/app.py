"""The command ``streamnet``: finds the command asked for and turns errors into one clear line."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from cyclopts import App
from cyclopts import CycloptsError
from cyclopts import Group

from streamnet.cli.evaluate import evaluate
from streamnet.cli.inspect import inspect
from streamnet.cli.predict import predict
from streamnet.cli.replay import replay
from streamnet.errors import StreamnetError

__all__ = ("app", "main")

INTERRUPTED = 130

app = App(
    name="streamnet",
    help="Learn from a stream with a whole population of small neural networks at once.",
    version=lambda: version("streamnet"),
    help_epilogue="Every command explains its options: streamnet COMMAND --help",
    group_commands=Group("Commands", sort_key=0),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
)
for command in (replay, predict, evaluate, inspect):
    app.command(command)
app.register_install_completion_command()


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrongly called, 130 interrupted."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments)
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()), 2)
    except StreamnetError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"streamnet: {message}", file=sys.stderr)
    return code
