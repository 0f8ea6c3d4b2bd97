"""`vk-provider render`: what a pod would become in a member, and why. Contacts no cluster."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, TextIO

import click
import msgspec
import yaml

from vk_provider.api.membercluster import ApiAccess
from vk_provider.cli import options
from vk_provider.cli.podfiles import read
from vk_provider.errors import ConfigError
from vk_provider.kube.objects import Pod, encode
from vk_provider.translate.dependents.certificates import certificate_sources
from vk_provider.translate.dependents.needs import needs
from vk_provider.translate.names import Names
from vk_provider.translate.pods.decide import rejection
from vk_provider.translate.pods.differences import Difference, differences
from vk_provider.translate.pods.pod import Target, member_pod

# Placeholders for values that only clusters know, in a form that an API server accepts.
_UNKNOWN_UID: Final = "00000000-0000-0000-0000-000000000000"
_PARENT_HOST: Final = "parent.example"
_PARENT_PORT: Final = "443"


@dataclass(frozen=True)
class Dependent:
    """An object that the provider would create in the member for the pod."""

    kind: str
    namespace: str
    name: str
    of: str  # its original, or its contents


@dataclass(frozen=True)
class Rendered:
    """One pod of the input."""

    pod: dict[str, Any]
    refused: str  # why the pod would be Failed instead; empty if it would run
    dependents: list[Dependent]
    changes: list[Difference]


@click.command(short_help="Show what a pod would become in a member.")
@click.option(
    "-f",
    "--filename",
    "file",
    type=click.File(),
    required=True,
    help="YAML or JSON of pods, or of objects with a pod template; - is stdin.",
)
@click.option("--member", required=True, metavar="NAME", type=options.dns_label, help="The member.")
@options.translation
@click.option("-n", "--namespace", default="default", metavar="NAME", help="Namespace of a pod that does not name one.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="Default: yaml.")
def render(
    file: TextIO,
    member: str,
    node_name: str | None,
    namespace_prefix: str | None,
    api_access: str | None,
    namespace: str,
    output: str,
) -> None:
    """Show the pod that the member would get, and each field that differs, with the reason. Contacts no cluster.

    \b
    vk-provider render -f pod.yaml --member west
    kubectl get pod web-1 -o yaml | vk-provider render -f - --member west
    """
    target = Target(
        Names(node_name or member, _UNKNOWN_UID, namespace_prefix or ""),
        ApiAccess(api_access or ApiAccess.PARENT),
        _PARENT_HOST,
        _PARENT_PORT,
    )
    found = [rendered(pod, target) for pod in read(file.read(), file.name, namespace=namespace, uid=_UNKNOWN_UID)]
    if output == "json":
        listed = [asdict(one) for one in found]
        click.echo(json.dumps(listed[0] if len(listed) == 1 else listed, indent=2))
    else:
        click.echo("---\n".join(as_yaml(one) for one in found), nl=False)


def rendered(pod: dict[str, Any], target: Target) -> Rendered:
    """Translates one manifest. Raises ConfigError if it is not a valid pod."""
    try:
        parent: Pod = msgspec.json.decode(encode(pod), type=Pod)
        manifest = member_pod(parent, target)
        dependents = list(_dependents(parent, target))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"pod {pod['metadata']['name']} is not a valid pod: {error!r}", reason="InvalidPod"
        ) from error
    refused = rejection(parent)
    return Rendered(manifest, refused.message if refused else "", dependents, differences(pod, manifest, target))


def _dependents(parent: Pod, target: Target) -> Iterator[Dependent]:
    names, about, named = target.names, parent.metadata, needs(parent)
    place = names.namespace(about.namespace)
    for reference in sorted(named.references):
        name = names.copy(reference.name)
        yield Dependent(reference.kind, place, name, f"copy of {about.namespace}/{reference.name}")
    for query in sorted(named.bundles, key=lambda query: query.text):
        yield Dependent("ConfigMap", place, names.trust_bundle(query.text), "ClusterTrustBundles of the parent")
    if named.tokens and target.api_access is ApiAccess.PARENT:
        held = f"tokens of the parent for service account {named.service_account}: {len(named.tokens)}"
        yield Dependent("Secret", place, names.token_secret(about.name, about.uid), held)
    if certificates := certificate_sources(parent):
        held = f"certificates that the parent signs: {len(certificates)}"
        yield Dependent("Secret", place, names.certificate_secret(about.name, about.uid), held)


def as_yaml(one: Rendered) -> str:
    """The manifest below comments with everything else: the output is YAML, so that it can be piped."""
    text = io.StringIO()
    metadata = one.pod["metadata"]
    text.write(f"# pod {metadata['namespace']}/{metadata['name']}\n")
    if one.refused:
        text.write(f"#\n# The pod would be Failed instead: {one.refused}\n")
    if one.dependents:
        text.write("#\n# dependents:\n")
        for dependent in one.dependents:
            text.write(f"#   {dependent.kind} {dependent.namespace}/{dependent.name}: {dependent.of}\n")
    text.write("#\n# differences from the parent pod (!: a user may miss it):\n")
    for change in one.changes:
        text.write(f"# {'!' if change.missed else ' '} {change.what:10} {change}\n")
    yaml.dump(one.pod, text, Dumper=_Dumper, sort_keys=False, width=120)
    return text.getvalue()


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
