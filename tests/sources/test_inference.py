from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.samples import Kind, Task
from streamnet.sources.inference import (
    find_strays,
    infer_kind,
    infer_task,
    is_number,
    is_unambiguous_time,
    parse_seconds,
    to_seconds,
)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "-3e4"], Kind.NUMBER),
        (["1", "nan", "inf"], Kind.NUMBER),
        (["nan", "nan"], Kind.CATEGORY),
        (["1", "a"], Kind.CATEGORY),
        (["0x10"], Kind.CATEGORY),
        (["1,5"], Kind.CATEGORY),
        (["true", "false"], Kind.CATEGORY),
        ([], Kind.CATEGORY),
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
def test_the_kind_of_a_column_follows_from_its_values(values: list[object], kind: Kind) -> None:
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
        ([], Task.CLASSIFICATION),
    ],
)
def test_the_task_follows_from_the_targets(values: list[object], task: Task) -> None:
    assert infer_task(values) is task


@given(st.text("0123456789+-.eE_ ", max_size=8))
def test_a_number_is_what_float_takes_but_for_its_kindness(text: str) -> None:
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
def test_every_way_to_write_a_time_is_read_back(
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


def test_a_column_of_dates_tells_what_comes_first_unless_it_may_be_both() -> None:
    assert infer_kind(["3/4/2023", "13/4/2023"]) is Kind.DAY_FIRST
    assert infer_kind(["3/4/2023", "4/13/2023", "2023-04-05"]) is Kind.MONTH_FIRST
    assert infer_kind(["3.4.2023", "13 Apr 2023", "2023-04-05T9:05"]) is Kind.TIME
    assert infer_kind(["3/4/2023", "12/12/2023"]) is Kind.CATEGORY
    assert infer_kind(["13/4/2023", "4/13/2023"]) is Kind.CATEGORY
    assert infer_kind(["13/4/2023", "soon"]) is Kind.CATEGORY


def test_offsets_and_dates_are_understood() -> None:
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
def test_other_texts_are_no_times(text: str) -> None:
    assert not is_unambiguous_time(text)
