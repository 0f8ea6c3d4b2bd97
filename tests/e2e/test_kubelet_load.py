"""Many streams, concurrent and consecutive, and larger than memory: afterwards no resources are left."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from bench.execs import CLOSE, STDIN, STDOUT, Execs, outcome
from demo.world import World

from tests.e2e.kubelet_clients import Kubectl
from tests.e2e.test_pods import FOREVER, Pods, manifest

CONCURRENT: Final = 200
SEQUENTIAL: Final = 1000
FLOOD: Final = 300 << 20  # bytes of a log: far more than the provider may buffer
ROOM: Final = (
    48 << 20
)  # bytes by which the provider may grow: buffers of a stalled stream, and overhead of the allocator


@pytest.fixture(scope="module")
def home(world: World) -> Iterator[Pods]:
    """A namespace in which pod `shell` runs."""
    name = f"load-{uuid.uuid4().hex[:8]}"
    world.kubectl("create", "namespace", name)
    pods = Pods(world, name)
    pods.apply(manifest("shell", FOREVER))
    pods.until_running("shell")
    yield pods
    world.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(world: World, home: Pods) -> Kubectl:
    return Kubectl(world, home.namespace, {})


def execs(world: World, home: Pods) -> Execs:
    """Execs in pod `shell`, through the parent."""
    return Execs(world.parent, home.namespace, "shell")


def metric(world: World, name: str) -> int:
    """One of the provider's own metrics."""
    lines = world.kubectl("get", "--raw", "/api/v1/nodes/alpha/proxy/metrics").splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith(f"{name} "))


class Rest:
    """The resources of the idle provider, to check that they are released."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._files, self._tasks = self._open_files(), metric(world, "vk_provider_tasks")

    def regained(self) -> None:
        world = self._world
        world.until("no session is open", lambda: metric(world, "vk_provider_kubelet_sessions") == 0, seconds=60)
        # Idle connections and a restarting watch change the number a little.
        world.until("as many files are open as before", lambda: self._open_files() <= self._files + 5, seconds=120)
        world.until(
            "as many tasks run as before", lambda: metric(world, "vk_provider_tasks") <= self._tasks + 5, seconds=120
        )

    def _open_files(self) -> int:
        return len(list((provider_directory(self._world) / "fd").iterdir()))


def provider_directory(world: World) -> Path:
    assert world.provider is not None
    return Path(f"/proc/{world.provider.pid}")


def memory(world: World) -> int:
    """The resident memory in bytes."""
    return int((provider_directory(world) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_two_hundred_concurrent_execs_work_and_leave_no_resources(world: World, home: Pods) -> None:
    """None ends before all have started: the shim of containerd 1.6 does not support that.

    Starting an exec holds a lock that the report of an exit needs. After 32 further exits, the `runc` that the start
    waits for is never reaped. (`service.Start` and `sendL` in runtime/v2/runc/task/service.go of containerd 1.6.20)
    """
    rest = Rest(world)
    async with execs(world, home) as shell:
        streams = await asyncio.gather(*(shell.open("cat") for _ in range(CONCURRENT)))
        assert await asyncio.to_thread(metric, world, "vk_provider_kubelet_sessions") == CONCURRENT
        for number, stream in enumerate(streams):
            await stream.send_bytes(bytes([STDIN]) + b"%d" % number)
        echoes = await asyncio.gather(*(echo(stream) for stream in streams))
        for stream in streams:
            await stream.send_bytes(bytes([CLOSE, STDIN]))
        ends = await asyncio.gather(*(outcome(stream) for stream in streams))
    assert [int(out) for out in echoes] == list(range(CONCURRENT))
    assert all(out == b"" and b'"Success"' in status for out, status in ends)
    rest.regained()


async def echo(stream: aiohttp.ClientWebSocketResponse) -> bytes:
    """The next output of the command."""
    async for message in stream:
        data: bytes = message.data
        if data[0] == STDOUT and len(data) > 1:
            return data[1:]
    raise AssertionError("the command ended without output")


@pytest.mark.long
async def test_a_thousand_consecutive_execs_leave_no_resources(world: World, home: Pods) -> None:
    rest = Rest(world)

    async def one_by_one(shell: Execs, numbers: range) -> None:
        for number in numbers:
            out, _ = await outcome(await shell.open("echo", str(number)))
            assert int(out) == number

    async with execs(world, home) as shell:
        await one_by_one(shell, range(20))  # creates the objects that are kept, such as connections
        before = memory(world)
        await one_by_one(shell, range(SEQUENTIAL))
    rest.regained()
    assert memory(world) - before < ROOM


async def test_execs_of_clients_that_disappear_leave_no_resources(world: World, home: Pods) -> None:
    rest = Rest(world)
    async with execs(world, home) as shell:
        streams = await asyncio.gather(*(shell.open("cat") for _ in range(20)))
        for stream in streams:
            transport = stream.get_extra_info("socket")
            assert transport is not None
            stream._response.connection.transport.abort()  # type: ignore[union-attr]  # like a crash: without a close message
    rest.regained()


def test_a_log_larger_than_memory_passes_and_a_stalled_reader_needs_no_memory(
    world: World, home: Pods, kubectl: Kubectl
) -> None:
    flood = f'yes "$(head -c 4000 /dev/zero | tr "\\0" x)" | head -c {FLOOD}; sleep 1; echo; echo the end'
    home.apply(manifest("flood", f"until [ -e /go ]; do sleep 0.1; done; {flood}", restartPolicy="Never"))
    home.until_running("flood")
    rest, before = Rest(world), memory(world)
    with kubectl.start("logs", "-f", "flood") as reader:
        try:
            assert reader.stdout is not None
            kubectl.output("exec", "flood", "--", "touch", "/go")
            assert reader.stdout.read(1) == b"x"
            reader.send_signal(signal.SIGSTOP)
            world.until("the container has written all of it", lambda: home.phase("flood") == "Succeeded")
            grown = memory(world) - before
            reader.send_signal(signal.SIGCONT)
            last = b""
            while chunk := os.read(reader.stdout.fileno(), 1 << 20):
                last = (last + chunk)[-100:]
            assert reader.wait(timeout=60) == 0
        finally:
            reader.kill()
    assert last.endswith(b"the end\n")
    assert grown < ROOM
    rest.regained()
