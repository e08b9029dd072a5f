"""How a server's log reads: one event a line on stderr, as text or as JSON. Decides nothing about what is logged."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

__all__ = ["FORMATS", "JsonLines", "TextLines", "configure", "request_id"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is being served; middleware.py sets it."""

log = logging.getLogger(__name__)
_PLAIN = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}
_CHATTY = ("uvicorn.error", "sentence_transformers", "httpx")


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.250Z INFO scaled[977] servers.fleet: message key=value request_id=…`, then any traceback.

    A value that could be taken for more than one is written as a JSON string, for a client chooses its request's id.
    """

    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        fields = "".join(f" {key}={_quoted(str(value))}" for key, value in _fields(record).items())
        event = _in_one_line(record.getMessage())
        line = f"{_time(record)} {record.levelname} {self._server} {record.name}: {event}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object: time, level, server, logger, event, request_id if any, the `extra` fields, error if any."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        """The record's one line."""
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "server": self._server,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        # told twice: it comes first in the line, and no field may take its place
        return json.dumps({**told, **_fields(record), **told}, default=str)


FORMATS: Mapping[str, type[TextLines] | type[JsonLines]] = {"text": TextLines, "json": JsonLines}


def configure(server: str, *, level: str, form: str) -> None:
    """Send every record of this process to stderr; Python's warnings and its last error too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form](f"{server}[{os.getpid()}]"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("stopped by an error that nobody caught", exc_info=(kind, error, trace))


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: str) -> str:
    is_plain = value.isprintable() and not set(value) & set(' ="\\') and value != ""
    return value if is_plain else json.dumps(value)


def _in_one_line(text: str) -> str:
    """With what is not printable as its escape: a line of the log begins where we begin one."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What `extra` gave, and the request's id."""
    fields = {key: value for key, value in record.__dict__.items() if key not in _PLAIN}
    known = request_id.get()
    return fields if known is None else {**fields, "request_id": known}
