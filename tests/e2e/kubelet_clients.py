"""kubectl as users run it, over WebSockets or SPDY, in a terminal and with port forwarding; and a server for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final

from demo.world import World

LONG: Final = 60.0  # seconds for one kubectl
SPDY: Final = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
SERVE: Final = (
    "mkdir /www; head -c 300000 /dev/urandom > /www/file; sha256sum /www/file | cut -c1-64 > /www/sum;"
    "nc -ll -p 9090 -e cat /www/file & exec httpd -f -p 8080 -h /www"
)
DECLARED: Final = ["ExtendWebSocketsToKubelet"]


_POLICIES: Final = "admissionregistration.k8s.io/v1"
UNDECLARED: Final = (
    {
        "apiVersion": _POLICIES,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "undeclared"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes/status"]}
                ]
            },
            "matchConditions": [{"name": "declared", "expression": "has(object.status.declaredFeatures)"}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": '[JSONPatch{op: "remove", path: "/status/declaredFeatures"}]'},
                }
            ],
        },
    },
    {
        "apiVersion": _POLICIES,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "undeclared"},
        "spec": {"policyName": "undeclared"},
    },
)
"""A policy that removes `declaredFeatures` from the status of nodes."""


class Kubectl:
    """kubectl in one namespace of the parent, with one of its two streaming protocols."""

    def __init__(self, world: World, namespace: str, environment: dict[str, str]) -> None:
        self.world, self.namespace, self._environment = world, namespace, environment

    def start(self, *arguments: str, cluster: str = "", **options: Any) -> subprocess.Popen[bytes]:
        """Starts kubectl in the background, for the parent or for the member `cluster`."""
        kubeconfig = self.world.members[cluster] if cluster else self.world.parent
        return subprocess.Popen(
            [self.world.kubectl_path, "-n", self.namespace, *arguments],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), **self._environment},
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def run(self, *arguments: str, stdin: bytes = b"", cluster: str = "") -> tuple[int, bytes, str]:
        """The exit code, stdout and stderr."""
        with self.start(*arguments, cluster=cluster, stdin=subprocess.PIPE) as process:
            try:
                out, errors = process.communicate(stdin, timeout=LONG)
            finally:
                process.kill()
        return process.returncode, out, errors.decode()

    def output(self, *arguments: str, stdin: bytes = b"", cluster: str = "") -> bytes:
        code, out, errors = self.run(*arguments, stdin=stdin, cluster=cluster)
        assert code == 0, errors
        return out


def same_error(kubectl: Kubectl, *asked: str) -> bool:
    here, there = kubectl.run(*asked), kubectl.run(*asked, cluster="alpha")
    # If it translates protocols, the API server reports every error of a node as an internal one.
    return here[0] == there[0] == 1 and here[2].replace("Internal error occurred: ", "") == there[2]


@contextlib.contextmanager
def undeclared(world: World) -> Iterator[None]:
    """Within the block, the parent removes `declaredFeatures` from the status of all nodes."""

    def features() -> Any:
        return (world.get("node", "alpha") or {})["status"].get("declaredFeatures")

    def declare(value: list[str]) -> None:
        patch = json.dumps({"status": {"declaredFeatures": value}})
        world.kubectl("patch", "node", "alpha", "--subresource=status", "--type=merge", "-p", patch)

    def removed() -> bool:
        declare(DECLARED)
        return features() is None

    def kept() -> bool:
        declare(DECLARED)
        return bool(features() == DECLARED)

    world.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": UNDECLARED}))
    try:
        world.until("nodes declare no features", removed)
        yield
    finally:
        world.kubectl("delete", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": UNDECLARED}))
        world.until("nodes declare their features", kept)


def until_size(rows: int, columns: int) -> str:
    """A script that waits for a size, and prints a text that is not part of the script, which the terminal echoes.

    The size arrives in a separate message: the shell may start before the terminal has one.
    """
    asked = f"\"$(stty size 2>/dev/null)\" != '{rows} {columns}'"
    return f"while [ {asked} ]; do sleep 0.1; done; echo it is {rows} ''by {columns}"


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=LONG) as answer:
        body: bytes = answer.read()
        return body


@contextlib.contextmanager
def forwarded(kubectl: Kubectl, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The local URL, and the process, with stderr in its stdout."""
    asked = ("port-forward", "shell", f":{port}", "--address=127.0.0.1")
    with kubectl.start(*asked, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline().decode()
            assert " -> " in first, first
            yield "http://" + first.split("Forwarding from ")[1].split(" -> ")[0], process
        finally:
            process.kill()


@contextlib.contextmanager
def terminal(
    kubectl: Kubectl, *arguments: str, size: tuple[int, int]
) -> Iterator[tuple[Callable[[str], None], Callable[[str], None], Callable[[tuple[int, int]], None]]]:
    """kubectl in a terminal, with functions to type, to wait for a text, and to change the size."""
    ours, theirs = pty.openpty()

    def resize(to: tuple[int, int]) -> None:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", *to, 0, 0))

    resize(size)
    process = kubectl.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + LONG
        while text not in shown:
            ready, _, _ = select.select([ours], [], [], deadline - time.monotonic())
            assert ready, f"not shown: {text!r}; shown: {shown!r}"
            try:
                shown += os.read(ours, 4096).decode(errors="replace")
            except OSError as error:  # kubectl has exited
                raise AssertionError(f"not shown: {text!r}; shown: {shown!r}") from error
        shown = shown.partition(text)[2]

    def type_(text: str) -> None:
        os.write(ours, text.encode())

    def resized(to: tuple[int, int]) -> None:
        resize(to)
        process.send_signal(signal.SIGWINCH)

    try:
        yield type_, until, resized
    finally:
        process.kill()
        process.wait()
        os.close(ours)
