"""When a watch may resume and when it has to list again: decisions only, without I/O and without a clock.

    start() --> WATCH: resume after `version`
            --> CHECK: ask the server for its newest version, call `checked`, then `start` again
            --> STREAM, PAGES: list, in a streaming list or page by page; call `asked` before and `listed` after
    then `advance` for every event, and `ended` or `failed` at the end of the connection

A server whose etcd is restored from a backup goes back in time. It accepts a watch from a version that it has not
reached yet, stays silent until its versions have caught up, and never sends what happened until then (seen on 1.37).
Therefore a watch that did not end as planned resumes only if the server's newest version is not older than what was
seen, and if no other user of the same client has found a restore since the last list. A list is a consistent read: it
is complete for everything that was known when it was requested.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from vk_provider.errors import ApiError, GoneError, InvalidError, UnreachableError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.objects import newer, newest_of

_BASE: Final = 0.2  # seconds
_CAP: Final = 15.0  # seconds


class Start(Enum):
    """How the next connection begins."""

    WATCH = auto()
    CHECK = auto()
    STREAM = auto()
    PAGES = auto()


class Restore(Enum):
    """What a complete list shows about the server."""

    NONE = auto()
    KNOWN = auto()  # the server was restored, and another user of the client has counted that restore
    FOUND = auto()  # the server was restored, and the caller has to count it


class NoStreamingListError(VkError):
    """The server answers the request for a streaming list with something else."""


@dataclass(frozen=True)
class Asked:
    """What was known when a list was requested."""

    newest: str  # the newest version seen until then
    restores: int


@dataclass(frozen=True)
class Pause:
    """What follows a failure: seconds to wait, and how to log it."""

    seconds: float
    level: int
    attempt: int = 0  # failures in a row


class ResumePolicy:
    """See the module's text. One per watch.

    `restores` is always the number of restores of the server that the users of the client have counted so far.
    """

    def __init__(self, restores: int, rng: random.Random | None = None) -> None:
        self.version = ""  # that of the last event or bookmark: the watch resumes after it; empty: it has to list
        self.observed = ""  # the newest version that was not seen by the watch itself: that of an answer to a write
        self._restores = restores  # as of the last list
        self._unverified = False  # whether the server may have been restored since the last event
        self._streaming_list = True
        self._streams = False  # whether this connection has brought a part of a list
        self._broke_off = False  # whether the last streaming list did: pages can be continued, and it cannot
        self._version_before = ""  # `version` at the start of the connection
        self._backoff = Backoff(base=_BASE, cap=_CAP, warn_at=3, rng=rng)

    @property
    def newest(self) -> str:
        """The newest version that was seen of the server, by the watch or otherwise."""
        return newest_of(self.version, self.observed)

    def start(self, restores: int) -> Start:
        """How to begin the next connection."""
        if self.version and restores != self._restores:
            self._list_again()
        self._version_before, self._streams = self.version, False
        if self.version:
            return Start.CHECK if self._unverified else Start.WATCH
        return Start.STREAM if self._streaming_list and not self._broke_off else Start.PAGES

    def streams(self) -> None:
        """A part of a streaming list has arrived."""
        self._streams = True

    def checked(self, newest: str) -> None:
        """The server reports this as its newest version."""
        self._unverified = False
        if newer(self.newest, newest):
            self._list_again()

    def asked(self, restores: int) -> Asked:
        """To be kept until the list that is requested now is complete."""
        return Asked(self.newest, restores)

    def listed(self, asked: Asked, version: str, restores: int) -> Restore:
        """The list is complete, as of `version`; a watch may resume after it."""
        self.version, self._broke_off = version, False
        if newer(asked.newest, version):
            self.observed = version
            known = restores != asked.restores
            self._restores = restores if known else restores + 1
            return Restore.KNOWN if known else Restore.FOUND
        known = asked.restores != self._restores
        self._restores = asked.restores
        if known:
            self.observed = version
        return Restore.KNOWN if known else Restore.NONE

    def ended(self, *, planned: bool) -> float:
        """The server ended the connection. Seconds to wait before the next one.

        A connection that brought nothing counts as a failure even if it ended politely: a server that hangs up at once
        would otherwise be asked in a tight loop. `planned`: it lasted as long as it was meant to.
        """
        self._unverified = not planned
        if not self._progress:
            return self._backoff.failed()
        self._backoff.succeeded()
        return 0.0

    def failed(self, error: Exception) -> Pause:
        """The connection, or the list before it, has failed."""
        self._unverified = True
        if self._streaming_list and not self.version and isinstance(error, InvalidError | NoStreamingListError):
            self._streaming_list = False  # a server without it, or with the feature switched off: list in pages
            return Pause(0.0, logging.DEBUG)
        self._broke_off |= self._streams and not self.version and isinstance(error, UnreachableError)
        if isinstance(error, GoneError):  # never counts as progress, or a server that repeats it is listed in a loop
            self._list_again()
        elif self._progress:
            self._backoff.succeeded()
        seconds = self._backoff.failed()
        if isinstance(error, ApiError) and error.retry_after is not None:
            seconds += error.retry_after
        return Pause(seconds, self._backoff.level, self._backoff.failures)

    @property
    def _progress(self) -> bool:
        """Whether this connection has brought something."""
        return self.version not in ("", self._version_before)

    def _list_again(self) -> None:
        self.observed, self.version = self.newest, ""
