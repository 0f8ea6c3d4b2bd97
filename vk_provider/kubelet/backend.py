"""Which member pod a request of the kubelet API means, and the errors that a kubelet gives.

A kubelet answers errors as plain text, which kube-apiserver puts into the Status that users see; of the server errors
only that of a 500, so what a user should read is never a 503.
(k8s.io/apiserver pkg/registry/generic/rest/response_checker.go)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
import msgspec
from aiohttp import web

from vk_provider.api import wellknown
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.names import Names


@dataclass(frozen=True)
class Backend:
    """The member behind a virtual node. `unreachable` gives why the member is lost, or None."""

    names: Names
    member: Client
    parent_pods: Callable[[], Mapping[str, Pod]]
    member_pods: Callable[[], Mapping[str, Pod]]
    unreachable: Callable[[], str | None]

    def path(self, request: web.Request, subresource: str) -> str:
        """URL path of the member pod's subresource that a request means. Raises the HTTP error of a kubelet."""
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        if cause := self.unreachable():
            text = f"the member behind node {self.names.node} does not answer: {cause}"
            raise web.HTTPInternalServerError(text=text)
        parent = self.parent_pods().get(f"{namespace}/{name}")
        uid = request.match_info.get("uid")
        if parent is None or (uid and uid != parent.metadata.uid):
            raise web.HTTPNotFound(text=f'pod "{namespace}/{name}" not found')
        member = self.member_pods().get(f"{self.names.namespace(namespace)}/{name}")
        if member is None or member.metadata.annotations.get(wellknown.PARENT_UID) != parent.metadata.uid:
            raise web.HTTPBadRequest(text=_waiting(parent, request.match_info.get("container", "")))
        return f"/api/v1/namespaces/{member.metadata.namespace}/pods/{name}/{subresource}"

    async def refusal(self, response: aiohttp.ClientResponse) -> web.Response:
        """The member's refusal as a kubelet would word it: its status code, and the message of its Status object."""
        body = await response.read()
        try:
            text = str(msgspec.json.decode(body)["message"])
        except (msgspec.DecodeError, KeyError, TypeError):
            text = body.decode(errors="replace")
        if response.status == 401:  # whose credential that is must not be mistaken
            text = f"the member behind node {self.names.node} does not accept the provider's credential: {text}"
            return web.Response(status=500, text=text)
        return web.Response(status=response.status, text=text)


def _waiting(pod: Pod, container: str) -> str:
    """Why there is nothing to show of a pod that has no member pod; without `container`, of the pod as a whole."""
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
