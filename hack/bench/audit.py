"""Requests from the audit logs of the API servers, by user and by purpose.

Each request is one line. The server writes it after its answer, or when a watch starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec


class Purpose(StrEnum):
    """What a request is for, derived from its resource. POD_LIFE is the default."""

    POD_LIFE = "pod life"
    DEPENDENTS = "dependents"
    EVENTS = "events"
    NODE = "node"
    ACCESS = "access"
    PROBE = "probe"
    WATCH = "watch"


# Custom resources of other providers are deliberately not listed: they are part of the cost of a pod.
_PURPOSES: Final = {
    "configmaps": Purpose.DEPENDENTS,
    "secrets": Purpose.DEPENDENTS,
    "serviceaccounts": Purpose.DEPENDENTS,
    "services": Purpose.DEPENDENTS,
    "endpointslices": Purpose.DEPENDENTS,
    "events": Purpose.EVENTS,
    "nodes": Purpose.NODE,
    "leases": Purpose.NODE,
    "certificatesigningrequests": Purpose.NODE,
    "memberclusters": Purpose.NODE,
    "tokenreviews": Purpose.ACCESS,
    "subjectaccessreviews": Purpose.ACCESS,
    "selfsubjectaccessreviews": Purpose.ACCESS,
}
_PROBED: Final = ("namespaces", "kube-system")  # read to check that a cluster answers, and that it is the same one
_WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class _User(msgspec.Struct):
    username: str = ""


class _ObjectRef(msgspec.Struct):
    resource: str = ""
    name: str = ""
    subresource: str = ""


class _Answer(msgspec.Struct):
    code: int = 0


class _Line(msgspec.Struct, rename="camel"):
    stage: str
    verb: str
    user: _User
    request_received_timestamp: datetime
    stage_timestamp: datetime
    object_ref: _ObjectRef | None = None
    response_status: _Answer | None = None


_decoder = msgspec.json.Decoder(_Line)


@dataclass(frozen=True)
class Request:
    """The relevant parts of a request. `resource` includes the subresource: `pods/status`. A probe has none."""

    user: str
    verb: str
    resource: str
    code: int

    @property
    def purpose(self) -> Purpose:
        if not self.resource:
            return Purpose.PROBE
        if self.verb in ("watch", "list"):  # a watch starts with a list, and lists again if it was interrupted
            return Purpose.WATCH
        return _PURPOSES.get(self.resource.partition("/")[0], Purpose.POD_LIFE)

    @property
    def writes(self) -> bool:
        """Whether the request changes a stored object. A review is created, but not stored."""
        return self.verb in _WRITES and self.purpose is not Purpose.ACCESS

    @property
    def writes_pod(self) -> bool:
        return self.verb in _WRITES and self.resource.partition("/")[0] == "pods"


@dataclass(frozen=True)
class Timed:
    """A request for the object `name`, with the times at which the API server received and answered it."""

    request: Request
    name: str
    received: datetime
    answered: datetime


def timed(lines: Iterable[bytes]) -> list[Timed]:
    """Every finished request once. Lines about requests in progress do not count."""
    found = []
    for line in lines:
        entry = _decoder.decode(line)
        if entry.stage != ("ResponseStarted" if entry.verb == "watch" else "ResponseComplete"):
            continue
        about = entry.object_ref or _ObjectRef()
        resource = f"{about.resource}/{about.subresource}" if about.subresource else about.resource
        code = entry.response_status.code if entry.response_status else 0
        if entry.verb == "get" and (about.resource, about.name) == _PROBED:
            resource = ""
        request = Request(entry.user.username, entry.verb, resource, code)
        found.append(Timed(request, about.name, entry.request_received_timestamp, entry.stage_timestamp))
    return found


def parse(lines: Iterable[bytes]) -> Counter[Request]:
    """How often each request was made."""
    return Counter(entry.request for entry in timed(lines))


class AuditLog:
    """The log of one API server. Each reading starts where the last one ended."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = file.stat().st_size

    def take(self) -> Counter[Request]:
        """The requests since the last reading, or since the creation of this object."""
        return parse(self.lines())

    def lines(self) -> list[bytes]:
        """Like `take`, as lines of the file."""
        with self._file.open("rb") as handle:
            handle.seek(self._offset)
            text = handle.read()
        whole = text[: text.rfind(b"\n") + 1]  # the server may be in the middle of a line
        self._offset += len(whole)
        return whole.splitlines()


def by(requests: Counter[Request], user: str) -> Counter[Request]:
    """The requests of one user."""
    return Counter({request: count for request, count in requests.items() if request.user == user})


def count(requests: Counter[Request], *purposes: Purpose) -> int:
    """The number of requests for any of these purposes."""
    return sum(number for request, number in requests.items() if request.purpose in purposes)


def writes(requests: Counter[Request]) -> int:
    """The number of requests that change a stored object."""
    return sum(number for request, number in requests.items() if request.writes)
