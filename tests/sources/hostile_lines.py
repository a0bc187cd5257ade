"""Lines made to break a parser: a corpus, and a strategy that generates more."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

__all__ = ("FORMS", "Form", "lines")

DIGITS = "9" * 5000
DEEP = 100_000
LONG = 10 << 20


class Form(NamedTuple):
    """A format: a good line, what lines are made of, and whole lines that are hostile."""

    suffix: str
    top: bytes
    good: bytes
    pieces: tuple[bytes, ...]
    corpus: tuple[bytes, ...]


VALUES = (
    b"1",
    b"-0.0",
    b"1e999",
    b"-1e999",
    b"1e-999",
    b"1e308",
    b"5e-324",
    b"9007199254740993",
    DIGITS.encode(),
    b"0." + DIGITS.encode(),
    b"nan",
    b"-NaN",
    b"inf",
    b"Infinity",
    b"1_000",
    b"0x10",
    b"1,5",
    b"+1",
    b"--1",
    b"1e",
    b".",
    b"e5",
    "\u0661\u0662\u0663".encode(),
    "\uff11\uff12".encode(),
    "é".encode(),
    b"a",
    b"?",
    b"NA",
    b"null",
    b"None",
    b"true",
    b"2020-02-30",
    b"2020-01-01T25:00:00",
    b"9999-12-31T23:59:59-23:59",
    b"",
    b" ",
    b"\t",
    b"\v\f",
)
ODD = (
    b"\0",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\r",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xa9",
    b"\xc2\x85",
    b"\x1c",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b'"',
    b'""',
    b"'",
    b"\\",
    b"#",
    b"=1+1",
    b"\x1b[31m",
    b"%s%n",
    b"../../etc",
)
JSON_VALUES = (
    b"1",
    b"-0.0",
    b"1e999",
    b"NaN",
    b"-Infinity",
    DIGITS.encode(),
    b"1" + b"0" * 400,
    b"1_000",
    b"01",
    b"+1",
    b".5",
    b'"a"',
    b'"1"',
    b'"nan"',
    b'"\\ud800"',
    b'"\\u0000"',
    '"\u2028"'.encode(),
    b'"2020-02-30"',
    b"true",
    b"null",
    b"[]",
    b"{}",
    b"[1,2]",
    b'{"a":1}',
    b"\xff",
    b"'a'",
    b"",
)
JSON_NAMES = (b'"x"', b'"w"', b'"y"', b'"t"', b'"new"', b'"\\u0078"', b'""', b"x", b"1", b"null")
MARKS = (b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ")
PAIRS = tuple(name + b":" + value for name in JSON_NAMES for value in JSON_VALUES)

FORMS = {
    "csv": Form(
        "csv",
        b"x,w,t,y\n",
        b"1.5,a,2020-01-01,u",
        (*VALUES, *ODD, *(b",",) * 30, b"1,a,", b'"a""b"', b'"a,b"', b'"open', b'shut"'),
        (
            b'"' + b"a" * LONG,
            b"1," + b"w" * LONG + b",,u",
            b"," * LONG,
            b"," * 100_000,
            b'"' * 99_999,
            b'"a"b,c,d,e',
            b"\0" * 5000,
        ),
    ),
    "jsonl": Form(
        "jsonl",
        b"",
        b'{"x":1.5,"w":"a","t":"2020-01-01","y":"u"}',
        (*JSON_VALUES, *PAIRS, *ODD, *MARKS, *(b",",) * 60, *(b'"x":1,"y":"u"',) * 20),
        (
            b"[" * DEEP,
            b'{"x":' * DEEP,
            b'{"x":' + b"[" * DEEP + b"]" * DEEP + b',"y":"u"}',
            b'{"x":' + DIGITS.encode() + b',"y":"u"}',
            b'{"w":"' + b"w" * LONG + b'","y":"u"}',
            b'{"x":1,"x":2,"y":"u","y":"v"}',
            b'{"x":1,"y":"u"}{"x":1,"y":"u"}',
            b'{"y":"u","new":{"a":[{}]}}',
            b"null",
            b'"text"',
        ),
    ),
    "libsvm": Form(
        "svm",
        b"",
        b"u 1:2 3:4",
        (
            *VALUES,
            *ODD,
            *(b" ",) * 30,
            *(b":",) * 8,
            *(name + b":" + value for name in (b"1", b"7", b"99") for value in VALUES),
            b"qid:1",
            b"9223372036854775807:1",
            b"9223372036854775808:1",
            b"-1:1",
            "\u0661:1".encode(),
            b"1.5:1",
        ),
        (
            b"u 3:1 2:1",
            b"u 2:1 2:1",
            b"u " + DIGITS.encode() + b":1",
            b"u 1:" + DIGITS.encode(),
            b"u " + b" ".join(map(b"%d:1".__mod__, range(1_000_000))),
            b"u" * LONG,
            b"u " + b"1:1 " * 250_000,
            b"u,v 1:1",
            b":",
            b":1",
            b"1:",
        ),
    ),
}
"""The formats by name."""


def lines(form: Form, size: int) -> st.SearchStrategy[list[bytes]]:
    """Batches of lines: good ones, pieces put together, JSON objects of such, and any bytes."""
    pieces = st.sampled_from(form.pieces)
    joined = st.lists(pieces, max_size=12).map(b"".join)
    made = st.one_of(joined, st.binary(max_size=40), st.just(form.good))
    if form.suffix == "jsonl":
        objects = st.lists(st.sampled_from(PAIRS), max_size=5).map(b",".join)
        made = st.one_of(made, objects.map(lambda pairs: b"{" + pairs + b"}"))
    if form.suffix == "csv":
        fields = st.lists(st.sampled_from((*VALUES, *ODD)), min_size=3, max_size=5).map(b",".join)
        made = st.one_of(made, fields)
    return st.lists(made.map(lambda line: line.replace(b"\n", b"")), min_size=size, max_size=size)
