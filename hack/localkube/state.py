"""The state directory: the records of a checkout's clusters, and the lock for changes.

    .localkube/                  (or the directory that LOCALKUBE_STATE names)
      bin/NAME                   links to the binaries in use
      NAME/cluster.json          the record below, written before anything else is created
      NAME/kubeconfig            the administrator's kubeconfig, context NAME
      NAME/{pki,logs,services,nodes}/

Everything outside this directory (namespaces, interfaces, cgroups, processes) carries the `ident` of the directory in
its name or environment. So two checkouts on one machine never affect each other's clusters, and `down` finds what a
crashed `up` left behind even if no file records it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import LocalkubeError
from .spec import ClusterSpec, Kind

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ports:
    """The ports of the control plane, on the cluster's address (etcd and the controllers: on its loopback)."""

    apiserver: int = 6443
    etcd: int = 2379
    etcd_peer: int = 2380
    controller_manager: int = 10257
    scheduler: int = 10259


@dataclass(frozen=True)
class Record:
    """The decisions for a cluster at its first `up`. `index` is unique within the state directory."""

    spec: ClusterSpec
    index: int
    address: str
    host_address: str
    pod_cidr: str
    service_cidr: str
    isolated: bool
    """The cluster has its own network namespace; otherwise (without root) it shares the loopback of the host."""
    ports: Ports
    audit: bool
    complete: bool = False
    """An `up` has finished once, so the cluster may hold data of a user."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        data: dict[str, Any] = json.loads(text)
        spec = data.pop("spec")
        spec["kind"] = Kind(spec["kind"])
        return cls(spec=ClusterSpec(**spec), ports=Ports(**data.pop("ports")), **data)


@dataclass(frozen=True)
class ClusterDirectory:
    """The files of one cluster."""

    path: Path

    @property
    def record_file(self) -> Path:
        return self.path / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def services(self) -> Path:
        return self.path / "services"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.json"

    def node(self, name: str) -> Path:
        return self.path / "nodes" / name


class State:
    """A state directory. Instances are cheap, and keep no file open except during `locked`."""

    def __init__(self, root: Path | None = None) -> None:
        chosen = root or Path(os.environ.get("LOCALKUBE_STATE") or CHECKOUT / ".localkube")
        self.root = Path(os.path.realpath(chosen))
        self.ident = hashlib.sha256(str(self.root).encode()).hexdigest()[:6]

    def directory(self, name: str) -> ClusterDirectory:
        return ClusterDirectory(self.root / name)

    def records(self) -> dict[str, Record]:
        """All clusters that an `up` started and no `down` removed, in the order of their indexes."""
        files = sorted(self.root.glob("*/cluster.json"))
        found = [Record.from_json(file.read_text()) for file in files]
        return {record.spec.name: record for record in sorted(found, key=lambda record: record.index)}

    def record(self, name: str) -> Record:
        records = self.records()
        if name not in records:
            known = ", ".join(records) or "none"
            raise LocalkubeError(
                f"no cluster {name!r} in {self.root} (clusters there: {known}); start it with: localkube up {name}"
            )
        return records[name]

    def save(self, record: Record) -> None:
        file = self.directory(record.spec.name).record_file
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, record.to_json())

    @contextlib.contextmanager
    def locked(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """At most one process changes the set of clusters. Calls `waiting` once if another process holds the lock."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise LocalkubeError(
                f"state directory {self.root}: {error.strerror}; make it accessible, or set LOCALKUBE_STATE"
            ) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def write_atomically(file: Path, text: str | bytes, mode: int = 0o644) -> None:
    """Writes a file so that readers see the old or the new content, never a part. The mode applies from the start."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    data = text.encode() if isinstance(text, str) else text
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as handle:
        handle.write(data)
    os.replace(temporary, file)
