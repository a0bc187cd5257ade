"""What the tests of sources share: reading without threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what waits for a disk be done at once, for tests that read again and again in tiny parts.

    Changes of thread would take most of their time. That these may come at any moment is what
    test_cancelling and test_threadpump prove.
    """

    async def at_once(function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
        await checkpoint()
        return function(*arguments)

    monkeypatch.setattr(to_thread, "run_sync", at_once)
