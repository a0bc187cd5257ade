"""The encoder of a model in C: from the members of a struct to dense inputs and rows."""

from __future__ import annotations

from collections.abc import Sequence

from streamnet.features.columns.category import HASH_BUCKETS, MAX_VALUE_LENGTH
from streamnet.features.columns.identifier import HASH_BITS
from streamnet.features.columns.time import DAY, ERA, FIRST_MARCH, MAX_SECONDS
from streamnet.features.frozen import (
    NO_ROW,
    Affine,
    FrozenCalendar,
    FrozenCategory,
    FrozenColumn,
    FrozenIdentifiers,
    FrozenNumber,
    Ranks,
)
from streamnet.features.statistics import GOLDEN, MAX_INTEGER, MAX_MAGNITUDE
from streamnet.modelfiles.exports.c_text import comment, number, quote, strings, table
from streamnet.modelfiles.exports.frozen_model import FrozenModel
from streamnet.sources.inference import MISSING, WHITESPACE

Code = tuple[str, str]
"""Tables, and statements."""

_HELPERS = {
    "activate": """\
static void activate(sample *s, int row)
{
    if (row >= 0)
        s->rows[s->count++] = row;
}
""",
    "affine": f"""\
static double affine(double x, double origin, double center, double spread)
{{
    x = clip(x - origin, {MAX_MAGNITUDE!r});
    return spread > 0.0 ? clip((x - center) / spread, CLIP) : 0.0;
}}
""",
    "rank": f"""\
/* The rank of a number by a table of value, start, end and rank at the value itself. */
static double rank(double x, const double *cells, int count, double above)
{{
    int i = 0;
    x = clip(x, {MAX_MAGNITUDE!r});
    while (i < count && cells[4 * i] < x)
        i++;
    if (i == count)
        return above;
    if (cells[4 * i] == x)
        return cells[4 * i + 3];
    if (i == 0)
        return -1.0;
    return cells[4 * i + 1] + (x - cells[4 * i - 4]) / (cells[4 * i] - cells[4 * i - 4])
        * (cells[4 * i + 2] - cells[4 * i + 1]);
}}
""",
    "find_number": """\
static int find_number(double x, const double *values, const int *rows, int count)
{
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (values[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && values[low] == x ? rows[low] : -1;
}
""",
    "hash_id": f"""\
static double hash_id(double x)
{{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (double)(bits * UINT64_C({int(GOLDEN)}) >> {64 - HASH_BITS});
}}
""",
    "word": """\
static int compare(const char *text, size_t length, const char *word)
{
    size_t other = strlen(word);
    int order = memcmp(text, word, length < other ? length : other);
    return order != 0 ? order : (length > other) - (length < other);
}

/* The row of a text, -1 for none and -2 for one that is unknown. */
static int find_word(const char *text, size_t length, const char *const *words, const int *rows,
                     int count)
{
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        int order = compare(text, length, words[middle]);
        if (order == 0)
            return rows[middle];
        if (order > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -2;
}

/* Leaves out blanks around a text; returns its length, 0 if it is missing. */
static size_t trim(const char **text)
{
    size_t length, k;
    if (*text == NULL)
        return 0;
    while (**text != '\\0' && strchr(BLANKS, **text) != NULL)
        (*text)++;
    length = strlen(*text);
    while (length > 0 && strchr(BLANKS, (*text)[length - 1]) != NULL)
        length--;
    for (k = 0; k < sizeof missing / sizeof *missing; k++)
        if (compare(*text, length, missing[k]) == 0)
            return 0;
    return length;
}
""",
    "bucket": f"""\
static uint32_t checksum(uint32_t sum, const char *text, size_t length)
{{
    size_t i;
    int bit;
    sum = ~sum;
    for (i = 0; i < length; i++) {{
        sum ^= (unsigned char)text[i];
        for (bit = 0; bit < 8; bit++)
            sum = (sum >> 1) ^ (UINT32_C(0xEDB88320) & (UINT32_C(0) - (sum & 1)));
    }}
    return ~sum;
}}

/* The hash of a text, of which only the beginning and a checksum count if it is very long. */
static int bucket(const char *text, size_t length)
{{
    static const char digits[] = "0123456789abcdef";
    size_t i, characters = 0, kept = length;
    uint32_t sum = checksum(0, text, length);
    char end[9];
    for (i = 0; i < length; i++) {{
        if (((unsigned char)text[i] & 0xC0) == 0x80)
            continue;
        if (characters++ == {MAX_VALUE_LENGTH - 9})
            kept = i;
    }}
    if (characters > {MAX_VALUE_LENGTH}) {{
        end[0] = '~';
        for (i = 0; i < 8; i++)
            end[i + 1] = digits[(sum >> (28 - 4 * i)) & 15];
        sum = checksum(checksum(0, text, kept), end, sizeof end);
    }}
    return (int)(sum % {HASH_BUCKETS});
}}
""",
    "calendar": f"""\
/* Sines and cosines of a time, and its hour, weekday and month, all from 0. */
static void calendar(double t, double *waves, int *hour, int *weekday, int *month)
{{
    const double turn = 6.283185307179586;
    double start, in_day;
    int64_t day, era, year, march;
    t = clip(t, {number(MAX_SECONDS)});
    start = floor(t / {DAY!r});
    day = (int64_t)start;
    in_day = (t - start * {DAY!r}) / {DAY!r};
    *hour = (int)((t - start * {DAY!r}) / 3600.0);
    *hour = *hour < 23 ? *hour : 23;
    *weekday = (int)(((day + 3) % 7 + 7) % 7);
    era = ((day + {FIRST_MARCH}) % {ERA} + {ERA}) % {ERA};
    year = (era - era / 1460 + era / 36524 - era / 146096) / 365;
    march = era - (365 * year + year / 4 - year / 100);
    *month = (int)(((5 * march + 2) / 153 + 2) % 12);
    waves[0] = sin(turn * in_day);
    waves[1] = cos(turn * in_day);
    waves[2] = sin(turn * ((double)*weekday + in_day) / 7.0);
    waves[3] = cos(turn * ((double)*weekday + in_day) / 7.0);
    waves[4] = sin(turn * ((double)march + in_day) / 366.0);
    waves[5] = cos(turn * ((double)march + in_day) / 366.0);
}}
""",
}


def write_declaration(column: FrozenColumn, name: str) -> str:
    """The member of a column."""
    kind, what = "double ", "a number, or NAN if it is missing"
    if isinstance(column, FrozenCategory):
        kind, what = "const char *", 'a category in UTF-8, or NULL or "" if it is missing'
    elif column.calendar is not None:
        what = "a time, in seconds since 1970 in UTC, or NAN if it is missing"
    elif column.identifiers is not None:
        what = "an id, or NAN if it is missing"
    original = "" if name == column.field.name else f"{comment(column.field.name)}: "
    return f"    {kind}{name}; /* {original}{what} */\n"


def write_encoder(model: FrozenModel, members: Sequence[str]) -> str:
    """The function ``encode``, with its tables and what it calls."""
    tables, body = [], []
    for place, (column, member) in enumerate(zip(model.inputs.columns, members, strict=True)):
        if isinstance(column, FrozenCategory):
            parts = _write_category(column, member, place)
        else:
            parts = _write_number(column, member, place, model)
        tables.append(parts[0])
        body.append(parts[1])
    statements = "".join(body)
    words = "find_word(" in statements
    helpers = []
    for name, text in _HELPERS.items():
        if words if name == "word" else f"{name}(" in statements:
            helpers.append(text)
    if words:
        blanks = f"#define BLANKS {quote(WHITESPACE)}\n"
        helpers.insert(0, strings("missing", sorted(MISSING)) + blanks)
    variables = []
    if any(isinstance(column, FrozenNumber) for column in model.inputs.columns):
        variables.append("    double x;\n")
    if words:
        variables.append("    const char *text;\n    size_t length;\n    int row;\n")
    if "calendar(" in statements:
        variables.append("    double waves[6];\n    int hour, weekday, month;\n")
    return (
        "\n".join([*helpers, *tables])
        + "\nstatic void encode(const MODEL(input) *input, sample *s)\n{\n"
        + "".join(variables)
        + "    memset(s, 0, sizeof *s);\n"
        + statements
        + "}\n"
    )


def _write_category(column: FrozenCategory, member: str, place: int) -> Code:
    # No text of C has a zero byte.
    rows = {word.encode(errors="backslashreplace"): r for word, r in column.rows.items()}
    rows = {word: row for word, row in rows.items() if b"\0" not in word}
    words = sorted(rows)
    tables = ""
    find = "-2"
    if words:
        tables += strings(f"words_{place}", [word.decode() for word in words])
        tables += table("int", f"word_rows_{place}", [rows[word] for word in words])
        find = f"find_word(text, length, words_{place}, word_rows_{place}, {len(words)})"
    else:
        tables += strings(f"words_{place}", [""])
        tables += table("int", f"word_rows_{place}", [NO_ROW])
        find = f"find_word(text, length, words_{place}, word_rows_{place}, 0)"
    code = f"""\
    text = input->{member};
    length = trim(&text);
    row = length == 0 ? {column.missing} : {find};
"""
    if any(row != NO_ROW for row in column.buckets):
        tables += table("int", f"bucket_rows_{place}", column.buckets)
        code += f"    if (row == -2)\n        row = bucket_rows_{place}[bucket(text, length)];\n"
    return tables, f"{code}    activate(s, row);\n"


def _write_number(column: FrozenNumber, member: str, place: int, model: FrozenModel) -> Code:
    tables, lines = "", []
    at = model.dense.index(column.dense)
    if column.dense not in model.inputs.dropped:
        scaled, tables = _write_scale(column, place)
        lines.append(f"s->dense[{at}] = (real){scaled};")
    if column.is_splined:
        lines.append(f"s->known[{model.splined.index(column.dense)}] = 1;")
    if column.rows:
        values = sorted(column.rows)
        tables += table("double", f"values_{place}", map(float, values))
        tables += table("int", f"value_rows_{place}", [column.rows[x] for x in values])
        find = f"find_number(x, values_{place}, value_rows_{place}, {len(values)})"
        lines.append(f"activate(s, {find});")
    if column.identifiers is not None:
        parts = _write_identifiers(column.identifiers, place)
        tables += parts[0]
        lines.append(parts[1])
    if column.calendar is not None:
        parts = _write_calendar(column.calendar, at, place)
        tables += parts[0]
        lines.append(parts[1])
    known = "\n        ".join(lines) or "/* nothing is learned from it yet */"
    code = f"    x = input->{member};\n    if (fabs(x) <= DBL_MAX) {{\n        {known}\n    }}\n"
    if column.missing != NO_ROW:
        code = code.rstrip() + f" else {{\n        activate(s, {column.missing});\n    }}\n"
    return tables, code


def _write_scale(column: FrozenNumber, place: int) -> Code:
    scale = column.scale
    if isinstance(scale, Affine):
        return f"affine(x, {', '.join(map(number, scale))})", ""
    if isinstance(scale, Ranks):
        rows = [float(x) for row in zip(*scale[:4], strict=True) for x in row]
        text = f"rank(x, cells_{place}, {len(scale.value)}, {number(scale.above)})"
        return text, table("double", f"cells_{place}", rows)
    return f"clip(x, {number(scale.bound)})", ""


def _write_identifiers(identifiers: FrozenIdentifiers, place: int) -> Code:
    tables, lines = "", []
    for name, rows, key, test in (
        ("ids", identifiers.rows, "x", f"fabs(x) < {MAX_INTEGER!r}"),
        ("hashes", identifiers.hashed, "hash_id(x)", f"fabs(x) >= {MAX_INTEGER!r}"),
    ):
        if rows:
            keys = sorted(rows)
            tables += table("double", f"{name}_{place}", map(float, keys))
            tables += table("int", f"{name}_rows_{place}", [rows[key] for key in keys])
            find = f"find_number({key}, {name}_{place}, {name}_rows_{place}, {len(keys)})"
            lines.append(f"if (floor(x) == x && {test})\n            activate(s, {find});")
    return tables, "\n        ".join(lines)


def _write_calendar(calendar: FrozenCalendar, at: int, place: int) -> Code:
    lines, tables = ["calendar(x, waves, &hour, &weekday, &month);"], ""
    if not calendar.has_clock:
        lines.append("waves[0] = waves[1] = 0.0;")
    lines += [f"s->dense[{at + 1 + k}] = (real)waves[{k}];" for k in range(6)]
    hours = calendar.hours if calendar.has_clock else ()
    tabled = (("hour", hours), ("weekday", calendar.weekdays), ("month", calendar.months))
    for name, rows in tabled:
        if any(row != NO_ROW for row in rows):
            tables += table("int", f"{name}_rows_{place}", rows)
            lines.append(f"activate(s, {name}_rows_{place}[{name}]);")
    return tables, "\n        ".join(lines)
