"""Markdown as far as the tests of the documentation need it: code blocks, links, headings."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = (
    "CodeBlock",
    "anchors",
    "code_blocks",
    "commands",
    "inline_code",
    "link_targets",
    "without_code",
)

FENCE = re.compile(r"^(?P<mark>```+|~~~+|:::+)[ \t]*(?P<language>\S*).*\n", re.MULTILINE)


class CodeBlock(NamedTuple):
    """What stands between two fences."""

    language: str  # or a directive in braces
    text: str
    line: int  # of the first fence, 1-based
    before: str  # the last line above it that is not empty


class Command(NamedTuple):
    """A command of a console, and the output that is shown below it."""

    text: str
    output: str  # empty: nothing is shown


def code_blocks(text: str) -> list[CodeBlock]:
    """All blocks between fences, in order."""
    blocks, at = [], 0
    while opening := FENCE.search(text, at):
        closing = re.compile(rf"^{opening['mark']}[ \t]*$", re.MULTILINE).search(
            text, opening.end()
        )
        assert closing is not None, f"nothing closes {opening[0]!r}"
        above = text[: opening.start()].rstrip().rpartition("\n")[2]
        blocks.append(
            CodeBlock(
                opening["language"],
                text[opening.end() : closing.start()],
                text.count("\n", 0, opening.start()) + 1,
                above.strip(),
            )
        )
        at = closing.end()
    return blocks


def commands(block: CodeBlock) -> list[Command]:
    r"""Commands of a console, or of a shell script; one that ends in \ continues on the next line.

    A console shows output below its commands; each line of a script is a command.
    """
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language != "console":
        return [Command(line, "") for line in lines if line.strip()]
    found: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            found.append(Command(line[2:], ""))
        else:
            assert found, f"line {block.line}: a console begins with a command"
            found[-1] = Command(found[-1].text, f"{found[-1].output}{line}\n")
    return found


def without_code(text: str) -> str:
    """The prose alone, on the same lines."""
    for block in code_blocks(text):
        text = text.replace(block.text, "\n" * block.text.count("\n"), 1)
    return re.sub(r"`[^`\n]*`", "", text)


def inline_code(text: str) -> list[str]:
    """What stands between backticks in the prose."""
    for block in code_blocks(text):
        text = text.replace(block.text, "", 1)
    return re.findall(r"`([^`\n]+)`", re.sub(FENCE, "", text))


def link_targets(text: str) -> list[str]:
    """Files that links and pictures lead to, relative to the document; none of other places."""
    prose = without_code(text)
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", prose)
    targets += re.findall(r"^\[(?!\^)[^\]]+\]:\s*<?([^\s>]+)", prose, re.MULTILINE)
    targets += re.findall(r"\b(?:src|href)=[\"']([^\"']+)", prose)
    return [target for target in targets if not re.match(r"[a-zA-Z][a-zA-Z+.-]*:", target)]


def anchors(text: str) -> set[str]:
    """Names of headings and targets, as they stand after # in a link."""
    titles = re.findall(r"^#+ +(.+?) *#*$", without_code(text), re.MULTILINE)
    found = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return found | set(re.findall(r"^\((\S+)\)=$", text, re.MULTILINE))
