"""Logs are lines of JSON, errors with their traceback in one of them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from streamnet.daemon.server import log_as_json


@pytest.fixture
def restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("streamnet", "uvicorn")]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    yield
    for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def test_each_record_is_a_line_of_json(restored: None) -> None:
    out = io.StringIO()
    log_as_json("info", out)
    logger = logging.getLogger("streamnet.daemon")
    logger.debug("unsaid")
    logger.info("%d samples\nof two lines", 3, extra={"model": "a", "path": io})
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("it failed")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["level"], first["message"]) == ("info", "3 samples\nof two lines")
    assert (first["model"], first["logger"]) == ("a", "streamnet.daemon")
    assert "ValueError: broken" in second["traceback"]


def test_requests_that_are_given_up_at_the_end_leave_no_tracebacks(restored: None) -> None:
    out = io.StringIO()
    log_as_json("info", out)
    logger = logging.getLogger("uvicorn.error")
    logger.error("Cancel %s running task(s), timeout graceful shutdown exceeded", 2)
    for raised in (asyncio.CancelledError(), ValueError("broken")):
        logger.error("Exception in ASGI application", exc_info=raised)
    number, error = map(json.loads, out.getvalue().splitlines())
    assert "2 running" in number["message"]
    assert "ValueError: broken" in error["traceback"]
