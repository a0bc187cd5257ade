"""The tests of the documentation see all that a reader sees."""

from __future__ import annotations

import pytest

from tests.docs.following import agrees, follow
from tests.docs.markdown import anchors, code_blocks, commands, inline_code, link_targets

TEXT = (
    "# One *title*\n<!-- command: run -->\n```sh\nstart \\\n  now\n```\n"
    "[a](b.md#c) ![d](e.svg) [f](https://g.h/i) <img src='j.png'> `[k](l)` [m](#n)\n\n"
    "```console\n$ streamnet a \\\n  b\nanswer\n$ ls\n$ streamnet c\n```\n(there)=\n"
    "````python\nx = '```'\n# [no](link)\n````\n[o]: p/q\n[^r]: note\n"
)


def test_blocks_are_found_with_their_language_and_place() -> None:
    above = TEXT.splitlines()[6]
    assert [(b.language, b.text, b.line, b.before) for b in code_blocks(TEXT)] == [
        ("sh", "start \\\n  now\n", 3, "<!-- command: run -->"),
        ("console", "$ streamnet a \\\n  b\nanswer\n$ ls\n$ streamnet c\n", 9, above),
        ("python", "x = '```'\n# [no](link)\n", 17, "(there)="),
    ]


def test_commands_are_found_with_what_is_shown_below_them() -> None:
    script, console, _ = code_blocks(TEXT)
    assert commands(script) == [("start    now", "")]
    assert commands(console) == [("streamnet a    b", "answer\n"), ("ls", ""), ("streamnet c", "")]


def test_links_anchors_and_inline_code_are_found_outside_of_code() -> None:
    assert link_targets(TEXT) == ["b.md#c", "e.svg", "#n", "p/q", "j.png"]
    assert anchors(TEXT) == {"one-title", "there"}
    assert inline_code(TEXT) == ["[k](l)"]


def test_a_block_that_nothing_closes_is_noticed() -> None:
    with pytest.raises(AssertionError, match="nothing closes"):
        code_blocks("```sh\nx\n")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("learned 32,561 samples in 0.82 s\n", "learned   32,561 samples in 1.07 s\n"),
        ("a\n...\nb\n", "a\nmany\nlines\nb\n"),
        ("a\n...\nb\n", "a\nb\n"),
        ("model ...\n", "model  of income\n"),
        ("kappa -0.0032\n", "kappa 0.1\n"),
    ],
)
def test_output_agrees_apart_from_numbers_space_and_what_is_left_out(
    shown: str, printed: str
) -> None:
    assert agrees(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("served 0.8\n", "mean 0.8\n"),
        ("a\n...\nb\n", "a\nmany\n"),
        ("a\n", "a\nb\n"),
        ("f1 2\n", "f2 2\n"),
    ],
)
def test_output_that_says_something_else_does_not_agree(shown: str, printed: str) -> None:
    assert not agrees(shown, printed)


def test_programs_of_a_page_share_their_names_and_tell_the_line_that_fails(
    capfd: pytest.CaptureFixture[str],
) -> None:
    steps = [
        {"language": "python", "page": "page.md", "line": 3, "text": "x = 1\n"},
        {"language": "sh", "page": "page.md", "line": 7, "commands": [["printf 5", "1\n"]]},
        {"language": "python", "page": "page.md", "line": 9, "text": "print(x)\nx / 0\n"},
    ]
    with pytest.raises(ZeroDivisionError) as caught:
        follow(steps)
    assert capfd.readouterr().out == "1\n"
    assert caught.traceback[-1].lineno == 10  # from 0: line 11, the second of the block


@pytest.mark.parametrize(
    ("command", "shown", "fault"),
    [("exit 3", "", "exit code 3"), ("echo no", "yes\n", r"shown:\nyes\n\nprinted:\nno")],
)
def test_a_command_that_fails_or_says_something_else_is_told(
    command: str, shown: str, fault: str
) -> None:
    step = {"language": "console", "page": "p.md", "line": 1, "commands": [[command, shown]]}
    with pytest.raises(AssertionError, match=fault):
        follow([step])
