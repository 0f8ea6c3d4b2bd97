"""The proxy of the tests itself: what it would leave behind fails whichever test runs when that is collected."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from typing import Any

import pytest

from tests.proxy import Proxy


async def test_refusing_closes_the_connections_that_are_being_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    async with Proxy("127.0.0.1", 9) as proxy:
        for turns in range(40):
            await proxy.accept()
            with contextlib.ExitStack() as stack:
                for client in [stack.enter_context(socket.socket()) for _ in range(5)]:
                    client.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        client.connect((proxy.host, proxy.port))
                for _ in range(turns % 4):
                    await asyncio.sleep(0)
                await proxy.refuse()
    gc.collect()
    assert dropped == []
