"""Logs of the daemon, as JSON lines: what it does, and who changed or downloaded what."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Any, TextIO, final

import msgspec

from streamnet.daemon.request_context import add_request_fields
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import ServeSection

_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "asctime",
    "color_message",
    "message",
}


@final
class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON; ``extra`` adds fields.

    >>> record = logging.makeLogRecord({"msg": "%d samples", "args": (3,), "model": "a"})
    >>> line = msgspec.json.decode(JsonFormatter().format(record))
    >>> line["message"], line["model"]
    ('3 samples', 'a')
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, without line end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value for name, value in record.__dict__.items() if name not in _STANDARD_FIELDS
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_as_json(level: str = "info", out: TextIO | None = None) -> None:
    """Log records of streamnet and the server as JSON lines, on standard error by default."""
    handler = logging.StreamHandler(sys.stderr if out is None else out)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_is_relevant)
    handler.addFilter(add_request_fields)
    for name in ("streamnet", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("streamnet").setLevel(level.upper())
    # The daemon logs more about start and stop itself.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def log_audit(settings: ServeSection) -> None:
    """Write the audit log, if one is wanted, as JSON lines to files of bounded size.

    Raises:
        ConfigurationError: If the file can't be written.
    """
    logger = logging.getLogger("streamnet.audit")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for handler in logger.handlers:
        handler.close()
    logger.handlers = [logging.NullHandler()]
    if (path := settings.audit_file) is None:
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        files = RotatingFileHandler(
            path, maxBytes=settings.audit_bytes, backupCount=settings.audit_files, encoding="utf-8"
        )
    except OSError as error:
        raise ConfigurationError(f"audit_file {path}: {error.strerror}") from error
    files.setFormatter(JsonFormatter())
    logger.handlers = [files]


def _is_relevant(record: logging.LogRecord) -> bool:
    """Omit the server's records of requests that it cancelled at its end: it logs their number."""
    kind = record.exc_info[0] if record.exc_info else None
    cancelled = kind is not None and not issubclass(kind, Exception)
    return not (cancelled and record.name.startswith("uvicorn"))
