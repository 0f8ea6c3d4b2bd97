"""A scripted API server of a member: its identity, the permissions of the credential, and rejected requests."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import msgspec

from vk_provider.errors import VkError
from vk_provider.kube.auth.credentials import Credentials, Fixed
from vk_provider.kube.client import Client
from vk_provider.kube.resources import NAMESPACES, SELF_SUBJECT_ACCESS_REVIEWS
from vk_provider.translate.state.rights import PERMISSIONS, Right


class MemberApi(Client):
    """Answers the requests of `access`. `denied`: permissions that are missing; `refusal`: raised for every request."""

    def __init__(self, *denied: tuple[str, str, str], uid: str = "west-uid", server: str = "https://west:6443") -> None:
        self.denied = {Right(*each) for each in denied}
        self.unserved: set[str] = set()
        self.uid = uid
        self.refusal: VkError | None = None
        self.asked: list[tuple[str, str]] = []
        self.closed = False
        self.last_sign_of_life = 0.0
        self.restores = 0
        source = Fixed("Bearer secret")
        self.credentials = Credentials("secret", server, ssl.create_default_context(), source)

    async def close(self) -> None:
        self.closed = True

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        deadline: float = 30.0,
    ) -> bytes:
        self.asked.append((method, path))
        if self.refusal is not None:
            raise self.refusal
        return msgspec.json.encode(self._answer(path, body))

    def _answer(self, path: str, body: bytes | None) -> Any:
        if path == "/version":
            return {"gitVersion": "v1.37.2"}
        if path == NAMESPACES.path("kube-system"):
            return {"metadata": {"name": "kube-system", "uid": self.uid}}
        if path == "/api/v1":
            served = {row.resource for row in PERMISSIONS if not row.group} - self.unserved
            return {"resources": [{"name": name} for name in sorted(served)]}
        assert path == SELF_SUBJECT_ACCESS_REVIEWS.path(), path
        asked = msgspec.json.decode(body or b"{}")["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked["subresource"])))
        return {"status": {"allowed": Right(asked["group"], resource, asked["verb"]) not in self.denied}}
