"""Warnings about columns whose inferred kind may not be what was meant."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from shlex import quote

from msgspec import json

from streamnet.samples import TIMES, Kind, Schema, Task
from streamnet.sources.columns import format_names
from streamnet.sources.dates import is_unambiguous_time, parse_seconds
from streamnet.sources.inference import MISSING, find_strays, is_not_finite, is_number
from streamnet.sources.rejection import shorten
from streamnet.sources.text.dialect import find_grouped_number

__all__ = ("warn_of_misread_columns", "warn_of_thousands_separators")

MIN_SHARE = 0.95
MIN_LABELS = 20
DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{4,6})?")
_DAY_FIRST = r"[0-3]?[0-9]([./ -])(?:[0-3]?[0-9]|[^\W\d_]{3,9})\1(?:19|20)[0-9]{2}"  # or the month
_SHORT_YEAR = r"(?:[0-3]?[0-9]/[0-3]?[0-9]/|[0-3][0-9]([.-])[0-3][0-9]\3)[0-9]{2}"
_YEAR_FIRST = r"(?:19|20)[0-9]{2}([./-])[01]?[0-9]\2[0-3]?[0-9]"
FOREIGN_DATE = re.compile(rf"(?:{_DAY_FIRST}|{_YEAR_FIRST}|{_SHORT_YEAR})(?:[,:]?[ T:].*)?")
DATE_ORDERS = (Kind.DAY_FIRST, Kind.MONTH_FIRST)
MAX_DISTINCT_SHARE = 0.9  # share of different labels above which they are hardly labels

logger = logging.getLogger("streamnet.sources")

SPACES = " \u00a0\u202f\u2009"  # of which some do not break a line
QUOTES = "'\u2019"
UNITS = f"$€£¥₹₽₩₺%{SPACES}"
MINUS = str.maketrans("\u2212\u2013", "--")  # signs of typesetters
CODES = "EUR|USD|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|HUF|RUB|BRL|ZAR|TRY|MXN|NZD"
_CODE = re.compile(rf"^(?:{CODES})(?![A-Z])|(?<![A-Z])(?:{CODES})$")
STYLES = ((f",{QUOTES}{SPACES}", "."), ("", ","), (f".{QUOTES}{SPACES}", ","))
"""Marks between thousands, and what is before the fraction; the likelier ones first."""
_WRITTEN = "; numbers are written like "


def warn_of_misread_columns(
    file: str,
    schema: Schema,
    values: Mapping[str, Sequence[str]],
    missing: Sequence[str] = MISSING,
    *,
    typed: bool = False,
) -> None:
    """Say, once a file, which of its columns may not be what their first values made of them.

    Args:
        file: Its name.
        schema: Its columns.
        values: Texts of the columns whose kind or task was found out, or that were said to be
            times, but for missing ones.
        missing: Texts that stand for a missing value.
        typed: The format tells numbers from texts, so these may be numbers, with fractions; whole
            ones are likelier to be the codes that the format says they are.
    """
    kinds = dict(schema.fields)
    words: dict[str, tuple[str, str]] = {}
    dates: dict[str, tuple[str, str]] = {}
    for name, texts in values.items():
        labels = name == schema.target and schema.task is Task.CLASSIFICATION
        if typed and (text := _find_fraction(texts)) is not None:
            _warn_of_fractions(file, name, text, labels=labels)
        elif labels:
            _warn_of_labels(file, name, texts)
        elif kinds.get(name) in TIMES:
            _warn_of_compact_dates(file, name, texts)
        elif kinds.get(name, Kind.NUMBER) is Kind.NUMBER:
            _warn_of_strays(file, name, texts, missing, target=name == schema.target)
        elif (found := _find_disguised_number(texts)) is not None:
            words[name] = found
        elif sum(map(is_unambiguous_time, texts)) > MIN_SHARE * len(texts):
            _warn_of_invalid_times(file, name, texts, missing)
        else:
            foreign = [t for t in texts if FOREIGN_DATE.fullmatch(t) and not is_unambiguous_time(t)]
            if foreign and len(foreign) + sum(map(is_unambiguous_time, texts)) > MIN_SHARE * len(
                texts
            ):
                dates[name] = foreign[0], f"2023-12-31{_suggest_date_orders(name, foreign)}"
    _warn_of_words(file, "numbers are written", words)
    _warn_of_words(file, "dates are read", dates)


def warn_of_thousands_separators(
    file: str, schema: Schema, values: Mapping[str, Sequence[str]]
) -> None:
    """Say, once a file with decimal commas, that points between its thousands are read as such.

    Args:
        file: Its name.
        schema: Its columns.
        values: Texts of the columns as they stand there.
    """
    numbers = [name for name, kind in schema.fields if kind is Kind.NUMBER]
    if schema.task is Task.REGRESSION:
        numbers.append(str(schema.target))
    for name in numbers:
        if (text := find_grouped_number(values.get(name, ()))) is not None:
            rule = "%s: column %r has %s, which is read as %s: numbers have decimal commas there"
            logger.warning(rule, file, name, shorten(text), text.replace(".", ""))
            return


def _suggest_date_orders(name: str, dates: Sequence[str]) -> str:
    """How to say what comes first, the day or the month, where that makes these dates times."""
    kinds = [
        f"{name}={kind}"
        for kind in DATE_ORDERS
        if sum(parse_seconds(t, kind) is not None for t in dates) > MIN_SHARE * len(dates)
    ]
    return f", or with --kind {' or '.join(kinds)}" if kinds else ""


def _warn_of_words(file: str, what: str, doubted: Mapping[str, tuple[str, str]]) -> None:
    """Doubt words, of each column one and how it would have been understood."""
    if not doubted:
        return
    name, (text, plain) = next(iter(doubted.items()))
    which = f"column {name!r} is" if len(doubted) == 1 else f"{format_names(list(doubted))} are"
    rule = "%s: %s taken as words, such as %s; %s like %s"
    logger.warning(rule, file, which, shorten(text), what, plain)


def _find_fraction(texts: Sequence[str]) -> str | None:
    """The first fraction if nearly all texts are numbers, else None."""
    if find_strays(texts) is None:
        return None
    return next((text for text in texts if is_number(text) and not text.isdecimal()), None)


def _warn_of_fractions(file: str, name: str, text: str, *, labels: bool) -> None:
    """Doubt texts that are numbers."""
    what, taken = ("target", "labels") if labels else ("column", "words")
    hint = "--task regression" if labels else f"--kind {name}=number"
    rule = "%s: %s %r is taken as %s, such as %s, since they are texts: %s reads them as numbers"
    logger.warning(rule, file, what, name, taken, shorten(text), hint)


def _warn_of_labels(file: str, name: str, texts: Sequence[str]) -> None:
    """Doubt labels that are numbers in disguise, or nearly all of them different."""
    found = _find_disguised_number(texts)
    distinct = len(set(texts))
    if found is None and (distinct < MIN_LABELS or distinct < MAX_DISTINCT_SHARE * len(texts)):
        return
    rule = "%s: target %r is taken as labels, such as %s: %d different ones in %d values%s"
    text, hint = (texts[0], "") if found is None else (found[0], _WRITTEN + found[1])
    logger.warning(rule, file, name, shorten(text), distinct, len(texts), hint)


def _warn_of_compact_dates(file: str, name: str, texts: Sequence[str]) -> None:
    """Doubt seconds that are dates without hyphens."""
    if not texts or not all(map(DATE.fullmatch, texts)):
        return
    day = texts[0]
    rule = "%s: column %r is read as seconds since 1970, but has %s: dates are read like %s-%s-%s"
    logger.warning(rule, file, name, shorten(day), day[:4], day[4:6], day[6:8])


def _warn_of_strays(
    file: str, name: str, texts: Sequence[str], missing: Sequence[str], *, target: bool
) -> None:
    """Say which words are no numbers among numbers."""
    strays = find_strays(text for text in texts if not is_not_finite(text))
    if not strays:
        return
    words = "--task classification" if target else f"--kind {name}=category"
    logger.warning(
        "%s: column %r is taken as numbers, but %d of its first %d values are not, such as %s: "
        "such records are rejected (%s reads it as missing, %s all as words)",
        file,
        name,
        len(strays),
        len(texts),
        shorten(strays[0]),
        _format_missing_option(strays[0], missing),
        words,
    )


def _format_missing_option(text: str, missing: Sequence[str]) -> str:
    """How to say that one more text stands for a missing value: beside those that do already.

    >>> _format_missing_option("-", ("", "?", "NA"))
    "--missing='?,NA,-'"
    """
    texts = [*filter(None, missing), text]
    if "," in text:  # which the option would take for two
        return f"source.missing = {json.encode(['', *texts]).decode()}"
    return f"--missing={quote(','.join(texts))}"


def _warn_of_invalid_times(
    file: str, name: str, texts: Sequence[str], missing: Sequence[str]
) -> None:
    """Say which words made a column of dates one of words."""
    strays = [text for text in texts if not is_unambiguous_time(text)]
    if not strays:
        return  # somebody said that they are words
    logger.warning(
        "%s: column %r is taken as words, but %d of its first %d values are dates: all but such as "
        "%s (%s reads it as missing, --kind %s=time rejects such records)",
        file,
        name,
        len(texts) - len(strays),
        len(texts),
        shorten(strays[0]),
        _format_missing_option(strays[0], missing),
        name,
    )


def _find_disguised_number(texts: Sequence[str]) -> tuple[str, str] | None:
    """A word and the number that it is, None unless nearly all words are numbers in disguise."""
    fewest = MIN_SHARE * len(texts)
    for marks, decimal in STYLES:
        first, others = None, 0
        for text in texts:
            # Where commas are read as points, what has no mark is a number already.
            number = text if is_number(text) else _normalize_number(text, marks, decimal)
            if number is None:
                others += 1
                if len(texts) - others < fewest:
                    break
            elif first is None and number != text:
                first = text, number
        else:
            if first is not None:
                return first
    return None


def _normalize_number(text: str, marks: str, decimal: str) -> str | None:
    """A number with a sign of its unit, and marks between thousands, as it can be read.

    >>> _normalize_number("-$1,234.50", ",' ", "."), _normalize_number("12 %", "", "."), _normalize_number("0,5", "", ",")
    ('-1234.50', '12', '0.5')
    >>> _normalize_number("(12.50)", ",", "."), _normalize_number("15.00 EUR", ",", ".")
    ('-12.50', '15.00')
    """
    text = text.translate(MINUS)
    if text.startswith("(") and text.endswith(")"):  # as accountants write what is owed
        text = f"-{text[1:-1]}"
    sign = text[:1] if text[:1] in ("+", "-") else ""
    amount = _CODE.sub("", text.removeprefix(sign).strip(UNITS), count=1)
    whole, point, part = amount.strip(UNITS).partition(decimal)
    groups = re.split(f"[{marks}]", whole) if marks else [whole]
    if len(groups) > 1 and (groups[0].startswith("0") or any(len(g) != 3 for g in groups[1:])):
        return None
    number = sign + "".join(groups) + ("." if point else "") + part
    return number if is_number(number) else None
