"""Permissions in a member: an essential one that is missing is an error, any other one costs its feature only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.unit.member_api import MemberApi
from vk_provider.caches import Caches
from vk_provider.errors import ConfigError, UnauthorizedError, UnreachableError
from vk_provider.kube.recorder import Recorder
from vk_provider.sync.membership.access import examine
from vk_provider.sync.pods.events import EventLoop, member_events
from vk_provider.translate.names import Names
from vk_provider.translate.state.rights import ESSENTIAL, PERMISSIONS, Feature, Right, Rights

MANIFEST: Final = Path(__file__).resolve().parents[2] / "manifests" / "member" / "rbac.yaml"
OPTIONAL: Final = [right for row in PERMISSIONS if row.feature not in ESSENTIAL for right in row.rights]
NEEDED: Final = [right for row in PERMISSIONS if row.feature in ESSENTIAL for right in row.rights]


@pytest.mark.parametrize("right", OPTIONAL, ids=str)
async def test_a_member_that_lacks_an_optional_permission_is_served(right: Right) -> None:
    facts = await examine(MemberApi(right))
    assert facts.rights == Rights((right,))
    assert not facts.rights.allows(*right)


@pytest.mark.parametrize("right", NEEDED, ids=str)
async def test_a_member_that_lacks_an_essential_permission_is_refused_with_all_that_are_missing(right: Right) -> None:
    with pytest.raises(ConfigError, match="lacks") as refused:
        await examine(MemberApi(right, ("", "events", "list")))
    assert refused.value.reason == "Forbidden"
    assert f"{right.verb} {right.resource}" in str(refused.value)
    assert "list events" in str(refused.value)
    assert "kubectl apply -f manifests/member/rbac.yaml" in str(refused.value)


async def test_a_credential_that_is_not_accepted_is_no_question_of_permissions() -> None:
    api = MemberApi()
    api.refusal = UnauthorizedError(401, "Unauthorized", "Unauthorized")
    with pytest.raises(ConfigError, match="does not accept the credential"):
        await examine(api)


async def test_a_resource_that_the_version_of_the_member_does_not_have_is_not_a_missing_permission() -> None:
    api = MemberApi()
    api.unserved = {"pods/resize"}
    rights = (await examine(api)).rights
    assert not rights.allows("", "pods/resize", "patch")
    assert not rights.has(Feature.RESIZE)
    assert rights.has(Feature.DEBUG)
    assert rights.condition[0] == "True", "no administrator can grant it"


def test_the_condition_names_features_permissions_and_the_remedy() -> None:
    rights = Rights((Right("", "events", "list"), Right("discovery.k8s.io", "endpointslices", "patch")))
    status, reason, message = rights.condition
    assert (status, reason) == ("False", "RightsMissing")
    assert "Services in the member (needs patch endpointslices.discovery.k8s.io)" in message
    assert "Events of the member about pods (needs list events)" in message
    assert "kubectl apply -f manifests/member/rbac.yaml" in message


def test_the_condition_is_true_if_everything_is_granted() -> None:
    assert Rights().condition == ("True", "RightsGranted", "the credential has every permission")


def lists(*missing: Right) -> list[str]:
    client: Any = MemberApi()
    caches = Caches.of(client, client, Names("west", "parent-uid"), ["west"], Rights(missing))
    return [repr(informer) for informer in caches.all()]


@pytest.mark.parametrize(
    ("right", "path"),
    [
        (Right("coordination.k8s.io", "leases", "watch"), "leases"),
        (Right("", "services", "list"), "/services"),
        (Right("discovery.k8s.io", "endpointslices", "watch"), "endpointslices"),
    ],
)
def test_what_may_not_be_listed_is_not_waited_for(right: Right, path: str) -> None:
    assert any(path in each for each in lists())
    assert not any(path in each for each in lists(right))


async def test_events_that_may_not_be_read_are_not_watched() -> None:
    api, recorder = MemberApi(), Recorder(MemberApi())
    await EventLoop([], member_events(api), recorder, Rights((Right("", "events", "watch"),))).run()
    assert api.asked == []


def test_the_manifest_grants_the_permissions_of_the_table_and_no_others() -> None:
    (rules,) = (
        document["rules"]
        for document in yaml.safe_load_all(MANIFEST.read_text())
        if (document["kind"], document["metadata"]["name"]) == ("ClusterRole", "vk-provider-member")
    )
    granted = {
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {right for row in PERMISSIONS for right in row.rights}


async def test_a_member_that_does_not_answer_takes_no_place_of_those_that_are_examined() -> None:
    places = asyncio.Semaphore(1)
    async with places:
        api = MemberApi()
        api.refusal = UnreachableError("no answer in time")
        with pytest.raises(UnreachableError):
            await examine(api, places)
        waiting = asyncio.create_task(examine(MemberApi(), places))
        await asyncio.sleep(0.01)
        assert not waiting.done()
    assert (await waiting).rights == Rights()


class Counting(MemberApi):
    """Knows how many requests were under way at a time."""

    under_way = most = 0

    async def request(self, method: str, path: str, **options: Any) -> bytes:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        return await super().request(method, path, **options)


async def test_the_permissions_of_a_member_are_asked_for_a_few_at_a_time() -> None:
    api = Counting()
    await examine(api)
    assert 1 < api.most <= 8
