from __future__ import annotations

import pytest

from tests.cli.invocation import Cli, write


@pytest.mark.parametrize("command", ["replay", "train"])
def test_what_a_file_is_taken_as_is_told_once(cli: Cli, command: str) -> None:
    write("f.csv", "5.5,a\n3.5,b\n" * 20)
    sizes = ("--candidates", 2) if command == "replay" else ("--tries", 1, "--epochs", 2)
    outcome = cli(command, "f.csv", "--target", "1", "--quiet", *sizes)
    assert outcome.complaint == "f.csv has no header: target 1 is column 'f1', counted from 0"
