"""Calls: all that a client can ask, once for the blocking and the async one."""

from __future__ import annotations

import inspect
from abc import ABC
from abc import abstractmethod
from collections.abc import Awaitable
from collections.abc import Callable
from functools import wraps
from typing import Any
from typing import Generic
from typing import ParamSpec
from typing import TypeVar
from typing import final
from typing import get_args
from typing import get_type_hints
from typing import overload

from streamnet.daemon import asking
from streamnet.daemon.requests import Ask
from streamnet.daemon.requests import Parts
from streamnet.errors import RefusedError

__all__ = ("Awaiting", "Blocking")

P = ParamSpec("P")
T = TypeVar("T")


@final
class _Call(Generic[P, T]):
    """A method that sends what ``ask`` makes of its arguments, and returns what was promised.

    Type checkers and `help` see the arguments of ``ask`` and the answer that its `Ask` promises.
    """

    def __init__(self, ask: Callable[P, Ask[T] | Parts[T]]) -> None:
        @wraps(ask)
        def method(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return client._send(ask(*args, **kwargs))

        (answer,) = get_args(get_type_hints(ask)["return"])
        asked = inspect.signature(ask)
        client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        method.__signature__ = asked.replace(  # type: ignore[attr-defined]
            parameters=[client, *asked.parameters.values()], return_annotation=answer
        )
        self._method: Any = method  # a function, which binds its client by itself

    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Awaitable[T]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        return self._method.__get__(client, owner)


class _Calls:
    """A line for each operation that is one answer to one request, or to several in its stead."""

    models = _Call(asking.models)
    create = _Call(asking.create)
    upload = _Call(asking.upload)
    delete = _Call(asking.delete)
    pause = _Call(asking.pause)
    resume = _Call(asking.resume)
    reset = _Call(asking.reset)
    learn = _Call(asking.learn)
    predict = _Call(asking.predict)
    label = _Call(asking.label)
    status = _Call(asking.status)
    champion = _Call(asking.champion)
    leaders = _Call(asking.leaders)
    history = _Call(asking.history)
    confusion = _Call(asking.confusion)
    rejected = _Call(asking.rejected)
    dead_letters = _Call(asking.dead_letters)
    download = _Call(asking.download)


class Blocking(_Calls, ABC):
    """A client whose calls return the answer."""

    @abstractmethod
    def _send_one(self, ask: Ask[T]) -> T: ...

    def _send(self, ask: Ask[T] | Parts[T]) -> T:
        if not isinstance(ask, Parts):
            return self._send_one(ask)
        asks = ask.asks()
        one = next(asks)
        while True:
            try:
                answer = self._send_one(one)
            except RefusedError as error:
                one = asks.throw(error)
                continue
            try:
                one = asks.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


class Awaiting(_Calls, ABC):
    """A client whose calls are to be awaited."""

    @abstractmethod
    async def _send_one(self, ask: Ask[T]) -> T: ...

    async def _send(self, ask: Ask[T] | Parts[T]) -> T:
        if not isinstance(ask, Parts):
            return await self._send_one(ask)
        asks = ask.asks()
        one = next(asks)
        while True:
            try:
                answer = await self._send_one(one)
            except RefusedError as error:
                one = asks.throw(error)
                continue
            try:
                one = asks.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
