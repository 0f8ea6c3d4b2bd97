"""The typed verbs of one API server: lean structs in, dicts or structs out. What a request is: see `http/api`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import msgspec

from vk_provider.errors import VkError
from vk_provider.kube.http.api import Api
from vk_provider.kube.objects import encode
from vk_provider.kube.resources import Resource

T = TypeVar("T")

PAGE: Final = 500  # objects of a page of a list


class PatchType(StrEnum):
    """How the server interprets the body of a patch."""

    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    JSON = "application/json-patch+json"


class ListPage(msgspec.Struct, Generic[T]):
    """One page of a list. `metadata.continue` is the token of the next page."""

    metadata: _ListMetadata
    items: list[T]


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Client(Api):
    """See Api. All views have these verbs."""

    async def get(self, resource: Resource, name: str, namespace: str = "", *, type: type[T]) -> T:
        """Reads one object, as fresh as etcd. Raises NotFoundError."""
        return _decode(await self.request("GET", resource.path(name, namespace)), type)

    async def list(
        self, resource: Resource, namespace: str = "", *, type: type[T], query: Mapping[str, str] | None = None
    ) -> list[T]:
        """The objects of all pages of a list."""
        items: list[T] = []
        async for page in self.pages(resource, namespace, type=type, query=query):
            items += page.items
        return items

    async def pages(
        self, resource: Resource, namespace: str = "", *, type: type[T], query: Mapping[str, str] | None = None
    ) -> AsyncIterator[ListPage[T]]:
        """The pages of one consistent list."""
        token = ""
        while True:
            page = await self.page(resource, namespace, type=type, query=query, token=token)
            yield page
            token = page.metadata.continue_
            if not token:
                return

    async def page(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        type: type[T],
        query: Mapping[str, str] | None = None,
        size: int = PAGE,
        token: str = "",
    ) -> ListPage[T]:
        """A page of a list, of at most `size` objects: the first one, or that of the token in the one before."""
        of_page = {**(query or {}), "limit": str(size)} | ({"continue": token} if token else {})
        body = await self.request("GET", resource.path(namespace=namespace), query=of_page)
        return _decode(body, ListPage[type])  # type: ignore[valid-type]  # a generic made at run time

    async def newest_version(
        self, resource: Resource, namespace: str = "", *, query: Mapping[str, str] | None = None
    ) -> str:
        """The current resourceVersion of the server, by a consistent read of at most one object."""
        path = resource.path(namespace=namespace)
        body = await self.request("GET", path, query={**(query or {}), "limit": "1"})
        return _decode(body, ListPage[msgspec.Raw]).metadata.resource_version

    async def create(
        self,
        resource: Resource,
        body: Any,
        namespace: str = "",
        *,
        type: type[T],
        name: str = "",
        subresource: str = "",
    ) -> T:
        """Creates an object (or POSTs to a subresource). Raises ConflictError if the name is taken."""
        path = resource.path(name, namespace, subresource)
        return _decode(await self.request("POST", path, body=encode(body)), type)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        type: type[T],
        patch_type: PatchType = PatchType.MERGE,
        subresource: str = "",
    ) -> T:
        """Patches an object. With `metadata.uid` in the body, raises ConflictError if the object has another UID."""
        path = resource.path(name, namespace, subresource)
        return _decode(await self.request("PATCH", path, body=encode(body), content_type=patch_type), type)

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str = "", grace_seconds: int | None = None
    ) -> None:
        """Deletes an object. With `uid`, raises ConflictError if the object has another UID. Raises NotFoundError."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self.request("DELETE", resource.path(name, namespace), body=encode(options))


def _decode(body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.DecodeError as error:
        raise VkError(f"the API server's answer is not a Kubernetes object: {error}", reason="NotKubernetes") from error
