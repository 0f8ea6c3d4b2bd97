"""Clients that are not authenticated can hold little of the kubelet API, and keep no other client from it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.kubelet_server import ADDRESS, Parent, Server, request_bytes, running
from tests.waiting import eventually_here
from vk_provider.kubelet import connections
from vk_provider.kubelet.auth import _Answer, _Cache

ROOT = Path(__file__).resolve().parents[2]
SOCK_RCVBUF_LOCK = 2  # of Linux' include/net/sock.h


async def refused(served: Server) -> dict[str, int]:
    """The counters, as the server's own metrics show them."""
    _, text = await served.ask("/metrics", certified=True)
    lines = [line for line in text.splitlines() if line.startswith("vk_provider_kubelet_refused_total")]
    return {line.split('reason="')[1].split('"')[0]: int(float(line.split()[-1])) for line in lines}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_forty_clients_with_the_largest_headers_hold_at_most_32_mib(loop: str) -> None:
    command = [sys.executable, "-m", "tests.unit.kubelet_flood", loop]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 32 << 20


async def test_a_connection_that_sends_too_much_is_closed() -> None:
    async with running(Server(Parent())) as served:
        _reader, writer = await served.connect()
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n")
            for number in range(60):
                writer.write(b"X-%d: " % number + b"b" * 10_000 + b"\r\n")
                await writer.drain()
        await eventually_here(lambda: served.kubelet._refused["bytes"] == 1, "it is closed")
        assert (await refused(served))["bytes"] == 1
        assert served.bounds.held == 0


async def test_the_client_that_holds_the_most_is_closed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_UNKNOWN_BYTES_TOGETHER", 100_000)
    async with running(Server(Parent())) as served:
        clients = [await served.connect() for _ in range(3)]
        for (_, writer), size in zip(clients, (60_000, 30_000, 30_000), strict=True):
            writer.write(b"GET /" + b"a" * size)
            await writer.drain()
        await eventually_here(lambda: served.kubelet._refused["bytes"] == 1, "one is closed")
        await eventually_here(lambda: sorted(each.held for each in served.bounds.unknown) == [30_005, 30_005], "both")
        assert await served.ask("/healthz", token="good") == (200, "ok")
        for _, writer in clients:
            writer.transport.abort()


async def test_clients_that_never_finish_their_handshake_do_not_lock_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_HANDSHAKES", 3)
    async with running(Server(Parent())) as served:
        clients = [await asyncio.open_connection(ADDRESS, served.port) for _ in range(10)]
        await eventually_here(lambda: served.kubelet._refused["handshake"] == 7, "the oldest end")
        assert len(served.bounds.handshakes) == 3
        assert await served.ask("/healthz", certified=True) == (200, "ok")
        for _, writer in clients:
            writer.close()


async def test_clients_that_send_no_request_do_not_lock_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_UNKNOWN", 3)
    async with running(Server(Parent())) as served:
        clients = [await served.connect() for _ in range(10)]
        await eventually_here(lambda: served.kubelet._refused["connections"] == 7, "the oldest are closed")
        assert len(served.bounds.unknown) == 3
        assert await served.ask("/healthz", token="good") == (200, "ok")
        for _, writer in clients:
            writer.transport.abort()


async def test_a_client_with_a_certificate_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_UNKNOWN", 0)
    monkeypatch.setattr(connections, "_UNKNOWN_BYTES", 0)
    async with running(Server(Parent())) as served:
        assert await served.ask("/healthz", certified=True) == (200, "ok")


async def test_a_client_whose_request_was_admitted_is_known() -> None:
    async with running(Server(Parent())) as served:
        reader, writer = await served.connect()
        await eventually_here(lambda: len(served.bounds.unknown) == 1, "the handshake has ended")
        writer.write(request_bytes("GET", "/healthz", "good").replace(b"Connection: close\r\n", b""))
        await reader.readuntil(b"ok")
        assert (len(served.bounds.unknown), served.bounds.held) == (0, 0)
        writer.close()


async def test_the_kernel_holds_little_for_a_client_until_it_is_known() -> None:
    def receive_buffer_is_fixed(connection: web.RequestHandler) -> bool:
        assert connection.transport is not None
        tcp = connection.transport.get_extra_info("socket")
        return bool(tcp.getsockopt(socket.SOL_SOCKET, connections._SO_BUF_LOCK) & SOCK_RCVBUF_LOCK)

    async with running(Server(Parent())) as served:
        reader, writer = await served.connect()
        await eventually_here(lambda: len(served.bounds.unknown) == 1, "the handshake has ended")
        (first,) = served.bounds.unknown
        assert receive_buffer_is_fixed(first)
        writer.write(request_bytes("GET", "/healthz", "good").replace(b"Connection: close\r\n", b""))
        await reader.readuntil(b"ok")
        assert not receive_buffer_is_fixed(first)
        _, certified = await served.connect(certified=True)
        await eventually_here(lambda: len(first._server.connections) == 2, "the handshake has ended")
        assert not any(map(receive_buffer_is_fixed, first._server.connections))
        writer.close()
        certified.close()


async def test_a_client_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_FIRST_REQUEST", 0.05)
    async with running(Server(Parent())) as served:
        reader, writer = await served.connect()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        monkeypatch.setattr(connections, "_FIRST_REQUEST", 15.0)
        assert (await refused(served))["timeout"] == 1


async def test_noise_instead_of_a_handshake_is_counted_and_breaks_nothing() -> None:
    async with running(Server(Parent())) as served:
        reader, writer = await asyncio.open_connection(ADDRESS, served.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        assert (await refused(served))["handshake"] == 1


async def test_the_process_has_one_bound_for_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_UNKNOWN", 1)
    bounds = connections.Bounds()
    async with running(Server(Parent(), bounds=bounds)) as one, running(Server(Parent(), bounds=bounds)) as other:
        clients = [await one.connect()]
        await eventually_here(lambda: bounds.unknown, "the handshake has ended")
        clients.append(await other.connect())
        await eventually_here(lambda: one.kubelet._refused["connections"] == 1, "the oldest is closed")
        assert len(bounds.unknown) == 1
        for _, writer in clients:
            writer.transport.abort()


async def test_a_server_that_stops_ends_handshakes() -> None:
    async with running(Server(Parent())) as served:
        reader, writer = await asyncio.open_connection(ADDRESS, served.port)
        await eventually_here(lambda: served.bounds.handshakes, "the handshake begins")
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert served.bounds.handshakes == {}


class TestTokens:
    @pytest.mark.parametrize("token", ["x" * ((16 << 10) + 1), "é"])
    async def test_what_is_no_token_is_refused_without_a_review(self, token: str) -> None:
        parent = Parent()
        async with running(Server(parent)) as served:
            assert await served.ask("/healthz", token=token) == (401, "Unauthorized")
            assert parent.reviewed == []
            assert (await refused(served))["token"] == 1

    async def test_a_flood_of_tokens_is_reviewed_in_few_requests_at_a_time_and_delays_no_known_client(self) -> None:
        parent = Parent()
        parent.review_takes = 0.2
        async with running(Server(parent)) as served:
            flood = [asyncio.create_task(served.ask("/healthz", token=secrets.token_hex())) for _ in range(40)]
            await eventually_here(lambda: parent.reviewing, "the flood begins")
            assert await served.ask("/healthz", certified=True) == (200, "ok")
            assert not all(task.done() for task in flood)
            assert {code for code, _ in await asyncio.gather(*flood)} == {401}
            assert parent.most_reviewing <= 4

    async def test_random_tokens_do_not_displace_answers_about_good_ones(self) -> None:
        cache: _Cache[bool] = _Cache(size=8)
        asked: list[bytes] = []

        async def get(key: bytes, good: bool) -> bool:
            async def ask() -> _Answer[bool]:
                asked.append(key)
                return _Answer(good, 1000.0, good=good)

            return await cache.get(key, ask)

        await get(b"good", True)
        for _ in range(100):
            await get(secrets.token_bytes(), False)
        assert await get(b"good", True)
        assert asked.count(b"good") == 1

    async def test_a_cache_full_of_good_answers_drops_the_oldest(self) -> None:
        cache: _Cache[int] = _Cache(size=3)
        asked: list[int] = []

        async def get(number: int) -> None:
            async def ask() -> _Answer[int]:
                asked.append(number)
                return _Answer(number, 1000.0, good=True)

            await cache.get(bytes([number]), ask)

        for number in (1, 2, 3, 4, 3, 4, 1):
            await get(number)
        assert asked == [1, 2, 3, 4, 1]
