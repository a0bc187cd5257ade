"""Follows a page as a reader would: ``python -m tests.docs.following STEPS.json``.

Programs and commands run in the order of the page, in the working directory. Programs share their
names, as the cells of a notebook do. The output that a page shows below a command has to be what
the command prints, apart from numbers and the amount of space; ``...`` stands for anything.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    done = subprocess.run(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{where}: {command}\nexit code {done.returncode}\n{done.stdout}")
    if output and not agrees(output, done.stdout):
        raise AssertionError(f"{where}: {command}\nshown:\n{output}\nprinted:\n{done.stdout}")


def agrees(shown: str, printed: str) -> bool:
    """Whether a command printed what a page shows."""
    wanted = (re.escape(_plain(part)) for part in shown.split("..."))
    return re.fullmatch(r"\s*.*\s*".join(wanted), _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return " ".join(NUMBER.sub("0", text).split())


if __name__ == "__main__":
    follow(json.loads(Path(sys.argv[1]).read_text("utf-8")))
