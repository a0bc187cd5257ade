"""``streamnet replay`` with horizons and several targets: files, scores, states of the parts."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from streamnet import replay
from tests.cli.invocation import Cli, json_lines

N = 700


def write_series(path: str = "series.csv", n: int = N) -> list[dict[str, Any]]:
    """A series with a load, a price, and a code that is a label; some are missing, some invalid."""
    draw = random.Random(3)
    found: list[dict[str, Any]] = []
    for i in range(n):
        load = 50 + 20 * math.sin(i * math.pi / 12) + draw.gauss(0, 1)
        code = int(i // 6 % 4 == 0) if draw.random() < 0.95 else 2
        when = f"2026-01-{1 + i // 24:02} {i % 24:02}:00" if i < 31 * 24 else ""
        found.append({"when": when, "wind": round(draw.random(), 3), "load": round(load, 3)})
        found[-1] |= {"price": round(load / 7 + draw.gauss(0, 0.2), 3), "code": code}
        if draw.random() < 0.03:
            found[-1][draw.choice(["load", "price", "code"])] = ""
    lines = [",".join(map(str, row.values())) for row in found]
    lines[300:300] = ["spoiled"]
    Path(path).write_text("\n".join([",".join(found[0]), *lines, ""]), encoding="utf-8")
    return found


def read_predictions(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_report(path: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return report


def reference(
    predictions: list[dict[str, str]], truths: list[Any], ahead: int
) -> tuple[int, float]:
    """How many forecasts have a truth, and their mean absolute error or fraction that is right."""
    scores = []
    for row in predictions:
        number = int(row["sample"])
        truth = truths[number + ahead] if number + ahead < len(truths) else ""
        if truth == "":
            continue
        if isinstance(truth, float):
            scores.append(abs(float(row["answer"]) - truth))
        else:
            scores.append(float(row["answer"] == str(truth)))
    return len(scores), sum(scores) / len(scores)


OUTPUTS = ("--report", "r.json", "--predictions", "p.csv", "--model", "m.json")


@pytest.mark.parametrize("delay", [0, 9])
def test_the_score_of_each_part_is_that_of_its_predictions_file(cli: Cli, delay: int) -> None:
    samples = write_series()
    arguments = ("--target", "load,price,code", "--horizon", "1,24h", "--time", "when")
    more = ("--label-delay", delay, "--candidates", 3, "--quiet")
    assert cli("replay", "series.csv", *arguments, *more, *OUTPUTS) == (0, "", "")
    for target in ("load", "price", "code"):
        for horizon, ahead in (("1", 1), ("24h", 24)):
            part = f"{target}+{horizon}"
            report = read_report(f"r.{part}.json")
            metric = "accuracy" if target == "code" else "mae"
            assert (report["target"], str(report["horizon"])) == (target, horizon)
            truths = [row[target] for row in samples]
            count, score = reference(read_predictions(f"p.{part}.csv"), truths, ahead)
            # What is still under way at the end of the file counts once its labels have come.
            assert report["scored"] == count
            assert report["served"][metric] == pytest.approx(score, rel=1e-12)
            assert read_report(f"m.{part}.json")["about"]["horizon"] == report["horizon"]
    assert len(json_lines(Path("rejected.jsonl").read_text(encoding="utf-8"))) == 1
    assert not list(Path().glob("rejected.*.jsonl"))


def test_a_run_of_parts_resumes_and_is_verified(cli: Cli) -> None:
    write_series("begun.csv", 500)
    write_series("whole.csv", N)
    text = Path("whole.csv").read_text(encoding="utf-8")
    arguments = ("--target", "load,code", "--horizon", "1,30", "--candidates", 2, "--quiet")
    whole = ("replay", "whole.csv", *arguments, "--state", "whole", *OUTPUTS)
    assert cli(*whole) == (0, "", "")
    expected = {path: path.read_bytes() for path in Path().glob("[pm].*")}
    assert len(expected) == 8
    Path("series.csv").write_text(text[: len(text) // 2], encoding="utf-8")
    ledgers = [line for line in cli("status", "whole").out.splitlines() if "ledger" in line]
    assert len(ledgers) == 4
    begun = ("replay", "series.csv", *arguments, "--state", "state", *OUTPUTS)
    # The last line is cut: it is rejected now, and read in full once the file has grown.
    Path("series.csv").write_text(text[: text.index("\n", len(text) // 2) + 1], encoding="utf-8")
    assert cli(*begun).code == 0
    Path("series.csv").write_text(text, encoding="utf-8")
    assert cli(*begun, "--resume") == (0, "", "")
    found = {path: path.read_bytes() for path in Path().glob("[pm].*")}
    assert {p: data.replace(b"series", b"whole") for p, data in found.items()} == expected
    assert "bit-identical" in cli("verify", "state").out
    assert "load+30" in cli("status", "state").out
    assert "spoiled" in cli("dead-letters", "list", "state").out + Path(
        "state/dead-letters.jsonl"
    ).read_text(encoding="utf-8")


def test_the_summary_has_a_table_for_each_part(cli: Cli) -> None:
    write_series()
    done = cli("replay", "series.csv", "--target", "load", "--horizon", "1,5", "--candidates", 2)
    assert done.code == 0
    assert "parts load+1, load+5, 2 candidates" in done.out
    for phrase in ("part     load+1", "part     load+5", "served", "no-change", "champion"):
        assert " ".join(phrase.split()) in " ".join(done.out.split())


def test_inspect_tells_the_horizon_and_evaluate_refuses_it(cli: Cli) -> None:
    write_series()
    arguments = ("--target", "load", "--horizon", 24, "--candidates", 2, "--quiet", *OUTPUTS)
    assert cli("replay", "series.csv", *arguments).code == 0
    for file in ("m.json", "r.json"):
        assert "regression of 'load', 24 samples ahead" in cli("inspect", file).out
    refused = cli("evaluate", "m.json", "series.csv")
    assert refused.code == 2
    assert refused.complaint.startswith("the model forecasts 24 samples ahead, but")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--horizon", "soon"), "--horizon is 'soon', but must be a number of samples from 1 to"),
        (("--horizon", "1,1"), "--horizon has 1 twice, but each must be another one"),
        (("--horizon", "0"), "--horizon is '0', but must be a number of samples from 1 to"),
        (("--horizon", "24h"), "time is not given, but horizon '24h' needs the column with"),
        (("--target", "load,load"), "--target is 'load,load', but must name each column once"),
        (("--target", "load,when"), "target 'when' has times, but must have numbers or labels"),
        (("--target", "load,cost"), "the source has no column 'cost' (requested by --target"),
    ],
)
def test_wrong_horizons_and_targets_are_refused(
    cli: Cli, arguments: tuple[str, ...], message: str
) -> None:
    write_series()
    target = () if "--target" in arguments else ("--target", "load")
    refused = cli("replay", "series.csv", *target, *arguments, "--candidates", 2, "--quiet")
    of_the_data = message.startswith(("the source", "target"))
    assert refused.code == (1 if of_the_data else 2)
    assert refused.complaint.startswith(message)


@pytest.mark.usefixtures("cli")
def test_a_run_file_and_the_library_name_several_in_lists() -> None:
    write_series()
    Path("run.toml").write_text(
        'source = {files = ["series.csv"], target = ["load", "code"]}\n'
        'evaluation = {horizon = [1, "24h"], time = "when"}\npopulation = {candidates = 2}\n',
        encoding="utf-8",
    )
    by_file = replay(config="run.toml")
    names = ["load+1", "load+24h", "code+1", "code+24h"]
    assert list(by_file.parts) == names
    by_arguments = replay(
        "series.csv", target=["load", "code"], horizon=(1, "24h"), time="when", candidates=2
    )
    for name in names:
        one, other = by_file.parts[name], by_arguments.parts[name]
        assert one.report["served"] == other.report["served"]
        assert one.model.document()["checksum"] == other.model.document()["checksum"]


@pytest.mark.usefixtures("cli")
def test_a_target_whose_name_has_a_comma_is_in_quotes_or_a_list() -> None:
    rows = "".join(f"{i % 7},{i % 7 * 1.5}\n" for i in range(300))
    Path("comma.csv").write_text('x,"a,b"\n' + rows, encoding="utf-8")
    for target in ('"a,b"', ["a,b"]):
        result = replay("comma.csv", target=target, candidates=2)
        assert result.report["target"] == "a,b"
