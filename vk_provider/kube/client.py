"""Requests to one API server: bytes out, lean structs or bytes in, typed errors.

There is no client-side rate limit: the server governs by API Priority and Fairness, and after a 429 the client waits
for as long as Retry-After demands. Every request has a deadline; a watch has an inactivity deadline instead.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from vk_provider.errors import UnauthorizedError, VkError
from vk_provider.kube import transport
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.objects import encode
from vk_provider.kube.resources import Resource
from vk_provider.kube.timestamps import ServerClock, rfc3339

T = TypeVar("T")

JSON: Final = "application/json"
DEADLINE: Final = 30.0  # seconds for one request, answer included
_PATIENCE: Final = 2.0  # a request is repeated after a 429 for at most this many of its deadlines


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


class Client:
    """One API server. Use as an async context manager, or call `close`."""

    def __init__(self, credentials: Credentials, *, connections: int = 100) -> None:
        self.credentials = credentials
        self.last_sign_of_life = 0.0  # loop time of the last successful answer, or bytes of a watch
        self.restores = 0  # how often the server was found to have been restored from a backup
        self._clock = ServerClock()
        self._watches: dict[aiohttp.ClientResponse, float] = {}  # loop time of its last bytes
        self._sessions = transport.Sessions(credentials.ssl, connections)

    @property
    def server(self) -> str:
        """Base URL."""
        return self.credentials.server

    def server_time(self) -> datetime:
        """The wall clock of the server. Compare times in its objects with this one (see ServerClock)."""
        return self._clock.now()

    def timestamp(self) -> str:
        """`server_time` as the API writes it: RFC 3339, whole seconds."""
        return rfc3339(self.server_time())

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._sessions.close()

    async def use(self, credentials: Credentials) -> None:
        """Replaces the credentials by others for the same server. Requests in flight and streams of `open` go on;
        watches end, as if the server had ended them."""
        self.credentials, self._sessions = credentials, self._sessions.replace(credentials.ssl)
        self.end_watches()
        await self._sessions.close_replaced()

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
        """The pages of one consistent list, 500 objects each."""
        token = ""
        while True:
            of_page = {**(query or {}), "limit": "500"} | ({"continue": token} if token else {})
            body = await self.request("GET", resource.path(namespace=namespace), query=of_page)
            page = _decode(body, ListPage[type])  # type: ignore[valid-type]  # a generic made at run time
            yield page
            token = page.metadata.continue_
            if not token:
                return

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

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        deadline: float = DEADLINE,
    ) -> bytes:
        """One request and its answer. Raises ApiError, or UnreachableError if there is no answer in time."""
        timeout = aiohttp.ClientTimeout(total=deadline)
        waited = 0.0
        renewed = False
        while True:
            try:
                headers = await self._headers(content_type if body is not None else None)
                async with self._sessions.request(
                    method, self._url(path, query), data=body, headers=headers, timeout=timeout, **self._connect()
                ) as response:
                    answer = await response.read()
                    self._clock.set(response.headers.get("Date", ""))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise transport.unreachable(self.server, error) from error
            if response.status < 300:
                self.last_sign_of_life = asyncio.get_running_loop().time()
                return answer
            failure = transport.failure(response, answer)
            if isinstance(failure, UnauthorizedError) and not renewed and self.credentials.renew():
                renewed = True
            elif failure.status == 429 and waited + (pause := failure.retry_after or 1.0) <= _PATIENCE * deadline:
                waited += pause
                await asyncio.sleep(pause)
            else:
                raise failure

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        """Yields the lines of a watch as they come, until the server ends it. Close it with `aclosing`.

        Raises ApiError, and UnreachableError also if no answer begins within DEADLINE, and after `inactivity` seconds
        without a byte: a half-open connection is silent.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=inactivity)
        url, loop = self._url(path, query), asyncio.get_running_loop()
        try:
            headers = await self._headers(None)
            async with asyncio.timeout(DEADLINE):  # servers begin their answer before the first event
                response = await self._sessions.streams.get(url, headers=headers, timeout=timeout, **self._connect())
            async with response:
                if response.status != 200:
                    failure = transport.failure(response, await response.read())
                    if isinstance(failure, UnauthorizedError):
                        self.credentials.renew()
                    raise failure
                self._watches[response] = loop.time()
                try:
                    async for line in transport.lines(response.content):
                        self.last_sign_of_life = self._watches[response] = loop.time()
                        yield line
                finally:
                    del self._watches[response]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise transport.unreachable(self.server, error) from error

    def note_restore(self) -> None:
        """Counts a restore of the server from a backup, and ends all watches, so that each of them lists again.

        They cannot notice it by themselves if the server's versions catch up with theirs first.
        """
        self.restores += 1
        self.end_watches()

    def end_watches(self, *, silent_since: float = math.inf) -> None:
        """Ends the watches without a byte since that loop time (default: all), as if the server had ended them.

        Their connections may be dead without a sign.
        """
        for response, last_bytes in list(self._watches.items()):
            if last_bytes <= silent_since:
                response.close()

    async def open(self, method: str, path: str, *, headers: Sequence[tuple[str, str]] = ()) -> aiohttp.ClientResponse:
        """Opens a stream. The response has its status and headers; its body, or the upgraded connection, is not read.

        `path` contains the encoded query; a header may occur several times. The caller closes the response. Raises
        UnreachableError.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        renewed = False
        while True:
            try:
                response = await self._sessions.open(
                    method,
                    URL(self.server + path, encoded=True),
                    headers=[*({**await self._headers(None), "Accept": "*/*"}).items(), *headers],
                    timeout=timeout,
                    allow_redirects=False,
                    **self._connect(),
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise transport.unreachable(self.server, error) from error
            if response.status != 401 or renewed or not self.credentials.renew():
                return response
            response.close()
            renewed = True

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        return URL(self.server + path + ("?" + urlencode(query) if query else ""), encoded=True)

    async def _headers(self, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": JSON, "User-Agent": "vk-provider"}
        if content_type:
            headers["Content-Type"] = content_type
        if authorization := await self.credentials.authorization():
            headers["Authorization"] = authorization
        return headers

    def _connect(self) -> dict[str, Any]:
        return {"server_hostname": self.credentials.tls_server_name, "proxy": self.credentials.proxy}


def _decode(body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.DecodeError as error:
        raise VkError(f"the API server's answer is not a Kubernetes object: {error}", reason="NotKubernetes") from error
