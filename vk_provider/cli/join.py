"""`vk-provider join`: makes a cluster a member, or updates the kubeconfig and the spec of an existing member."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, Final

import click
import msgspec

from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.api.wellknown import CLUSTER_LABEL, READY, SYSTEM_NAMESPACE
from vk_provider.cli import options
from vk_provider.cli.clouds import provider_id_warning
from vk_provider.cli.install import apply, install
from vk_provider.cli.members import is_fresh, renew_times
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.request import KEY, Request, check
from vk_provider.cli.terminal import note, progress, say
from vk_provider.cli.watching import until_member
from vk_provider.errors import ConfigError, UnreachableError, VkError
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.objects import Object, encode, fields
from vk_provider.kube.resources import SECRETS
from vk_provider.sync.membership.access import Facts, examine

_EXAMPLE: Final = """\b
Example:
  vk-provider join west --kubeconfig west.yaml \\
      --label topology.kubernetes.io/region=eu-west --capacity cpu=64
"""


class _Joined(msgspec.Struct):
    """The result, as `-o json` shows it. `ready` is None if the command did not wait for it."""

    name: str
    node: str
    version: str
    updated: bool
    ready: bool | None = None
    message: str = ""


@click.command(epilog=_EXAMPLE, short_help="Make a cluster a member.")
@click.argument("name", type=options.dns_label, metavar="NAME")
@click.option("--kubeconfig", required=True, metavar="FILE", help="Kubeconfig of the member.")
@click.option("--context", metavar="NAME", help="Context of the member's kubeconfig (default: its current one).")
@options.translation
@click.option(
    "--label",
    "labels",
    metavar="KEY=VALUE",
    multiple=True,
    type=options.label,
    help="Label of the virtual node. Repeatable.",
)
@click.option(
    "--taint",
    "taints",
    metavar="KEY=VALUE:EFFECT",
    multiple=True,
    type=options.taint,
    help="Taint of the virtual node. Repeatable.",
)
@click.option(
    "--capacity",
    metavar="RESOURCE=QUANTITY",
    multiple=True,
    type=options.capacity,
    help="Offer at most this, such as cpu=64. Repeatable.",
)
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Fail if it is not ready in time; do not wait. Default: wait, and only print the state.",
)
@options.timeout(10, "How long to wait.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Default: text.")
@pass_parent
def join(
    parent: Parent,
    name: str,
    kubeconfig: str,
    context: str | None,
    node_name: str | None,
    labels: tuple[tuple[str, str], ...],
    taints: tuple[dict[str, str], ...],
    capacity: tuple[tuple[str, str], ...],
    namespace_prefix: str | None,
    api_access: str | None,
    wait: bool | None,
    timeout: float,
    output: str,
) -> None:
    """Make a cluster a member: a virtual node NAME of the parent that runs its pods there.

    --kubeconfig and --context after `join` are those of the member. Those of the parent come before `join`; by default
    they are found as kubectl finds them. The kubeconfig of the member is stored in a Secret of the parent.

    If you join the same cluster again, its kubeconfig is renewed, and omitted options keep their values.
    """
    given = {
        "nodeName": node_name,
        "labels": options.unique(labels, "--label"),
        "taints": list(taints),
        "capacity": options.unique(capacity, "--capacity"),
        "namespaceMapping": {"prefix": namespace_prefix} if namespace_prefix else None,
        "apiAccess": api_access,
    }
    member = Kubeconfig.from_files(kubeconfig, context)
    if not str(member.cluster["server"]).lower().startswith("https://"):
        raise ConfigError(
            f"{member.source}: the server of context {member.context} is not an https:// address",
            reason="KubeconfigInvalid",
            remedy="the credential would be sent unencrypted: use the address with TLS",
        )
    request = Request(name, member.self_contained(), {key: value for key, value in given.items() if value})
    tell = say if output == "text" else note
    joined, problem = execute(_join(parent, request, member, None if wait is False else timeout, tell))
    if output == "json":
        say(msgspec.json.encode(joined).decode())
    if problem and wait:
        raise problem


async def _join(
    parent: Parent, request: Request, member: Kubeconfig, seconds: float | None, tell: Callable[[str], None]
) -> tuple[_Joined, VkError | None]:
    """`seconds` to wait until it is ready; None: not at all. Also returns why it is not ready then."""
    facts = await _examine(request.name, member)
    async with parent.connect() as client:
        with progress("preparing the parent"):
            present = await check(client, request, facts)
            await install(client)
            cluster = await _write(client, request, facts, present)
        done = "joined" if present is None else "updated"
        tell(f"{request.name} {done}: Kubernetes {facts.version}, virtual node {cluster.node_name}")
        if facts.rights.missing:
            note(f"warning: {facts.rights.explanation}")
        joined = _Joined(request.name, cluster.node_name, facts.version, updated=present is not None)
        if seconds is None:
            return joined, None
        with progress(f"waiting until {request.name} is ready"):
            problem = await _until_ready(client, cluster, seconds)
        joined.ready, joined.message = problem is None, str(problem or f"{request.name} is ready")
        tell(joined.message)
        if warning := await provider_id_warning(client, request.name, cluster.node_name):
            note(warning)
        return joined, problem


async def _examine(name: str, member: Kubeconfig) -> Facts:
    with progress(f"examining {member.cluster['server']}"):
        async with Client(member.credentials()) as client:
            try:
                return await examine(client)
            except UnreachableError as error:
                remedy = error.remedy or "check that it runs, and that this machine can reach it"
                raise UnreachableError(f"member {name}: {error.message}", reason=error.reason, remedy=remedy) from error


async def _write(client: Client, request: Request, facts: Facts, present: MemberCluster | None) -> MemberCluster:
    """Writes the Secret, then the MemberCluster. A dry run of the latter comes first: the server may reject it."""
    path = MEMBER_CLUSTERS.path(request.name)
    query = {"fieldManager": "vk-provider-cli"}
    if present is None:
        method, path, content_type = "POST", MEMBER_CLUSTERS.path(), "application/json"
        body: Any = {
            "apiVersion": MEMBER_CLUSTERS.api_version,
            "kind": MEMBER_CLUSTERS.kind,
            "metadata": {"name": request.name},
            "spec": request.merged({}),
        }
    else:
        method, content_type = "PATCH", PatchType.JSON.value
        spec = fields((await client.get(MEMBER_CLUSTERS, request.name, type=Object)).spec)
        body = [
            {"op": "test", "path": "/metadata/uid", "value": present.metadata.uid},
            {"op": "replace", "path": "/spec", "value": request.merged(spec)},
        ]
    await client.request(method, path, query={**query, "dryRun": "All"}, body=encode(body), content_type=content_type)
    secret = {
        "metadata": {"name": request.secret, "namespace": SYSTEM_NAMESPACE, "labels": {CLUSTER_LABEL: request.name}},
        "type": "Opaque",
        "data": {KEY: base64.b64encode(request.kubeconfig).decode()},
    }
    await apply(client, SECRETS, secret)
    await client.request(method, path, query=query, body=encode(body), content_type=content_type)
    # Recorded now, before any provider has connected to the member, so that a second join of the cluster is refused.
    identity = {"status": {"clusterUid": facts.cluster_uid}}
    return await client.patch(MEMBER_CLUSTERS, request.name, identity, type=MemberCluster, subresource="status")


async def _until_ready(client: Client, cluster: MemberCluster, seconds: float) -> VkError | None:
    """None once a provider serves the member and it is ready; else, after `seconds`, the reason why not."""
    name, seen = cluster.metadata.name, cluster

    def ready(state: MemberCluster | None) -> bool:
        nonlocal seen
        seen = state or seen
        condition = seen.status.condition(READY)
        # The condition must be about the current spec, and not about the one before this update.
        current = seen.status.observed_generation >= seen.metadata.generation
        return condition is not None and condition.status == "True" and current

    try:
        async with asyncio.timeout(seconds):
            await until_member(client, name, ready, seconds)
            # The condition may be from a provider that has stopped since: a provider has to renew the Lease now.
            while True:
                if is_fresh((await renew_times(client)).get(seen.node_name), client.server_time()):
                    return None
                await asyncio.sleep(0.5)
    except TimeoutError:
        condition = seen.status.condition(READY)
    if condition is None or condition.status == "True" or seen.status.observed_generation < seen.metadata.generation:
        return VkError(
            f"no provider serves {name} yet", reason="NotServed", remedy="start one (vk-provider run), or see its log"
        )
    return VkError(f"{name} is not ready: {condition.reason}: {condition.message}", reason=condition.reason)
