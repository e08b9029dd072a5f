"""Format of a server's log: one event a line on stderr, as text or as JSON."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is being served; set by http/task.py and http/middleware.py."""

log = logging.getLogger(__name__)
_PLAIN = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}
_CHATTY = ("uvicorn.error", "sentence_transformers", "httpx")


class _Lines(logging.Formatter):
    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server


class TextLines(_Lines):
    """`2026-01-31T12:00:00.250Z INFO scaled[977] servers.fleet: message key=value request_id=…`, then any traceback.

    An ambiguous value is written as a JSON string, since clients choose request ids.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        fields = "".join(f" {key}={_quoted(str(value))}" for key, value in _fields(record).items())
        event = _in_one_line(record.getMessage())
        line = f"{_time(record)} {record.levelname} {self._server} {record.name}: {event}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(_Lines):
    """One JSON object: time, level, server, logger, event, request_id if any, the `extra` fields, error if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's one line."""
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "server": self._server,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        # `event` twice: its keys come first, and no field may replace one of them
        return json.dumps({**event, **_fields(record), **event}, default=str)


FORMATS: Mapping[str, type[_Lines]] = {"text": TextLines, "json": JsonLines}


def configure(server: str, *, level: str, form: str) -> None:
    """Log to stderr, with Python's warnings and uncaught exceptions."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form](f"{server}[{os.getpid()}]"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("stopped by an uncaught error", exc_info=(kind, error, trace))


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: str) -> str:
    is_plain = value.isprintable() and not set(value) & set(' ="\\') and value != ""
    return value if is_plain else json.dumps(value)


def _in_one_line(text: str) -> str:
    """With escapes for characters that are not printable: no message can forge a line of the log."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of `extra`, and the request's id."""
    fields = {key: value for key, value in record.__dict__.items() if key not in _PLAIN}
    known = request_id.get()
    return fields if known is None else {**fields, "request_id": known}
