"""Times as the Kubernetes API writes them, and the clock of an API server.

RFC 3339, UTC (k8s.io/apimachinery/pkg/apis/meta/v1: Time, MicroTime).
"""

from __future__ import annotations

import time
from datetime import MAXYEAR, UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def rfc3339(moment: datetime) -> str:
    """A `Time`: whole seconds, rounded down."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """A `MicroTime`: with microseconds, as in Leases."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class ServerClock:
    """The wall clock of an API server, as of its last answer.

    Times in the server's objects are compared with it: a wrong clock of this machine would shorten grace periods and
    lengthen the life of tokens. Until the server has sent a valid date, it is the clock of this machine.
    """

    def __init__(self) -> None:
        self._date, self._received = "", 0.0  # header, and monotonic seconds
        self._parsed: tuple[str, datetime | None] = "", None

    def set(self, date: str) -> None:
        """Takes the Date header of an answer that has just arrived."""
        self._date, self._received = date, time.monotonic()

    def now(self) -> datetime:
        """Has the resolution of the header: seconds."""
        if self._parsed[0] != self._date:
            self._parsed = self._date, _parse(self._date)
        if self._parsed[1] is None:
            return datetime.now(UTC)
        return self._parsed[1] + timedelta(seconds=time.monotonic() - self._received)


def _parse(date: str) -> datetime | None:
    """None for what is no date, and for years in which seconds cannot be added any more."""
    try:
        found = parsedate_to_datetime(date).replace(tzinfo=UTC)  # always GMT (RFC 9110, 5.6.7)
    except (ValueError, OverflowError):
        return None
    return found if found.year < MAXYEAR else None
