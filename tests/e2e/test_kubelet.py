"""Logs, exec, attach, port-forward and others with kubectl, through the kubelet API of virtual nodes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from demo.world import World

from tests.e2e.kubelet_clients import (
    LONG,
    SERVE,
    SPDY,
    Kubectl,
    fetch,
    forwarded,
    same_error,
    terminal,
    undeclared,
    until_size,
)
from tests.e2e.test_pods import BUSYBOX, FOREVER, Pods, manifest

MEGABYTES: Final = 100
BINARY: Final = random.Random(1).randbytes(MEGABYTES << 20)
DIGEST: Final = hashlib.sha256(BINARY).hexdigest()

LOG_OPTIONS: Final = [
    tuple(options.split())
    for options in (
        *("", "--tail=0", "--tail=2", "--tail=-1", "--since=1h", "--since=1s", "--since-time=2020-01-01T00:00:00Z"),
        *("--timestamps", "--limit-bytes=7", "--timestamps --tail=1 --limit-bytes=20", "-c second", "-c first"),
    )
]
TALK: Final = 'for i in 1 2 3 4 5; do echo "main says $i"; done; echo "main complains" >&2'


@pytest.fixture(scope="module")
def home(world: World) -> Iterator[Pods]:
    """A namespace with pod `shell`, which has a web server in a second container, and the completed pod `talker`."""
    name = f"kubelet-{uuid.uuid4().hex[:8]}"
    world.kubectl("create", "namespace", name)
    pods = Pods(world, name)
    main = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", FOREVER]}
    web = {"name": "web", "image": BUSYBOX, "command": ["sh", "-c", SERVE]}
    pods.apply(manifest("shell", "", containers=[main, web]))
    first = {"name": "first", "image": BUSYBOX, "command": ["echo", "init speaks"]}
    second = {"name": "second", "image": BUSYBOX, "command": ["echo", "second speaks"]}
    talker = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", TALK]}
    pods.apply(manifest("talker", "", initContainers=[first], containers=[talker, second], restartPolicy="Never"))
    pods.until_running("shell")
    world.until("talker has completed", lambda: pods.phase("talker") == "Succeeded")
    yield pods
    world.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module", params=["WebSocket", "SPDY", "translated"])
def protocol(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """The protocol of kubectl, and that of the node.

    WebSocket and SPDY pass unchanged, because the node declares ExtendWebSocketsToKubelet. If a node does not, the API
    server translates WebSockets to SPDY.
    """
    with contextlib.ExitStack() as stack:
        if request.param == "translated":
            stack.enter_context(undeclared(world))
        yield request.param


@pytest.fixture
def kubectl(world: World, home: Pods, protocol: str) -> Kubectl:
    return Kubectl(world, home.namespace, SPDY if protocol == "SPDY" else {})


@pytest.fixture
def plain(world: World, home: Pods) -> Kubectl:
    """kubectl for requests that are no streams."""
    return Kubectl(world, home.namespace, {})


class TestLogs:
    @pytest.mark.parametrize("options", LOG_OPTIONS, ids=" ".join)
    def test_are_the_same_as_in_the_member_with_every_option(self, plain: Kubectl, options: tuple[str, ...]) -> None:
        chosen = options if "-c" in options else ("-c", "main", *options)
        here = plain.output("logs", "talker", *chosen)
        assert here == plain.output("logs", "talker", *chosen, cluster="alpha")
        assert (here == b"") == (options in (("--tail=0",), ("--since=1s",)))

    def test_of_all_containers_are_combined(self, plain: Kubectl) -> None:
        lines = plain.output("logs", "talker", "--all-containers").decode().splitlines()
        assert {"init speaks", "second speaks", "main says 5", "main complains"} <= set(lines)

    def test_of_the_previous_container_are_available(self, world: World, home: Pods, plain: Kubectl) -> None:
        home.apply(manifest("crash", 'echo "life of $(cat /proc/sys/kernel/random/uuid)"; exit 3'))
        world.until("the container has crashed", lambda: home.container("crash").get("restartCount", 0) >= 1)
        # The runtime removes older containers some time after the start of the current one.
        world.until(
            "the logs are available", lambda: plain.run("logs", "crash", "--previous")[1].startswith(b"life of ")
        )
        code, _, errors = plain.run("logs", "talker", "-c", "main", "--previous")
        assert (code, "previous terminated container" in errors) == (1, True), errors

    def test_are_followed_until_the_container_ends(self, home: Pods, plain: Kubectl) -> None:
        home.apply(manifest("brief", "for i in 1 2 3; do echo $i; sleep 1; done", restartPolicy="Never"))
        home.until_running("brief")
        assert plain.output("logs", "brief", "-f").split() == [b"1", b"2", b"3"]


class TestExec:
    def test_returns_stdout_and_stderr(self, kubectl: Kubectl) -> None:
        code, out, errors = kubectl.run("exec", "shell", "-c", "main", "--", "sh", "-c", "echo out; echo err >&2")
        assert (code, out, errors) == (0, b"out\n", "err\n")

    @pytest.mark.parametrize("code", [1, 42, 255])
    def test_returns_the_exit_code_of_the_command(self, kubectl: Kubectl, code: int) -> None:
        assert kubectl.run("exec", "shell", "-c", "main", "--", "sh", "-c", f"exit {code}")[0] == code

    def test_passes_stdin_until_its_end(self, kubectl: Kubectl) -> None:
        given = b"one\ntwo\n"
        assert kubectl.output("exec", "-i", "shell", "-c", "main", "--", "wc", "-l", stdin=given) == b"2\n"

    def test_passes_a_command_of_9_kilobytes(self, kubectl: Kubectl) -> None:
        text = "".join(random.Random(2).choices("abc &=%+?#/\\'\"ü\n", k=9000))
        assert kubectl.output("exec", "shell", "-c", "main", "--", "printf", "%s", text) == text.encode()

    def test_sends_binary_data(self, kubectl: Kubectl) -> None:
        answer = kubectl.output("exec", "-i", "shell", "-c", "main", "--", "sha256sum", stdin=BINARY)
        assert answer.split()[0].decode() == DIGEST

    def test_receives_binary_data(self, kubectl: Kubectl) -> None:
        script = f"head -c {MEGABYTES << 20} /dev/urandom > /tmp/b; sha256sum /tmp/b >&2; cat /tmp/b"
        code, out, errors = kubectl.run("exec", "shell", "-c", "main", "--", "sh", "-c", script)
        assert (code, len(out)) == (0, MEGABYTES << 20)
        assert hashlib.sha256(out).hexdigest() == errors.split()[0]

    def test_sends_and_receives_binary_data_at_the_same_time(self, kubectl: Kubectl) -> None:
        out = kubectl.output("exec", "-i", "shell", "-c", "main", "--", "cat", stdin=BINARY)
        assert hashlib.sha256(out).hexdigest() == DIGEST

    def test_has_a_terminal_with_the_current_size_of_the_users_terminal(self, kubectl: Kubectl) -> None:
        with terminal(kubectl, "exec", "-it", "shell", "-c", "main", "--", "sh", size=(30, 100)) as (
            type_,
            until,
            resize,
        ):
            type_(until_size(30, 100) + "; tty\n")
            until("it is 30 by 100")
            until("/dev/pts/")
            resize((44, 123))
            type_(until_size(44, 123) + "\n")
            until("it is 44 by 123")
            type_("exit 7\n")
            until("exit code 7")

    def test_runs_in_the_selected_container(self, kubectl: Kubectl) -> None:
        assert kubectl.output("exec", "shell", "-c", "web", "--", "ls", "/www") == b"file\nsum\n"


def test_attach_connects_to_the_running_process(home: Pods, kubectl: Kubectl, protocol: str) -> None:
    name = f"parrot-{protocol.lower()}"
    script = 'while read line; do echo "line $line"; done; echo end'
    home.apply(manifest(name, script, container={"stdin": True, "stdinOnce": True}, restartPolicy="Never"))
    home.until_running(name)
    code, out, errors = kubectl.run("attach", "-i", "-q", name, stdin=b"hello\nworld\n")
    assert (code, out.splitlines()) == (0, [b"line hello", b"line world", b"end"]), errors


class TestPortForward:
    def test_forwards_a_hundred_connections_at_the_same_time(self, kubectl: Kubectl) -> None:
        with forwarded(kubectl, 8080) as (url, _), ThreadPoolExecutor(100) as pool:
            wanted = fetch(f"{url}/sum").decode().strip()
            found = list(pool.map(lambda _: hashlib.sha256(fetch(f"{url}/file")).hexdigest(), range(100)))
        assert found == [wanted] * 100

    def test_forwards_the_half_close_of_the_server(self, kubectl: Kubectl) -> None:
        """The half-close of a client is not forwarded by any node: container runtimes do not support it."""
        with forwarded(kubectl, 8080) as (url, _):
            wanted = fetch(f"{url}/sum").decode().strip()
        with forwarded(kubectl, 9090) as (url, _):
            host, port = url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=LONG) as connection:
                answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert hashlib.sha256(answer).hexdigest() == wanted

    def test_reports_a_port_without_a_listener(self, kubectl: Kubectl) -> None:
        with forwarded(kubectl, 81) as (url, process):
            with pytest.raises(OSError):
                fetch(url)
            process.terminate()
            out, _ = process.communicate(timeout=LONG)
        assert b"refused" in out


def test_files_are_copied_in_both_directions(kubectl: Kubectl, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(BINARY[: 4 << 20])
    kubectl.output("cp", str(there), "shell:/tmp/copied", "-c", "main")
    kubectl.output("cp", "shell:/tmp/copied", str(back), "-c", "main")
    assert back.read_bytes() == there.read_bytes()


def test_a_debug_container_is_added_to_a_running_pod(kubectl: Kubectl, protocol: str) -> None:
    name = f"debug-{protocol.lower()}"
    asked = ("debug", "pod/shell", "-q", "-i", f"--image={BUSYBOX}", f"--container={name}", "--target=main")
    script = "read line; echo debugged $line; ps | grep -c sleep; read line"
    # Container runtimes end the output of an attach with its input, so the input stays open until all output is read.
    with kubectl.start(*asked, "--", "sh", "-c", script, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"it\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"debugged it\n"
            assert int(process.stdout.readline()) >= 1
        finally:
            process.kill()


class TestErrors:
    def test_about_a_missing_pod_have_the_message_of_the_api_server(self, kubectl: Kubectl) -> None:
        for asked in (("logs", "absent"), ("exec", "absent", "--", "true")):
            code, _, errors = kubectl.run(*asked)
            assert (code, 'pods "absent" not found' in errors) == (1, True), errors

    def test_about_a_waiting_container_have_the_message_of_the_kubelet(
        self, world: World, home: Pods, kubectl: Kubectl
    ) -> None:
        home.apply(manifest("waits", "true", container={"image": "registry.invalid/none:1"}))
        world.until(
            "the kubelet has tried", lambda: home.container("waits").get("state", {}).get("waiting") is not None
        )
        world.until("the image is missing", lambda: "Pull" in str(home.container("waits").get("state")))
        for asked in (("logs", "waits"), ("exec", "waits", "--", "true")):
            world.until(
                f"{asked[0]} fails as in the member",
                lambda asked=asked: same_error(kubectl, *asked),  # type: ignore[misc]
                seconds=20,
            )

    def test_about_a_pod_without_a_member_pod_have_the_waiting_reason(
        self, world: World, home: Pods, kubectl: Kubectl
    ) -> None:
        world.until("the member has the namespace", lambda: home.get("shell", "alpha") != {})
        name = f"taken-{uuid.uuid4().hex[:6]}"
        theirs = json.loads(manifest(name, FOREVER))
        del theirs["spec"]["nodeSelector"]
        world.create_in("alpha", "-f", "-", "-n", home.namespace, stdin=json.dumps(theirs))
        home.apply(manifest(name, FOREVER))
        world.until("the conflict is reported", lambda: "NameConflict" in str(home.container(name)))
        for asked in (("logs", name), ("exec", name, "--", "true")):
            code, out, errors = kubectl.run(*asked)
            assert (code, out) == (1, b"")
            assert f'container "main" in pod "{name}" is waiting to start: NameConflict' in errors

    def test_about_a_missing_command_have_the_message_of_the_runtime(self, kubectl: Kubectl) -> None:
        asked = ("exec", "shell", "-c", "main", "--", "frobnicate")
        here, there = kubectl.run(*asked), kubectl.run(*asked, cluster="alpha")
        assert here[0] == there[0] != 0
        assert "executable file not found" in here[2]


@pytest.mark.parametrize("protocol", ["WebSocket"], indirect=True)
def test_a_stopping_provider_ends_an_open_exec_with_an_error(world: World, kubectl: Kubectl) -> None:
    """SPDY cannot report it: an interrupted stream looks like one that has ended."""
    with kubectl.start("exec", "shell", "-c", "main", "--", "sh", "-c", "echo begun; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        started = time.monotonic()
        world.stop_provider(signal.SIGTERM)
        took = time.monotonic() - started
        try:
            assert process.wait(timeout=LONG) != 0
        finally:
            process.kill()
            world.start_provider()
    assert 4 < took < 60  # 5 s of grace, not the duration of the command
    world.until("exec works again", lambda: kubectl.run("exec", "shell", "-c", "main", "--", "true")[0] == 0)


def test_top_shows_the_usage_of_pods_and_containers(world: World, home: Pods, plain: Kubectl) -> None:
    """The upstream metrics-server runs in the parent, and scrapes virtual nodes like any node."""

    def shown(*asked: str) -> set[str]:
        code, out, _ = plain.run("top", *asked, "--no-headers")
        return {line.split()[-3] for line in out.decode().splitlines()} if code == 0 else set()

    world.until("containers are shown", lambda: {"main", "web"} <= shown("pod", "shell", "--containers"))
    world.until("nodes are shown", lambda: set(world.usage("nodes")) == set(world.members))
