"""The provider waits for a confirmation before it deletes many orphans, or serves another cluster by a known name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import members
from tests.cluster import Cluster, Json
from tests.command_line import vk
from tests.integration.connecting import client_through
from tests.integration.lost_members import PATIENCE, condition
from tests.members import event_reasons
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    running_pods,
    wait_until_running,
)
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.errors import ConfigError
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, SERVICES
from vk_provider.sync.membership.access import identify


class TestManyOrphans:
    @pytest.fixture
    def forgotten(self, parent: Cluster, alpha: Cluster, provider: Provider, namespace: str) -> Iterator[str]:
        """More than half of the parent pods were deleted while the provider did not run."""
        names = [f"web-{number}" for number in range(14)]
        parent.create(CONFIG_MAPS, {"metadata": {"name": "settings"}}, namespace)
        parent.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}, namespace)
        volumes = [{"name": "settings", "configMap": {"name": "settings"}}]
        for name in names:
            parent.create(PODS, bare(name, volumes=volumes if name in names[:12] else None), namespace)
        eventually(lambda: len(running_pods(parent, namespace)) == len(names), "all pods run", PATIENCE)
        eventually(lambda: alpha.find(SERVICES, "web", namespace), "their Service exists")
        provider.kill()
        for name in names[:12]:
            parent.delete(PODS, name, namespace, grace_seconds=0)
        parent.delete(SERVICES, "web", namespace)
        yield namespace
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": None}})

    def test_are_held_after_a_start_of_the_provider_until_an_administrator_confirms(
        self, parent: Cluster, alpha: Cluster, provider: Provider, forgotten: str
    ) -> None:
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": {"secondLookSeconds": 1}}})
        provider.start()
        held = eventually(
            lambda: condition(parent, "alpha", wellknown.ORPHANS_HELD, "True"), "the orphans are held", PATIENCE
        )
        assert "does not know 12 of the" in held["message"], "pods of the previous test may still be terminating"
        eventually(lambda: wellknown.TOO_MANY_ORPHANS in event_reasons(parent, "alpha"), "an Event has the reason")
        parent.create(PODS, bare("new"), forgotten)
        wait_until_running(parent, "new", forgotten, PATIENCE)
        assert len(running_pods(alpha, forgotten)) == 15
        assert copies(alpha, forgotten), "their dependents are kept, too"
        assert alpha.find(SERVICES, "web", forgotten), "their Services are kept"
        assert vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha").exit_code == 0
        eventually(
            lambda: set(running_pods(alpha, forgotten)) == {"web-12", "web-13", "new"},
            "the orphans are deleted",
            PATIENCE,
        )
        eventually(lambda: condition(parent, "alpha", wellknown.ORPHANS_HELD, "False"), "no orphans are held")
        eventually(lambda: not copies(alpha, forgotten), "their dependents are deleted")
        eventually(lambda: alpha.find(SERVICES, "web", forgotten) is None, "their Services are deleted")
        eventually(
            lambda: wellknown.CONFIRM not in parent.get(MEMBER_CLUSTERS, "alpha")["metadata"].get("annotations", {}),
            "the confirmation is removed",
        )
        again = vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha")
        assert (again.exit_code, "holds no orphans" in again.stderr) == (1, True)


def test_another_cluster_with_the_name_of_a_member_is_not_served_until_an_administrator_confirms(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace, PATIENCE)
    member_pod = alpha.get(PODS, "web", namespace)["metadata"]["uid"]
    provider.kill()
    real = parent.get(MEMBER_CLUSTERS, "alpha")["status"]["clusterUid"]
    parent.patch(MEMBER_CLUSTERS, "alpha", {"status": {"clusterUid": "of-another"}}, subresource="status")
    provider.start()
    message = members.wait_until_refused(parent, "alpha", wellknown.CLUSTER_UID_CHANGED)
    assert "vk-provider confirm alpha --new-cluster" in message
    assert real in message
    assert vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha", "--new-cluster").exit_code == 0
    members.wait_until_served(parent, "alpha", PATIENCE)
    assert parent.get(MEMBER_CLUSTERS, "alpha")["status"]["clusterUid"] == real
    eventually(
        lambda: wellknown.CONFIRM not in parent.get(MEMBER_CLUSTERS, "alpha")["metadata"].get("annotations", {}),
        "the confirmation is removed",
    )
    assert alpha.get(PODS, "web", namespace)["metadata"]["uid"] == member_pod
    again = vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha", "--new-cluster")
    assert again.exit_code == 1
    assert "nothing to confirm" in again.stderr


def test_a_confirmation_that_stays_after_its_use_is_not_worth_another_cluster(
    parent: Cluster, alpha: Cluster, provider: Provider
) -> None:
    def becomes(uid: str, **annotations: str) -> None:
        """The provider starts, and the cluster that was joined seems to have been another one."""
        provider.kill()
        parent.patch(MEMBER_CLUSTERS, "alpha", {"metadata": {"annotations": annotations}})
        parent.patch(MEMBER_CLUSTERS, "alpha", {"status": {"clusterUid": uid}}, subresource="status")
        provider.start()

    becomes("of-another")
    members.wait_until_refused(parent, "alpha", wellknown.CLUSTER_UID_CHANGED)
    provider.kill()
    assert vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha", "--new-cluster").exit_code == 0
    confirmation = parent.get(MEMBER_CLUSTERS, "alpha")["metadata"]["annotations"][wellknown.CONFIRM]
    provider.start()
    members.wait_until_served(parent, "alpha", PATIENCE)
    becomes("of-a-third", **{wellknown.CONFIRM: confirmation})
    members.wait_until_refused(parent, "alpha", wellknown.CLUSTER_UID_CHANGED)
    assert vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha", "--new-cluster").exit_code == 0
    members.wait_until_served(parent, "alpha", PATIENCE)


async def test_a_probe_notices_that_another_cluster_answers(alpha: Cluster) -> None:
    async with client_through(alpha, None) as client:
        real = alpha.get(NAMESPACES, "kube-system")["metadata"]["uid"]
        await identify(client, real, member="west", deadline=10)
        with pytest.raises(ConfigError, match=f"another cluster .*{real}.*vk-provider confirm west --new-cluster"):
            await identify(client, "of-another", member="west", deadline=10)


def copies(member: Cluster, namespace: str) -> list[Json]:
    return member.list(CONFIG_MAPS, namespace, labels=f"{wellknown.NODE_LABEL}=alpha")
