"""The kubelet API survives malformed requests and clients that waste its connections."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import pytest

from tests.cluster import Cluster
from tests.integration.serving import ADDRESS, POD, Served, request_bytes, serving
from tests.waiting import eventually_here
from vk_provider.kubelet import connections as module

GARBAGE: Final = {
    "nothing": b"",
    "an incomplete request line": b"GET /heal",
    "an incomplete head": b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthor",
    "noise": bytes(range(256)) * 40,
    "line feeds": b"\n" * 5000,
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "an odd version": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "a lower case method": b"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long method": b"G" * 100_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long line": b"GET /" + b"a" * (3 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a huge header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (3 << 20) + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "a wrong length": b"POST /stats/summary HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad chunks": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n\r\n",
    "an upgrade to nothing": request_bytes("GET", f"/exec/{POD}/app", Connection="Upgrade", Upgrade=""),
    "an upgrade to an unknown protocol": request_bytes("GET", f"/exec/{POD}/app", Connection="Upgrade", Upgrade="x"),
    "a WebSocket without a key": request_bytes("GET", f"/exec/{POD}/app", Connection="Upgrade", Upgrade="websocket"),
    "CONNECT": b"CONNECT 127.0.0.1:6443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole URL": b"GET http://127.0.0.1:6443/pods HTTP/1.1\r\nHost: x\r\n\r\n",
    "an expectation": b"GET /pods HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
    "bytes that are not text": b"GET /\xff\xfe?\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "pipelining": request_bytes("GET", "/pods") * 500,
}


class TestHostileClients:
    @pytest.mark.parametrize("kind", GARBAGE)
    async def test_malformed_requests_get_no_data_and_do_not_break_the_server(
        self, parent: Cluster, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(parent) as served:
            reader, writer = await served.connect()
            writer.write(GARBAGE[kind])
            writer.transport.set_write_buffer_limits(high=0)
            answer = await _answer(reader)
            codes = {int(line.split()[1]) for line in answer.split(b"\n") if line.startswith(b"HTTP/1.")}
            assert codes <= {400, 401, 417, 431}, answer[:300]
            assert b"items" not in answer
            writer.transport.abort()
            assert await _healthy(served)
            await eventually_here(lambda: served.sockets() == 0, "no connection is left")
            assert served.member.asked == []
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    @pytest.mark.parametrize("kind", GARBAGE)
    async def test_malformed_requests_of_an_authorized_client_do_not_break_the_server(
        self, parent: Cluster, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(parent) as served:
            reader, writer = await served.connect(served.tls(served.apiserver))
            writer.write(GARBAGE[kind])
            answer = await _answer(reader)
            assert b" 500 " not in answer.partition(b"\r\n")[0]
            assert b"Traceback" not in answer
            writer.transport.abort()
            assert await _healthy(served)
            await eventually_here(lambda: served.sockets() == 0, "no connection is left")
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    async def test_a_command_with_invalid_utf_8_reaches_the_member_or_is_rejected(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            reader, writer = await served.connect(served.tls(served.apiserver))
            head = request_bytes("POST", f"/exec/{POD}/app?command=@", Connection="Upgrade", Upgrade="SPDY/3.1")
            writer.write(head.replace(b"@", b"\xff\xfe"))
            answer = await _answer(reader)
            assert answer.split(b" ")[1] in (b"400", b"404"), answer[:200]
            writer.close()

    @pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
    async def test_a_connection_without_a_complete_request_is_closed(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch, sent: bytes
    ) -> None:
        """Slowloris: bytes at intervals do not extend the deadline of the request."""
        monkeypatch.setattr(module, "_FIRST_REQUEST", 0.5)
        async with serving(parent) as served:
            reader, writer = await served.connect()
            writer.write(sent)
            drip = asyncio.create_task(_drip(writer, b"a" if sent else b""))
            async with asyncio.timeout(20):
                assert await _rest(reader) == b""
            drip.cancel()
            writer.transport.abort()
            await eventually_here(lambda: served.sockets() == 0, "no connection is left")

    async def test_a_connection_without_a_tls_handshake_is_closed(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_HANDSHAKE", 0.5)
        async with serving(parent) as served:
            reader, writer = await asyncio.open_connection(ADDRESS, served.port)
            async with asyncio.timeout(20):
                assert await reader.read() == b""
            writer.close()

    async def test_a_connection_with_repeated_wrong_credentials_is_closed(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_FIRST_REQUEST", 0.5)
        async with serving(parent) as served:
            reader, writer = await served.connect()
            async with asyncio.timeout(20):
                while True:
                    writer.write(request_bytes("GET", "/healthz"))
                    try:
                        head = await reader.readuntil(b"\r\n\r\n")
                    except (asyncio.IncompleteReadError, ConnectionError):
                        break
                    assert head.startswith(b"HTTP/1.1 401")
                    await reader.readexactly(len("Unauthorized"))
            writer.transport.abort()

    async def test_a_connection_beyond_the_limit_is_closed_at_once(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_CONNECTIONS", 3)
        async with serving(parent) as served:
            open_ones = [await served.connect() for _ in range(3)]
            reader, writer = await served.connect()
            async with asyncio.timeout(5):
                assert await _answer(reader) == b""
            writer.close()
            for _, each in open_ones:
                each.transport.abort()
            await eventually_here(lambda: served.sockets() == 0, "the connections are closed")
            assert await _healthy(served)


async def _healthy(served: Served) -> bool:
    async with served.session(served.tls(served.apiserver)) as session, session.get("/healthz") as response:
        return response.status == 200


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The bytes that arrive until the server pauses for a second or closes the connection."""
    answer = b""
    try:
        async with asyncio.timeout(1):
            while chunk := await reader.read(1 << 16):
                answer += chunk
    except (TimeoutError, ConnectionError, ssl.SSLError):
        pass
    return answer


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """The bytes that arrive until the connection ends, with or without an error."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def _drip(writer: asyncio.StreamWriter, drop: bytes) -> None:
    while True:
        await asyncio.sleep(0.05)
        writer.write(drop)
