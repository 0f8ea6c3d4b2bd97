"""Copies have names of their own: a pod mounts what the parent has, and nothing that the member has of its own."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import given

from tests.unit.dependents_world import NAMES, bound, with_volume, world
from tests.unit.objects_server import Json, ObjectServer
from tests.unit.pods import pod
from tests.unit.test_translation_properties import specs, targets
from vk_provider.api import wellknown
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS
from vk_provider.translate.dependents.needs import Reference, named_as_originals, needs
from vk_provider.translate.pods.pod import Target, member_pod
from vk_provider.translate.pods.projected import has_token
from vk_provider.translate.references import named_objects

pytestmark = pytest.mark.looptime

ROOT_CA = "kube-root-ca.crt"
COPY = NAMES.copy("conf")
MOUNT = with_volume(configMap={"name": "conf", "optional": True})


def servers() -> tuple[ObjectServer, ObjectServer]:
    parent, member = ObjectServer(), ObjectServer()
    parent.put(NAMESPACES, "shop")
    member.put(NAMESPACES, "shop")
    return parent, member


def mounted(member: ObjectServer, name: str = "web") -> str:
    found = member.find(PODS, name, "shop")
    assert found, "the member pod is not there"
    name_of: str = found["spec"]["volumes"][0]["configMap"]["name"]
    return name_of


def older(member: ObjectServer, name: str = "web", spec: Json = MOUNT) -> Json:
    """A member pod as an earlier version made it: it names the originals."""
    annotations = {wellknown.PARENT_UID: f"p-{name}", wellknown.PARENT_NAMESPACE: "shop", wellknown.PARENT_NAME: name}
    metadata = {"labels": NAMES.labels, "annotations": annotations, "uid": f"m-{name}"}
    running = {"phase": "Running", "containerStatuses": [{"name": "app", "ready": True}]}
    spec = {"containers": [{"name": "app", "image": "app:1"}], **spec}
    return member.put(PODS, name, "shop", spec=spec, status=running, metadata=metadata)


def older_copy(member: ObjectServer, **parts: Any) -> Json:
    """A copy as an earlier version made it: it has the name of the original."""
    annotations = {
        wellknown.PARENT_UID: "uid-of-conf",
        wellknown.PARENT_NAMESPACE: "shop",
        wellknown.PARENT_NAME: "conf",
    }
    metadata = {"labels": NAMES.labels, "annotations": annotations}
    return member.put(CONFIG_MAPS, "conf", "shop", metadata=metadata, **{"data": {"a": "1"}, **parts})


async def test_a_pod_does_not_mount_what_only_the_member_has() -> None:
    parent, member = servers()
    member.put(CONFIG_MAPS, "conf", "shop", data={"password": "theirs"})
    bound(parent, "web", spec=MOUNT)
    async with world(parent, member):
        await asyncio.sleep(10)
        assert mounted(member) == COPY
        assert member.names(CONFIG_MAPS, "shop") == {"conf"}, "the parent has none, so the pod has none"


async def test_an_object_of_the_member_with_the_name_of_the_original_is_not_in_the_way() -> None:
    parent, member = servers()
    theirs = member.put(SECRETS, "conf", "shop", data={"password": "theirs"})
    parent.put(SECRETS, "conf", "shop", data={"password": "ours"}, type="Opaque")
    bound(parent, "web", spec=with_volume(secret={"secretName": "conf"}))
    async with world(parent, member) as running:
        await asyncio.sleep(10)
        copy = member.find(SECRETS, COPY, "shop")
        assert copy and copy["data"] == {"password": "ours"}
        assert member.find(SECRETS, "conf", "shop")["data"] == theirs["data"]  # type: ignore[index]  # it is there
        assert running.reasons() == set()


async def test_a_pod_cannot_name_the_tokens_of_another_pod() -> None:
    parent, member = servers()
    token = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    bound(parent, "victim", spec=with_volume(**token))
    async with world(parent, member):
        await asyncio.sleep(5)
        secret = NAMES.token_secret("victim", "p-victim")
        before = member.find(SECRETS, secret, "shop")
        assert before, "it has its tokens"
        bound(parent, "thief", spec=with_volume(secret={"secretName": secret, "optional": True}))
        await asyncio.sleep(5)
        named = member.find(PODS, "thief", "shop")
        assert named and named["spec"]["volumes"][0]["secret"]["secretName"] != secret
        parent.remove(PODS, "thief", "shop")
        await asyncio.sleep(60)
        assert member.find(SECRETS, secret, "shop") == before


async def test_a_running_pod_of_an_earlier_version_keeps_its_copy_which_follows_the_original() -> None:
    parent, member = servers()
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    bound(parent, "web", spec=MOUNT)
    before = older(member)
    older_copy(member)
    async with world(parent, member):
        await asyncio.sleep(10)
        assert member.names(CONFIG_MAPS, "shop") == {"conf"}, "no second copy is made"
        parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "2"})
        await asyncio.sleep(10)
        copy, after = member.find(CONFIG_MAPS, "conf", "shop"), member.find(PODS, "web", "shop")
        assert copy and copy["data"] == {"a": "2"}
        assert after and after["spec"] == before["spec"]
        bound(parent, "new", spec=MOUNT)
        await asyncio.sleep(10)
        assert mounted(member, "new") == COPY
        assert member.names(CONFIG_MAPS, "shop") == {"conf", COPY}
        member.remove(PODS, "web", "shop")
        await asyncio.sleep(60)
        assert mounted(member, "web") == COPY, "it was created again, as any lost member pod"
        assert member.names(CONFIG_MAPS, "shop") == {COPY}, "the older copy goes with the last pod that named it"


async def test_an_optional_original_that_comes_later_reaches_a_running_pod_of_an_earlier_version() -> None:
    parent, member = servers()
    bound(parent, "web", spec=MOUNT)
    older(member)
    async with world(parent, member):
        await asyncio.sleep(100)
        parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "2"})
        await asyncio.sleep(100)
        copy = member.find(CONFIG_MAPS, "conf", "shop")
        assert copy and copy["data"] == {"a": "2"}


async def test_older_copies_that_no_pod_names_any_more_are_deleted() -> None:
    parent, member = servers()
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    older_copy(member)
    async with world(parent, member):
        await asyncio.sleep(10)
    assert not member.names(CONFIG_MAPS, "shop")


async def test_an_object_of_ours_with_that_name_that_is_no_copy_of_it_is_left_alone() -> None:
    parent, member = servers()
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    bound(parent, "web", spec=MOUNT)
    older(member)
    annotations = {wellknown.PARENT_NAMESPACE: "shop", wellknown.PARENT_NAME: "another"}
    metadata = {"labels": NAMES.labels, "annotations": annotations}
    other = member.put(CONFIG_MAPS, "conf", "shop", data={"a": "other"}, metadata=metadata)
    async with world(parent, member):
        await asyncio.sleep(100)
        parent.remove(PODS, "web", "shop")
        await asyncio.sleep(100)
    found = member.find(CONFIG_MAPS, "conf", "shop")
    assert found and found["data"] == other["data"]


async def test_a_copy_whose_annotations_were_damaged_is_restored() -> None:
    parent, member = servers()
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    bound(parent, "web", spec=MOUNT)
    member.put(CONFIG_MAPS, COPY, "shop", data={"a": "1"}, metadata={"labels": NAMES.labels})
    async with world(parent, member):
        await asyncio.sleep(10)
        found = member.find(CONFIG_MAPS, COPY, "shop")
        assert found and found["metadata"]["annotations"][wellknown.PARENT_NAME] == "conf"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "Opaque"}, {"type": "kubernetes.io/dockerconfigjson"}),
        ({"type": "Opaque"}, {"type": "Opaque", "immutable": True}),
        ({"type": "Opaque", "immutable": True}, {"type": "Opaque"}),
    ],
)
async def test_a_secret_that_changed_in_anything_but_its_data_while_the_provider_was_away_is_followed(
    before: Json, after: Json
) -> None:
    parent, member = servers()
    data = {".dockerconfigjson": base64.b64encode(b"{}").decode()}
    bound(parent, "web", spec={"imagePullSecrets": [{"name": "conf"}]})
    parent.put(SECRETS, "conf", "shop", data=data, **before)
    async with world(parent, member):
        await asyncio.sleep(10)
        made = member.find(SECRETS, COPY, "shop")
        assert made and made["type"] == "Opaque"
    parent.remove(SECRETS, "conf", "shop")
    parent.put(SECRETS, "conf", "shop", data=data, metadata={"uid": "another"}, **after)
    async with world(parent, member):
        await asyncio.sleep(10)
        found = member.find(SECRETS, COPY, "shop")
        assert found and (found["type"], found.get("immutable", False)) == (
            after["type"],
            after.get("immutable", False),
        )
        assert found["metadata"]["annotations"][wellknown.PARENT_UID] == "another"


def env(name: str) -> Json:
    return {"name": "more", "image": "i", "envFrom": [{"configMapRef": {"name": name}}]}


def member_pod_with(*names: str, ephemeral: str = "") -> Json:
    spec: Json = {"volumes": [{"name": f"v{n}", "configMap": {"name": name}} for n, name in enumerate(names)]}
    return spec | ({"ephemeralContainers": [env(ephemeral)]} if ephemeral else {})


@pytest.mark.parametrize(
    ("member", "wanted"),
    [
        (member_pod_with("conf"), True),
        (member_pod_with(COPY), False),
        (member_pod_with(COPY, "conf"), False),  # the member's admission has added one of its own
        (member_pod_with("conf", ephemeral=COPY), True),  # the container is newer than its pod
        (member_pod_with(COPY, ephemeral=COPY), False),
        (member_pod_with(ephemeral="conf"), True),
        (member_pod_with(), False),  # the member's admission has removed it
    ],
)
def test_a_member_pod_that_names_originals_is_recognized(member: Json, wanted: bool) -> None:
    found = named_as_originals([Reference("ConfigMap", "conf")], pod(member), NAMES)
    assert (found == {Reference("ConfigMap", "conf")}) == wanted


def test_the_root_ca_of_the_member_is_no_older_copy() -> None:
    spec = member_pod_with(ROOT_CA)
    assert named_as_originals(needs(pod(spec)).references, pod(spec), NAMES) == frozenset()


@given(specs, targets)
def test_whatever_a_member_pod_names_is_ours_or_the_ca_with_a_token_of_the_member(spec: Json, target: Target) -> None:
    parent = pod(spec)
    about = parent.metadata
    ours = {
        target.names.token_secret(about.name, about.uid),
        target.names.certificate_secret(about.name, about.uid),
        *(target.names.trust_bundle(query.text) for query in needs(parent).bundles),
        *(target.names.copy(one.name) for one in needs(parent).references),
    }
    for _, holder, field, volume in named_objects(member_pod(parent, target)["spec"]):
        assert holder[field] in ours or (holder[field] == ROOT_CA and volume and has_token(volume))
