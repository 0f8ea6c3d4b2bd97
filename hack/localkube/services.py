"""The daemons of a cluster. Their command lines are recorded, so that each can be killed and started again."""

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
    """A daemon. `node` is the number of the real node that it runs in; None: it runs in the cluster's network only."""

    name: str
    argv: tuple[str, ...]
    node: int | None = None

    @property
    def program(self) -> str:
        """The base name of the executable, as the kernel shows it."""
        return Path(self.argv[0]).resolve().name


class Services:
    """The services of one cluster."""

    def __init__(self, state: State, record: Record) -> None:
        self._state, self._record, self._cluster = state, record, record.spec.name
        self._directory = state.directory(self._cluster)

    def log(self, name: str) -> Path:
        return self._directory.logs / f"{name}.log"

    def names(self) -> list[str]:
        """All services that have been started, in the order of their first start."""
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
        """Records the service, and starts it unless it runs."""
        file = self._directory.services / f"{service.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or json.loads(file.read_text())["argv"] != list(service.argv):
            write_atomically(file, json.dumps(asdict(service), indent=1))
        if not self._find(service):
            owner = processes.mark(self._state.ident, self._cluster, service.name)
            processes.spawn(owner, [*self._enter(service), *service.argv], self.log(service.name))

    def stop(self, name: str) -> None:
        """Kills the service (SIGKILL), as a crash does. A graceful stop of the API server takes a minute."""
        service = self.load(name)
        processes.kill(lambda: self._find(service))

    def wait(self, name: str, what: str, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Polls until the condition holds. Raises after `seconds`, and at once if the service has ended.

        `what` completes the error message "waited SECONDS s for ...".
        """
        end = time.monotonic() + seconds
        while not condition():
            dead = self._has_ended(name)
            if dead or time.monotonic() > end:
                cause = f"{name} has ended" if dead else f"waited {seconds:.0f} s for {what}"
                log = self.log(name)
                raise LocalkubeError(
                    f"cluster {self._cluster}: {cause}; the end of {log}:\n{processes.end_of_log(log)}"
                )
            time.sleep(0.1)

    def _has_ended(self, name: str) -> bool:
        """Looks twice: reading /proc is not atomic, so one look may miss a service that is starting."""
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
    """The command prefix that runs a program inside a real node."""
    inits = processes.find(state.ident, cluster, node_service(node))
    pids = [process.pid for process in inits if process.program == "pause"]
    if not pids:
        raise LocalkubeError(f"cluster {cluster}: node {node} is not up; run: localkube up {cluster}:real=...")
    return ["nsenter", f"--target={pids[0]}", "--mount", "--uts", "--net", "--pid", "--"]


def node_service(node: int) -> str:
    """The service name in the mark of a real node's first process."""
    return f"node-{node}"
