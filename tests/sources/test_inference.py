from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.features.encoder import Encoder
from streamnet.modelfiles.model import Model
from streamnet.online.estimators import OnlineRegressor
from streamnet.samples import Field, Kind, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import Columns, IterableSource, Source, open_files
from streamnet.sources.inference import (
    are_ids,
    find_strays,
    infer_kind,
    infer_task,
    is_number,
    is_unambiguous_time,
    number_to_seconds,
    parse_seconds,
    to_seconds,
)
from tests.sources.harness import read


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "-3e4"], Kind.NUMBER),
        (["1", "nan", "inf"], Kind.NUMBER),
        (["nan", "nan"], None),
        (["1", "a"], Kind.CATEGORY),
        (["0x10"], Kind.CATEGORY),
        (["1,5"], Kind.CATEGORY),
        (["true", "false"], Kind.CATEGORY),
        ([], None),
        (["2015-02-02", "2015-02-02 14:19:00", "2015-02-02T14:19:00.25Z"], Kind.TIME),
        (["2015-02-02T14:19+01:00"], Kind.TIME),
        (["2015-02-31"], Kind.CATEGORY),
        (["2015-02-02", "soon"], Kind.CATEGORY),
        (["Go until jurong point", "Ok lar", "Free entry in two"], Kind.TEXT),
        (["two words", "and these are four"], Kind.TEXT),
        (["one", "two words", "and these are four"], Kind.CATEGORY),
        ([1, 2.5, np.int8(3), np.float32(1), Decimal(1)], Kind.NUMBER),
        ([True, 1], Kind.CATEGORY),
        ([np.bool_(True)], Kind.CATEGORY),
        ([1, "a"], Kind.CATEGORY),
        ([date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)], Kind.TIME),
        ([np.datetime64("2020-01-01")], Kind.TIME),
    ],
)
def test_the_kind_of_a_column_follows_from_its_values(
    values: list[object], kind: Kind | None
) -> None:
    assert infer_kind(values) is kind


MEASURED = [str(n) for n in range(95)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([*MEASURED, *["bad"] * 5], Kind.NUMBER),
        ([*MEASURED, *["bad"] * 6], Kind.CATEGORY),
        ([*["0.5"] * 20, "bad"], Kind.NUMBER),
        ([*["0.5"] * 19, "bad"], Kind.CATEGORY),
        ([*MEASURED, "V27"], Kind.CATEGORY),
        ([*["1", "2"] * 20, "A"], Kind.CATEGORY),
    ],
)
def test_few_words_among_many_numbers_are_strays_unless_all_may_be_codes(
    values: list[str], kind: Kind
) -> None:
    assert infer_kind(values) is kind
    assert (find_strays(values) is None) == (kind is Kind.CATEGORY)


def test_a_target_of_numbers_with_few_strays_is_a_regression() -> None:
    assert infer_task([*MEASURED, "bad"]) is Task.REGRESSION
    assert infer_task([*["1", "2"] * 20, "A"]) is Task.CLASSIFICATION


def test_a_text_is_never_a_number_where_the_format_has_types() -> None:
    assert infer_kind(["1", "2"], typed=True) is Kind.CATEGORY
    assert infer_kind(["2015-02-02"], typed=True) is Kind.TIME


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["0", "1", "1.0"], Task.CLASSIFICATION),
        ([str(n) for n in range(20)], Task.CLASSIFICATION),
        ([str(n) for n in range(21)], Task.REGRESSION),
        (["0.5", "1"], Task.REGRESSION),
        (["up", "down"], Task.CLASSIFICATION),
        ([True, False], Task.CLASSIFICATION),
        ([1.5, 2], Task.REGRESSION),
        ([1, 10**400], Task.REGRESSION),
        ([Decimal("sNaN"), 2], Task.REGRESSION),
        ([np.timedelta64(1, "s"), np.timedelta64(2, "s")], Task.CLASSIFICATION),
        ([], None),
        (["nan"], None),
    ],
)
def test_the_task_follows_from_the_targets(values: list[object], task: Task | None) -> None:
    assert infer_task(values) is task


@given(st.text("0123456789+-.eE_ ", max_size=8))
def test_a_number_is_what_float_accepts_with_exceptions(text: str) -> None:
    try:
        float(text)
    except ValueError:
        assert not is_number(text)
    else:
        assert is_number(text) == ("_" not in text and text == text.strip())


@given(st.datetimes(timezones=st.just(UTC) | st.none()))
def test_every_time_is_read_back(moment: datetime) -> None:
    expected = moment.replace(tzinfo=UTC).timestamp()
    for text in (moment.isoformat(), moment.isoformat(sep=" ")):
        assert parse_seconds(text) == pytest.approx(expected, abs=1e-6)
    assert to_seconds(moment) == parse_seconds(moment.isoformat())


DATES = {
    Kind.TIME: (
        *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d %b %Y", "%d-%B-%Y", "%a, %d %b %Y"),
        *("%B %d, %Y", "%b. %d %Y", "%A %B %d, %Y", "%d. %B, %Y", "%d/%b/%Y", "%B %dth, %Y"),
    ),
    Kind.DAY_FIRST: ("%d/%m/%Y", "%d-%m-%Y", "%Y-%m-%d", "%d.%m.%Y"),
    Kind.MONTH_FIRST: ("%m/%d/%Y", "%m-%d-%Y", "%b %d, %Y"),
}
CLOCKS = (
    *("", " %H:%M", "T%H:%M:%S", ", %H:%M:%S.%f", ":%H:%M:%S,%f", " %I:%M:%S %p", " %I:%M\u202f%p"),
    *(" %H:%M:%S%z", " %H:%M UTC"),
)
LEADING_ZERO = re.compile(r"\b0(?=[0-9](?:[ ,./-]|$))")  # of a day or month


@given(
    st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30)),  # noqa: DTZ001 - gets a zone
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
    st.sampled_from([(kind, date) for kind, dates in DATES.items() for date in dates]),
    st.sampled_from(CLOCKS),
    st.booleans(),
)
def test_every_form_of_a_time_is_read_back(
    moment: datetime, offset: timedelta, written: tuple[Kind, str], clock: str, bare: bool
) -> None:
    kind, form = written
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset // timedelta(minutes=1))))
    day, time = moment.strftime(form), moment.strftime(clock)
    if bare and not form.startswith("%Y."):
        day = LEADING_ZERO.sub("", day)
    told = datetime.strptime(moment.strftime(form + clock), form + clock)  # noqa: DTZ007 - see below
    seconds = parse_seconds((day + time).upper() if bare else day + time, kind)
    want = told.replace(tzinfo=told.tzinfo or UTC).timestamp()
    assert seconds == pytest.approx(want, rel=0, abs=1e-3)


def test_the_order_of_dates_is_inferred_unless_it_is_ambiguous() -> None:
    assert infer_kind(["3/4/2023", "13/4/2023"]) is Kind.DAY_FIRST
    assert infer_kind(["3/4/2023", "4/13/2023", "2023-04-05"]) is Kind.MONTH_FIRST
    assert infer_kind(["3.4.2023", "13 Apr 2023", "2023-04-05T9:05"]) is Kind.TIME
    assert infer_kind(["3/4/2023", "12/12/2023"]) is Kind.CATEGORY
    assert infer_kind(["13/4/2023", "4/13/2023"]) is Kind.CATEGORY
    assert infer_kind(["13/4/2023", "soon"]) is Kind.CATEGORY


def test_offsets_and_dates_are_parsed() -> None:
    assert parse_seconds("1970-01-02") == 86400.0
    assert to_seconds(date(1970, 1, 2)) == 86400.0
    assert parse_seconds("1970-01-01T02:00:00+0200") == 0.0
    assert parse_seconds("1969-12-31 23:59:59.5") == -0.5


@pytest.mark.parametrize(
    "text",
    [
        "20150202",
        "2015-02-02 25:00",
        "2015-02-02 9:60",
        "2015-02-02 13:00 pm",
        "2015-02-02 0:30 am",
        "2015-02-02 9 pm",
        "2015-02-02X10:00",
        "2015-02-02 10:00 +24:00",
        "2015-02-02 10:00 CET",
        "15-02-02",
        "0000-01-01",
        "2015-02/02",
        "2015.2.2",
        "30.2.2015",
        "2.2.15",
        "2 Feb 15",
        "2 Mai 2015",
        "Feb 2015",
        "2 Feb-2015",
        "1.2.3.2015",
        "2/2/2015",
    ],
)
def test_other_texts_are_not_times(text: str) -> None:
    assert not is_unambiguous_time(text)


SMALL = CandidateSettings(hidden=(4,))
MOMENTS = [1_700_000_000, 1_700_000_000.25, -86_400, 0, 1_700_000_000_250, 1_700_000_000_250_000]
MOMENTS += [1_700_000_000_500_000_000]
SECONDS = [1.7e9, 1.7e9 + 0.25, -86_400.0, 0.0, 1.7e9 + 0.25, 1.7e9 + 0.25, 1.7e9 + 0.5]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_size_of_a_timestamp_determines_its_unit(sign: int) -> None:
    for least, parts in ((1e11, 1e3), (1e14, 1e6), (1e17, 1e9)):
        assert number_to_seconds(sign * least) == sign * least / parts
        below = least - least / 1e15
        assert number_to_seconds(sign * below) == sign * below / (parts / 1e3)


def sources(folder: Path, kinds: dict[str, Kind]) -> dict[str, Source]:
    """The same numbers from everywhere."""
    rows = [{"t": moment, "y": "ab"[i % 2]} for i, moment in enumerate(MOMENTS)]
    texts = [str(moment) for moment in MOMENTS]
    comma = (f"{text.replace('.', ',')};a" for text in texts)
    (folder / "a.csv").write_text("\n".join(["t,y", *(f"{text},a" for text in texts), ""]))
    (folder / "b.csv").write_text("\n".join(["t;y", *comma, ""]))
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pl.DataFrame({"t": list(map(float, MOMENTS)), "y": "a"}).write_parquet(folder / "d.parquet")
    columns = Columns(target="y", kinds=kinds)
    found = {path.name: open_files([path], columns=columns) for path in folder.iterdir()}
    found["numbers"] = IterableSource(rows, columns=columns)
    found["texts"] = IterableSource([{"t": t, "y": "a"} for t in texts], columns=columns)
    return found


def test_a_number_is_the_same_time_in_every_source(tmp_path: Path) -> None:
    for name, source in sources(tmp_path, {"t": Kind.TIME}).items():
        blocks = read(source)[1]
        assert blocks[-1].schema.fields[0].kind is Kind.TIME, name
        assert [float(n) for block in blocks for n in block.numbers[:, 0]] == SECONDS, name


def test_a_column_of_numbers_is_a_time_only_if_declared(tmp_path: Path) -> None:
    for name, source in sources(tmp_path, {}).items():
        blocks = read(source)[1]
        assert blocks[-1].schema.fields[0].kind is Kind.NUMBER, name
        assert [float(n) for block in blocks for n in block.numbers[:, 0]] == MOMENTS, name


@pytest.mark.parametrize(
    ("days", "kind"),
    [
        (["31/12/2023", "1/1/2024 9:05", "2/1/2024 9:05 PM"], Kind.DAY_FIRST),
        (["12-31-2023", "1-1-2024 9:05", "1-2-2024 9:05 PM"], Kind.MONTH_FIRST),
        (["31.12.2023", "2024/1/1 9:05", "Jan 2, 2024 9:05 PM"], Kind.TIME),
    ],
)
def test_dates_are_the_same_times_in_every_source_and_form(
    days: list[str], kind: Kind, tmp_path: Path
) -> None:
    rows = [{"t": day, "y": "ab"[i % 2]} for i, day in enumerate(days)]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(rows).write_csv(tmp_path / "b.csv")
    pl.DataFrame(rows).write_csv(tmp_path / "c.csv", separator=";")
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = Columns(target="y")
    found = {path.name: open_files([path], columns=columns) for path in tmp_path.iterdir()}
    found["rows"] = IterableSource(rows, columns=columns)
    for name, source in found.items():
        blocks = read(source)[1]
        assert blocks[-1].schema.fields[0].kind is kind, name
        seconds = [float(n) for block in blocks for n in block.numbers[:, 0]]
        assert seconds == [1703980800.0, 1704099900.0, 1704229500.0], name
        assert not any(block.rejected for block in blocks), name


def test_an_invalid_date_in_the_order_of_the_column_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,y\n" + "13/1/2024,a\n2/1/2024,b\n" * 9 + "1/13/2024,a\n")
    source = open_files([path], columns=Columns(target="y", head=5))
    (letter,) = (letter for block in read(source)[1] for letter in block.rejected)
    assert (letter.line, letter.reason) == (20, "time")
    assert "'1/13/2024', which is not a date or time" in letter.detail


def test_a_date_with_a_comma_is_parsed_despite_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [("Fri, 03 April 2026", "0,5"), ("April 4th, 2026 9:05", "1,5"), ("1775347200,5", "2,5")]
    path.write_text("t;x;y\n" + "".join(f"{t};{x};a\n" for t, x in rows))
    blocks = read(open_files([path], columns=Columns(target="y", kinds={"t": Kind.TIME})))[1]
    assert [row for block in blocks for row in block.numbers.tolist()] == [
        [1775174400.0, 0.5],
        [1775293500.0, 1.5],
        [1775347200.5, 2.5],
    ]


def test_names_that_are_dates_are_a_header_unless_dates_follow(tmp_path: Path) -> None:
    names = ["1-Jan-2020", "2-Jan-2020", "y"]
    for header, below, names_found in (
        (",".join(names), "0.5,1.5,2.5\n0.7,1.7,2.7\n", names[:2]),
        ("4/13/2026 9:05 PM,0.5,ab", "4/14/2026 9:05 PM,0.7,cd\n", ["f0", "f1"]),
    ):
        path = tmp_path / f"{len(header)}.csv"
        path.write_text(f"{header}\n{below}")
        blocks = read(open_files([path], columns=Columns(target="last")))[1]
        assert [field.name for field in blocks[-1].schema.fields] == names_found


def test_a_model_accepts_all_kinds_of_times() -> None:
    def learned(days: list[str], start: Model | None = None) -> OnlineRegressor:
        regressor = OnlineRegressor(start=start, candidates=None if start else [SMALL])
        return regressor.partial_fit([{"t": day} for day in days], [float(i) for i in range(99)])

    iso = [f"2026-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(99)]
    slashed = [f"{d}/{m}/{y}" for y, m, d in (day.split("-") for day in reversed(iso))]
    model = learned(slashed).model()
    assert model.fields == (Field("t", Kind.DAY_FIRST),)
    both = model.predict([{"t": "2026-01-05"}, {"t": "5/1/2026"}])
    assert both[0] == both[1]
    assert learned(iso, model).model().fields == model.fields
    again = learned(iso).model()
    (block,) = read(IterableSource([{"t": slashed[0]}, {"t": slashed[-1]}], columns=Columns()))[1]
    of_iso = again.predict([{"t": iso[-1]}, {"t": iso[0]}])
    assert again.predict(block).tolist() == of_iso.tolist()


def test_a_column_of_times_accepts_the_order_of_dates_later() -> None:
    encoder = Encoder(task=Task.REGRESSION)
    known: list[Field] = []
    for day in ("2026-04-03", "13/4/2026", "2026-04-05", "4/13/2026"):
        rows = [{"t": day, "y": 0.5}]
        for block in read(IterableSource(rows, columns=Columns(target="y")))[1]:
            encoder.encode(block)
        known += encoder.snapshot().fields
    assert [kind for _, kind in known] == [Kind.TIME, *[Kind.DAY_FIRST] * 3]


def test_an_ambiguous_first_date_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"t": "3/4/2026", "u": "3.4.2026", "v": "v1"}]
    read(IterableSource(rows, columns=Columns()))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("'t' is taken as words, since '3/4/2026' may be a date in two ways: ")
    assert line.endswith("its kind, day_first or month_first, tells what comes first")
    caplog.clear()
    read(IterableSource(rows, columns=Columns(kinds={"t": Kind.CATEGORY})))
    assert not caplog.records


def test_times_of_photographs_are_read() -> None:
    moment = datetime(2014, 10, 7, 1, 20, 5, tzinfo=UTC)
    assert parse_seconds("2014:10:07 01:20:05") == moment.timestamp()
    assert infer_kind(["2014:10:07 01:20:00"] * 2) is Kind.TIME
    for text in ("2014:10:07", "2014:13:07 01:20:00", "2014:1:07 01:20:00", "14:10:07 01:20:00"):
        assert parse_seconds(text) is None


def drawn(values: Sequence[int], count: int = 1000) -> list[int]:
    return Random(5).choices(values, k=count)


FAR_APART = Random(4).sample(range(10**7), 300)


@pytest.mark.parametrize(
    ("numbers", "ids"),
    [
        (drawn(FAR_APART), True),
        ([str(number) for number in drawn(FAR_APART)], True),
        (drawn([-number for number in FAR_APART]), True),
        (drawn(FAR_APART, 255), False),  # too few
        (drawn(FAR_APART[:64]), False),  # categories anyway
        (drawn(range(1000, 1300)), False),  # may be measured
        (sorted(drawn(FAR_APART)), False),  # such as times
        (sorted(drawn(FAR_APART), reverse=True), False),
        (Random(6).sample(range(10**7), 1000), False),  # none comes again
        (drawn([*range(300), 10**9]), False),  # a mark of missing values
        ([round(math.exp(Random(i % 400).gauss(8, 3))) for i in range(1000)], False),  # bytes
        ([number + 0.5 for number in drawn(FAR_APART)], False),
        ([*drawn(FAR_APART), "x"], False),
        ([*drawn(FAR_APART), 10**400], False),
        ([], False),
    ],
)
def test_ids_are_whole_numbers_that_come_again_far_apart_and_without_order(
    numbers: list[Any], ids: bool
) -> None:
    assert are_ids(numbers) is ids


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_ids_are_recognized_in_every_format(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"user": drawn(FAR_APART), "n": drawn(range(300)), "y": ["a", "b"] * 500})
    path = tmp_path / f"f.{suffix}"
    if suffix == "csv":
        frame.write_csv(path)
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    schema, blocks = read(open_files([path], columns=Columns(target="y")))
    assert schema.fields == (Field("user", Kind.ID), Field("n", Kind.NUMBER))
    assert np.concatenate([block.numbers for block in blocks])[:, 0].tolist() == drawn(FAR_APART)
    schema, _ = read(open_files([path], columns=Columns(target="y", kinds={"user": Kind.NUMBER})))
    assert schema.fields[0] == Field("user", Kind.NUMBER)
