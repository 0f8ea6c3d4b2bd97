"""The daemons of a cluster: each one's command line is kept, so that it can be killed and started again unchanged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from . import processes
from .errors import LocalkubeError
from .network import network_of
from .state import Record, State, write_atomically


@dataclass(frozen=True)
class Service:
    """One daemon. `node` is the number of the real node inside of whose namespaces it runs; None: beside the nodes."""

    name: str
    argv: tuple[str, ...]
    node: int | None = None

    @property
    def program(self) -> str:
        """The name of the executable as the kernel shows it."""
        return Path(self.argv[0]).resolve().name


class Services:
    """The services of one cluster."""

    def __init__(self, state: State, record: Record) -> None:
        self._state, self._record, self._cluster = state, record, record.spec.name
        self._directory = state.directory(self._cluster)

    def log(self, name: str) -> Path:
        return self._directory.logs / f"{name}.log"

    def names(self) -> list[str]:
        """Those that were ever started, in the order of their first start."""
        files = self._directory.services.glob("*.json")
        return [file.stem for file in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name))]

    def load(self, name: str) -> Service:
        if name not in self.names():
            known = ", ".join(self.names()) or "none yet"
            raise LocalkubeError(f"cluster {self._cluster} has no service {name!r}; its services: {known}")
        data = json.loads((self._directory.services / f"{name}.json").read_text())
        return Service(data["name"], tuple(data["argv"]), data["node"])

    def running(self, name: str) -> bool:
        return bool(self._find(self.load(name)))

    def start(self, service: Service) -> None:
        """Remembers the service and starts it, unless it runs."""
        file = self._directory.services / f"{service.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or json.loads(file.read_text())["argv"] != list(service.argv):
            write_atomically(file, json.dumps(asdict(service), indent=1))
        if not self._find(service):
            owner = processes.mark(self._state.ident, self._cluster, service.name)
            processes.spawn(owner, [*self._enter(service), *service.argv], self.log(service.name))

    def stop(self, name: str) -> None:
        """SIGKILL: a crash, not a farewell (a drained API server would stay for a minute)."""
        service = self.load(name)
        processes.kill(lambda: self._find(service))

    def wait(self, name: str, what: str, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Polls until the condition holds. Raises when `seconds` have passed, and at once when the service has died."""
        end = time.monotonic() + seconds
        while not condition():
            dead = self._has_ended(name)
            if dead or time.monotonic() > end:
                cause = f"{name} has ended" if dead else f"{what}: not within {seconds:.0f} s"
                log = self.log(name)
                raise LocalkubeError(f"cluster {self._cluster}: {cause}; {log} ends with:\n{processes.last_words(log)}")
            time.sleep(0.1)

    def _has_ended(self, name: str) -> bool:
        """One look at /proc is not atomic: a service that is just being started may slip through it, but not twice."""
        if self.running(name):
            return False
        time.sleep(0.2)
        return not self.running(name)

    def _find(self, service: Service) -> list[processes.Process]:
        found = processes.find(self._state.ident, self._cluster, service.name)
        return [process for process in found if process.is_service(service.program)]

    def _enter(self, service: Service) -> list[str]:
        if service.node is None:
            return network_of(self._state, self._record).enter(self._cluster)
        return enter_node(self._state, self._cluster, service.node)


def enter_node(state: State, cluster: str, node: int) -> list[str]:
    """The command prefix that runs a program inside of a real node."""
    inits = processes.find(state.ident, cluster, node_service(node))
    pids = [process.pid for process in inits if process.program == "pause"]
    if not pids:
        raise LocalkubeError(f"cluster {cluster}: node {node} is not up; run: localkube up {cluster}:real=...")
    return ["nsenter", f"--target={pids[0]}", "--mount", "--uts", "--net", "--pid", "--"]


def node_service(node: int) -> str:
    """The mark of the process that is a real node: the first one of its pid namespace."""
    return f"node-{node}"
