# ruff: noqa: RUF001 - letters of many languages
"""Encodings are found by their bytes, and a file gives the same samples in each of them."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from pathlib import Path

import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.text.encodings import SAMPLE_BYTES, TextDecoder, find_encoding
from tests.sources.harness import (
    assert_cuts_agree,
    assert_resumes_everywhere,
    content,
    drain,
    letters,
    places,
    read,
    write,
)

WORDS = {
    "cp1252": "München Köln Düsseldorf Straße Größe Übung Orléans Besançon Nîmes Noël Málaga "
    "Coruña León Goiânia Brasília Malmö Göteborg Örebro Ålesund Tromsø",
    "cp1250": "Łódź Gdańsk Wrocław Poznań Świdnica Kraków Częstochowa Plzeň Jihočeský Žďár",
    "cp1254": "İstanbul İzmir Eskişehir Diyarbakır Muğla Kırşehir",
    "cp850": "München Köln Düsseldorf Nîmes Orléans",
    "mac-roman": "München Köln Düsseldorf Nîmes Orléans",
    "cp1251": "Москва Санкт-Петербург Казань Омск Уфа Самара",
    "koi8-r": "Москва Санкт-Петербург Казань Омск Уфа Самара",
    "cp1253": "Αθήνα Θεσσαλονίκη Πάτρα Λάρισα",
    "cp1255": "ירושלים חיפה אשדוד נתניה",
    "cp1256": "القاهرة دمشق بغداد الرياض",
    "cp932": "東京都 大阪府 京都市 神奈川県 カタカナ",
    "euc_jp": "東京都 大阪府 京都市 神奈川県 カタカナ",
    "gb18030": "北京市 上海市 广州市 深圳市",
    "big5": "臺北市 高雄市 臺中市 臺南市",
    "cp949": "서울특별시 부산광역시 대구광역시",
}
ROWS = [f"{n},{random.Random(n).choice(WORDS['cp1252'].split())},{'uv'[n % 2]}" for n in range(60)]
TEXT = "\n".join(["größe,stadt,y", *ROWS]) + "\n"
COLUMNS = Columns(target="y", head=20)


def source(path: str, chunk_bytes: int = 1 << 20, encoding: str | None = None) -> Source:
    return open_files([path], columns=COLUMNS, chunk_bytes=chunk_bytes, encoding=encoding)


def without_source(path: str, encoding: str | None = None) -> list[tuple[object, ...]]:
    blocks = read(source(path, encoding=encoding))[1]
    assert not letters(blocks)
    return [sample[1:] for sample in content(blocks).samples]


@pytest.mark.parametrize("encoding", WORDS)
def test_the_encoding_of_a_table_is_found(encoding: str) -> None:
    chance = random.Random(1)
    words = WORDS[encoding].split()
    rows = "".join(f"{n},{chance.choice(words)},{chance.random():.3f}\n" for n in range(1000))
    data = rows.encode(encoding)
    first = next(at for at, byte in enumerate(data) if byte > 127)
    found = find_encoding(data[first:])
    assert data.decode(found) == rows


@pytest.mark.parametrize("symbol", ["12 €", "3 m²", "5 µg", "21 °C", "it’s", "“quoted”", "§ 12"])
def test_symbols_alone_are_windows_1252(symbol: str) -> None:
    data = f"{symbol},1\n".encode("cp1252") * 20
    first = next(at for at, byte in enumerate(data) if byte > 127)
    assert find_encoding(data[first:]) == "cp1252"


@pytest.mark.parametrize("data", [b"ab\xff,1\nab,2\n", b"\x89PNG\r\n\x1a\n\0\0", b"\xff" * 100])
def test_what_no_encoding_explains_stays_utf_8(data: bytes) -> None:
    assert find_encoding(data) == "utf-8"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("is_given", [False, True])
def test_samples_and_positions_are_those_of_the_text_in_utf_8(
    tmp_path: Path, encoding: str, is_given: bool
) -> None:
    wanted = without_source(write(tmp_path, "utf8.csv", TEXT))
    path = write(tmp_path, "f.csv", TEXT.encode(encoding))
    given = encoding if is_given else None
    assert without_source(path, given) == wanted
    assert_cuts_agree(lambda size: source(path, size, given), (1 << 20, 100, 7, 1))


@pytest.mark.usefixtures("without_threads")
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be", "utf-8"])
@pytest.mark.parametrize("sizes", [(1 << 20, 16), (16, 1 << 20)])
def test_a_file_resumes_everywhere(tmp_path: Path, encoding: str, sizes: tuple[int, int]) -> None:
    # What is not ASCII comes behind the head, and behind what is compared on resume.
    plain = "\n".join(["x,stadt,y", *(f"{n:0300d},Berlin,u" for n in range(30)), *ROWS])
    path = write(tmp_path, "f.csv", plain.encode(encoding))
    found = places(lambda: source(path, sizes[0]))
    assert len(found) > 80
    assert_resumes_everywhere(lambda: source(path, sizes[1]), found)


def test_what_a_state_says_does_not_depend_on_how_much_is_read_at_once(tmp_path: Path) -> None:
    plain = "\n".join(["x,stadt,y", *(f"{n},Berlin,u" for n in range(90)), *ROWS])
    path = write(tmp_path, "f.csv", plain.encode("cp1252"))
    first, other = places(lambda: source(path)), places(lambda: source(path, 16))
    assert {p.position: p.state for p in first} == {p.position: p.state for p in other}
    encodings = [json.loads(place.state)["mark"].get("encoding") for place in first]
    assert encodings[:80] == [None] * 80
    assert encodings[-1] == "cp1252"


def test_the_encoding_is_found_wherever_it_first_matters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = "x,stadt,y\n" + "1,Berlin,u\n2,Bern,v\n" * 10_000
    path = write(tmp_path, "f.csv", (plain + "3,Zürich,u\n" + "4,Bern,v\n" * 9).encode("cp1252"))
    assert len(plain) > 2 * SAMPLE_BYTES
    with caplog.at_level(logging.WARNING):
        blocks = read(source(path, 4096))[1]
    assert not letters(blocks)
    assert [word for block in blocks for word in block.words[0]][20_000] == "Zürich"
    (notice,) = [r.getMessage() for r in caplog.records if "UTF-8" in r.getMessage()]
    assert notice == (
        f"{path} is not UTF-8: it is read as cp1252, by its bytes; --encoding names another one"
    )


def test_a_few_bad_bytes_in_utf_8_are_rejected_records(tmp_path: Path) -> None:
    lines = TEXT.encode().splitlines(keepends=True)
    lines[30] = b"7,M\xfcnchen,u\n"
    blocks = read(source(write(tmp_path, "f.csv", b"".join(lines))))[1]
    (letter,) = letters(blocks)
    assert (letter.line, letter.reason, letter.detail) == (
        31,
        "encoding",
        "the record is not UTF-8",
    )


def test_a_given_encoding_is_not_doubted(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "x,stadt,y\n1,Köln,u\n2,Bern,v\n".encode("cp1252"))
    (letter,) = letters(read(source(path, encoding="utf8"))[1])
    assert letter.reason == "encoding"  # of the only record that has such bytes
    blocks = read(source(path, encoding="cp1250"))[1]
    assert [list(block.words[0]) for block in blocks] == [["Köln", "Bern"]]
    blocks = read(source(path, encoding="koi8-r"))[1]
    assert [list(block.words[0]) for block in blocks] == [["KЖln", "Bern"]]


def test_bytes_that_are_invalid_in_an_encoding_are_rejected_records(tmp_path: Path) -> None:
    data = "x,stadt,y\n1,Köln,u\n2,Bern,v\n3,Bo".encode("cp1252") + b"\x81nn,v\n4,Jena,u\n"
    blocks = read(source(write(tmp_path, "f.csv", data), encoding="cp1252"))[1]
    (letter,) = letters(blocks)
    assert (letter.line, letter.detail) == (4, "the record is not CP1252")
    assert [n for block in blocks for n in block.numbers[:, 0]] == [1, 2, 4]
    lone = "x,stadt,y\n1,Köln,u\n2,B".encode("utf-16-le") + b"\0\xd8" + "n,v\n".encode("utf-16-le")
    blocks = read(source(write(tmp_path, "g.csv", lone)))[1]
    assert [letter.line for letter in letters(blocks)] == [3]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("klingon", "must be one that Python knows, such as cp1252"),
        ("utf16x", "Did you mean 'utf16'"),
        ("base64", "must be one that Python knows"),
    ],
)
def test_an_unknown_encoding_is_refused(tmp_path: Path, name: str, rule: str) -> None:
    path = write(tmp_path, "f.csv", TEXT)
    with pytest.raises(ConfigurationError, match=f"encoding is '{name}', but .*{rule}"):
        source(path, encoding=name)


def test_a_followed_file_must_be_utf_8(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", TEXT)
    with pytest.raises(ConfigurationError, match="a file that is followed must be UTF-8"):
        open_files([path], columns=COLUMNS, encoding="cp1252", follow=True)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_pipe_is_converted(tmp_path: Path, encoding: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = TEXT.encode(encoding)

    def feed() -> None:
        with pipe.open("wb", buffering=0) as file:
            for at in range(0, len(data), 99):
                file.write(data[at : at + 99])

    writer = threading.Thread(target=feed)
    writer.start()
    found = without_source(str(pipe))
    writer.join()
    assert found == without_source(write(tmp_path, "f.csv", TEXT))


@pytest.mark.asyncio
async def test_a_file_that_grew_keeps_the_encoding_that_was_found(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes("x,stadt,y\n1,Köln,u\n2,Bern,v\n".encode("cp1252"))
    first = source(str(path))
    await first.open()
    block = await first.receive()
    assert block is not None
    state = json.dumps(first.export_state(block.end))
    await first.aclose()
    with path.open("ab") as file:  # much that is UTF-8 by its bytes
        file.write("3,Köln,u\n".encode() * 100)
    _, blocks = await drain(source(str(path)), block.end, state)
    assert {word for block in blocks for word in block.words[0]} == {"KÃ¶ln"}


def test_a_file_that_has_changed_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", TEXT.encode("utf-16"))
    place = places(lambda: source(path))[30]
    write(tmp_path, "f.csv", TEXT.replace("1,", "9,", 1).encode("utf-16"))
    with pytest.raises(DataError, match="has changed"):
        assert_resumes_everywhere(lambda: source(path), [place])


def test_a_decoder_holds_back_no_more_than_it_needs() -> None:
    decoder = TextDecoder("f")
    assert decoder.feed(b"abcdef", last=False) == b"abcdef"
    assert decoder.feed("gü".encode(), last=False) == b"g"
    assert decoder.feed(b"h", last=True) == "üh".encode()
