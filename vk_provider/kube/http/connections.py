"""The connections to one API server, which all views of its Client share, and what answers show of the server.

    urgent     Leases, node status, probes: never wait for one another
    requests   all else, within fair shares (see `shares`)
    streams    watches, logs, exec: a connection each, without a bound here

Connections authenticate with the client certificate of their handshake. When the credentials get another one, or are
replaced, those for requests are replaced, too, and closed after their last request. Streams that are open stay open.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import Any

import aiohttp

from vk_provider.errors import UnreachableError
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.http import bodies, failures, transport
from vk_provider.kube.http.shares import Share, Slots
from vk_provider.kube.timestamps import ServerClock


class _Pool:
    """Connections for requests."""

    __slots__ = ("in_flight", "replaced", "session")

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session, self.in_flight, self.replaced = session, 0, False


class _Streams:
    """Connections for streams. `opened`: those that users of `open` close."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.opened: weakref.WeakSet[aiohttp.ClientResponse] = weakref.WeakSet()


class Connections:
    """See the module's text. Owns the sessions."""

    def __init__(self, credentials: Credentials, most: int) -> None:
        """`most`: requests in flight at a time; urgent ones are not counted."""
        self.credentials = credentials
        self.slots = Slots(most)
        self.clock = ServerClock()
        self.last_sign_of_life = 0.0  # loop time of the last successful answer, or bytes of a watch
        self.restores = 0  # how often the server was found to have been restored from a backup
        self.watches: dict[aiohttp.ClientResponse, float] = {}  # loop time of its last bytes
        self._urgent, self._requests = self._new_pool(), self._new_pool()
        self._streams = _Streams(transport.for_streams(credentials.ssl))
        self._replaced_pools: set[_Pool] = set()
        self._replaced_streams: list[_Streams] = []
        self._certificates = credentials.certificates  # as of these pools

    async def use(self, credentials: Credentials) -> None:
        """See Api.use."""
        self.credentials = credentials
        await self._replace_pools()
        self._replaced_streams.append(self._streams)
        self._streams = _Streams(transport.for_streams(credentials.ssl))
        self.end_watches()
        for streams in list(self._replaced_streams):
            if all(stream.closed for stream in streams.opened):
                self._replaced_streams.remove(streams)
                await streams.session.close()

    async def stream(self, method: str, url: Any, *, opened: bool, **options: Any) -> aiohttp.ClientResponse:
        """Begins a stream that the caller closes; `opened` ones outlive the credentials. Raises errors of aiohttp."""
        streams = self._streams
        response = await streams.session.request(method, url, **options)
        if opened:
            streams.opened.add(response)
        return response

    async def exchange(
        self, share: Share | None, method: str, url: Any, *, deadline: float, large: bool, **options: Any
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """One request and the body of its answer. Without a share it is urgent.

        `deadline`, in seconds, is for its turn, and for the answer: for each part of it if it is `large`, else for the
        whole. Raises UnreachableError.
        """
        server = self.credentials.server
        if share is not None:
            try:
                await share.begin(deadline)
            except TimeoutError as error:
                busy = f"{server}: {share.in_flight} requests have had no answer for {deadline:.0f} s, and others wait"
                raise UnreachableError(busy) from error
        try:
            if self._certificates != self.credentials.certificates:
                await self._replace_pools()
            pool = self._requests if share is not None else self._urgent
            return await self._exchange(pool, method, url, deadline, large, options)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise failures.unreachable(server, error) from error
        finally:
            if share is not None:
                share.end()

    async def _exchange(
        self, pool: _Pool, method: str, url: Any, deadline: float, large: bool, options: dict[str, Any]
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        if large:
            timeout = aiohttp.ClientTimeout(total=None, connect=deadline, sock_read=deadline)
        else:
            timeout = aiohttp.ClientTimeout(total=deadline)
        pool.in_flight += 1
        try:
            async with pool.session.request(method, url, timeout=timeout, **options) as response:
                body = await (bodies.read(response) if large else response.read())
        finally:
            pool.in_flight -= 1
            if pool.replaced:
                await self._close_unused(pool)
        self.clock.set(response.headers.get("Date", ""))
        if response.status < 300:
            self.last_sign_of_life = asyncio.get_running_loop().time()
        return response, body

    def end_watches(self, *, silent_since: float = math.inf) -> None:
        """See Client.end_watches."""
        for response, last_bytes in list(self.watches.items()):
            if last_bytes <= silent_since:
                response.close()

    async def close(self) -> None:
        """Closes all connections."""
        for pool in (self._urgent, self._requests, *self._replaced_pools):
            await pool.session.close()
        for streams in (self._streams, *self._replaced_streams):
            await streams.session.close()

    async def _replace_pools(self) -> None:
        replaced = self._urgent, self._requests
        self._certificates = self.credentials.certificates
        self._urgent, self._requests = self._new_pool(), self._new_pool()
        for pool in replaced:
            pool.replaced = True
            self._replaced_pools.add(pool)
            await self._close_unused(pool)

    def _new_pool(self) -> _Pool:
        return _Pool(transport.for_requests(self.credentials.ssl))

    async def _close_unused(self, pool: _Pool) -> None:
        if not pool.in_flight:
            self._replaced_pools.discard(pool)
            await pool.session.close()
