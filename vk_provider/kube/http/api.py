"""Requests to one API server: bytes out, bytes in, typed errors.

There is no client-side rate limit: the server governs by API Priority and Fairness. After a 429 the request waits as
long as Retry-After demands, if that is short; else the caller decides. How many requests are in flight is bounded, in
fair shares. Every request has a deadline; a watch has an inactivity deadline instead. No redirect is followed.
"""

from __future__ import annotations

import asyncio
import copy
import math
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from vk_provider.errors import ApiError, UnauthorizedError
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.http import bodies, failures
from vk_provider.kube.http.connections import Connections
from vk_provider.kube.http.shares import Share
from vk_provider.kube.timestamps import rfc3339

JSON: Final = "application/json"
DEADLINE: Final = 30.0  # seconds for one request, answer included
_PATIENCE: Final = 5.0  # seconds that a request waits after 429s, at most; and at most two of its deadlines
_PART: Final = 3  # a share has at most this part (1/3) of the requests in flight


class _Shared:
    """Reads an attribute of the connections, which all views of a server share."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, api: Api, owner: type) -> Any:
        return getattr(api._connections, self._name)


def _shared() -> Any:
    return _Shared()


class Api:
    """One API server. Use as an async context manager, or call `close`.

    `urgent` and `share` give other views of the same server, with the same connections and the same knowledge of it;
    they differ in what their requests wait for.
    """

    credentials: Credentials = _shared()  # how the server is reached
    last_sign_of_life: float = _shared()  # loop time of the last successful answer, or bytes of a watch
    restores: int = _shared()  # how often the server was found to have been restored from a backup

    def __init__(self, credentials: Credentials, *, connections: int = 100) -> None:
        """`connections`: how many requests are in flight at a time."""
        self._connections = Connections(credentials, connections)
        self._share: Share | None = self._connections.slots.share(connections)  # None: urgent

    @property
    def urgent(self) -> Self:
        """The view for signs of life and probes: its requests wait for no others, and have connections of their own."""
        return self._view(None)

    def share(self) -> Self:
        """A view for one of many users, such as a member: with a fair share of the requests in flight.

        See `shares`. However many requests one user has, the others get their turn.
        """
        slots = self._connections.slots
        return self._view(slots.share(max(1, slots.number // _PART)))

    @property
    def waiting(self) -> int:
        """Number of requests of this view that wait for their turn."""
        return self._share.waiting if self._share else 0

    @property
    def server(self) -> str:
        """Base URL."""
        return self.credentials.server

    def server_time(self) -> datetime:
        """The wall clock of the server. Compare times in its objects with this one (see ServerClock)."""
        return self._connections.clock.now()

    def timestamp(self) -> str:
        """`server_time` as the API writes it: RFC 3339, whole seconds."""
        return rfc3339(self.server_time())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections, those of other views too."""
        await self._connections.close()

    async def use(self, credentials: Credentials) -> None:
        """Replaces the credentials of all views by others for the same server. Requests in flight and streams of `open`
        go on; watches end, as if the server had ended them."""
        await self._connections.use(credentials)

    def _view(self, share: Share | None) -> Self:
        view = copy.copy(self)
        view._share = share
        return view

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
        """One request and its answer. Raises ApiError, or UnreachableError if there is no answer in time.

        A page of a list is asked for compressed, and is in time while it makes progress.
        """
        url, waited, renewed, large = self._url(path, query), 0.0, False, _lists(query or {})
        while True:
            headers = await self._headers(content_type if body is not None else None)
            if large:
                headers["Accept-Encoding"] = bodies.GZIP
            credential = self.credentials.serial
            response, answer = await self._connections.exchange(
                self._share, method, url, deadline=deadline, large=large, data=body, headers=headers, **self._options()
            )
            if response.status < 300:
                return answer
            failure = failures.failure(response, answer)
            if isinstance(failure, UnauthorizedError) and not renewed and self.credentials.renew(credential):
                renewed = True
            elif failure.status == 429 and waited + (pause := _pause(failure)) <= min(_PATIENCE, 2 * deadline):
                waited += pause
                await asyncio.sleep(pause)
            else:
                raise failure

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        """Yields the lines of a watch as they come, until the server ends it. Close it with `aclosing`.

        Raises ApiError, and UnreachableError also if no answer begins within DEADLINE, and after `inactivity` seconds
        without a byte: a half-open connection is silent. A streaming list is asked for compressed. The server then
        compresses what follows it, too, event by event; such a stream ends after some events, as if by the server.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=inactivity)
        connections, loop = self._connections, asyncio.get_running_loop()
        headers = await self._headers(None)
        if _lists(query):
            headers["Accept-Encoding"] = bodies.GZIP
        credential = self.credentials.serial
        try:
            async with asyncio.timeout(DEADLINE):  # servers begin their answer before the first event
                response = await connections.stream(
                    "GET", self._url(path, query), opened=False, headers=headers, timeout=timeout, **self._options()
                )
            async with response:
                if response.status != 200:
                    failure = failures.failure(response, await bodies.read(response))
                    if isinstance(failure, UnauthorizedError):
                        self.credentials.renew(credential)
                    raise failure
                connections.watches[response] = loop.time()
                try:
                    async for line in bodies.events(response):
                        connections.last_sign_of_life = connections.watches[response] = loop.time()
                        yield line
                finally:
                    del connections.watches[response]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise failures.unreachable(self.server, error) from error

    def note_restore(self) -> None:
        """Counts a restore of the server from a backup, and ends all watches, so that each of them lists again.

        They cannot notice it by themselves if the server's versions catch up with theirs first.
        """
        self._connections.restores += 1
        self.end_watches()

    def end_watches(self, *, silent_since: float = math.inf) -> None:
        """Ends the watches without a byte since that loop time (default: all), as if the server had ended them.

        Their connections may be dead without a sign.
        """
        self._connections.end_watches(silent_since=silent_since)

    async def open(
        self, method: str, path: str, *, headers: Sequence[tuple[str, str]] = (), deadline: float | None = DEADLINE
    ) -> aiohttp.ClientResponse:
        """Opens a stream. The response has its status and headers; its body, or the upgraded connection, is not read.

        `path` contains the encoded query; a header may occur several times. The caller closes the response. Raises
        UnreachableError also if no answer begins within `deadline` seconds, and ApiError if the server redirects.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        url, renewed = URL(self.server + path, encoded=True), False
        while True:
            sent = [*({**await self._headers(None), "Accept": "*/*"}).items(), *headers]
            credential = self.credentials.serial
            try:
                async with asyncio.timeout(deadline):
                    response = await self._connections.stream(
                        method, url, opened=True, headers=sent, timeout=timeout, **self._options()
                    )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise failures.unreachable(self.server, error) from error
            if 300 <= response.status < 400:
                response.close()
                raise failures.failure(response, b"")
            if response.status != 401 or renewed or not self.credentials.renew(credential):
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

    def _options(self) -> dict[str, Any]:
        credentials = self.credentials
        return {
            "server_hostname": credentials.tls_server_name,
            "proxy": credentials.proxy,
            "allow_redirects": False,
        }


def _pause(failure: ApiError) -> float:
    """Seconds until a request is repeated: what the server demands, and up to half of it more.

    Requests that were refused in the same tick do not come back in the same tick.
    """
    return (failure.retry_after or 1.0) * random.uniform(1.0, 1.5)


def _lists(query: Mapping[str, str]) -> bool:
    """Whether the answer is, or begins with, a list of more than one object."""
    if query.get("fieldSelector", "").startswith("metadata.name="):
        return False
    return query.get("limit", "1") != "1" or "sendInitialEvents" in query
