"""Which member pod a request of the kubelet API means, and the errors that a kubelet gives.

A kubelet answers errors as plain text: kube-apiserver puts the text into the Status that users see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
import msgspec
from aiohttp import web

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
            raise web.HTTPServiceUnavailable(text=f"the member behind node {self.names.node} does not answer: {cause}")
        parent = self.parent_pods().get(f"{namespace}/{name}")
        uid = request.match_info.get("uid")
        if parent is None or (uid and uid != parent.metadata.uid):
            raise web.HTTPNotFound(text=f'pod "{namespace}/{name}" not found')
        member = self.member_pods().get(f"{self.names.namespace(namespace)}/{name}")
        container = request.match_info.get("container", "")
        if member is None:
            raise web.HTTPBadRequest(text=self._waiting(parent, container))
        return f"/api/v1/namespaces/{member.metadata.namespace}/pods/{name}/{subresource}"

    def _waiting(self, parent: Pod, container: str) -> str:
        reason = "ContainerCreating"
        for status in fields(parent.status).get("containerStatuses") or ():
            if status["name"] == container:
                reason = (status.get("state", {}).get("waiting") or {}).get("reason", reason)
        return f'container "{container}" in pod "{parent.metadata.name}" is waiting to start: {reason}'


async def relay_failure(response: aiohttp.ClientResponse) -> web.Response:
    """The member's refusal as a kubelet would word it: its status code, and the message of its Status object."""
    body = await response.read()
    try:
        text = str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text = body.decode(errors="replace")
    return web.Response(status=response.status, text=text)
