"""Starts the clusters and the provider of a demo or a test, uses them with kubectl, and stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import localkube
from localkube import LocalkubeError, Progress

ROOT = Path(__file__).resolve().parents[2]
VK_PROVIDER = Path(sys.executable).parent / "vk-provider"
_DEADLINE = 180.0  # seconds for any condition; containers start slowly on two busy cores
_POLL = 0.2


class ExpectationError(Exception):
    """A condition that a user relies on is not met."""


@dataclass
class World:
    """A parent and its members. `show` receives every command of a user, with its output."""

    parent: Path
    members: dict[str, Path]
    kubectl_path: Path
    real: bool
    root: Path | None = None
    """The state directory of the clusters; None: the one of this checkout."""
    show: Callable[[Sequence[str], str], None] = lambda command, output: None
    provider: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    log: Path = Path(os.devnull)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl in the parent, as a user does; shows it, and returns its output."""
        done = self._kubectl(self.parent, arguments, stdin)
        output = done.stdout + done.stderr
        self.show(["kubectl", *arguments], output)
        if done.returncode:
            raise ExpectationError(f"kubectl {' '.join(arguments)}: exit code {done.returncode}: {output.strip()}")
        return output

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[str]:
        """Runs `kubectl port-forward` in the background and shows it. Yields the URL of its local end."""
        arguments = ["port-forward", target, f":{port}"]
        with subprocess.Popen(
            [self.kubectl_path, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                first = process.stdout.readline() if process.stdout else ""
                self.show(["kubectl", *arguments, "&"], first)
                if " -> " not in first:
                    raise ExpectationError(f"kubectl port-forward {target}: {first.strip()}")
                yield "http://" + first.split("Forwarding from ")[1].split(" -> ")[0]
            finally:
                process.terminate()

    def cut(self, member: str) -> None:
        """Drops all packets to and from a member, until `heal`."""
        localkube.cut(member, root=self.root)
        self.show(["localkube", "cut", member], "")

    def heal(self, member: str) -> None:
        """Undoes `cut`."""
        localkube.heal(member, root=self.root)
        self.show(["localkube", "heal", member], "")

    def create_in(self, cluster: str, *arguments: str, stdin: str | None = None) -> None:
        """Runs `kubectl create` in a member, as a user of the member does."""
        self._member(cluster, "create", *arguments, stdin=stdin)

    def delete_in(self, cluster: str, *arguments: str) -> None:
        """Runs `kubectl delete` in a member, as a user of the member does. Does not wait for the end."""
        self._member(cluster, "delete", "--wait=false", *arguments)

    def objects(self, *arguments: str, cluster: str = "") -> list[dict[str, Any]]:
        """Objects of a kind, of the parent or of a member. Shows nothing."""
        found = self.get(*arguments, cluster=cluster)
        return found["items"] if found else []

    def get(self, *arguments: str, cluster: str = "") -> Any:
        """An object, of the parent or of a member. None if it does not exist. Shows nothing."""
        kubeconfig = self.members[cluster] if cluster else self.parent
        done = self._kubectl(kubeconfig, ("get", *arguments, "-o", "json", "--ignore-not-found"), None)
        if done.returncode:
            raise ExpectationError(f"kubectl get {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def pods(self, selector: str = "", cluster: str = "", namespace: str = "default") -> list[dict[str, Any]]:
        """Pods with these labels, of the parent or of a member."""
        chosen = ("-l", selector) if selector else ()
        return self.objects("pods", "-n", namespace, *chosen, cluster=cluster)

    def running(self, selector: str = "", cluster: str = "") -> list[dict[str, Any]]:
        """Pods that run and are not being deleted."""
        return [
            pod
            for pod in self.pods(selector, cluster)
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def until(self, what: str, condition: Callable[[], bool], seconds: float = _DEADLINE) -> None:
        """Returns when the condition holds. Raises ExpectationError with `what` after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ExpectationError(f"not within {seconds:.0f} s: {what}")
            if self.provider is not None and self.provider.poll() is not None:
                last = "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-5:])
                raise ExpectationError(f"the provider has exited; the end of {self.log}:\n{last}")
            time.sleep(_POLL)

    def start_provider(self) -> None:
        """Starts `vk-provider run` in a new session, so that it can outlive the caller."""
        with self.log.open("ab") as log:
            self.provider = subprocess.Popen(
                [VK_PROVIDER, "--kubeconfig", str(self.parent), "run"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop_provider(self, number: int = signal.SIGTERM) -> None:
        """Sends the signal, and waits until the provider has exited."""
        if self.provider is not None:
            self.provider.send_signal(number)
            self.provider.wait(timeout=30)
            self.provider = None

    def join(self, member: str) -> None:
        """Runs `vk-provider join` without waiting for the node."""
        arguments = ["join", member, "--kubeconfig", str(self.members[member])]
        done = subprocess.run(
            [VK_PROVIDER, "--kubeconfig", str(self.parent), *arguments, "--no-wait"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.show(["vk-provider", *arguments], done.stdout + done.stderr)
        if done.returncode:
            raise ExpectationError(f"vk-provider join {member}: {done.stderr.strip()}")

    def ready(self) -> bool:
        """Whether the virtual node of every member is Ready."""
        ready = {
            node["metadata"]["name"]
            for node in self.objects("nodes")
            for condition in node["status"].get("conditions", ())
            if condition["type"] == "Ready" and condition["status"] == "True"
        }
        return ready >= self.members.keys()

    def usage(self, kind: str) -> dict[str, str]:
        """The output of `kubectl top` for `nodes`, or for `pods` in default: name -> CPU and memory. Shows nothing."""
        done = self._kubectl(self.parent, ("top", kind, "--no-headers"), None)
        rows = [line.split() for line in done.stdout.splitlines()]
        used = {row[0]: (row[1], row[3] if kind == "nodes" else row[2]) for row in rows}
        return {name: f"{cpu} of CPU and {memory}" for name, (cpu, memory) in used.items() if memory != "<unknown>"}

    def _member(self, cluster: str, *arguments: str, stdin: str | None = None) -> None:
        done = self._kubectl(self.members[cluster], arguments, stdin)
        if done.returncode:
            raise ExpectationError(f"kubectl {' '.join(arguments)} in {cluster}: {done.stderr.strip()}")

    def _kubectl(
        self, kubeconfig: Path, arguments: Sequence[str], stdin: str | None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.kubectl_path, *arguments],
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )


def bring_up(*, real: bool, progress: Progress, root: Path | None = None, audit: bool = False) -> World:
    """Starts a parent and the members alpha and beta, with real or fake nodes. Raises LocalkubeError."""
    parent_shape, shape = ("none,metrics", "real") if real else ("none", "fake=3")
    specs = [f"parent:{parent_shape}", f"alpha:{shape}", f"beta:{shape}"]
    clusters = localkube.up(specs, progress=progress, root=root, audit=audit)
    parent = clusters.pop("parent")
    return World(
        parent=parent.kubeconfig,
        members={name: info.kubeconfig for name, info in clusters.items()},
        kubectl_path=localkube.program("kubectl", root=root),
        real=real,
        root=root,
        log=parent.directory / "vk-provider.log",
    )


@contextmanager
def served(root: Path, *, real: bool) -> Iterator[World]:
    """The clusters in their own state directory, joined and served. Everything is removed afterwards."""
    with ExitStack() as stack:
        stack.callback(localkube.down, root=root)
        with localkube.on_stderr() as progress:
            world = bring_up(real=real, progress=progress, root=root)
        stack.callback(world.stop_provider)
        for member in world.members:
            world.join(member)
        world.start_provider()
        world.until("both virtual nodes are Ready", world.ready)
        yield world


__all__ = ["ROOT", "VK_PROVIDER", "ExpectationError", "LocalkubeError", "World", "bring_up", "served"]
