"""A program: the kubelet server, and many clients without credentials that send the largest headers.

Its argument is the event loop. Prints by how many bytes the resident memory of the server's process grew at its peak.
The clients are in a process of their own. The server's loop is often busy, as on a slow machine: all that the clients
send in that time is ready in one iteration.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from typing import Final

import uvloop

from tests.unit.kubelet_server import ADDRESS, Parent, Server, running

CLIENTS: Final = 40
FIELDS: Final = 128
LINE: Final = b"GET /" + b"a" * ((1 << 20) - 100) + b" HTTP/1.1\r\nHost: x\r\n"
FIELD: Final = b"X-%d: " + b"b" * (16 << 10) + b"\r\n"


def peak() -> int:
    """Bytes of resident memory of this process at its peak. (`ru_maxrss` includes that of the process that forked.)"""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


async def send(port: int, done: asyncio.Event) -> None:
    """Sends as much as it may, and never ends its headers."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError, ssl.SSLError):
        _, writer = await asyncio.open_connection(ADDRESS, port, ssl=tls)
        writer.write(LINE)
        for i in range(FIELDS):
            writer.write(FIELD % i)
            await writer.drain()
        await done.wait()


async def flood(port: int) -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(4, done.set)
    await asyncio.gather(*(send(port, done) for _ in range(CLIENTS)))


async def be_busy() -> None:
    while True:
        await asyncio.sleep(0.1)
        time.sleep(0.5)  # noqa: ASYNC251  (it is to stop the loop)


async def main() -> None:
    async with running(Server(Parent())) as served:
        assert await served.ask("/healthz") == (401, "Unauthorized")  # everything is loaded
        before = peak()
        busy = asyncio.create_task(be_busy())
        clients = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.unit.kubelet_flood", str(served.port)
        )
        assert await clients.wait() == 0
        busy.cancel()
        assert await served.ask("/healthz", certified=True) == (200, "ok")
        sys.stdout.write(str(peak() - before))


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        asyncio.run(flood(int(sys.argv[1])))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None) as runner:
            runner.run(main())
