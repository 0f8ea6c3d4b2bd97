"""What this program decodes of Kubernetes objects: typed metadata; everything else stays as the received bytes.

A Raw field costs nothing until it is decoded, keeps fields that this code does not know, and is invisible to the
garbage collector. Structs are decoded once and then shared: they must not be changed.
"""

from __future__ import annotations

from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from vk_provider.errors import api_error

EMPTY = msgspec.Raw(b"{}")
TERMINAL: Final = frozenset({"Succeeded", "Failed"})  # phases of a pod that has ended; they never change

_encoder = msgspec.json.Encoder()


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """ObjectMeta without managedFields. Times are RFC 3339 strings, as the server sends them."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for a cluster-scoped object."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class OwnerReference(msgspec.Struct, gc=False):
    """The owner of an object, in the same namespace."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class OwnedMetadata(Metadata, rename="camel", gc=False):
    """Metadata with the owners, which most caches do not need."""

    owner_references: list[OwnerReference] = []

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages the object."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class HasMetadata(Protocol):
    """Any object with metadata."""

    metadata: Metadata


ObjectT = TypeVar("ObjectT", bound=HasMetadata)


class ObjectsByKey(dict[str, ObjectT]):
    """Objects by key, and how many of them each namespace has. Changed only by assignment and `del`."""

    def __init__(self) -> None:
        super().__init__()
        self.namespaces: dict[str, int] = {}  # without those that have none

    def __setitem__(self, key: str, item: ObjectT) -> None:
        if key not in self:
            namespace = item.metadata.namespace
            self.namespaces[namespace] = self.namespaces.get(namespace, 0) + 1
        super().__setitem__(key, item)

    def __delitem__(self, key: str) -> None:
        namespace = self[key].metadata.namespace
        super().__delitem__(key)
        self.namespaces[namespace] -= 1
        if not self.namespaces[namespace]:
            del self.namespaces[namespace]


class Object(msgspec.Struct, gc=False):
    """Any object with metadata, spec and status. Spec and status own their bytes."""

    metadata: Metadata
    spec: msgspec.Raw = EMPTY
    status: msgspec.Raw = EMPTY

    def __post_init__(self) -> None:
        # A Raw is a view into the whole response: without the copy one cached pod would keep a list of 5 MB alive.
        self.spec = self.spec.copy()
        self.status = self.status.copy()


class Pod(Object, gc=False):
    """A Pod."""


class Node(Object, gc=False):
    """A Node."""


class PartialObject(msgspec.Struct, gc=False):
    """The metadata of any object."""

    metadata: Metadata


class Payload(msgspec.Struct, rename="camel", gc=False):
    """A ConfigMap or a Secret. The `data` values of a Secret are base64."""

    metadata: Metadata
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    type: str = ""
    immutable: bool = False


class Condition(msgspec.Struct, rename="camel", gc=False, omit_defaults=True):
    """A condition of a pod, a node or a MemberCluster."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: int = 0


class _Conditions(msgspec.Struct, gc=False):
    conditions: list[Condition] = []


def node_conditions(node: Node) -> dict[str, Condition]:
    """The conditions of a Node, by type."""
    return {each.type: each for each in msgspec.json.decode(node.status, type=_Conditions).conditions}


class PodPhase(msgspec.Struct, gc=False):
    """The part of a pod's status on which most decisions depend."""

    phase: str = ""
    conditions: list[Condition] = []

    @property
    def ended(self) -> bool:
        """Whether all containers have ended for good."""
        return self.phase in TERMINAL

    def has(self, condition: str) -> bool:
        """Whether the condition exists with status True."""
        return any(c.type == condition and c.status == "True" for c in self.conditions)


_pod_phase = msgspec.json.Decoder(PodPhase)


def pod_phase(pod: Pod) -> PodPhase:
    """Decodes phase and conditions only."""
    return _pod_phase.decode(pod.status)


class Event(msgspec.Struct, Generic[ObjectT]):
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: ObjectT


class _EventType(msgspec.Struct):
    type: str


class _ErrorObject(msgspec.Struct):
    code: int = 500
    reason: str = ""
    message: str = ""


class _ErrorEvent(msgspec.Struct):
    object: _ErrorObject


def event_decoder(type: type[Any]) -> msgspec.json.Decoder[Event[Any]]:
    """Decodes the lines of a watch for objects of one type. It raises DecodeError for an ERROR event, or returns it."""
    return msgspec.json.Decoder(Event[type])  # type: ignore[valid-type]  # a generic made at run time


def decode_event(decoder: msgspec.json.Decoder[Event[Any]], line: bytes) -> Event[Any]:
    """Raises DecodeError, and for an ERROR event the ApiError in it: its Status may not fit the type."""
    try:
        event = decoder.decode(line)
    except msgspec.ValidationError:
        _raise_error_event(line)
        raise
    if event.type == "ERROR":
        _raise_error_event(line)
    return event


def _raise_error_event(line: bytes) -> None:
    if msgspec.json.decode(line, type=_EventType).type == "ERROR":
        problem = msgspec.json.decode(line, type=_ErrorEvent).object
        raise api_error(problem.code, problem.reason, problem.message)


def fields(raw: msgspec.Raw) -> dict[str, Any]:
    """A new dict of a Raw part, which the caller may change: decoding again is the cheap deep copy."""
    decoded: dict[str, Any] = msgspec.json.decode(raw)
    return decoded


def encode(body: Any) -> bytes:
    """JSON of a dict or struct."""
    return _encoder.encode(body)


def newer(version: str, than: str) -> bool:
    """Whether a resourceVersion is newer than another one of the same server. Both are decimal numbers.

    (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions: ordered since 1.35, and in every
    etcd-backed server before.)
    """
    return len(version) > len(than) or (len(version) == len(than) and version > than)


def newest_of(version: str, other: str) -> str:
    """The newer one of two resourceVersions of the same server."""
    return version if newer(version, other) else other
