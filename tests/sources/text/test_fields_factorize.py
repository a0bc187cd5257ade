"""Equal texts are told by their bytes, against a dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.sources.text.fields import MAX_DISTINCT, factorize

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
def test_no_more_than_so_many_are_told_apart(many: int) -> None:
    texts = [str(i % many).encode() for i in range(3 * many)]
    found = factorize(b"".join(texts), spans_of(texts))
    if many > MAX_DISTINCT:
        assert found is None
    else:
        assert found is not None
        assert (found[0].tolist(), found[1].tolist()) == expected(texts)
