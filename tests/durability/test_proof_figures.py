"""What the documentation says of the proofs is what they have counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.durability.proof_figures import (
    BEGIN,
    END,
    PAGE,
    PROOFS,
    Collector,
    Figure,
    load,
    shown,
    table,
)


def test_the_page_shows_the_stored_figures() -> None:
    assert shown(PAGE.read_text("utf-8")) == table(load())


def test_every_stored_figure_belongs_to_a_test_and_a_documented_proof(repository: Path) -> None:
    figures = load()
    assert {figure.proof for figure in figures.values()} == set(PROOFS)
    for name in figures:
        path, _, test = name.partition("::")
        assert f"def {test.partition('[')[0]}(" in (repository / path).read_text("utf-8"), name


def report(when: str, outcome: Any, *, long: bool = False) -> pytest.TestReport:
    counted = ("counted", {"proof": "kills", "cases": 7, "seeds": [2], "long": long})
    return pytest.TestReport(
        "tests/a.py::test", ("a.py", 1, "test"), {}, outcome, None, when,  # type: ignore[arg-type]
        user_properties=[("else", 1), counted], duration=1.26,
    )  # fmt: skip


def test_only_counts_of_passed_tests_are_kept() -> None:
    collector = Collector()
    for when, outcome in (("setup", "passed"), ("call", "failed"), ("call", "skipped")):
        collector.pytest_runtest_logreport(report(when, outcome))
    assert collector.figures == {}
    collector.pytest_runtest_logreport(report("call", "passed", long=True))
    assert collector.figures == {"tests/a.py::test": Figure("kills", 7, [2], True, 1.3)}


def test_the_table_adds_up_counts_of_short_and_long_tests() -> None:
    figures = {
        "a": Figure("kills", 1500, [1], False, 4.4),
        "b": Figure("kills", 30, [2], False, 5.2),
        "c": Figure("kills", 2000, [7], True, 3601.0),
        "d": Figure("calls", 5, [], False, 0.2),
    }
    lines = table(figures).splitlines()
    assert len(lines) == 2 + len(PROOFS)
    assert lines[2] == f"| {PROOFS['kills']} | 1,530 in 10 s | 2,000 in 3,601 s | 1 to 7 |"
    assert lines[3] == f"| {PROOFS['calls']} | 5 in 0 s |  |  |"


def test_a_page_without_a_place_for_the_table_is_an_error() -> None:
    assert shown(f"a\n{BEGIN}\n| b |\n\n{END}c") == "| b |\n"
    with pytest.raises(ValueError, match="figures: begin"):
        shown("nothing")
