"""docs/how-to-add.md is followed to the letter: each file and line goes into a copy of the package.

All additions go into the same copy, so that they also have to get along with each other, and the
kernels are compiled once.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.documents import REPOSITORY
from tests.docs.markdown import code_blocks
from tests.processes import environment

PAGE = REPOSITORY / "docs" / "how-to-add.md"
MOST_LINES_ELSEWHERE = 2
THINGS = [
    "An optimizer",
    "An activation",
    "A drift detector",
    "A metric",
    "A feature transformer",
    "A source",
    "A model format",
    "An HTTP route",
    "An expert",
    "A candidate setting",
    "A command",
]
# Tables in which such a thing is declared, in place of a file or besides its code.
DECLARED_IN = {
    "An HTTP route": "streamnet/client/operations.py",
    "A candidate setting": "streamnet/settings/candidate.py",
}
CAPTION = re.compile(r":caption: (.+)\n+")


class Addition(NamedTuple):
    """One section of the page."""

    files: dict[str, str]  # what new files hold, by path
    edits: list[tuple[str, str]]  # path of a file that is there, and a diff of it
    program: str  # what uses the addition

    def count_lines_elsewhere(self, declared_in: str | None) -> int:
        """How many lines are added outside of new files and of the table of declarations."""
        edits = (diff for path, diff in self.edits if path != declared_in)
        return sum(line.startswith("+") for diff in edits for line in diff.splitlines())


def read_additions() -> dict[str, Addition]:
    """The sections of the page by their headings."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        addition, programs = Addition({}, [], ""), []
        for block in code_blocks(text):
            if block.language != "{code-block}":
                continue
            caption = CAPTION.match(block.text)
            assert caption is not None, f"{heading}: a block without a caption"
            body = block.text[caption.end() :]
            if caption[1] == "Use it":
                programs.append(body)
            elif body.startswith(("-", "+", " ")) and re.search(r"^[+-]", body, re.MULTILINE):
                addition.edits.append((caption[1], body))
            else:
                addition.files[caption[1]] = body
        assert len(programs) == 1, f"{heading}: one program uses what was added"
        found[heading] = addition._replace(program=programs[0])
    return found


ADDITIONS = read_additions()


def apply_diff(text: str, diff: str) -> str:
    """Apply the hunks of a diff, which blank lines part; context has to be found exactly once."""
    for hunk in re.split(r"\n\n+", diff.strip("\n")):
        lines = hunk.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        assert text.count(before) == 1, f"found {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package to which everything was added."""
    folder = tmp_path_factory.mktemp("grown")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "streamnet", folder / "streamnet", ignore=ignored)
    for addition in ADDITIONS.values():
        for name, text in addition.files.items():
            path = folder / name
            assert not path.exists(), f"{name} is no new file"
            path.write_text(text, "utf-8")
        for name, diff in addition.edits:
            path = folder / name
            path.write_text(apply_diff(path.read_text("utf-8"), diff), "utf-8")
    return folder


def test_the_page_tells_how_to_add_each_kind_of_thing() -> None:
    assert list(ADDITIONS) == THINGS


@pytest.mark.parametrize("thing", THINGS)
def test_an_addition_is_one_new_file_and_at_most_two_lines_elsewhere(thing: str) -> None:
    addition = ADDITIONS[thing]
    assert len(addition.files) <= 1
    assert addition.count_lines_elsewhere(DECLARED_IN.get(thing)) <= MOST_LINES_ELSEWHERE
    assert addition.files or addition.edits


RUN_ALL = """
import runpy, sys, traceback

failed = {}
for path in sys.argv[1:]:
    try:
        runpy.run_path(path, run_name="__main__")
    except Exception:
        failed[path] = traceback.format_exc()
sys.exit("\\n".join(map(": ".join, failed.items())) or None)
"""


@pytest.mark.timeout(600)
def test_what_is_added_as_the_page_says_works(grown: Path) -> None:
    programs = []
    for thing, addition in ADDITIONS.items():
        programs.append(grown / f"{thing}.py")
        programs[-1].write_text(addition.program, "utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN_ALL, *map(str, programs)],
        cwd=grown,
        env=environment(PYTHONPATH=str(grown)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
