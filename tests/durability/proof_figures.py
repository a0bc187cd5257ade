"""How much the proofs of durability have tried, for the documentation, as they have counted it.

    python -m tests.durability.proof_figures [ARGUMENTS OF PYTEST]

runs those proofs, the long ones too, and writes what each that passed has counted into
``figures.json`` and from there into docs/durability.md. Without arguments all of them are run,
which takes about an hour; with some, figures of the others stay as they are:

    python -m tests.durability.proof_figures tests/durability/test_kills.py -k two_thousand
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple, final

import pytest

__all__ = ("FIGURES", "PAGE", "PROOFS", "Figure", "load", "shown", "table")

REPOSITORY = Path(__file__).parents[2]
FIGURES = Path(__file__).with_name("figures.json")
PAGE = REPOSITORY / "docs" / "durability.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

PROOFS = {
    "kills": "real replays killed at random instants and at durable calls, left bytes compared",
    "calls": "each durable call of a whole run killed, torn, out of space, in error, or short",
    "system calls": "the same below Python, in `streamnet run` resumed until it is done",
    "power cuts": "power cuts: disks looked at",
    "damage": "flipped bits and cuts of a checkpoint, all noticed",
    "hostile lines": "hostile lines of CSV, JSON lines and libSVM, accepted or rejected",
    "mutants": "faults put into the product on purpose, each noticed by a test",
    "histories": "random histories of records, crashes, faults, reloads and rollbacks",
    "bits": "runs with other blocks, threads, pauses and crashes, same bits",
    "soak": "samples under a failing disk, memory and files flat",
}
"""What is counted, and its sentence on the page."""


WHERE = (
    "tests/durability",
    "tests/pipeline/test_faults.py",
    "tests/pipeline/test_state_machine.py",
    "tests/pipeline/test_mutants.py",
    "tests/sources/test_hostile_lines.py",
)
"""Files and folders of the tests that count."""

# It compares what is only made here.
_NOT = "--ignore=tests/durability/test_proof_figures.py"


class Figure(NamedTuple):
    """What a test that passed has counted."""

    proof: str
    cases: int
    seeds: list[int]  # empty if nothing was drawn
    long: bool
    seconds: float


def load() -> dict[str, Figure]:
    """The stored figures by the name of the test."""
    return {name: Figure(**figure) for name, figure in json.loads(FIGURES.read_text()).items()}


def table(figures: dict[str, Figure]) -> str:
    """The figures as the page shows them."""
    lines = [
        "| proof, in `tests/` | tried in every run of the tests | and with `-m long` | seeds |",
        "|---|---|---|---|",
    ]
    for proof, sentence in PROOFS.items():
        found = [figure for figure in figures.values() if figure.proof == proof]
        seeds = sorted({seed for figure in found for seed in figure.seeds})
        lines.append(
            f"| {sentence} | {_cell(found, long=False)} | {_cell(found, long=True)} | "
            f"{_range(seeds)} |"
        )
    return "\n".join(lines) + "\n"


def _cell(figures: list[Figure], *, long: bool) -> str:
    chosen = [figure for figure in figures if figure.long == long]
    if not chosen:
        return ""
    seconds = sum(figure.seconds for figure in chosen)
    return f"{sum(figure.cases for figure in chosen):,} in {seconds:,.0f} s"


def _range(seeds: list[int]) -> str:
    if len(seeds) < 2:
        return "".join(map(str, seeds))
    return f"{seeds[0]} to {seeds[-1]}"


def shown(text: str) -> str:
    """The table that a page holds.

    Raises:
        ValueError: If it has no place for one.
    """
    found = re.search(re.escape(BEGIN) + "\n?(.*?)\n?" + re.escape(END), text, re.DOTALL)
    if found is None:
        raise ValueError(f"{PAGE.name} has no {BEGIN.strip()} ... {END.strip()}")
    return found[1] + "\n" if not found[1].endswith("\n") else found[1]


@final
class Collector:
    """A plugin of pytest that keeps what tests have counted; see the fixture `counted`."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or not report.passed:
            return
        for name, value in report.user_properties:
            if name == "counted":
                counted: dict[str, Any] = value  # type: ignore[assignment]
                figure = Figure(**counted, seconds=round(report.duration, 1))
                self.figures[report.nodeid] = figure


def write(figures: dict[str, Figure]) -> None:
    """Store figures, and show them on the page."""
    rows = [
        f"{json.dumps(name)}: {json.dumps(figure._asdict())}"
        for name, figure in sorted(figures.items())
    ]
    FIGURES.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    text = PAGE.read_text("utf-8")
    PAGE.write_text(text.replace(shown(text), table(figures), 1), "utf-8")


def main(arguments: list[str]) -> int:
    """Run proofs and keep what they have counted; 1 if one fails."""
    collector = Collector()
    options = ["-m", "long or not long", _NOT]
    code = pytest.main([*options, *(arguments or WHERE)], plugins=[collector])
    if collector.figures:
        kept = load() if arguments and FIGURES.exists() else {}
        write(kept | collector.figures)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
