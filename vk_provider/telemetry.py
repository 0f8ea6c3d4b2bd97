"""Logs on stderr: constant messages with fields, as key=value text for people or as JSON for programs.

A call is `log.info("member pod created", extra={"pod": "shop/web-1"})`: each entry of `extra` becomes a field. Times
are in UTC, RFC 3339 with milliseconds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUOTED: Final = frozenset(' ="\\')  # text with one of these, or with unprintable characters, is quoted


class LogFormat(StrEnum):
    """How a record is written."""

    TEXT = "text"
    JSON = "json"


def setup(format: LogFormat, *, level: int, verbose: bool = False) -> None:
    """Writes this package's records from `level` on (with `verbose`: all) and the libraries' warnings to stderr.

    A second call replaces the first. Handlers that other code has installed stay.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Stderr)]:
        root.removeHandler(handler)
    handler = _Stderr()
    handler.setFormatter(_Formatter(_json if format is LogFormat.JSON else _text))
    root.addHandler(handler)
    logging.getLogger("vk_provider").setLevel(logging.DEBUG if verbose else level)


class _Stderr(logging.Handler):
    """Writes to the current sys.stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


class _Formatter(logging.Formatter):
    def __init__(self, render: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in _STANDARD:
                fields[f"{key}_" if key in fields else key] = value
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return self._render(fields)


def _json(fields: dict[str, Any]) -> str:
    return msgspec.json.encode({key: _encodable(value) for key, value in fields.items()}).decode()


def _encodable(value: Any) -> Any:
    """The value itself if JSON can express it, else its text: a log call must never fail because of its fields."""
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=str))
    except (TypeError, ValueError, msgspec.MsgspecError):
        return str(value).encode(errors="replace").decode()


def _text(fields: dict[str, Any]) -> str:
    exception = fields.pop("exception", None)  # on separate lines, for people
    line = " ".join(f"{key}={_quote(value)}" for key, value in fields.items())
    return f"{line}\n{exception}" if exception else line


def _quote(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if text and text.isprintable() and not _QUOTED.intersection(text):
        return text
    return msgspec.json.encode(text.encode(errors="replace").decode()).decode()
