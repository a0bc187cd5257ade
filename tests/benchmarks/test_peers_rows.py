"""Rows and what peers see of them: order, kinds of columns, encodings, scales."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Task
from tests.benchmarks.peers.adapters.arff import write_arff
from tests.benchmarks.peers.adapters.vowpal_wabbit import lines_of, lines_of_tokens
from tests.benchmarks.peers.rows import read_rows
from tests.benchmarks.peers.scales import RunningScale, running_standardized
from tests.benchmarks.peers.streams import Stream, stream_of
from tests.benchmarks.peers.views import matrix, numbered, one_hot, plain, tokens, word_counts
from tests.benchmarks.streams_for_peers import rows_of, write

LINES = [
    "a,day,code,word,y",
    "1.5,2011-01-01,3,x,no",
    "2,2011-01-02,7,?,yes",
    "-1,2011-02-01,3,x,no",
]
MEANING = Stream("small", "y", codes=("code",), dates=("day",))


TEXT = Stream("small", "y", texts=("t",))


def test_columns_keep_the_order_of_the_file_and_their_kinds(tmp_path) -> None:
    rows = rows_of(tmp_path, LINES, stream=MEANING)
    assert rows.labels == ("no", "yes")
    assert rows.target.tolist() == [0, 1, 0]
    assert rows.numbers["a"].tolist() == [1.5, 2, -1]
    assert np.diff(rows.numbers["day"]).tolist() == [1, 30]
    assert rows.words == {"word": ["x", "?", "x"]}


def test_dates_with_a_time_of_day_become_days_and_parts_of_one(tmp_path) -> None:
    lines = ["day,y", "1970-01-03 18:00:00,u", "1970-01-04 00:00:00,v"]
    rows = rows_of(tmp_path, lines, stream=Stream("small", "y", dates=("day",)))
    assert rows.numbers["day"].tolist() == [2.75, 3.0]


def test_a_stream_of_ones_own_is_named_by_file_target_task_and_meanings(tmp_path) -> None:
    write(tmp_path, "mine", LINES)
    named = f"{tmp_path}/mine.csv.gz:a:regression:codes=code,more:dates=day:lags=3"
    stream = stream_of(named)
    assert (stream.name, stream.task) == (named, Task.REGRESSION)
    assert (stream.codes, stream.dates, stream.texts) == (("code", "more"), ("day",), ())
    assert stream.lags == 3
    assert read_rows(stream, tmp_path / "elsewhere").target.tolist() == [1.5, 2, -1]
    assert stream_of("mine.csv:y").task is Task.CLASSIFICATION


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.csv:y:sorting", "'sorting', but must be one of classification, regression"),
        ("mine.csv:y:regression:lags=-1", "'lags', but must be one of codes, dates, texts"),
        ("mine.csv:y:regression:words=a", "'words', but must be one of codes, dates, texts"),
    ],
)
def test_a_stream_of_ones_own_that_is_named_wrongly_is_an_error(name, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        stream_of(name)


def test_a_limit_is_the_head_of_the_file(tmp_path) -> None:
    limited, whole = (rows_of(tmp_path, LINES, limit, stream=MEANING) for limit in (2, None))
    assert plain(limited, 0) == plain(whole.head(2), 0) == plain(whole, 0)[:2]
    assert limited.target.tolist() == whole.head(2).target.tolist()


def test_a_number_that_is_missing_is_an_error(tmp_path) -> None:
    with pytest.raises(DataError, match="'a' lacks numbers"):
        rows_of(tmp_path, ["a,y", "1,u", ",v"])


def test_a_file_that_is_missing_is_an_error(tmp_path) -> None:
    with pytest.raises(DataError, match="--data"):
        read_rows(Stream("small", "y"), tmp_path)


def test_codes_and_words_are_one_hot_for_those_that_need_it(tmp_path) -> None:
    rows = rows_of(tmp_path, LINES, stream=MEANING)
    inputs, names = matrix(rows, 0)
    assert names == ["a", "day", "code=3.0", "code=7.0", "word=?", "word=x"]
    assert inputs[:, 2:].tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]]
    assert [list(sample.values()) for sample in one_hot(rows, 0)] == inputs.tolist()
    assert plain(rows, 0)[1] == {"a": 2, "day": 14976, "code": 7, "word": "?"}


def test_categories_are_numbered_or_words_for_those_that_take_them(tmp_path) -> None:
    rows = rows_of(tmp_path, LINES, stream=MEANING)
    inputs, categories = numbered(rows, 0)
    assert inputs[:, 2:].tolist() == [[3, 0], [7, 1], [3, 0]]
    assert categories == [2, 3]
    numbers, found = tokens(rows)
    assert numbers.shape == (3, 2)
    assert found == [["code=3_0", "word=x"], ["code=7_0", "word=_"], ["code=3_0", "word=x"]]
    assert lines_of_tokens(rows)[0] == "1 | code=3_0 word=x"


def test_texts_become_counts_of_hashed_words(tmp_path) -> None:
    counts = word_counts(["Go go, stop", "stop"], 1000)
    assert sorted(counts[0][counts[0] > 0]) == [1, 2]
    assert counts[1].sum() == counts[1][counts[0] == 1] == 1
    rows = rows_of(tmp_path, ["t,y", "go go,a", "stop,b"], stream=TEXT)
    assert [sorted(sample.values()) for sample in one_hot(rows, 1000)] == [[2], [1]]


def test_arff_names_kinds_and_values(tmp_path) -> None:
    path = tmp_path / "stream.arff"
    write_arff(rows_of(tmp_path, LINES, stream=MEANING), path, 0)
    assert path.read_text().splitlines() == [
        "@relation stream",
        "@attribute a0 numeric",
        "@attribute a1 numeric",
        "@attribute a2 numeric",
        "@attribute a3 {0,1}",
        "@attribute target {0,1}",
        "@data",
        "1.5,14975.0,3.0,1,0",
        "2.0,14976.0,7.0,0,1",
        "-1.0,15006.0,3.0,1,0",
    ]


def test_lines_for_vowpal_wabbit_hold_scaled_inputs_and_plain_words(tmp_path) -> None:
    rows = rows_of(tmp_path, ["a,t,y", "1,Go on,u", "3,stop,v"], stream=TEXT)
    assert lines_of(rows) == ["1 | go on", "2 | 0:1 stop"]


@pytest.mark.parametrize("offset", [0, 1e6])
def test_running_scales_are_those_of_scikit_learn(offset) -> None:
    inputs = np.random.default_rng(0).normal(size=(60, 4)) * [1, 5, 0.1, 0] + offset
    inputs[:20, 2] = inputs[0, 2]
    scaler = StandardScaler()
    expected = [scaler.partial_fit(row[None]).transform(row[None])[0] for row in inputs]
    np.testing.assert_allclose(running_standardized(inputs), expected, rtol=1e-5, atol=1e-5)


def test_an_answer_is_restored_without_its_own_truth(tmp_path) -> None:
    target = np.array([5.0, 7, 9, 100])
    scale = RunningScale.of(target)
    assert scale.restored(np.zeros(4)).tolist() == [0, 5, 6, 7]
    assert scale.restored(np.ones(4))[2] == 6 + 1
