"""The member pod that a request of the kubelet API is about, and errors as a kubelet reports them.

A kubelet reports errors as plain text, which kube-apiserver puts into the Status that users see. Of the server errors
it does so for status 500 only, so an error that users should read is never a 503.
(k8s.io/apiserver pkg/registry/generic/rest/response_checker.go)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import msgspec
from aiohttp import web

from vk_provider.api import wellknown
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.names import Names
from vk_provider.translate.state.health import Assessment


class Pods(Protocol):
    """Interface: a list of pods that is kept current; an Informer of them."""

    @property
    def items(self) -> Mapping[str, Pod]: ...


class MemberHealth(Protocol):
    """Interface: what is known of the member now; a MemberState."""

    @property
    def lost_reason(self) -> str:
        """Why nothing is known of the member; empty unless it is lost."""

    @property
    def health(self) -> Assessment: ...

    @property
    def last_sign_of_life(self) -> float:
        """In loop time."""


@dataclass(frozen=True)
class Backend:
    """The member behind a virtual node."""

    names: Names
    member: Client
    parent_pods: Pods
    member_pods: Pods
    state: MemberHealth

    def path(self, request: web.Request, subresource: str) -> str:
        """URL path of the subresource of the member pod that a request is about. Raises the HTTP error of a kubelet."""
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        if cause := self.state.lost_reason:
            text = f"the member behind node {self.names.node} is lost: {cause}"
            raise web.HTTPInternalServerError(text=text)
        parent = self.parent_pods.items.get(f"{namespace}/{name}")
        uid = request.match_info.get("uid")
        if parent is None or (uid and uid != parent.metadata.uid):
            raise web.HTTPNotFound(text=f'pod "{namespace}/{name}" not found')
        member = self.member_pods.items.get(f"{self.names.namespace(namespace)}/{name}")
        if member is None or member.metadata.annotations.get(wellknown.PARENT_UID) != parent.metadata.uid:
            raise web.HTTPBadRequest(text=_waiting(parent, request.match_info.get("container", "")))
        return f"/api/v1/namespaces/{member.metadata.namespace}/pods/{name}/{subresource}"

    async def refusal(self, response: aiohttp.ClientResponse) -> web.Response:
        """The member's refusal as a kubelet reports it: the status code, and the message of the Status object."""
        body = await response.read()
        try:
            text = str(msgspec.json.decode(body)["message"])
        except (msgspec.DecodeError, KeyError, TypeError):
            text = body.decode(errors="replace")
        if response.status == 401:  # not the user's credential
            text = f"the member behind node {self.names.node} does not accept the provider's credential: {text}"
            return web.Response(status=500, text=text)
        return web.Response(status=response.status, text=text)


def _waiting(pod: Pod, container: str) -> str:
    """Why there is no member pod yet, for a container or (without `container`) for the pod as a whole."""
    status = fields(pod.status)
    found = [
        each
        for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        for each in status.get(kind) or ()
        if container in ("", each["name"])
    ]
    state = (found[0].get("state") or {}) if found else {}
    what = f'container "{container}" in pod "{pod.metadata.name}"' if container else f'pod "{pod.metadata.name}"'
    if status.get("phase") in ("Succeeded", "Failed") or "terminated" in state:
        return f"{what} is terminated"
    return f"{what} is waiting to start: {(state.get('waiting') or {}).get('reason') or 'ContainerCreating'}"
