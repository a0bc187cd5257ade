"""Lines of keys, against a text that is built key by key."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamnet.settings.toml import find_line, locate_keys

TEXT = '''
top = 1 # [no.table]
[a]
x.y = "[b] # = "
"q.r" = \'\'\'
[z]
k = 1
\'\'\'
l = [ # a list
  [1, 2],
  "]",
]
last = """quote \\""" and ""two"""""
[[a.list]]
k = 1
[a.list.sub]
k = 2
[[a.list]]

k = { m = 1 }
['lit'.b]
k = 1
'''


def test_keys_are_found_on_the_expected_lines() -> None:
    tomllib.loads(TEXT)
    assert locate_keys(TEXT) == {
        ("top",): 2,
        ("a",): 3,
        ("a", "x"): 4,
        ("a", "x", "y"): 4,
        ("a", "q.r"): 5,
        ("a", "l"): 9,
        ("a", "last"): 13,
        ("a", "list", 0): 14,
        ("a", "list", 0, "k"): 15,
        ("a", "list", 0, "sub"): 16,
        ("a", "list", 0, "sub", "k"): 17,
        ("a", "list", 1): 18,
        ("a", "list", 1, "k"): 20,
        ("lit", "b"): 21,
        ("lit", "b", "k"): 22,
    }


def test_a_key_without_a_line_has_that_of_its_table() -> None:
    lines = locate_keys(TEXT)
    assert find_line(("a", "list", 1, "k", "m"), lines) == 20
    assert find_line(("a", "nothing"), lines) == 3
    assert find_line(("nothing",), lines) == 0
    assert find_line((), lines) == 0


def quoted(text: str) -> str:
    escaped = "".join(f"\\U{ord(letter):08x}" for letter in text)
    return f'"{escaped}"'


def literal(value: str) -> str:
    return f"'''\n{value}'''"


KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
STRINGS = st.text(st.sampled_from('ab[]={}.#"\n\\ ,'), max_size=8)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, STRINGS, max_size=4), max_size=4), st.booleans())
def test_every_key_is_found_on_its_line(tables: dict[str, dict[str, str]], several: bool) -> None:
    text = ""
    expected: dict[tuple[str | int, ...], int] = {}
    values: dict[str, Any] = {}

    def add(line: str) -> int:
        nonlocal text
        number = text.count("\n") + 1
        text += f"{line}\n"
        return number

    for name, table in tables.items():
        path = ("list", len(values)) if several else (name,)
        expected[path] = add("[[list]]" if several else f"[{quoted(name)}] # [x]")
        for key, value in table.items():
            expected[(*path, key)] = add(f"{quoted(key)} = {literal(value)}")
        values[name] = table
    loaded = tomllib.loads(text)
    assert loaded == (({"list": list(values.values())} if values else {}) if several else values)
    assert locate_keys(text) == expected
