"""Runs: tuning, processes of their own, records that outlast an interruption, the tables."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

import streamnet
from streamnet.errors import ConfigurationError, DataError
from tests.benchmarks.peers.adapters.ours import PEERS as OURS
from tests.benchmarks.peers.adapters.retrained import fitting_times, prepare_refitted
from tests.benchmarks.peers.child import TOO_SLOW, Order
from tests.benchmarks.peers.measures import measures_of
from tests.benchmarks.peers.peer import WORDS, Peer, Scored
from tests.benchmarks.peers.process import run
from tests.benchmarks.peers.record import Record, Records
from tests.benchmarks.peers.registry import PEERS, peers_of
from tests.benchmarks.peers.streams import REPOSITORY
from tests.benchmarks.peers.table import markdown
from tests.benchmarks.peers.tuning import tuned
from tests.benchmarks.streams_for_peers import SMALL, rows_of, write

LINES = ["x,is_phishing", *(f"{i % 7},{'ab'[i % 7 > 2]}" for i in range(700))]


def record(peer: str, seed: int, accuracy: float | None, **more) -> Record:
    fields = {"stream": "s", "limit": None, "peer": peer, "seed": seed, "samples": 100} | more
    if accuracy is None:
        return Record(**fields, status="failed", reason="no | module")
    kappas = {"kappa": accuracy / 2, "kappa_temporal": -accuracy}
    done = {"accuracy": accuracy} | kappas
    return Record(**fields, status="done", measures=done, cpu_seconds=0.5, peak_mib=20)


@pytest.mark.parametrize(("name", "effort"), [("streamnet", 1.0), ("streamnet-0.25", 0.25)])
def test_streamnet_takes_part_as_replay_runs_it(tmp_path, name, effort) -> None:
    write(tmp_path, "small", ["x,y", *LINES[1:]])
    rows = rows_of(tmp_path, ["x,y", *LINES[1:]], limit=650)
    (peer,) = peers_of(name)
    answers = peer.prepare(rows, 3).learn()
    measures = measures_of(rows, answers)
    report = streamnet.replay(rows.path, target="y", limit=650, seed=3, effort=effort).report
    assert measures["accuracy"] == report["served"]["accuracy"]
    for name in ("kappa", "kappa_temporal"):
        assert measures[name] == pytest.approx(report["served"][name])


def test_what_is_fitted_anew_answers_by_all_samples_before_the_fit(tmp_path) -> None:
    stream = SMALL._replace(lags=1)
    rows = rows_of(tmp_path, ["x,y", *LINES[1:]], stream=stream)

    def fit(x, y, _categories, seed):
        return DecisionTreeClassifier(max_depth=2, random_state=seed).fit(x, y)

    scored = prepare_refitted(fit, "tree")(rows, 0).learn()
    assert isinstance(scored, Scored)
    x = np.stack([rows.numbers["x"], np.append(0, rows.target[:-1])], axis=1)
    times = fitting_times(700)
    assert times == list(range(7, 700, 7))
    for start in (70, 350, 693):
        model = fit(x[:start], rows.target[:start], [], 0)
        part = slice(start, start + 7)
        assert list(scored.answers[part]) == model.predict(x[part]).tolist()
        assert list(scored.scores[part]) == model.predict_proba(x[part])[:, 0].tolist()
    assert list(scored.answers[1:7]) == rows.target[:6].tolist()


def test_peers_that_are_not_installed_are_named_with_what_they_need(tmp_path) -> None:
    def fail(*_):
        raise AssertionError

    peer = Peer("absent", "no-such-package", WORDS, random=False, prepare=fail)
    assert peer.missing == "pip install no-such-package"
    assert peer._replace(package="", command="no-such-command").missing == (
        "the command no-such-command"
    )
    assert not OURS[0].missing


def test_tuning_takes_what_answers_best_and_leaves_out_what_fails(tmp_path) -> None:
    rows = rows_of(tmp_path, ["x,y", *LINES[1:]])

    def prepare(part, setting):
        answers = {"wrong": 1 - part.target, "right": part.target, "short": part.target[1:]}
        return lambda: answers[setting]

    chosen = tuned(rows, ["short", "wrong", "right"], prepare)
    assert chosen.setting == "right"
    assert list(chosen.learn()) == rows.target.tolist()
    with pytest.raises(DataError, match="diverge"):
        tuned(rows, ["short"], prepare)


def test_a_run_is_made_in_another_process(tmp_path) -> None:
    write(tmp_path, "phishing", LINES)
    done = run(Order("phishing", 100, "no-change", 0, str(tmp_path), 60))
    truth = [line[-1] for line in LINES[1:101]]
    right = sum(a == b for a, b in pairwise(truth))
    assert done.status == "done"
    assert done.samples == 100
    assert done.measures["accuracy"] == pytest.approx(right / 100)
    assert done.cpu_seconds > 0
    assert 10 < done.peak_mib < 2000


def test_a_run_that_fails_says_why(tmp_path) -> None:
    done = run(Order("phishing", 100, "no-change", 0, str(tmp_path), 60))
    assert done.status == "failed"
    assert "phishing.csv.gz is not in" in done.reason


SPIN = """
from tests.benchmarks.peers.child import timed

def spin():
    while True:
        pass

timed(spin, 0.1)
"""


def test_a_run_past_its_time_ends() -> None:
    done = subprocess.run([sys.executable, "-c", SPIN], cwd=REPOSITORY, timeout=60, check=False)
    assert done.returncode == TOO_SLOW


def test_records_outlast_an_interruption_and_failures_are_tried_again(tmp_path) -> None:
    path = tmp_path / "runs.json"
    first = Records(path)
    for made in (record("good", 0, 0.9), record("bad", 0, None)):
        first.add(made)
    second = Records(path)
    assert second.find("s", None, "good", 0) == record("good", 0, 0.9)
    assert second.find("s", None, "bad", 0) is None
    assert second.find("s", 10, "good", 0) is None
    second.add(record("bad", 0, 0.8))
    assert [made.status for made in Records(path).of("s", None)] == ["done", "done"]


def test_a_file_that_holds_no_records_is_an_error(tmp_path) -> None:
    path = tmp_path / "runs.json"
    path.write_text("{}")
    with pytest.raises(DataError, match="holds no runs"):
        Records(path)


def test_tables_show_means_spreads_and_failures_with_the_best_first() -> None:
    runs = [record("bad", 0, None), record("low", 0, 0.5)]
    runs += [record("high", 1, 0.9), record("high", 0, 0.8)]
    runs.append(record("low", 1, 0.5, version="low 1.2"))
    lines = markdown({"s": runs}, ["low", "high", "bad"]).splitlines()
    assert lines[:5] == [
        "| peer | s |",
        "| --- | --- |",
        "| low | 50.0 |",
        "| high | **85.0** |",
        "| bad | failed |",
    ]
    assert lines[-5:-2] == [
        "| s, 100 | high | 85.0 ± 5.0 | 42.5 ± 2.5 | -85.0 ± 5.0 | 200 | 20 | 2 |",
        "|  | low | 50.0 | 25.0 | -50.0 | 200 | 20 | 2 |",
        "|  | bad | failed: no / module |  |  |  |  |  |",
    ]
    assert lines[-1].endswith("low 1.2")


def test_names_of_peers_are_unique_and_found() -> None:
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    assert [peers_of(name)[0].name for name in names] == names
    assert len(peers_of("capymoa")) > 3
    with pytest.raises(ConfigurationError, match="but must be one of"):
        peers_of("weka")


def test_a_mistake_in_the_command_is_one_line() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.peers", "elektricity"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("stream is 'elektricity', but must be one of electricity")
    assert done.stderr.count("\n") == 1
