"""Split requests: as large as allowed, halved when refused, and never sent twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.client.contents import Content, SplitContent
from streamnet.errors import RefusedError


def parts_of(sizes: list[int]) -> SplitContent[list[int]]:
    return SplitContent(
        "sample",
        sizes,
        lambda part: Content(params={"part": f"{part.start}:{part.stop}"}),
        lambda replies: [number for reply in replies for number in reply],
    )


def send_parts(
    content: SplitContent[list[int]], refusal: RefusedError, most: int, wrong: int
) -> list[range]:
    """The requested ranges; one of more than ``most`` items, or with the wrong one, is refused."""
    asks = content.parts()
    ask, asked = next(asks), []
    joined = None
    while joined is None:
        start, stop = map(int, ask.params["part"].split(":"))
        asked.append(range(start, stop))
        refused = stop - start > most or wrong in asked[-1]
        try:
            ask = asks.throw(refusal) if refused else asks.send(list(asked[-1]))
        except StopIteration as end:
            joined = end.value
    assert joined == list(range(len(content.sizes)))
    return asked


@given(sizes=st.lists(st.integers(1, 1 << 19), max_size=60), most=st.integers(1, 100))
def test_each_item_is_sent_once_and_in_order(sizes: list[int], most: int) -> None:
    asked = send_parts(parts_of(sizes), RefusedError("too much", 413), most, wrong=-1)
    assert all(len(part) <= 1 or sum(sizes[i] for i in part) <= 1 << 18 for part in asked)


def test_few_or_no_items_are_one_request() -> None:
    refusal = RefusedError("too much", 413)
    assert send_parts(parts_of([100] * 1000), refusal, 1000, -1) == [range(1000)]
    assert send_parts(parts_of([]), refusal, 1000, -1) == [range(0)]


@pytest.mark.parametrize("wrong", [0, 1, 500, 1234, 2499])
def test_the_refused_item_is_found_with_few_requests(wrong: int) -> None:
    for refusal in (
        RefusedError("sample 0: no number", 422, number=0, detail="no number"),
        RefusedError("no number", 422),
    ):
        with pytest.raises(RefusedError) as caught:
            send_parts(parts_of([100] * 2500), refusal, 5000, wrong)
        assert str(caught.value) == f"sample {wrong}: no number"
        assert (caught.value.number, caught.value.detail) == (wrong, "no number")


@pytest.mark.parametrize("status", [0, 401, 404, 409, 429, 500])
def test_errors_that_splitting_cannot_fix_are_raised_unchanged(status: int) -> None:
    refusal = RefusedError("no", status)
    with pytest.raises(RefusedError) as caught:
        send_parts(parts_of([100] * 10), refusal, 5, -1)
    assert caught.value is refusal
