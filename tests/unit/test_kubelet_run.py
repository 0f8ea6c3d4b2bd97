"""/run answers the output of a command, as a kubelet does; and what the server tells about itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway import Gateway, failure
from tests.unit.kubelet_server import ADDRESS, Parent, Server, request_bytes, running
from vk_provider.config import CertificateFiles, KubeletSettings
from vk_provider.translate.kubelet.channels import Output, pong

SUCCESS = b'\x03{"metadata":{},"status":"Success"}'
RUN = "/run/shop/web-1/app"


def exited(code: int) -> bytes:
    causes = [{"reason": "ExitCode", "message": str(code)}]
    status = {"status": "Failure", "reason": "NonZeroExitCode", "message": "failed", "details": {"causes": causes}}
    return b"\x03" + json.dumps(status).encode()


class Member:
    """A member that runs commands."""

    def __init__(self, *messages: bytes, close: bool = True) -> None:
        self._messages, self._close = messages, close
        self.queries: list[list[str]] = []
        self.protocol: str | None = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        assert request.path == "/api/v1/namespaces/shop/pods/web-1/exec"
        self.queries.append(request.query.getall("command"))
        socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io", "v4.channel.k8s.io"])
        await socket.prepare(request)
        self.protocol = socket.ws_protocol
        await socket.ping(b"are you there")
        for message in self._messages:
            await socket.send_bytes(message)
        if not self._close and request.transport is not None:
            request.transport.close()
        return socket


async def answer_of(
    member: Callable[[web.Request], Awaitable[web.StreamResponse]], path: str, method: str = "POST"
) -> tuple[int, str]:
    async with (
        Gateway(member) as gateway,
        gateway.client() as client,
        running(Server(Parent(), member=client)) as served,
    ):
        return await served.ask(path, method=method, certified=True)


async def test_the_answer_is_the_output_of_the_command() -> None:
    member = Member(b"\x01one\n", b"\x02two\n", b"\x01three\n", SUCCESS)
    assert await answer_of(member, f"{RUN}?cmd=ls+-l%20/") == (200, "one\nthree\ntwo\n")
    assert member.queries == [["ls", "-l", "/"]]
    assert member.protocol == "v5.channel.k8s.io"


async def test_the_command_may_be_in_a_form() -> None:
    member = Member(b"\x01ok\n", SUCCESS)
    async with (
        Gateway(member) as gateway,
        gateway.client() as client,
        running(Server(Parent(), member=client)) as served,
    ):
        reader, writer = await served.connect(certified=True)
        form = b"cmd=echo+a%26b"
        headers = ("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(form)}")
        writer.write(request_bytes("POST", RUN, "", *headers) + form)
        answer = await reader.read()
        writer.close()
    assert (answer.split()[1], answer.partition(b"\r\n\r\n")[2]) == (b"200", b"ok\n")
    assert member.queries == [["echo", "a&b"]]


async def test_a_command_that_fails_is_an_error_with_its_exit_code() -> None:
    member = Member(b"\x02no such file\n", exited(2))
    assert await answer_of(member, f"{RUN}?cmd=ls+x") == (500, "command 'ls x' exited with 2: no such file\n")


async def test_a_command_that_cannot_be_run_is_an_error() -> None:
    member = Member(b'\x03{"status":"Failure","message":"exec: no such program"}')
    assert await answer_of(member, f"{RUN}?cmd=x") == (500, "exec: no such program")


async def test_a_member_that_is_gone_during_the_command_is_an_error() -> None:
    member = Member(b"\x01half", close=False)
    assert await answer_of(member, f"{RUN}?cmd=x") == (500, "the connection to the member ended before the command")


async def test_a_refusal_of_the_member_is_passed_on() -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return failure(403, "Forbidden", "pods/exec is forbidden")

    assert await answer_of(refuse, f"{RUN}?cmd=x") == (403, "pods/exec is forbidden")


def frame(payload: bytes, opcode: int = 2, *, final: bool = True) -> bytes:
    """As a server sends it."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    else:
        length = b"\x7e" + size.to_bytes(2, "big") if size < 1 << 16 else b"\x7f" + size.to_bytes(8, "big")
    return bytes([(0x80 if final else 0) | opcode]) + length + payload


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 70))
def test_frames_may_arrive_in_pieces(outputs: list[bytes], piece: int) -> None:
    data = b"".join(frame(b"\x01" + output) for output in outputs) + frame(SUCCESS) + frame(b"\x03\xe8", 8)
    output = Output()
    for start in range(0, len(data), piece):
        output.feed(data[start : start + piece])
    assert (output.text, output.failure("x"), output.ended) == (b"".join(outputs), "", True)


def test_messages_may_be_of_several_frames() -> None:
    output = Output()
    output.feed(frame(b"\x01one", final=False) + frame(b"ping", 9) + frame(b" two", 0))
    assert output.text == b"one two"


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 1 << 20])
def test_messages_may_be_long(size: int) -> None:
    output = Output()
    output.feed(frame(b"\x01" + b"x" * (size - 1)))
    assert len(output.text) == size - 1


def test_output_is_bounded() -> None:
    output = Output()
    for _ in range(20):
        output.feed(frame(b"\x01" + b"x" * (1 << 20)))
    assert len(output.text) == 16 << 20


def test_a_frame_that_is_too_large_ends_the_output() -> None:
    output = Output()
    output.feed(b"\x82\x7f" + (1 << 40).to_bytes(8, "big") + b"x" * 1000)
    assert (output.ended, output.text) == (True, b"")
    assert output.failure("x") == "the connection to the member ended before the command"


def test_pings_are_answered() -> None:
    (ping,) = Output().feed(frame(b"are you there", 9))
    assert pong(ping) == b"\x8a\x8d\0\0\0\0are you there"


@pytest.mark.parametrize("check", ["", "/ping", "/log", "/syncloop"])
async def test_health_checks(check: str) -> None:
    async with running(Server(Parent())) as served:
        assert await served.ask(f"/healthz{check}", certified=True) == (200, "ok")
        assert (await served.ask("/healthz/nothing", certified=True))[0] == 404


async def configuration(settings: KubeletSettings | None = None) -> tuple[dict[str, Any], int]:
    async with running(Server(Parent(), settings)) as served:
        status, body = await served.ask("/configz", certified=True)
        assert status == 200
        return json.loads(body)["kubeletconfig"], served.port


async def test_configz_shows_what_is_true() -> None:
    found, port = await configuration()
    assert (found["kind"], found["apiVersion"]) == ("KubeletConfiguration", "kubelet.config.k8s.io/v1beta1")
    assert (found["address"], found["port"], found["serverTLSBootstrap"]) == (ADDRESS, port, True)
    assert found["authentication"] == {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True, "cacheTTL": "120s"},
    }
    assert found["streamingConnectionIdleTimeout"] == "14400s"


@pytest.mark.parametrize("asked", ["", "h2c", "TLS/1.0", "websocket, SPDY/3.1", "x"])
@pytest.mark.parametrize("stream", ["exec", "attach"])
async def test_only_protocols_of_streams_are_passed_on(stream: str, asked: str) -> None:
    async def member(request: web.Request) -> web.StreamResponse:
        raise AssertionError("the member is asked")

    async with (
        Gateway(member) as gateway,
        gateway.client() as client,
        running(Server(Parent(), member=client)) as served,
    ):
        reader, writer = await served.connect(certified=True)
        writer.write(request_bytes("POST", f"/{stream}/shop/web-1/app", "", f"Upgrade: {asked}"))
        answer = await reader.read()
        writer.close()
    assert answer.split()[1] == b"400"
    assert b"the request must ask for an upgrade to websocket or SPDY/3.1" in answer


@pytest.mark.parametrize(("asked", "passed"), [("WebSocket", "websocket"), ("spdy/3.1", "SPDY/3.1")])
async def test_the_protocols_of_streams_are_passed_on(asked: str, passed: str) -> None:
    seen: list[str] = []

    async def member(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Upgrade"])
        return failure(404, "NotFound")

    async with (
        Gateway(member) as gateway,
        gateway.client() as client,
        running(Server(Parent(), member=client)) as served,
    ):
        reader, writer = await served.connect(certified=True)
        writer.write(request_bytes("POST", "/exec/shop/web-1/app", "", "Connection: Upgrade", f"Upgrade: {asked}"))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        writer.close()
    assert seen == [passed]


async def test_configz_names_the_files_of_the_certificate(tmp_path: Path) -> None:
    parent = Parent()
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    issued = parent.ca.issue_cert(ADDRESS)
    issued.cert_chain_pems[0].write_to_path(str(files.certificate))
    issued.private_key_pem.write_to_path(str(files.key))
    async with running(Server(parent, KubeletSettings(address=ADDRESS, files=files))) as served:
        found = json.loads((await served.ask("/configz", certified=True))[1])["kubeletconfig"]
    assert (found["tlsCertFile"], found["serverTLSBootstrap"]) == (str(files.certificate), False)
