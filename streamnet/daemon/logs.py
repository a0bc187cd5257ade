"""Logs as JSON, a line each: time, level, logger, message, and what else was given."""

from __future__ import annotations

import logging
import sys
from datetime import UTC
from datetime import datetime
from typing import Any
from typing import TextIO
from typing import final

import msgspec

__all__ = ("JsonLines", "log_as_json")

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"asctime", "color_message", "message"}


@final
class JsonLines(logging.Formatter):
    """A record as one line of JSON; ``extra`` becomes fields of their own.

    >>> record = logging.makeLogRecord({"msg": "%d samples", "args": (3,), "model": "a"})
    >>> line = msgspec.json.decode(JsonLines().format(record))
    >>> line["message"], line["model"]
    ('3 samples', 'a')
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_as_json(level: str = "info", out: TextIO | None = None) -> None:
    """Write what streamnet and the server log, from this level on, to ``out`` (standard error)."""
    handler = logging.StreamHandler(sys.stderr if out is None else out)
    handler.setFormatter(JsonLines())
    handler.addFilter(_is_news)
    for name in ("streamnet", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("streamnet").setLevel(level.upper())
    # Of each start and stop we say more ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _is_news(record: logging.LogRecord) -> bool:
    """Not what the server says of a request that it gave up at its end: it tells their number."""
    kind = record.exc_info[0] if record.exc_info else None
    cancelled = kind is not None and not issubclass(kind, Exception)
    return not (cancelled and record.name.startswith("uvicorn"))
