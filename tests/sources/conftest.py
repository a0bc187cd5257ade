"""Fixtures of the tests of sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run blocking calls directly, for tests that read again and again in tiny parts.

    Switching threads would take most of their time; test_cancellation and test_iterable cover it.
    """

    async def at_once(function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
        await checkpoint()
        return function(*arguments)

    monkeypatch.setattr(to_thread, "run_sync", at_once)
