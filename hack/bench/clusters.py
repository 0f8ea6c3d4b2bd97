"""Creates and removes the clusters of a run, and the user of the program under test."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import localkube
import msgspec
from localkube import ClusterInfo

from bench.errors import BenchError
from vk_provider.cli.watching import until
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Object, encode
from vk_provider.kube.resources import NODES, SERVICE_ACCOUNTS

PARENT: Final = "bench-parent"
MEMBER: Final = "bench-member"
PLAIN: Final = "bench-plain"
CONTAINERS: Final = "bench-containers"  # a member with a real node

_ACCOUNT: Final = "program-under-test"
_ACCOUNTS_NAMESPACE: Final = "kube-system"
_TOKEN_LIFE: Final = 24 * 3600  # seconds; longer than any run
_READY_WITHIN: Final = 120.0  # seconds until the virtual node is Ready
_PODS_PER_NODE: Final = 250
_SPARE: Final = 200  # pods in addition to those of a burst

USER: Final = f"system:serviceaccount:{_ACCOUNTS_NAMESPACE}:{_ACCOUNT}"
"""The program's name in the audit logs of both clusters. Nothing else uses it."""


class _Conditions(msgspec.Struct):
    conditions: list[Condition] = []


def fake(name: str, pods: int) -> str:
    """The localkube specification of a cluster whose fake nodes have room for this number of pods."""
    return f"{name}:fake={math.ceil((pods + _SPARE) / _PODS_PER_NODE)},cpu=32,memory=128Gi,pods={_PODS_PER_NODE}"


@contextmanager
def clusters(specs: list[str], *, keep: bool) -> Iterator[dict[str, ClusterInfo]]:
    """Creates clusters with audit logs, and removes them at the end of the block unless `keep` is set."""
    names = [spec.partition(":")[0] for spec in specs]
    with localkube.on_stderr() as progress:
        localkube.down(names, progress=progress)
    try:
        with localkube.on_stderr() as progress:
            made = localkube.up(specs, audit=True, progress=progress)
        yield made
    finally:
        if not keep:
            with localkube.on_stderr() as progress:
                localkube.down(names, progress=progress)


def client(info: ClusterInfo) -> Client:
    """A client with the rights of the cluster's administrator."""
    return Client(Kubeconfig.from_files(str(info.kubeconfig)).credentials())


async def give_user(admin: Client, info: ClusterInfo) -> Path:
    """Grants USER all permissions, and writes a kubeconfig for it."""
    account = {"metadata": {"name": _ACCOUNT, "namespace": _ACCOUNTS_NAMESPACE}}
    await _create(admin, SERVICE_ACCOUNTS.path(namespace=_ACCOUNTS_NAMESPACE), account)
    binding = {
        "metadata": {"name": _ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": _ACCOUNTS_NAMESPACE}],
    }
    await _create(admin, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    answer = await _create(
        admin,
        SERVICE_ACCOUNTS.path(_ACCOUNT, _ACCOUNTS_NAMESPACE, "token"),
        {"spec": {"expirationSeconds": _TOKEN_LIFE}},
    )
    config: dict[str, Any] = json.loads(info.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": answer["status"]["token"]}
    file = user_kubeconfig(info)
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return file


def user_kubeconfig(info: ClusterInfo) -> Path:
    """The path of the kubeconfig that `give_user` writes."""
    return info.directory / "program.kubeconfig"


async def until_ready(admin: Client, node: str) -> None:
    """Raises BenchError if the virtual node is not Ready within two minutes."""

    def ready(found: Object | None) -> bool:
        if found is None:
            return False
        conditions = msgspec.json.decode(found.status, type=_Conditions).conditions
        return any(c.type == "Ready" and c.status == "True" for c in conditions)

    try:
        await until(admin, NODES, node, ready, _READY_WITHIN)
    except TimeoutError as error:
        raise BenchError(f"virtual node {node} is not Ready after {_READY_WITHIN:.0f} s") from error


async def join(parent: ClusterInfo, member: Path, node: str) -> None:
    """`vk-provider join`."""
    command = ["-m", "vk_provider", "--kubeconfig", str(parent.kubeconfig)]
    command += ["join", node, "--kubeconfig", str(member), "--no-wait"]
    code, output = await run_python(command)
    if code:
        raise BenchError(f"vk-provider join {node}: {output}")


async def run_python(arguments: list[str]) -> tuple[int, str]:
    """Runs a Python module to its end. Returns the status and the output, or stderr if it failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, (errors if process.returncode else output).decode().strip()


async def _create(admin: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await admin.request("POST", path, body=encode(body)))
    return answer
