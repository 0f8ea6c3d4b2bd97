"""The parent's Services as pods of one member see them: a Service without a selector, and its EndpointSlices.

Only what a client meets is taken over: name, ports, affinity, readiness. What brings traffic in from outside (types,
node ports, load balancers, external addresses, labels and annotations that controllers read) belongs to the parent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Object, fields
from vk_provider.translate.names import Names

SERVICE_NAME: Final = "kubernetes.io/service-name"  # label of an EndpointSlice: its Service
_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
_HEADLESS: Final = "service.kubernetes.io/headless"  # label of an EndpointSlice that kube-proxy need not look at

# Services that every cluster has of its own: those of the parent mean nothing in a member.
OF_EACH_CLUSTER: Final = frozenset({"default/kubernetes", "kube-system/kube-dns"})

# Fields of a Service's spec that are the same in the member, and those of its ports.
_SAME: Final = ("ports", "sessionAffinity", "sessionAffinityConfig", "publishNotReadyAddresses")
_PORT: Final = ("name", "protocol", "port", "targetPort", "appProtocol")
# Everything that is put right where somebody changes it in the member; what is not wanted is taken out.
_HELD: Final = (
    *_SAME,
    "type",
    "externalName",
    "externalIPs",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "ipFamilies",
)


class Conditions(msgspec.Struct, gc=False, omit_defaults=True, frozen=True):
    """Of an endpoint. None: not said."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(msgspec.Struct, gc=False, omit_defaults=True, frozen=True):
    """What an endpoint is."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class Endpoint(msgspec.Struct, rename="camel", gc=False, omit_defaults=True, frozen=True):
    """One backend. Zones and hints are not read: they speak of the parent's nodes."""

    addresses: list[str]
    conditions: Conditions = Conditions()
    hostname: str | None = None
    node_name: str | None = None
    target_ref: TargetRef | None = None


class Port(msgspec.Struct, rename="camel", gc=False, omit_defaults=True, frozen=True):
    """A port of all endpoints of a slice. No number: every port."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(msgspec.Struct, rename="camel", gc=False):
    """An EndpointSlice off the wire."""

    metadata: Metadata
    address_type: str = ""
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None


class ParentSlice(msgspec.Struct, gc=False):
    """What is kept of an EndpointSlice of the parent: its endpoints, by node ("" for those on none)."""

    metadata: Metadata
    address_type: str
    ports: list[Port]
    endpoints: dict[str, list[Endpoint]]

    @property
    def service(self) -> str:
        """`namespace/name` of the Service; "" for a slice that has none."""
        name = self.metadata.labels.get(SERVICE_NAME, "")
        return f"{self.metadata.namespace}/{name}" if name else ""


class SliceCopy(msgspec.Struct, gc=False):
    """What is kept of an EndpointSlice that we made in the member: whose it is, and a digest of what it lists."""

    metadata: Metadata
    digest: str


def parent_service(service: Object) -> Object:
    """Shrinks a Service of the parent to what its reflection needs."""
    return Object(_lean(service.metadata), service.spec)


def parent_slice(found: EndpointSlice) -> ParentSlice:
    """Shrinks an EndpointSlice of the parent, and sorts its endpoints by node."""
    by_node: dict[str, list[Endpoint]] = {}
    for endpoint in found.endpoints or ():
        by_node.setdefault(endpoint.node_name or "", []).append(endpoint)
    metadata = _lean(found.metadata)
    if SERVICE_NAME in found.metadata.labels:
        metadata.labels = {SERVICE_NAME: found.metadata.labels[SERVICE_NAME]}
    return ParentSlice(metadata, found.address_type, found.ports or [], by_node)


def slice_copy(found: EndpointSlice) -> SliceCopy:
    """Shrinks an EndpointSlice of the member: contents are compared, never needed again."""
    return SliceCopy(found.metadata, _digest(found.address_type, found.endpoints or [], found.ports or []))


def _lean(metadata: Metadata) -> Metadata:
    return Metadata(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
    )


def member_service(service: Object, names: Names) -> dict[str, Any]:
    """The manifest of a Service's reflection.

    It asks for the parent's address, which is what users see and hand on; `allocated` is for members without it.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service.metadata, names, names.labels),
        "spec": _spec(fields(service.spec)),
    }


def allocated(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The same reflection with an address that the member chooses; None where it asks for none."""
    if not manifest["spec"].get("clusterIP") or _headless(manifest["spec"]):
        return None
    return {**manifest, "spec": {field: value for field, value in manifest["spec"].items() if field != "clusterIP"}}


def _metadata(parent: Metadata, names: Names, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "name": parent.name,
        "namespace": names.namespace(parent.namespace),
        "labels": labels,
        "annotations": names.annotations(parent),
    }


def _spec(parent: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {field: parent[field] for field in _SAME if field in parent}
    if "ports" in spec:
        spec["ports"] = _ports(spec["ports"])
    if parent.get("type") == "ExternalName":
        return spec | {"type": "ExternalName", "externalName": parent.get("externalName", "")}
    # "Local" means the same node, which is the whole member: the slices see to it, not the member's nodes.
    spec |= {"type": "ClusterIP", "internalTrafficPolicy": "Cluster"}
    if parent.get("clusterIP"):
        spec["clusterIP"] = parent["clusterIP"]
    if parent.get("ipFamilyPolicy", "SingleStack") != "SingleStack":
        spec["ipFamilyPolicy"] = "PreferDualStack"  # both where the member has both, in its own order
    elif "ipFamilies" in parent:
        spec |= {"ipFamilyPolicy": "SingleStack", "ipFamilies": parent["ipFamilies"]}
    return spec


def _ports(ports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{field: port[field] for field in _PORT if field in port} for port in ports]


def _headless(spec: dict[str, Any]) -> bool:
    return spec.get("clusterIP") == "None"


def service_patch(wanted: dict[str, Any], actual: Object) -> dict[str, Any] | None:
    """The merge patch, with its UID, that makes a Service of the member the wanted one; None where it is."""
    spec, asked = fields(actual.spec), wanted["spec"]
    spec["ports"] = _ports(spec.get("ports") or []) or None
    changed = {
        field: asked.get(field)
        for field in _HELD
        if asked.get(field) != spec.get(field) and (field != "ipFamilies" or field in asked)
    }
    if "clusterIP" in asked and not spec.get("clusterIP"):  # it was an ExternalName
        changed["clusterIP"] = asked["clusterIP"]
    patch: dict[str, Any] = {"spec": changed} if changed else {}
    return _with_metadata(patch, wanted["metadata"], actual.metadata)


def must_replace(wanted: dict[str, Any], actual: Object) -> bool:
    """Whether only another Service will do.

    Headless or not is for life, and a server ignores the wish to change it. Where somebody gave it a selector, the
    member's own controller has made EndpointSlices, which go with the Service only. Another Service of the parent has
    another address; that the member gave this one an address of its own is no reason.
    """
    spec, asked = fields(actual.spec), wanted["spec"]
    parent = wanted["metadata"]["annotations"][wellknown.PARENT_UID]
    moved = parent != actual.metadata.annotations.get(wellknown.PARENT_UID) and bool(asked.get("clusterIP"))
    return (
        "selector" in spec
        or _headless(asked) != _headless(spec)
        or (moved and asked["clusterIP"] != spec.get("clusterIP"))
    )


def member_slice(
    found: ParentSlice, service: Object, names: Names, nodes: Collection[str], *, flat: bool
) -> dict[str, Any] | None:
    """The manifest of an EndpointSlice's reflection; None where it would list nothing.

    Listed are the endpoints in this member and those on no node, whose addresses are nobody's pods; with `flat` the
    others too, unless the Service keeps its traffic on the node of the client, which here is the member.
    """
    spec = fields(service.spec)
    if spec.get("type") == "ExternalName":
        return None
    everywhere = flat and spec.get("internalTrafficPolicy") != "Local"
    listed = found.endpoints if everywhere else {*nodes, ""}
    endpoints = [
        _endpoint(endpoint, names, nodes) for node in sorted(listed) for endpoint in found.endpoints.get(node, ())
    ]
    if not endpoints:
        return None
    labels = names.labels | {SERVICE_NAME: service.metadata.name, _MANAGED_BY: wellknown.DOMAIN}
    if _headless(spec):
        labels[_HEADLESS] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(found.metadata, names, labels),
        "addressType": found.address_type,
        "endpoints": endpoints,
        "ports": found.ports,
    }


def _endpoint(endpoint: Endpoint, names: Names, nodes: Collection[str]) -> Endpoint:
    """Of another node only the address means something here; a pod of this one is there under its name."""
    target = None
    if endpoint.node_name in nodes and endpoint.target_ref and endpoint.target_ref.kind == "Pod":
        namespace = names.namespace(endpoint.target_ref.namespace)
        target = TargetRef("Pod", endpoint.target_ref.name, namespace)
    return Endpoint(endpoint.addresses, endpoint.conditions, endpoint.hostname, None, target)


def concerns(before: ParentSlice | None, after: ParentSlice | None, nodes: Collection[str], *, flat: bool) -> bool:
    """Whether the reflection in the member of `node` may differ after this change; most are about other members."""
    if before is None or after is None or flat:
        return True
    return (
        before.metadata.uid != after.metadata.uid
        or before.ports != after.ports
        or any(before.endpoints.get(name) != after.endpoints.get(name) for name in (*nodes, ""))
    )


def slice_patch(wanted: dict[str, Any], actual: SliceCopy) -> dict[str, Any] | None:
    """The merge patch, with its UID, that makes an EndpointSlice of the member the wanted one; None where it is."""
    patch: dict[str, Any] = {}
    if actual.digest != _digest(wanted["addressType"], wanted["endpoints"], wanted["ports"]):
        patch = {field: wanted[field] for field in ("addressType", "endpoints", "ports")}
    return _with_metadata(patch, wanted["metadata"], actual.metadata)


def _with_metadata(patch: dict[str, Any], wanted: dict[str, Any], actual: Metadata) -> dict[str, Any] | None:
    metadata: dict[str, Any] = {}
    for field, have in (("labels", actual.labels), ("annotations", actual.annotations)):
        if changed := {key: value for key, value in wanted[field].items() if have.get(key) != value}:
            metadata[field] = changed
    if not patch and not metadata:
        return None
    return {**patch, "metadata": metadata | {"uid": actual.uid}}


def _digest(address_type: str, endpoints: list[Endpoint], ports: list[Port]) -> str:
    return hashlib.sha256(msgspec.json.encode((address_type, endpoints, ports))).hexdigest()
