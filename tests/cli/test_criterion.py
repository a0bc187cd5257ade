"""``streamnet replay --criterion``: by what the champion is chosen."""

from __future__ import annotations

from tests.cli.invocation import Cli, csv_text, rows, write


def test_the_champion_is_chosen_by_the_criterion_that_is_asked_for(cli: Cli) -> None:
    path = write("train.csv", csv_text(rows(300)))
    report = cli.report(path, "--criterion", "accuracy", "--serve", "champion")
    assert report["settings"]["selection"]["criterion"] == "accuracy"
    # The loss of a candidate is the share of its answers that were wrong.
    assert all(0.0 <= one["loss"] <= 1.0 for one in report["candidates"])
    outcome = cli.replay(path, "--criterion", "f1")
    assert outcome.code == 2
    assert "the champion of a classification must be chosen by one of" in outcome.complaint
    outcome = cli.replay(path, "--criterion", "best")
    assert outcome.code == 2
    assert "must be 'accuracy', 'balanced_accuracy'" in outcome.complaint
