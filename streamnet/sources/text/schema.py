"""What the first records of a text reveal: dialect, header, and columns that may be misread."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from shlex import quote
from typing import NamedTuple

from msgspec import json

from streamnet.samples import QUANTITIES, TIMES, Kind, Schema, Task
from streamnet.sources.base import shorten
from streamnet.sources.columns import format_names
from streamnet.sources.inference import (
    MISSING,
    WHITESPACE,
    find_strays,
    infer_kind,
    is_any_time,
    is_not_finite,
    is_number,
    is_unambiguous_time,
    parse_seconds,
)
from streamnet.sources.number_styles import NumberStyle, find_marked_number
from streamnet.sources.text.records import GOOD, Head, RecordRules

DELIMITERS = (",", "\t", ";", "|")
"""Candidates, likelier ones first."""

_SEP = re.compile(rb'"?sep=([\x20-\x7e\t])"?\r?\n', re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]*)?")  # dots separate thousands


class HeadTable(NamedTuple):
    """The first records of a file, split at a delimiter."""

    delimiter: str
    rows: list[list[str]]  # fields without quotes and outer space
    agreement: float  # fraction of the records with the most frequent number of fields

    @property
    def fields(self) -> int:
        """The most frequent number of fields; the larger one in case of a tie."""
        counts = Counter(map(len, self.rows))
        return max(counts, key=lambda n: (counts[n], n), default=0)


def rank_delimiters(
    head: Head, rules: RecordRules, delimiters: Sequence[str], most: int
) -> list[HeadTable]:
    """Split the head of a file at each of these delimiters, the likeliest first.

    A delimiter is likelier if more records have the same number of fields, then if there are more
    fields; delimiters with a single field come last.
    """
    tables = [split_head(head, rules._replace(delimiter=ord(d)), most) for d in delimiters]
    return sorted(tables, key=lambda t: (t.fields > 1, t.agreement, t.fields), reverse=True)


def split_head(head: Head, rules: RecordRules, most: int) -> HeadTable:
    """Split the first good records of a file by these rules."""
    records = head.records(rules._replace(fields=0), most)
    quote = chr(rules.quote) if rules.quote >= 0 else None
    rows = [
        _split(head.data[begin:end].decode("utf-8", "replace"), chr(rules.delimiter), quote)
        for begin, end, state in zip(
            records.begin.tolist(), records.end.tolist(), records.state.tolist(), strict=True
        )
        if state == GOOD
    ]
    counts = Counter(map(len, rows))
    agreement = max(counts.values(), default=0) / max(1, len(records.begin))
    return HeadTable(chr(rules.delimiter), rows, agreement)


def read_sep_line(head: Head) -> tuple[Head, str | None]:
    r"""Read a line such as ``sep=;``, which spreadsheets write: the head after it, the delimiter.

    >>> read_sep_line(Head("f.csv", b"sep=;\na;b\n", 0, True))
    (Head(file='f.csv', data=b'sep=;\na;b\n', start=6, final=True), ';')
    """
    found = _SEP.match(head.data, head.start)
    return (head, None) if found is None else (head._replace(start=found.end()), found[1].decode())


def detect_decimal(table: HeadTable, missing: Collection[str]) -> str:
    r"""Detect the decimal separator of the numbers in a file: a comma or a dot.

    It is a comma if the delimiter is another character, and some column has numbers (see
    `infer_kind`) with commas that do not separate thousands. Dots would separate thousands then, so
    a column with dots that can't is evidence against it.

    >>> detect_decimal(HeadTable(";", [["a", "z"], ["1", "1,5"]], 1.0), ())
    ','
    >>> detect_decimal(HeadTable(";", [["a", "z"], ["1", "1,500"]], 1.0), ())
    '.'
    >>> detect_decimal(HeadTable("\t", [["price", "items"], ["1.21", "2,5"]], 1.0), ())
    '.'
    """
    if table.delimiter == ",":
        return "."
    body = [row for row in table.rows[1:] if len(row) == table.fields] or table.rows[:1]
    found = "."
    for column in zip(*body, strict=True):
        values = [value for value in column if value not in missing]
        if infer_kind(map(normalize_decimal, values)) is not Kind.NUMBER:
            continue
        commas = sum("," in v and not _THOUSANDS.fullmatch(v) for v in values)
        points = sum("." in v and not _GROUPED.fullmatch(v) for v in values)
        if points > commas:
            return "."
        if commas:
            found = ","
    return found


def normalize_decimals(table: HeadTable) -> HeadTable:
    """Replace decimal commas by dots, and remove dots between thousands."""
    return table._replace(rows=[list(map(normalize_decimal, row)) for row in table.rows])


def find_grouped_number(values: Sequence[str]) -> str | None:
    """Find the first value that is a decimal number unless its dot separates thousands.

    >>> find_grouped_number(["446", "1.234,5", "2.784"])
    '2.784'
    """
    return next((v for v in values if is_number(v) and _GROUPED.fullmatch(v)), None)


def normalize_decimal(text: str) -> str:
    """Replace the decimal comma of a number by a dot, and remove dots between its thousands."""
    if _GROUPED.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    pointed = text.replace(",", ".", 1) if "," in text else text
    return pointed if pointed is text or is_number(pointed) else text


def _split(text: str, delimiter: str, quote: str | None) -> list[str]:
    """Split a good record into fields without quotes and outer space.

    >>> _split('1, "a;b" ;"say ""x"", y"', ";", '"')
    ['1, "a', 'b"', 'say "x", y']
    """
    if quote is None or quote not in text:
        return [field.strip(WHITESPACE) for field in text.split(delimiter)]
    fields = []
    rest: str | None = text
    while rest is not None:
        if rest.startswith(quote):
            body, rest = _unquoted(rest[1:], quote)
            _, found, behind = rest.partition(delimiter)
        else:
            body, found, behind = rest.partition(delimiter)
        fields.append(body.strip(WHITESPACE))
        rest = behind if found else None
    return fields


def _unquoted(text: str, quote: str) -> tuple[str, str]:
    """The body of a field after its opening quote, and what follows the closing quote."""
    at = 0
    while (at := text.find(quote, at)) >= 0:
        if not text.startswith(quote, at + 1):
            return text[:at].replace(quote * 2, quote), text[at + 1 :]
        at += 2
    return text.replace(quote * 2, quote), ""


# A short name may be a letter and a number; a question is recognized by its words.
_NAME = re.compile(r"[^\W\d][\w .:/()%#\[\]-]*|.*[^\W\d_]{2}.*", re.DOTALL)
DIGITS = 18  # of an integer that may start a run
_GENERATED = re.compile("f[0-9]+")  # names of columns without a header
_WHOLE = re.compile(r"[+-]?[0-9]+")


def has_header(rows: Sequence[Sequence[str]], known: Collection[str]) -> bool:
    """Whether the first of these records, all of one length, is a header.

    It is one if it contains a name in ``known``, those of the settings; or if it counts the
    columns, see `_numbers_columns`; or if it has a name above a column of numbers; or if all its
    fields are distinct names that do not occur below. The first name may be empty, as above record
    numbers. The last rule does not apply if all ``known`` names are those of columns without a
    header.
    """
    if not rows:
        return False
    first, below = rows[0], rows[1:]
    if not set(known).isdisjoint(first) or _numbers_columns(first, below):
        return True
    columns = list(zip(*below, strict=True)) or [()] * len(first)
    pairs = list(zip(first, columns, strict=True))
    if any(_is_name(name) and _are_numbers(values) for name, values in pairs):
        return True
    if known and all(map(_GENERATED.fullmatch, known)):
        return False
    if len(pairs) > 1 and not first[0] and _is_count(columns[0]):
        pairs = pairs[1:]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or not all(map(_is_name, names)):
        return False
    return not any(
        # A date above dates is not a name.
        name in values or (is_any_time(name) and any(map(is_any_time, values)))
        for name, values in pairs
    )


def _numbers_columns(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first record counts the columns from 0 or 1, as for an array without names.

    A sample may do so too, by chance: then the next one may continue to count, the same one may
    occur again, or there are only a few numbers, all of them whole.
    """
    names = first if first[0] else first[1:]
    if len(names) < 2 or not below or not _is_count(names):
        return False
    if not first[0]:
        return all(row[0] for row in below)
    if _is_run(below[0]):
        return False
    if not all(_WHOLE.fullmatch(value) or _is_missing(value) for row in below for value in row):
        return True
    return len(names) > 2 and list(first) not in map(list, below)


def _is_count(values: Sequence[str]) -> bool:
    """Whether these are 0, 1, 2 and so on, or 1, 2, 3."""
    return _is_run(values) and values[0] in ("0", "1")


def _is_run(values: Sequence[str]) -> bool:
    """Whether these are whole numbers, each larger by one than the one before."""
    if not values or len(values[0]) > DIGITS or not _WHOLE.fullmatch(values[0]):
        return False
    start = int(values[0])
    return all(value == str(start + number) for number, value in enumerate(values))


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and not _is_missing(text)


def _are_numbers(values: Sequence[str]) -> bool:
    """Whether values are numbers, apart from missing values and a few strays."""
    return infer_kind([value for value in values if value not in MISSING]) is Kind.NUMBER


def _is_missing(text: str) -> bool:
    return text in MISSING or is_not_finite(text)


MIN_FRACTION = 0.95
MIN_LABELS = 20
DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{4,6})?")
_DAY_FIRST = r"[0-3]?[0-9]([./ -])(?:[0-3]?[0-9]|[^\W\d_]{3,9})\1(?:19|20)[0-9]{2}"  # or the month
_SHORT_YEAR = r"(?:[0-3]?[0-9]/[0-3]?[0-9]/|[0-3][0-9]([.-])[0-3][0-9]\3)[0-9]{2}"
_YEAR_FIRST = r"(?:19|20)[0-9]{2}([./-])[01]?[0-9]\2[0-3]?[0-9]"
FOREIGN_DATE = re.compile(rf"(?:{_DAY_FIRST}|{_YEAR_FIRST}|{_SHORT_YEAR})(?:[,:]?[ T:].*)?")
DATE_ORDERS = (Kind.DAY_FIRST, Kind.MONTH_FIRST)
MAX_DISTINCT_FRACTION = 0.9  # of distinct labels, above which they are hardly labels

logger: logging.Logger = logging.getLogger("streamnet.sources")

_WRITTEN = "; numbers are written like "


def warn_of_misread_columns(
    file: str,
    schema: Schema,
    values: Mapping[str, Sequence[str]],
    missing: Sequence[str] = MISSING,
    *,
    typed: bool = False,
) -> None:
    """Warn, once per file, about columns whose inferred kind may be wrong.

    ``values`` has texts that are not missing, of the columns whose kind or task was inferred, or
    that were declared as times. If the format distinguishes numbers from texts (``typed``), texts
    with fractions may be numbers; integers are likelier codes, as the format says.
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
        elif kinds.get(name, Kind.NUMBER) in QUANTITIES:
            _warn_of_strays(file, name, texts, missing, target=name == schema.target)
        elif (found := find_marked_number(texts)) is not None:
            words[name] = found
        elif sum(map(is_unambiguous_time, texts)) > MIN_FRACTION * len(texts):
            _warn_of_invalid_times(file, name, texts, missing)
        else:
            foreign = [t for t in texts if FOREIGN_DATE.fullmatch(t) and not is_unambiguous_time(t)]
            if foreign and len(foreign) + sum(map(is_unambiguous_time, texts)) > MIN_FRACTION * len(
                texts
            ):
                dates[name] = foreign[0], f"2023-12-31{_suggest_date_orders(name, foreign)}"
    _warn_of_words(file, "numbers are written", words)
    _warn_of_words(file, "dates are read", dates)


def warn_of_thousands_separators(
    file: str, schema: Schema, values: Mapping[str, Sequence[str]]
) -> None:
    """Warn, once per file with decimal commas, about dots that are parsed as separators."""
    numbers = [name for name, kind in schema.fields if kind is Kind.NUMBER]
    if schema.task is Task.REGRESSION:
        numbers.append(str(schema.target))
    for name in numbers:
        if (text := find_grouped_number(values.get(name, ()))) is not None:
            rule = "%s: column %r has %s, which is read as %s: numbers have decimal commas there"
            logger.warning(rule, file, name, shorten(text), text.replace(".", ""))
            return


def warn_of_marked_numbers(
    file: str, styles: Mapping[str, NumberStyle], values: Mapping[str, Sequence[str]]
) -> None:
    """Say, once per file, how numbers with marks are read."""
    for name, style in styles.items():
        for text in values[name]:
            number = style.normalize(text)
            if number is not None and number != text:
                rule = "%s: column %r has %s, which is read as %s"
                logger.warning(rule, file, name, shorten(text), number)
                return


def _suggest_date_orders(name: str, dates: Sequence[str]) -> str:
    """Suggest the options for day or month first under which these texts are dates."""
    kinds = [
        f"{name}={kind}"
        for kind in DATE_ORDERS
        if sum(parse_seconds(t, kind) is not None for t in dates) > MIN_FRACTION * len(dates)
    ]
    return f", or with --kind {' or '.join(kinds)}" if kinds else ""


def _warn_of_words(file: str, what: str, doubted: Mapping[str, tuple[str, str]]) -> None:
    """Warn about words, with one text per column and the form that would be recognized."""
    if not doubted:
        return
    name, (text, plain) = next(iter(doubted.items()))
    which = f"column {name!r} is" if len(doubted) == 1 else f"{format_names(list(doubted))} are"
    rule = "%s: %s taken as words, such as %s; %s like %s"
    logger.warning(rule, file, which, shorten(text), what, plain)


def _find_fraction(texts: Sequence[str]) -> str | None:
    """Find the first decimal number if nearly all texts are numbers."""
    if find_strays(texts) is None:
        return None
    return next((text for text in texts if is_number(text) and not text.isdecimal()), None)


def _warn_of_fractions(file: str, name: str, text: str, *, labels: bool) -> None:
    """Warn about texts that are numbers."""
    what, taken = ("target", "labels") if labels else ("column", "words")
    hint = "--task regression" if labels else f"--kind {name}=number"
    rule = "%s: %s %r is taken as %s, such as %s, since they are texts: %s reads them as numbers"
    logger.warning(rule, file, what, name, taken, shorten(text), hint)


def _warn_of_labels(file: str, name: str, texts: Sequence[str]) -> None:
    """Warn about labels that are formatted numbers, or nearly all distinct."""
    found = find_marked_number(texts)
    distinct = len(set(texts))
    if found is None and (distinct < MIN_LABELS or distinct < MAX_DISTINCT_FRACTION * len(texts)):
        return
    rule = "%s: target %r is taken as labels, such as %s: %d different ones in %d values%s"
    text, hint = (texts[0], "") if found is None else (found[0], _WRITTEN + found[1])
    logger.warning(rule, file, name, shorten(text), distinct, len(texts), hint)


def _warn_of_compact_dates(file: str, name: str, texts: Sequence[str]) -> None:
    """Warn about timestamps that are dates without hyphens."""
    if not texts or not all(map(DATE.fullmatch, texts)):
        return
    day = texts[0]
    rule = "%s: column %r is read as seconds since 1970, but has %s: dates are read like %s-%s-%s"
    logger.warning(rule, file, name, shorten(day), day[:4], day[4:6], day[6:8])


def _warn_of_strays(
    file: str, name: str, texts: Sequence[str], missing: Sequence[str], *, target: bool
) -> None:
    """Warn about texts among numbers."""
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
    """Format the option that adds another text for missing values.

    >>> _format_missing_option("-", ("", "?", "NA"))
    "--missing='?,NA,-'"
    """
    texts = [*filter(None, missing), text]
    if "," in text:  # which the option would split
        return f"source.missing = {json.encode(['', *texts]).decode()}"
    return f"--missing={quote(','.join(texts))}"


def _warn_of_invalid_times(
    file: str, name: str, texts: Sequence[str], missing: Sequence[str]
) -> None:
    """Warn about texts that made a column of dates one of words."""
    strays = [text for text in texts if not is_unambiguous_time(text)]
    if not strays:
        return  # they were declared as words
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
