"""Follows a page as a reader would: ``python -m tests.docs.following STEPS.json``.

Programs and commands run in the order of the page, in the working directory. Programs share their
names, as the cells of a notebook do; commands of the package alone share this process, since most
of the time of a short one goes into its start. The output that a page shows below a command has to
be what the command prints, apart from numbers and the amount of space; ``...`` stands for anything.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from streamnet.cli import app

__all__ = ("agrees", "follow")

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def follow(steps: list[dict[str, Any]]) -> None:
    """Take all steps of a page; an exception ends it at the line of the page where it is raised."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for step in steps:
        if step["language"] == "python":
            text = "\n" * step["line"] + step["text"]  # so that errors tell the line of the page
            exec(compile(text, step["page"], "exec"), names)
        else:
            for command, output in step["commands"]:
                _run(command, output, f"{step['page']}, block at line {step['line']}")


def _run(command: str, output: str, where: str) -> None:
    program, *arguments = shlex.split(command)
    alone = program == "streamnet" and not _uses_shell(command)
    code, printed = _run_here(arguments) if alone else _run_in_shell(command)
    if code != 0:
        raise AssertionError(f"{where}: {command}\nexit code {code}\n{printed}")
    if output and not agrees(output, printed):
        raise AssertionError(f"{where}: {command}\nshown:\n{output}\nprinted:\n{printed}")


def _uses_shell(command: str) -> bool:
    """Whether a command has pipes, redirections, or the like."""
    words = shlex.shlex(command, posix=True, punctuation_chars=True)
    return "$" in command or any(set(word) <= {*words.punctuation_chars} for word in words)


def _run_here(arguments: list[str]) -> tuple[int, str]:
    """Exit code and output of a command of the package."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with redirect_stdout(printed), redirect_stderr(printed):
        code = app.run(arguments)
    printed.seek(0)
    return code, printed.read()


def _run_in_shell(command: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout


def agrees(shown: str, printed: str) -> bool:
    """Whether a command printed what a page shows."""
    wanted = (re.escape(_plain(part)) for part in shown.split("..."))
    return re.fullmatch(r"\s*.*\s*".join(wanted), _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return " ".join(NUMBER.sub("0", text).split())


if __name__ == "__main__":
    follow(json.loads(Path(sys.argv[1]).read_text("utf-8")))
