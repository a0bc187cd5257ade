"""``streamnet keys``: models of keys in a state directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamnet.durability.state_directory import StateDirectory
from streamnet.modelfiles import Model
from tests.cli.invocation import Cli, read_csv

RUN = ("replay", "stream.csv", "--target", "y", "--key", "shop,shelf", "--candidates", 2)
SMALL = ("--hidden", 8, "--optimizer", "adagrad", "--quiet")
STATE = ("--state", "state", "--resume", "--report", "report.json")


def write(rows: int) -> None:
    """Shelves with levels of their own."""
    rng = np.random.default_rng(1)
    lines = ["shop,shelf,load,y"]
    for _ in range(rows):
        shop, shelf, load = int(rng.integers(3)), int(rng.integers(2)), float(rng.normal())
        lines.append(f"s{shop},{shelf},{load:.3f},{30 * shop - 9 * shelf + load:.4f}")
    Path("stream.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def ran(cli: Cli) -> Cli:
    """The command, after a run with six keys."""
    write(800)
    assert cli(*RUN, *SMALL, *STATE) == (0, "", "")
    return cli


def samples(outcome_lines: list[str]) -> dict[str, int]:
    return {line.split()[0]: int(line.split()[1]) for line in outcome_lines[1:]}


def test_keys_are_listed_and_shown_as_in_the_report(ran: Cli) -> None:
    report = json.loads(Path("report.json").read_text())["keys"]
    lines = ran("keys", "list", "state").out.splitlines()
    assert lines[0].split() == ["shop,", "shelf", "samples", "loss", "shared", "recent", "drifts"]
    assert samples(lines) == {one["key"]: one["samples"] for one in report["worst"]}
    assert list(samples(lines)) == sorted(samples(lines))
    one = report["worst"][0]
    lines = ran("keys", "show", "state", one["key"]).out.splitlines()
    shown = dict(line.split(None, 1) for line in lines)
    assert shown["key"].strip() == f"{one['key']}, of shop, shelf"
    assert shown["loss"].startswith(f"{one['loss']:.4f}"[:5])


def test_forgotten_keys_are_new_in_the_next_run_and_verify_repeats_it(ran: Cli) -> None:
    number = StateDirectory(Path("state")).generations.numbers()[-1]
    before = samples(ran("keys", "list", "state").out.splitlines())
    outcome = ran("keys", "forget", "state", "s0|1", "s2|0")
    assert outcome.out == (
        f"2 keys forgotten in generation {number + 1}, from which the next run resumes\n"
    )
    assert ran("keys", "list", "state").out.count("\n") == 5
    assert "KEY is 's0|1', but there is" in ran("keys", "forget", "state", "s0|1").complaint
    write(1100)
    assert ran(*RUN, *SMALL, *STATE) == (0, "", "")
    after = samples(ran("keys", "list", "state").out.splitlines())
    rows = read_csv(Path("stream.csv").read_text())
    for key in before:
        new = sum(f"{row['shop']}|{row['shelf']}" == key for row in rows[800:])
        assert after[key] == (new if key in ("s0|1", "s2|0") else before[key] + new)
    assert ran("verify", "state").out.endswith("bit-identical\n")


def test_an_exported_model_predicts_files(ran: Cli) -> None:
    assert ran("keys", "export", "state", "s2|1", "--to", "s2.safetensors").code == 0
    rows = read_csv(Path("stream.csv").read_text())[:400]
    rows = [row for row in rows if (row["shop"], row["shelf"]) == ("s2", "1")]
    text = "".join(f"{row['shop']},{row['shelf']},{row['load']}\n" for row in rows)
    Path("s2.csv").write_text(f"shop,shelf,load\n{text}")
    outcome = ran("predict", "s2.safetensors", "s2.csv")
    predicted = [float(row["answer"]) for row in read_csv(outcome.out)]
    assert outcome.code == 0
    truth = [float(row["y"]) for row in rows]
    assert np.abs(np.subtract(predicted, truth)).mean() < 1.0
    model = Model.load("s2.safetensors")
    assert (model.key, model.about["target"]) == ("s2|1", "y")
    assert "s2|1, of shop, shelf" in ran("inspect", "s2.safetensors").out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("list", "state", "s0|0"), "KEY is 's0|0', but list shows all of them"),
        (("show", "state"), "KEY is missing: which key is there to show?"),
        (("show", "state", "a", "b"), "KEY is given 2 times, but show takes one"),
        (("show", "state", "a"), "KEY is 'a', but there is no such key in state"),
        (("forget", "state", "a"), "KEY is 'a', but there is no such key in state"),
        (("export", "state", "s0|0"), "--to is missing, but export needs it"),
        (("show", "state", "s0|0", "--to", "a.json"), "--to is given, but show has none"),
        (("export", "state", "s0|0", "--to", "a.csv"), "a.csv"),
        (("list", "nowhere"), "nowhere holds no state"),
    ],
)
def test_wrong_calls_are_refused(ran: Cli, arguments: tuple[str, ...], problem: str) -> None:
    before = StateDirectory(Path("state")).generations.numbers()
    outcome = ran("keys", *arguments)
    assert problem in outcome.complaint
    assert outcome.code in (1, 2)
    assert StateDirectory(Path("state")).generations.numbers() == before


def test_a_run_without_a_key_has_none(cli: Cli) -> None:
    write(100)
    run = [one for one in RUN if one not in ("--key", "shop,shelf")]
    assert cli(*run, *SMALL, *STATE) == (0, "", "")
    for action in (("list", "state"), ("forget", "state", "a")):
        assert cli("keys", *action).complaint == (
            "the run has no key, so there are no models of keys"
        )
