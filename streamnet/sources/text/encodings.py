# ruff: noqa: RUF001 - letters and symbols of many languages
"""Encodings of text: finding that of a file, and converting its bytes to UTF-8."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Collection
from contextlib import suppress
from difflib import get_close_matches
from encodings.aliases import aliases
from typing import final

from streamnet.errors import ConfigurationError

UTF8 = "utf-8"
SAMPLE_BYTES = 1 << 16  # from the first byte on that is not ASCII, by which the encoding is found
_LONGEST_MARK = 4
_ZERO_SAMPLE_BYTES = 64  # at the start, whose zeros reveal UTF-16 without a byte-order mark
_MIN_ZERO_FRACTION = 0.4  # of the bytes at odd or at even places,
_MAX_ODD_FRACTION = 0.05  # and of the others
_MIN_PLAUSIBLE = 0.75  # fraction of the different words
_BYTE_ORDER_MARKS = (  # UTF-32 before UTF-16, whose mark it starts with
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "äöüßàâçèéêëîïôœùûáíóúñãõìòåæø"
_ALPHABETS = (  # letters of languages beside ASCII; the first of equally good ones is meant
    ("cp1252", _WESTERN),
    ("cp1254", "çğıi̇öşüâî"),  # Turkish
    ("cp1252", "áðéíóúýþæö"),  # Icelandic
    ("cp1250", "ąćęłńóśźżáčďéěíňřšťúůýžäľĺŕôđöőüűăâîşţ"),  # Central European
    ("cp1257", "ąčęėįšųūž"),  # Lithuanian
    ("cp1257", "āčēģīķļņšūž"),  # Latvian
    ("cp850", _WESTERN),
    ("mac_roman", _WESTERN),
)
_OTHER_SCRIPTS = (
    *("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
_WORD = re.compile(rb"[A-Za-z\x80-\xff]+")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_MAX_LATIN_RUN = 1.5  # mean length of runs of bytes that are not ASCII
_INNER_MARKS = "\u2019\u00b7\u00ad"  # symbols that occur within words
_SYMBOLS = frozenset("€£°§²³µ½¼¾±©®™×«»“”„‘’‚–—…•¿¡ºª·\u00a0")
_INVALID = "streamnet-invalid"

logger: logging.Logger = logging.getLogger("streamnet.sources")


def normalize_encoding(name: str) -> str:
    """The name of an encoding as Python spells it; a `ConfigurationError` if there is none.

    >>> normalize_encoding("Windows-1252"), normalize_encoding("latin1")
    ('cp1252', 'iso8859-1')
    """
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # refuses those that do not encode text, such as base64
    except (LookupError, ValueError):
        plain = name.lower().replace("-", "_")
        close = get_close_matches(plain, aliases.keys() - {plain}, n=1, cutoff=0.8)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(
            f"encoding is {name!r}, but must be one that Python knows, such as cp1252, "
            f"iso8859-15, utf-16 or shift_jis.{hint}"
        ) from None
    return found.name


def _mark_invalid(error: UnicodeError) -> tuple[str, int]:
    """Replace bytes that can't be decoded by surrogates, so that their record is no UTF-8."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + b) for b in error.object[error.start : error.end]), error.end


codecs.register_error(_INVALID, _mark_invalid)


@final
class TextDecoder:
    r"""Converts the bytes of a file to UTF-8.

    A byte-order mark, or the zeros in text of UTF-16, determine the encoding. Otherwise a text is
    ASCII up to its first byte that is not: that byte and the 64 KiB after it decide between UTF-8
    and other encodings, so that the result does not depend on how much is read at once. For a
    ``live`` stream, the lines that have arrived decide. Bytes that are invalid in the encoding stay
    invalid in the result.

    Args:
        name: Name of the file in messages.
        given: The encoding if it is known; None to find it.
        live: Whether more bytes may arrive with time.

    >>> decoder = TextDecoder("f.csv")
    >>> decoder.feed("café,für\n".encode("cp1252"), last=True).decode(), decoder.encoding
    ('café,für\n', 'cp1252')
    """

    def __init__(self, name: str, given: str | None = None, *, live: bool = False) -> None:
        self.encoding: str | None = None  # None while all is ASCII
        self.decided_at: int = 0  # offset of the first byte of which the encoding matters
        self._name = name
        self._live = live
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False
        self._waiting = b""  # bytes that decide once there are enough
        if given is not None:
            self._choose(given)

    @property
    def keeps_offsets(self) -> bool:
        """Whether offsets of the text are those of the file, as far as it is decided."""
        return self._decoder is None

    def feed(self, data: bytes, *, last: bool) -> bytes:
        """The text of the next bytes; maybe none until more bytes decide."""
        if self.encoding is None:
            data, self._waiting = self._waiting + data, b""
            ready = self._decide(data, last)
            data, self._waiting = data[:ready], data[ready:]
        if self._decoder is None:
            return data
        return self._decoder.decode(data, final=last).encode(UTF8, "surrogatepass")

    def restart(self, offset: int) -> None:
        """Continue elsewhere in the file; what waited is read again."""
        self._begun = True
        self._waiting = b""
        if self.encoding is None:
            self.decided_at = offset

    def _decide(self, data: bytes, last: bool) -> int:
        """Decide if that is possible; return how many bytes need not wait for the decision."""
        if not self._begun:
            if len(data) < _LONGEST_MARK and not last:
                return 0
            self._begun = True
            if (found := _find_at_start(data)) is not None:
                self._choose(found)
                return len(data)
        first = len(data) if data.isascii() else _count_ascii(data)
        self.decided_at += first
        sample = data[first : first + SAMPLE_BYTES]
        enough = last or len(sample) == SAMPLE_BYTES or (self._live and b"\n" in sample)
        if not sample or not enough:
            return first
        found = find_encoding(sample)
        self._choose(found)
        if found != UTF8:
            rule = "%s is not UTF-8: it is read as %s, by its bytes; --encoding names another one"
            logger.warning(rule, self._name, found)
        return len(data)

    def _choose(self, encoding: str) -> None:
        self.encoding = encoding
        if encoding != UTF8:
            self._decoder = codecs.getincrementaldecoder(encoding)(errors=_INVALID)


def _find_at_start(data: bytes) -> str | None:
    """The encoding by the first bytes of a file; None if they do not determine it."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding
    start = data[:_ZERO_SAMPLE_BYTES]
    half = len(start) // 2
    even, odd = start[: 2 * half : 2].count(0), start[1 : 2 * half : 2].count(0)
    few, many = _MAX_ODD_FRACTION * half, _MIN_ZERO_FRACTION * half
    if even <= few and odd > many and _is_text(data, "utf-16-le"):
        return "utf-16-le"
    if odd <= few and even > many and _is_text(data, "utf-16-be"):
        return "utf-16-be"
    return None


def _is_text(data: bytes, encoding: str) -> bool:
    text = data[:_ZERO_SAMPLE_BYTES].decode(encoding, "replace")
    return all(c.isprintable() or c.isspace() for c in text)


def _count_ascii(data: bytes) -> int:
    """The number of bytes before the first that is not ASCII."""
    found = _HIGH_RUN.search(data)
    return len(data) if found is None else found.start()


def find_encoding(sample: bytes) -> str:
    r"""Find the encoding of a text with bytes that are not ASCII; UTF-8 if it is unclear.

    UTF-8 if most of them are valid in it, and for data that is no text. If they stand alone or
    among ASCII letters, as in European languages, that of the language whose letters most words
    have; for other scripts, what charset-normalizer finds. (That takes Windows-1252 for 1250 in
    fields as short as those of tables.)

    >>> find_encoding("Kraków, Łódź, Gdańsk, Poznań".encode("cp1250"))
    'cp1250'
    """
    if b"\0" in sample or _is_mostly_utf8(sample):
        return UTF8
    words = {word for word in _WORD.findall(sample) if not word.isascii()}
    runs = [run for word in words for run in _HIGH_RUN.findall(word)]
    if sum(map(len, runs)) < _MAX_LATIN_RUN * len(runs):
        found = [_count_plausible(words, *alphabet) for alphabet in _ALPHABETS]
        likely = max(found) >= _MIN_PLAUSIBLE * len(words)
        return codecs.lookup(_ALPHABETS[found.index(max(found))][0]).name if likely else UTF8
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=list(_OTHER_SCRIPTS), preemptive_behaviour=False).best()
    return UTF8 if best is None else codecs.lookup(best.encoding).name


def _count_plausible(words: Collection[bytes], encoding: str, letters: str) -> int:
    """How many runs of letters and bytes that are not ASCII are words with these letters."""
    count = 0
    has_letters = encoding == "cp1252"  # which is meant if there are only symbols
    for word in words:
        with suppress(UnicodeDecodeError):
            text = word.decode(encoding)
            count += _is_plausible(text, letters)
            has_letters |= not set(letters).isdisjoint(text.lower())
    return count if has_letters else 0


def _is_mostly_utf8(sample: bytes) -> bool:
    """Whether a sample, whose last character may be cut, is UTF-8 with few bad bytes at most."""
    text = sample.decode(UTF8, "replace")
    bad = text.count("\N{REPLACEMENT CHARACTER}")
    if bad <= 1 and not text.isascii():
        try:
            codecs.getincrementaldecoder(UTF8)().decode(sample)
        except UnicodeDecodeError:
            pass
        else:
            return True
    good = sum(not c.isascii() for c in text) - bad
    return good >= bad


def _is_plausible(text: str, letters: str) -> bool:
    """Whether a text is a word with these letters beside ASCII, or symbols beside words."""
    for at, character in enumerate(text):
        if character.isascii():
            continue
        before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
        if character.lower() in letters:
            if character.isupper() and before.islower():
                return False
        elif character not in _SYMBOLS:  # noqa: SIM114
            return False
        elif character not in _INNER_MARKS and before.isalpha() and after.isalpha():
            return False
    return True
