"""Where the spec of a pod refers to something: other objects, fields of the pod, resources, ports of the host.

The only place that walks containers and volumes for this purpose. The functions work on specs as dicts, and yield parts
of the spec, so that callers can change them there. `mentions_*` look for the names of fields in the bytes of a spec:
they are cheap, and a False is always right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypedDict

import msgspec

from vk_provider.kube.objects import Pod, fields

Json = dict[str, Any]
Spec = Mapping[str, Any]
Kind = Literal["ConfigMap", "Secret"]

STARTED_LISTS: Final = ("initContainers", "containers")  # containers that a pod is created with
CONTAINER_LISTS: Final = (*STARTED_LISTS, "ephemeralContainers")

# Field -> kind of the object that it names; the field in between, or ""; the field with the name.
_Table = Mapping[str, tuple[Kind, str, str]]
_ENV: Final[_Table] = {"configMapKeyRef": ("ConfigMap", "", "name"), "secretKeyRef": ("Secret", "", "name")}
_ENV_FROM: Final[_Table] = {"configMapRef": ("ConfigMap", "", "name"), "secretRef": ("Secret", "", "name")}
_PROJECTED: Final[_Table] = {"configMap": ("ConfigMap", "", "name"), "secret": ("Secret", "", "name")}
_VOLUME: Final[_Table] = {
    "configMap": ("ConfigMap", "", "name"),
    "secret": ("Secret", "", "secretName"),
    "azureFile": ("Secret", "", "secretName"),
    "csi": ("Secret", "nodePublishSecretRef", "name"),
    "cephfs": ("Secret", "secretRef", "name"),
    "cinder": ("Secret", "secretRef", "name"),
    "flexVolume": ("Secret", "secretRef", "name"),
    "iscsi": ("Secret", "secretRef", "name"),
    "rbd": ("Secret", "secretRef", "name"),
    "scaleIO": ("Secret", "secretRef", "name"),
    "storageos": ("Secret", "secretRef", "name"),
}
# A name with a domain among requests or limits. Two patterns, because one with a literal prefix is much faster.
_EXTENDED_REQUEST: Final = re.compile(rb'"requests"\s*:\s*\{[^}]*/')
_EXTENDED_LIMIT: Final = re.compile(rb'"limits"\s*:\s*\{[^}]*/')


class Named(NamedTuple):
    """A place that names an object in the namespace of the pod: `holder[field]` is the name."""

    kind: Kind
    holder: Json
    field: str
    volume: Json | None  # the volume that it is in


class _Container(TypedDict, total=False):
    env: list[Json]
    envFrom: list[Json]


class _Decoded(TypedDict, total=False):
    volumes: list[Json]
    imagePullSecrets: list[Json]
    initContainers: list[_Container]
    containers: list[_Container]
    ephemeralContainers: list[_Container]
    serviceAccountName: str


_decoder = msgspec.json.Decoder(_Decoded)


def decode(pod: Pod) -> Spec:
    """The part of the pod's spec that can name other objects; the rest is skipped, which is faster."""
    return _decoder.decode(pod.spec)


def mentions_dependents(pod: Pod) -> bool:
    """Whether the pod may name a ConfigMap, Secret, token, trust bundle or certificate.

    All fields that name a ConfigMap or Secret have that word in their names; the rest are sources of projected volumes.
    """
    spec = bytes(pod.spec)
    return b"onfigMap" in spec or b"ecret" in spec or b'"projected"' in spec


def mentions_certificates(pod: Pod) -> bool:
    """Whether the pod may ask for a pod certificate."""
    return b'"podCertificate"' in bytes(pod.spec)


def mentions_extended_resources(pod: Pod) -> bool:
    """Whether the pod may request a resource with a domain in its name."""
    return bool(_EXTENDED_REQUEST.search(pod.spec) or _EXTENDED_LIMIT.search(pod.spec))


def containers(spec: Spec) -> Iterator[Json]:
    """All containers, of every kind."""
    for kind in CONTAINER_LISTS:
        yield from spec.get(kind) or ()


def started_containers(spec: Spec) -> Iterator[tuple[str, Json]]:
    """The containers that a pod is created with, each with the name of its list."""
    for kind in STARTED_LISTS:
        for container in spec.get(kind) or ():
            yield kind, container


def named_objects(spec: Spec) -> list[Named]:
    """ConfigMaps and Secrets, optional ones too, as often as they are named."""
    found = [Named("Secret", entry, "name", None) for entry in spec.get("imagePullSecrets") or () if entry.get("name")]
    for container in containers(spec):
        for entry in container.get("envFrom") or ():
            _collect(found, entry, _ENV_FROM)
        for entry in container.get("env") or ():
            if source := entry.get("valueFrom"):
                _collect(found, source, _ENV)
    for volume in spec.get("volumes") or ():
        _collect(found, volume, _VOLUME, volume)
        for source in sources(volume):
            _collect(found, source, _PROJECTED, volume)
    return found


def _collect(found: list[Named], place: Json, table: _Table, volume: Json | None = None) -> None:
    for field, holder in place.items():
        if field in table and holder:
            kind, below, name = table[field]
            if below:
                holder = holder.get(below)
            if holder and holder.get(name):
                found.append(Named(kind, holder, name, volume))


def name_fields() -> Iterator[str]:
    """The path in a spec of each field that `named_objects` finds; an entry of a list is []."""
    yield "imagePullSecrets[].name"
    for kind in CONTAINER_LISTS:
        yield from (f"{kind}[].envFrom[].{path}" for path in _paths(_ENV_FROM))
        yield from (f"{kind}[].env[].valueFrom.{path}" for path in _paths(_ENV))
    yield from (f"volumes[].{path}" for path in _paths(_VOLUME))
    yield from (f"volumes[].projected.sources[].{path}" for path in _paths(_PROJECTED))


def _paths(table: _Table) -> Iterator[str]:
    return (".".join(part for part in (field, below, name) if part) for field, (_, below, name) in table.items())


def field_references(spec: Spec) -> Iterator[Json]:
    """`fieldRef`s: fields of the pod that the downward API puts into environments and files."""
    for container in containers(spec):
        for entry in container.get("env") or ():
            if reference := (entry.get("valueFrom") or {}).get("fieldRef"):
                yield reference
    for volume in spec.get("volumes") or ():
        for source in (volume, *sources(volume)):
            for item in (source.get("downwardAPI") or {}).get("items") or ():
                if reference := item.get("fieldRef"):
                    yield reference


def sources(volume: Json) -> list[Json]:
    """The sources of a projected volume; empty for other volumes."""
    return (volume.get("projected") or {}).get("sources") or []


def projected_sources(spec: Spec) -> Iterator[tuple[Json, int, Json]]:
    """All sources of projected volumes: the volume, the index in it, the source."""
    for volume in spec.get("volumes") or ():
        for index, source in enumerate(sources(volume)):
            yield volume, index, source


def bundle_query(source: Mapping[str, Any]) -> str:
    """What a `clusterTrustBundle` source asks for, as canonical JSON: equal for equal questions."""
    query = {field: source[field] for field in ("name", "signerName", "labelSelector") if field in source}
    if source.get("optional"):
        query["optional"] = True
    return json.dumps(query, sort_keys=True, separators=(",", ":"))


def claims(spec: Spec) -> list[Json]:
    """The volumes that name a PersistentVolumeClaim."""
    return [volume for volume in spec.get("volumes") or () if "persistentVolumeClaim" in volume]


def container_quantities(spec: Spec) -> Iterator[Json]:
    """Requests and limits of the containers that a pod is created with: resource -> quantity."""
    for _, container in started_containers(spec):
        for quantities in (container.get("resources") or {}).values():
            if isinstance(quantities, dict):
                yield quantities


def host_ports(pod: Pod) -> list[Json]:
    """Ports of the host that the pod occupies: those of all containers that run during its whole life."""
    if b'"hostPort"' not in bytes(pod.spec):
        return []
    return [
        port
        for kind, container in started_containers(fields(pod.spec))
        if kind == "containers" or container.get("restartPolicy") == "Always"
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
