"""The compiled parser of fields, compared with Python."""

from __future__ import annotations

import math
import random
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamnet.sources.inference import MISSING, is_number
from streamnet.sources.text.fields import MAX_DISTINCT, FieldReader, Fields, factorize
from streamnet.sources.text.records import RecordRules, find_records

COMMA, QUOTE = ord(","), ord('"')


def fields_of(data: bytes, plan: list[int], missing: tuple[str, ...] = MISSING) -> Fields:
    records = find_records(data, 0, True, RecordRules(COMMA, QUOTE, fields=len(plan)), 30_000)
    reader = FieldReader(np.array(plan), COMMA, QUOTE, [text.encode() for text in missing])
    return reader.read(data, records, np.ones(len(records.begin), np.bool_))


def number_of(text: str, missing: tuple[str, ...] = MISSING) -> float | None:
    """The number in a field; None if there is none."""
    fields = fields_of(b"x," + text.encode() + b"\n", [-1, 0], missing)
    return None if fields.bad_numbers else float(fields.numbers[0, 0])


def same(left: float, right: float) -> bool:
    return struct.pack("d", left) == struct.pack("d", right)


@pytest.mark.parametrize("text", ["na", "Na", "null", "Null", "none", "n/A", "\\n", "\\N"])
def test_a_missing_number_may_be_in_capitals_or_not(text: str) -> None:
    read = number_of(text)
    assert read is not None
    assert math.isnan(read)


def test_decimal_commas_are_parsed() -> None:
    data = b"x;1,5\nx;-,25e1\nx;7\nx;2.5\nx;12345678901234567890,5\nx;1,2,3\nx;1.23,5\n"
    records = find_records(data, 0, True, RecordRules(ord(";"), QUOTE, fields=2), 10)
    plan, good = np.array([-1, 0]), np.ones(len(records.begin), np.bool_)
    fields = FieldReader(plan, ord(";"), QUOTE, (), COMMA).read(data, records, good)
    assert fields.numbers[[0, 1, 2, 4], 0].tolist() == [1.5, -2.5, 7.0, 12345678901234567890.5]
    assert sorted(trouble.row for trouble in fields.bad_numbers) == [3, 5, 6]
    fields = FieldReader(plan, ord(";"), QUOTE, ()).read(data, records, good)
    assert sorted(trouble.row for trouble in fields.bad_numbers) == [0, 1, 4, 5, 6]


@given(
    st.text("0123456789.", min_size=1, max_size=24),
    st.sampled_from(["", "-", "+"]),
    st.sampled_from(["", ",", ",5", ",25e3"]),
)
@example("1.234.567.890.123.456.789", "-", ",5")
def test_dots_separate_thousands_if_commas_are_decimal(whole: str, sign: str, part: str) -> None:
    text = f"{sign}{whole}{part}"
    data = text.encode()
    records = find_records(data, 0, True, RecordRules(ord(";"), QUOTE, fields=1), 10)
    good = np.ones(1, np.bool_)
    fields = FieldReader(np.array([0]), ord(";"), QUOTE, (), COMMA).read(data, records, good)
    first, *groups = whole.split(".")
    marked = first[:1] in "123456789" and len(first) in (1, 2, 3) and {3} == {*map(len, groups)}
    if marked or not groups:
        assert not fields.bad_numbers
        expected = float(f"{sign}{first}{''.join(groups)}{part.replace(',', '.')}")
        assert same(fields.numbers[0, 0], expected)
    else:
        assert len(fields.bad_numbers) == 1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_read_to_the_bit(number: float) -> None:
    read = number_of(repr(number))
    assert read is not None
    assert same(read, number)


digits = st.text("0123456789", max_size=25)
signs = st.sampled_from(["", "+", "-"])
exponents = st.one_of(st.just(""), st.builds("{}{}{}".format, st.sampled_from("eE"), signs, digits))


@given(signs, digits, st.sampled_from(["", "."]), digits, exponents)
def test_a_number_is_parsed_like_in_python(
    sign: str, whole: str, point: str, part: str, exponent: str
) -> None:
    text = sign + whole + point + part + exponent
    read = number_of(text, missing=())
    if not is_number(text):
        assert read is None
        return
    expected = float(text)
    assert (read is None) == math.isinf(expected)
    assert read is None or same(read, expected)


def test_numbers_at_the_limits_of_a_float_are_read_to_the_bit() -> None:
    draw = random.Random(1)
    texts = [f"{draw.randrange(2**52, 2**55)}e{draw.randrange(-22, 23)}" for _ in range(20_000)]
    texts += [str(2**64 + 5), f"{2**65 + 1}.5", "0" * 30 + "7", "0." + "0" * 30 + "7"]
    found = fields_of("\n".join(texts).encode(), [0]).numbers[:, 0].tolist()
    assert found == [float(text) for text in texts]


@given(st.text("0123456789+-.eExX_ nainfNAINFa", max_size=8))
def test_only_decimal_numbers_are_numbers(text: str) -> None:
    read = number_of(text, missing=())
    stripped = text.strip()
    assert (read is not None) == (is_number(stripped) and math.isfinite(float(stripped)))


@pytest.mark.parametrize(
    "text",
    ["0x10", "1_000", "nan", "inf", "-Infinity", "1e999", "1e", ".", "+", "--1", "1.2.3", "\u0661"],
)
def test_texts_that_only_look_like_numbers_are_not(text: str) -> None:
    assert number_of(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+5", 5.0),
        (" 7", 7.0),
        ("7\t", 7.0),
        ('"8"', 8.0),
        ('" 9 "', 9.0),
        ("1.", 1.0),
        (".5", 0.5),
    ],
)
def test_sign_space_and_quotes_do_not_matter(text: str, number: float) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["", " ", "?", "NA", "N/A", "null", "None", '""', '"?"'])
def test_a_missing_value_is_nan(text: str) -> None:
    number = number_of(text)
    assert number is not None
    assert math.isnan(number)


def test_a_number_may_stand_for_a_missing_value() -> None:
    assert math.isnan(number_of("-999", ("-999",)) or 0.0)
    assert number_of("-9990", ("-999",)) == -9990.0
    assert number_of("", ("-999",)) is None


def test_words_are_spans_without_quotes_and_outer_space() -> None:
    data = b' a b ,"x,1"\n"say ""y"" ",\n'
    fields = fields_of(data, [FieldReader.word(1), FieldReader.word(0)])
    words = [[data[low:high] for low, high in column] for column in fields.span.tolist()]
    assert words == [[b"x,1", b""], [b"a b", b'say ""y""']]
    assert fields.escaped.tolist() == [[0, 0], [0, 1]]


def test_bad_numbers_have_their_place() -> None:
    data = b"1,a\n1e999,2\nb,c\n"
    troubles = fields_of(data, [0, 1]).bad_numbers
    found = {(t.row, t.column, data[t.begin : t.end], t.huge) for t in troubles}
    assert found == {
        (0, 1, b"a", False),
        (1, 0, b"1e999", True),
        (2, 0, b"b", False),
        (2, 1, b"c", False),
    }


TEXTS = st.lists(st.binary(max_size=3) | st.sampled_from([b"on", b"off", b"of", b""]), max_size=80)


def spans_of(texts: list[bytes]) -> np.ndarray:
    lengths = np.array([len(text) for text in texts], np.int64)
    ends = lengths.cumsum()
    return np.stack((ends - lengths, ends), axis=1)


def expected(texts: list[bytes]) -> tuple[list[int], list[int]]:
    numbers: dict[bytes, int] = {}
    found = [numbers.setdefault(text, len(numbers)) for text in texts]
    return [texts.index(text) for text in numbers], found


@given(TEXTS)
def test_equal_texts_have_the_number_of_the_first(texts: list[bytes]) -> None:
    found = factorize(b"".join(texts), spans_of(texts))
    assert found is not None
    assert (found[0].tolist(), found[1].tolist()) == expected(texts)


@pytest.mark.parametrize("many", [MAX_DISTINCT, MAX_DISTINCT + 1])
def test_the_number_of_distinct_texts_is_limited(many: int) -> None:
    texts = [str(i % many).encode() for i in range(3 * many)]
    found = factorize(b"".join(texts), spans_of(texts))
    if many > MAX_DISTINCT:
        assert found is None
    else:
        assert found is not None
        assert (found[0].tolist(), found[1].tolist()) == expected(texts)
