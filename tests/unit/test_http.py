"""Requests to scripted API servers: redirects, compressed lists and deadlines."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.gateway import Gateway, bookmark, event, failure, item, stream
from tests.waiting import eventually_here
from vk_provider.errors import ApiError, UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.http import bodies
from vk_provider.kube.http.bodies import Gunzip
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Payload
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES
from vk_provider.kube.timestamps import ServerClock

WATCH = {"watch": "1", "sendInitialEvents": "true"}


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_no_request_is_sent_to_another_server(self, status: int) -> None:
        async def elsewhere(request: web.Request) -> web.Response:
            return web.json_response({"message": "internal"}, status=403)

        async def redirect(request: web.Request) -> web.Response:
            body = json.dumps({"message": "internal"})
            return web.Response(status=status, headers={"Location": f"{other.server}/private"}, text=body)

        async with Gateway(elsewhere) as other, Gateway(redirect) as gateway, gateway.client() as client:
            requests: list[Any] = [
                client.get(NAMESPACES, "x", type=PartialObject),
                client.create(NAMESPACES, {}, type=PartialObject),
                client.delete(NAMESPACES, "x"),
                client.list(NAMESPACES, type=PartialObject),
                client.open("POST", "/exec"),
                anext(client.stream("/watch", WATCH, inactivity=5)),
            ]
            for each in requests:
                with pytest.raises(ApiError, match="is not a Kubernetes API server") as refused:
                    await each
                assert "internal" not in str(refused.value) and other.server not in str(refused.value)
                assert (refused.value.status, refused.value.reason) == (status, "NotKubernetes")
            assert other.asked == []


class TestCompression:
    async def test_a_list_is_asked_for_compressed_and_other_requests_are_not(self) -> None:
        asked: dict[str, str] = {}

        async def script(request: web.Request) -> web.Response:
            asked[f"{request.method} {request.query_string}"] = request.headers.get("Accept-Encoding", "")
            if "limit" in request.query:
                body = gzip.compress(json.dumps({"metadata": {}, "items": [item("a", 1)]}).encode())
                return web.Response(body=body, headers={"Content-Encoding": "gzip"})
            return web.json_response(item("a", 1))

        async with Gateway(script) as gateway, gateway.client() as client:
            found = await client.list(CONFIG_MAPS, "ns", type=PartialObject)
            await client.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
            await client.patch(CONFIG_MAPS, "a", {}, "ns", type=PartialObject)
        assert [each.metadata.name for each in found] == ["a"]
        assert asked == {"GET limit=500": "gzip", "GET ": "", "PATCH ": ""}

    async def test_a_streaming_list_is_compressed_and_what_follows_a_long_time_is_not(self) -> None:
        """As Kubernetes 1.37 does it: a gzip member for each event."""
        written = 150

        async def script(request: web.Request) -> web.StreamResponse:
            if "sendInitialEvents" not in request.query:
                return await stream(request, event("ADDED", item("last", 1000)))
            assert request.headers["Accept-Encoding"] == "gzip"
            answer = web.StreamResponse(headers={"Content-Encoding": "gzip"})
            await answer.prepare(request)
            for line in (event("ADDED", item("a", 1)), bookmark(5, end_of_list=True)):
                await answer.write(gzip.compress(line))
            for number in range(written):
                await answer.write(gzip.compress(event("ADDED", item(f"live-{number}", 10 + number))))
            await asyncio.Event().wait()
            return answer

        async with Gateway(script) as gateway, gateway.client() as client:
            gateway.newest = "2000"
            informer: Informer[Payload] = Informer(client, CONFIG_MAPS, Payload)
            running = asyncio.create_task(informer.run())
            await eventually_here(lambda: "ns/last" in informer.items, "it goes on without compression")
            running.cancel()
            assert {"ns/a", "ns/live-0", "ns/live-99"} <= informer.items.keys()
            assert gateway.asked[-1].query["resourceVersion"] in ("110", "111")

    async def test_a_list_of_one_object_is_not_compressed(self) -> None:
        async def script(request: web.Request) -> web.StreamResponse:
            assert "Accept-Encoding" not in request.headers
            return await stream(request, bookmark(5, end_of_list=True), stay=False)

        query = WATCH | {"fieldSelector": "metadata.name=a"}
        async with Gateway(script) as gateway, gateway.client() as client:
            async with aclosing(client.stream("/watch", query, inactivity=5)) as lines:
                assert [line async for line in lines if line]

    def test_members_of_any_size_in_chunks_of_any_size(self) -> None:
        texts = [b"a" * 3_000_000, b"", b"b", bytes(range(256)) * 999]
        data = b"".join(gzip.compress(text) for text in texts)
        for size in (1, 7, 1000, len(data)):
            gunzip = Gunzip()
            chunks = [data[start : start + size] for start in range(0, len(data), size)]
            assert b"".join(piece for chunk in chunks for piece in gunzip.feed(chunk)) == b"".join(texts)

    def test_what_has_been_flushed_comes_out_at_once(self) -> None:
        compressor, gunzip = zlib.compressobj(wbits=31), Gunzip()
        for text in (b"one" * 100, b"two"):
            data = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
            assert b"".join(gunzip.feed(data)) == text

    def test_invalid_data_is_a_broken_answer(self) -> None:
        with pytest.raises(aiohttp.ClientPayloadError, match="not valid gzip"):
            list(Gunzip().feed(b"plain text"))

    @pytest.mark.parametrize("query", [{"limit": "500"}, WATCH], ids=["page", "watch"])
    async def test_an_answer_that_decompresses_to_too_much_is_refused(
        self, query: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bodies, "_LARGEST_PAGE", 2**22)
        monkeypatch.setattr(bodies, "_LARGEST_LINE", 2**22)

        async def script(request: web.Request) -> web.Response:
            return web.Response(body=gzip.compress(b"0" * 2**24), headers={"Content-Encoding": "gzip"})

        async with Gateway(script) as gateway, gateway.client() as client:
            with pytest.raises(UnreachableError, match="has more than 4 MiB"):
                if "watch" in query:
                    await anext(client.stream("/watch", query, inactivity=5))
                else:
                    await client.request("GET", "/list", query=query)


class TestDeadlines:
    async def test_a_page_that_makes_progress_is_not_cut(self) -> None:
        async def script(request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            for part in (b'{"metadata": {}, ', b'"items"', b": ", b"[", b"]", b"}"):
                await asyncio.sleep(0.2)
                await answer.write(part)
            return answer

        async with Gateway(script) as gateway, gateway.client() as client:
            assert b"items" in await client.request("GET", "/list", query={"limit": "500"}, deadline=0.6)
            with pytest.raises(UnreachableError, match="no answer in time"):
                await client.request("GET", "/other", deadline=0.6)

    async def test_a_page_that_stops_is_asked_for_in_smaller_pages_and_what_had_arrived_is_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        defaults = {**(Client.request.__kwdefaults__ or {}), "deadline": 0.3}
        monkeypatch.setattr(Client.request, "__kwdefaults__", defaults)

        async def script(request: web.Request) -> web.StreamResponse:
            query = request.query
            if "sendInitialEvents" in query:
                return failure(422, "Invalid")
            if "watch" in query:
                return await stream(request)
            if query.get("continue") == "2" and query["limit"] == "500":
                await asyncio.sleep(30)
            number = int(query.get("continue", "1"))
            metadata = {"resourceVersion": "9", "continue": str(number + 1) if number < 3 else ""}
            return web.json_response({"metadata": metadata, "items": [item(f"c{number}", number)]})

        async with Gateway(script) as gateway, gateway.client() as client:
            informer: Informer[Payload] = Informer(client, CONFIG_MAPS, Payload)
            running = asyncio.create_task(informer.run())
            await eventually_here(informer.synced.is_set, "it is listed")
            running.cancel()
            pages = [(each.query["limit"], each.query.get("continue", "")) for each in gateway.asked if _page(each)]
            assert pages == [("500", ""), ("500", "2"), ("125", "2"), ("125", "3")]
            assert informer.items.keys() == {"ns/c1", "ns/c2", "ns/c3"}

    async def test_a_streaming_list_that_is_cut_is_continued_in_pages(self) -> None:
        async def script(request: web.Request) -> web.StreamResponse:
            if "sendInitialEvents" in request.query:
                answer = web.StreamResponse()
                await answer.prepare(request)
                await answer.write(event("ADDED", item("a", 1)))
                assert request.transport is not None
                request.transport.abort()
                return answer
            if "watch" in request.query:
                return await stream(request)
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": [item("a", 1), item("b", 2)]})

        async with Gateway(script) as gateway, gateway.client() as client:
            informer: Informer[Payload] = Informer(client, CONFIG_MAPS, Payload)
            running = asyncio.create_task(informer.run())
            await eventually_here(informer.synced.is_set, "it is listed")
            running.cancel()
            assert informer.items.keys() == {"ns/a", "ns/b"}

    async def test_a_stream_whose_answer_does_not_begin_is_given_up(self) -> None:
        async def script(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(30)
            return web.Response()

        async with Gateway(script) as gateway, gateway.client() as client:
            with pytest.raises(UnreachableError, match="no answer in time"):
                await client.open("POST", "/exec", deadline=0.2)

    async def test_a_429_holds_a_request_for_seconds_only_and_leaves_the_rest_to_its_caller(self) -> None:
        async def script(request: web.Request) -> web.StreamResponse:
            return failure(429, "TooManyRequests", "too many", Retry_After="20")

        async with Gateway(script) as gateway, gateway.client() as client:
            async with asyncio.timeout(5):
                with pytest.raises(ApiError, match="too many") as refused:
                    await client.request("GET", "/")
        assert refused.value.retry_after == 20

    async def test_requests_that_were_refused_together_do_not_come_back_together(self) -> None:
        async def script(request: web.Request) -> web.StreamResponse:
            if len(gateway.asked) <= 8:
                return failure(429, "TooManyRequests", Retry_After="1")
            return web.Response(text="ok")

        async with Gateway(script) as gateway, gateway.client() as client:
            await asyncio.gather(*(client.request("GET", "/") for _ in range(8)))
            again = [asked.at for asked in gateway.asked[8:]]
            assert max(again) - min(again) > 0.1


def _page(asked: Any) -> bool:
    return "watch" not in asked.query


@pytest.mark.parametrize(
    "date",
    [
        "",
        "today",
        "Mon, 99 Nov 2026 00:00:00 GMT",
        "Mon, 30 Nov 2026 20:54:58 +99999999999999999999",
        "Mon, 30 Nov 99999999999999999999 20:54:58 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_a_date_of_a_server_that_is_none_is_ignored(date: str) -> None:
    clock = ServerClock()
    clock.set(date)
    assert abs(clock.now().timestamp() - time.time()) < 60
