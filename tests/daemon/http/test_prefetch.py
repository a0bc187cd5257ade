"""Reading ahead: all pieces in their order, then what ended them; cuts that nothing moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from streamnet.daemon.http.bodies import prefetch, split_lines
from streamnet.daemon.http.responses import http_error
from streamnet.errors import DataError
from tests.conftest import Runner


async def given_as(pieces: list[bytes], then: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        await checkpoint()
        yield piece
    if then is not None:
        raise then


@pytest.mark.parametrize("failure", [http_error(413, "too large"), ClientDisconnect()])
def test_what_was_read_comes_before_what_ended_it(failure: Exception, backend: str) -> None:
    taken: list[bytes] = []

    async def main() -> None:
        async with prefetch(given_as([b"a", b"b", b"c"], failure), 8) as ahead:
            await wait_all_tasks_blocked()
            async for piece in ahead:
                taken.append(piece)  # noqa: PERF401 - those before an error count

    with pytest.raises(type(failure)) as caught:
        anyio.run(main, backend=backend)
    assert caught.value is failure
    assert taken == [b"a", b"b", b"c"]


def test_no_more_is_read_than_may_wait(backend: str) -> None:
    read: list[bytes] = []

    async def counted() -> AsyncIterator[bytes]:
        async for piece in given_as([b"%d" % number for number in range(10)]):
            read.append(piece)
            yield piece

    async def main() -> None:
        async with prefetch(counted(), 3) as ahead:
            await wait_all_tasks_blocked()
            assert read == [b"0", b"1", b"2", b"3"]  # the last one waits to be sent
            assert ahead.drain(await anext(ahead)) == b"0123"

    anyio.run(main, backend=backend)


def test_an_error_of_the_block_stops_reading_and_comes_by_itself(backend: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            await checkpoint()
            yield b""

    async def main() -> None:
        async with prefetch(endless(), 2) as ahead:
            async for _ in ahead:
                raise DataError("enough")

    with pytest.raises(DataError, match="enough"):
        anyio.run(main, backend=backend)


@given(st.lists(st.lists(st.sampled_from([b"\n", b"ab\n", b"abcdefgh\n"])), max_size=9))
def test_cuts_do_not_depend_on_how_lines_came(pieces: list[list[bytes]]) -> None:
    text = b"".join(map(b"".join, pieces))
    expected, rest = [], text
    while (end := rest.find(b"\n", 5) + 1) > 0:
        expected.append(rest[:end])
        rest = rest[end:]

    async def main() -> list[bytes]:
        return [part async for part in split_lines(given_as(list(map(b"".join, pieces))), 5)]

    assert anyio.run(main) == expected + [rest] * bool(rest)


def test_what_ends_reading_early_is_raised_behind_what_was_read(run: Runner) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"
        await anyio.sleep_forever()

    async def main() -> list[bytes]:
        event, found = anyio.Event(), []

        async def read() -> None:
            async with prefetch(pieces(), 4, (event, http_error(503, "over"))) as ahead:
                async for piece in ahead:
                    found.append(piece)
                    await wait_all_tasks_blocked()
                    event.set()

        with anyio.fail_after(5), pytest.raises(HTTPException, match="503"):
            await read()
        return found

    assert run(main) == [b"1", b"2"]


def test_a_body_that_was_read_is_not_ended_early(run: Runner) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"

    async def main() -> list[bytes]:
        event, found = anyio.Event(), []
        async with prefetch(pieces(), 4, (event, http_error(503, "over"))) as ahead:
            await wait_all_tasks_blocked()
            event.set()
            await anyio.sleep(0.3)  # longer than it takes to be noticed
            found += [piece async for piece in ahead]
        return found

    assert run(main) == [b"1", b"2"]
