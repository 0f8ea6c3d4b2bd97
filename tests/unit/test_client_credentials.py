"""A client whose credential is replaced, over real connections; and a server whose certificate is out of date."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import pytest
import trustme
from aiohttp import web

from tests.gateway import Gateway
from tests.waiting import eventually_here
from vk_provider.errors import UnreachableError
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client


def credentials(server: str, authority: trustme.CA, token: str = "one") -> Credentials:
    pem = base64.b64encode(authority.cert_pem.bytes()).decode()
    cluster = {"server": server, "certificate-authority-data": pem}
    return Kubeconfig(cluster=cluster, user={"token": token}, context="it", source="test").credentials()


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


class Api:
    """A server that answers requests, watches and logs, and knows its connections."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.transports: dict[str, asyncio.BaseTransport] = {}  # path -> of the last request there
        self.more, self.slow = asyncio.Event(), asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.tokens.append(request.headers["Authorization"])
        self.transports[request.path] = request.transport
        if request.path in ("/watch", "/log"):
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"first\n")
            await self.more.wait()
            await answer.write(b"second\n")
            return answer
        if request.path == "/slow":
            await self.slow.wait()
        return web.Response(text="ok")

    def closed(self, path: str) -> bool:
        return self.transports[path].is_closing()


@asynccontextmanager
async def serve(api: Api) -> AsyncIterator[tuple[Gateway, trustme.CA]]:
    authority = trustme.CA()
    async with Gateway(api.answer, tls=serving(authority.issue_cert("127.0.0.1"))) as gateway:
        yield gateway, authority


async def test_requests_use_the_new_credential_and_connections_of_the_old_one_are_closed() -> None:
    api = Api()
    async with serve(api) as (gateway, authority), Client(credentials(gateway.server, authority)) as client:
        await client.request("GET", "/old")
        await client.use(credentials(gateway.server, authority, "two"))
        await eventually_here(lambda: api.closed("/old"), "the idle connection is closed")
        await client.request("GET", "/new")
        assert api.tokens == ["Bearer one", "Bearer two"]
        assert not api.closed("/new")


async def test_a_request_that_is_under_way_gets_its_answer_before_its_connection_is_closed() -> None:
    api = Api()
    async with serve(api) as (gateway, authority), Client(credentials(gateway.server, authority)) as client:
        slow = asyncio.create_task(client.request("GET", "/slow"))
        await eventually_here(lambda: "/slow" in api.transports, "the request is under way")
        await client.use(credentials(gateway.server, authority, "two"))
        assert not api.closed("/slow")
        api.slow.set()
        assert await slow == b"ok"
        await eventually_here(lambda: api.closed("/slow"), "its connection is closed")


async def test_a_watch_ends_and_an_open_stream_goes_on() -> None:
    api = Api()
    async with serve(api) as (gateway, authority), Client(credentials(gateway.server, authority)) as client:
        log = await client.open("GET", "/log")
        assert await log.content.readline() == b"first\n"
        async with aclosing(client.stream("/watch", {}, inactivity=60.0)) as lines:
            assert await anext(lines) == b"first"
            await client.use(credentials(gateway.server, authority, "two"))
            with pytest.raises((StopAsyncIteration, UnreachableError)):
                await anext(lines)
        await eventually_here(lambda: api.closed("/watch"), "the connection of the watch is closed")
        assert not api.closed("/log")
        api.more.set()
        assert await log.content.readline() == b"second\n"
        log.close()
        await client.use(credentials(gateway.server, authority, "three"))
        await client.use(credentials(gateway.server, authority, "four"))
        connections = client._connections
        assert not connections._replaced_streams and not connections._replaced_pools, "nothing earlier is kept"


LONG_AGO, YESTERDAY = datetime(2001, 1, 1, tzinfo=UTC), datetime(2002, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("trusted", "name", "reason"),
    [
        (True, "127.0.0.1", "CertificateExpired"),
        (False, "127.0.0.1", "CertificateInvalid"),
        (True, "192.0.2.1", "CertificateInvalid"),
    ],
    ids=["known authority", "unknown authority", "another name"],
)
async def test_a_certificate_is_out_of_date_only_if_it_is_right_otherwise(
    trusted: bool, name: str, reason: str
) -> None:
    """An expired certificate of the member shows that it may live; any other certificate shows nothing."""
    authority = trustme.CA()
    expired = authority.issue_cert(name, not_before=LONG_AGO, not_after=YESTERDAY)
    async with Gateway(Api().answer, tls=serving(expired)) as gateway:
        known = authority if trusted else trustme.CA()
        async with Client(credentials(gateway.server, known)) as client:
            with pytest.raises(UnreachableError) as failed:
                await client.request("GET", "/")
    assert failed.value.reason == reason
