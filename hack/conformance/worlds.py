"""The two clusters of the comparison: a plain one, and a parent with members as nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import localkube
from demo.world import World

PLAIN: Final = "conformance-plain"
PARENT: Final = "conformance-parent"
MEMBER: Final = "conformance-member"
_SPEC: Final = '{"spec": {"network": {"flat": true}, "namespaces": {"exclude": []}}}'


@contextmanager
def plain(nodes: int) -> Iterator[Path]:
    """The kubeconfig of an ordinary cluster with `nodes` nodes."""
    with _clusters([f"{PLAIN}:real={nodes}"]) as made:
        yield made[PLAIN].kubeconfig


@contextmanager
def parent(nodes: int, members: int) -> Iterator[Path]:
    """The kubeconfig of a parent with `members` members of `nodes` nodes each, and a running provider.

    The parent's API server reaches pods by their addresses, as in the plain cluster: several tests use its proxy.
    Members also reach one another's pods, and have the Service range of the parent.
    """
    names = [f"{MEMBER}-{number}" for number in range(1, members + 1)]
    # With metrics, the API server calls webhooks at endpoints, not Service addresses: a parent has no kube-proxy.
    specs = [f"{PARENT}:none,metrics", *(f"{name}:real={nodes}" for name in names)]
    with _clusters(specs) as made:
        for name in names:
            for other in (PARENT, *names):
                if other != name:
                    localkube.route(other, name)
        world = World(
            parent=made[PARENT].kubeconfig,
            members={name: made[name].kubeconfig for name in names},
            kubectl_path=localkube.program("kubectl"),
            real=True,
            log=made[PARENT].directory / "vk-provider.log",
        )
        (ranges,) = world.objects("servicecidrs")
        for name in names:
            world.join(name)
            world.kubectl("patch", "membercluster", name, "--type=merge", "-p", _SPEC)
            world.create_in(name, "-f", "-", stdin=json.dumps(_range("parent", ranges["spec"]["cidrs"])))
        world.start_provider()
        try:
            world.until("the virtual nodes are Ready", world.ready)
            yield world.parent
        finally:
            world.stop_provider()


def _range(name: str, cidrs: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": cidrs},
    }


@contextmanager
def _clusters(specs: list[str]) -> Iterator[dict[str, localkube.ClusterInfo]]:
    names = [spec.partition(":")[0] for spec in specs]
    with localkube.on_stderr() as progress:
        localkube.down(names, progress=progress)
        made = localkube.up(specs, progress=progress)
    try:
        yield made
    finally:
        with localkube.on_stderr() as progress:
            localkube.down(names, progress=progress)
