"""Patches of a running member pod: they apply changes of the parent and keep additions of the member."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.merge import apply_pod
from tests.unit.pods import NAMES, TARGET, Manifest, as_pod, pod
from vk_provider.api.membercluster import ApiAccess
from vk_provider.kube.objects import Pod, encode, fields
from vk_provider.translate.pods.change import Change, changes
from vk_provider.translate.pods.pod import Target, member_pod


def created(parent: Pod, target: Target = TARGET) -> Pod:
    """The member pod right after its creation, without additions of the member."""
    manifest = member_pod(parent, target)
    manifest["metadata"]["uid"] = "m-1"
    return as_pod(manifest)


def served(parent: Pod) -> Pod:
    """The member pod after defaulting, admission, binding and a network plugin of the member."""
    manifest = member_pod(parent, TARGET, restarts={"app": 2})
    manifest["metadata"]["uid"] = "m-1"
    manifest["metadata"]["annotations"]["cni.example.com/ip"] = "10.0.0.9"
    manifest["metadata"]["labels"] |= {"injected": "yes", "topology.kubernetes.io/zone": "eu-1a"}
    spec = manifest["spec"]
    spec |= {
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "nodeName": "node-7",
        "priority": 0,
        "restartPolicy": spec.get("restartPolicy", "Always"),
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
    }
    for container in spec["containers"]:
        container |= {"imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log"}
        resources = container.setdefault("resources", {})
        resources.setdefault("limits", {}).setdefault("memory", "512Mi")
        resources.setdefault("requests", {}).setdefault("cpu", "100m")
    spec["containers"].append({"name": "istio-proxy", "image": "proxy:1"})
    spec["tolerations"] = [
        *spec.get("tolerations", []),
        {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    ]
    return as_pod(manifest)


def with_spec(change: Manifest, **metadata: Any) -> Pod:
    return pod({"tolerations": [NOT_READY], **change}, **metadata)


NOT_READY = {
    "key": "node.kubernetes.io/not-ready",
    "operator": "Exists",
    "effect": "NoExecute",
    "tolerationSeconds": 300,
}
BASE = with_spec({})


def app(**change: Any) -> Manifest:
    return {"containers": [{"name": "app", "image": "app:1", **change}]}


def only(found: list[Change]) -> Change:
    assert len(found) == 1
    return found[0]


def test_a_new_image_is_patched_by_container_name() -> None:
    change = only(changes(with_spec(app(image="app:2")), served(BASE), TARGET))
    applied = {"vk-provider.io/applied": '{"containers/app/image":"app:2"}'}
    assert change == Change(
        "",
        {
            "spec": {"containers": [{"name": "app", "image": "app:2"}]},
            "metadata": {"annotations": applied, "uid": "m-1"},
        },
    )


def test_a_new_image_of_an_init_container_is_patched() -> None:
    before = with_spec({"initContainers": [{"name": "setup", "image": "setup:1"}]})
    after = with_spec({"initContainers": [{"name": "setup", "image": "setup:2"}]})
    change = only(changes(after, created(before), TARGET))
    assert change.patch["spec"] == {"initContainers": [{"name": "setup", "image": "setup:2"}]}


def test_a_new_deadline_is_patched() -> None:
    change = only(changes(with_spec({"activeDeadlineSeconds": 60}), served(BASE), TARGET))
    assert change.patch["spec"] == {"activeDeadlineSeconds": 60}


def test_a_shorter_deadline_in_the_member_is_kept() -> None:
    member = created(with_spec({"activeDeadlineSeconds": 30}))
    assert changes(with_spec({"activeDeadlineSeconds": 60}), member, TARGET) == []


def test_a_new_toleration_is_added_and_those_of_the_member_are_kept() -> None:
    gpu = {"key": "gpu", "operator": "Exists"}
    change = only(changes(with_spec({"tolerations": [NOT_READY, gpu]}), served(BASE), TARGET))
    assert {entry["key"] for entry in change.patch["spec"]["tolerations"]} == {
        "gpu",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/memory-pressure",
    }


def test_changed_toleration_seconds_replace_the_old_ones() -> None:
    longer = NOT_READY | {"tolerationSeconds": 600}
    change = only(changes(with_spec({"tolerations": [longer]}), created(BASE), TARGET))
    assert change.patch["spec"]["tolerations"] == [longer]


def test_resources_are_patched_through_the_resize_subresource() -> None:
    resized = with_spec(app(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}))
    first, last = changes(resized, served(with_spec(app(resources={"requests": {"cpu": "1"}}))), TARGET)
    assert first == Change(
        "resize",
        {
            "spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]},
            "metadata": {"uid": "m-1"},
        },
    )
    assert (last.subresource, last.patch["metadata"]["annotations"].keys()) == ("", {"vk-provider.io/applied"})


def test_pod_level_resources_are_patched_through_the_resize_subresource() -> None:
    before, after = ({"resources": {"requests": {"cpu": cpu}}} for cpu in ("1", "2"))
    change = changes(with_spec(after), created(with_spec(before)), TARGET)[0]
    assert (change.subresource, change.patch["spec"]) == ("resize", after)


def admitted(parent: Pod) -> Pod:
    """A member pod that the member's admission has changed: images of a mirror, larger requests."""
    member = created(parent)
    spec = fields(member.spec)
    for container in spec["containers"]:
        container["image"] = f"mirror.example.com/{container['image']}"
        container["resources"] = {"requests": {"cpu": "4"}}
    return Pod(metadata=member.metadata, spec=msgspec.Raw(encode(spec)), status=member.status)


SMALL = with_spec(app(resources={"requests": {"cpu": "1"}}))


def test_changes_by_the_members_admission_are_kept() -> None:
    assert changes(SMALL, admitted(SMALL), TARGET) == []


def test_a_new_label_does_not_revert_an_image_that_the_member_has_rewritten() -> None:
    labelled = with_spec(app(resources={"requests": {"cpu": "1"}}), labels={"app": "web"})
    assert "spec" not in only(changes(labelled, admitted(SMALL), TARGET)).patch


def test_a_new_image_reaches_a_pod_whose_image_the_member_has_rewritten() -> None:
    change = only(changes(with_spec(app(image="app:2", resources={"requests": {"cpu": "1"}})), admitted(SMALL), TARGET))
    assert change.patch["spec"] == {"containers": [{"name": "app", "image": "app:2"}]}


def test_a_damaged_record_of_the_applied_spec_is_restored() -> None:
    member = served(BASE)
    member.metadata.annotations["vk-provider.io/applied"] = "[]"
    change = only(changes(BASE, member, TARGET))
    assert change.patch["metadata"]["annotations"] == {"vk-provider.io/applied": '{"containers/app/image":"app:1"}'}


def test_an_ephemeral_container_is_patched_through_its_subresource() -> None:
    debugged = with_spec({"ephemeralContainers": [{"name": "debug", "image": "busybox"}]})
    change = only(changes(debugged, served(BASE), TARGET))
    assert change.subresource == "ephemeralcontainers"


def test_an_ephemeral_container_is_translated_like_other_containers() -> None:
    env = [{"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]
    debugged = with_spec({"ephemeralContainers": [{"name": "debug", "image": "busybox", "env": env}]})
    container = only(changes(debugged, served(BASE), TARGET)).patch["spec"]["ephemeralContainers"][0]
    paths = [e["valueFrom"]["fieldRef"]["fieldPath"] for e in container["env"] if "valueFrom" in e]
    assert paths == ["metadata.annotations['vk-provider.io/parent-uid']"]


def test_an_ephemeral_container_can_show_the_zone_of_the_parent_pod() -> None:
    zone = "topology.kubernetes.io/zone"
    env = [{"name": "ZONE", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{zone}']"}}}]
    debug = {"name": "debug", "image": "busybox", "env": env}
    debugged = with_spec({"ephemeralContainers": [debug]})
    debugged.metadata.labels[zone] = "eu-1a"
    found = changes(debugged, served(BASE), TARGET)
    patches = {change.subresource: change.patch for change in found}
    (reference,) = (
        entry["valueFrom"]["fieldRef"]["fieldPath"]
        for entry in patches["ephemeralcontainers"]["spec"]["ephemeralContainers"][0]["env"]
        if "valueFrom" in entry
    )
    annotation = reference.removeprefix("metadata.annotations['").removesuffix("']")
    assert patches[""]["metadata"]["annotations"][annotation] == "eu-1a"


def test_an_ephemeral_container_does_not_mount_volumes_that_the_member_pod_lacks() -> None:
    mount = {"name": "api", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    api = {"volumes": [{"name": "api", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}
    target = Target(NAMES, ApiAccess.NONE)
    before = with_spec({**app(volumeMounts=[mount]), **api})
    debug = {"name": "debug", "image": "busybox", "volumeMounts": [mount]}
    after = with_spec({**app(volumeMounts=[mount]), **api, "ephemeralContainers": [debug]})
    change = only(changes(after, created(before, target), target))
    assert change.patch["spec"]["ephemeralContainers"][0]["volumeMounts"] == []


def test_an_existing_ephemeral_container_is_not_added_again() -> None:
    debugged = with_spec({"ephemeralContainers": [{"name": "debug", "image": "busybox"}]})
    member = created(debugged)
    for change in changes(debugged, member, TARGET):
        member = apply_pod(member, change.patch)
    assert changes(debugged, member, TARGET) == []


def test_a_label_that_the_parent_removed_is_removed() -> None:
    member = served(with_spec({}, labels={"app": "web", "canary": "true"}))
    change = only(changes(with_spec({}, labels={"app": "web"}), member, TARGET))
    assert change.patch["metadata"]["labels"] == {"canary": None}


def test_an_annotation_that_the_member_added_is_kept() -> None:
    change = only(changes(with_spec({}, annotations={"note": "new"}), served(BASE), TARGET))
    assert change.patch["metadata"]["annotations"].keys() == {"note", "vk-provider.io/metadata-keys"}


def test_an_annotation_of_the_provider_that_another_client_changed_is_restored() -> None:
    member = served(BASE)
    member.metadata.annotations["vk-provider.io/parent-name"] = "forged"
    change = only(changes(BASE, member, TARGET))
    assert change.patch["metadata"]["annotations"] == {"vk-provider.io/parent-name": "web-1"}


def test_a_damaged_record_of_keys_is_restored() -> None:
    member = served(BASE)
    member.metadata.annotations["vk-provider.io/metadata-keys"] = '{"oops": 1}'
    change = only(changes(BASE, member, TARGET))
    assert change.patch["metadata"]["annotations"] == {"vk-provider.io/metadata-keys": "[[],[]]"}


def test_the_zone_that_the_member_sets_at_binding_is_kept() -> None:
    parent = with_spec({}, labels={"topology.kubernetes.io/zone": "member-a"})
    assert changes(parent, served(parent), TARGET) == []


def test_every_patch_has_the_uid_of_the_member_pod() -> None:
    debug = {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}
    changed = with_spec({**app(image="app:2", resources={"requests": {"cpu": "2"}}), **debug}, labels={"a": "b"})
    assert [c.patch["metadata"]["uid"] for c in changes(changed, served(BASE), TARGET)] == ["m-1"] * 3


keys = st.dictionaries(
    st.sampled_from(["app", "tier", "note", "vk-provider.io/node"]), st.sampled_from("xyz"), max_size=3
)
cpus = st.sampled_from(["100m", "1", "2"])


@st.composite
def parents(draw: st.DrawFn) -> Pod:
    resources = draw(st.fixed_dictionaries({}, optional={"requests": st.builds(lambda cpu: {"cpu": cpu}, cpus)}))
    tolerations = [
        NOT_READY | {"tolerationSeconds": draw(st.sampled_from([30, 300]))},
        *draw(st.lists(st.just({"key": "gpu", "operator": "Exists"}), max_size=1)),
    ]
    debug = draw(st.lists(st.just({"name": "debug", "image": "busybox"}), max_size=1))
    spec = app(image=draw(st.sampled_from(["app:1", "app:2"])), resources=resources)
    spec |= {"tolerations": tolerations, "ephemeralContainers": debug}
    spec |= draw(st.fixed_dictionaries({}, optional={"activeDeadlineSeconds": st.sampled_from([30, 60])}))
    return pod(spec, labels=draw(keys), annotations=draw(keys))


def without_ephemeral_containers(parent: Pod) -> list[Change]:
    return [c for c in changes(parent, served(parent), TARGET) if c.subresource != "ephemeralcontainers"]


@given(parents())
def test_a_new_member_pod_needs_no_patch(parent: Pod) -> None:
    assert without_ephemeral_containers(parent) == []


@given(parents(), parents())
def test_a_patched_pod_needs_no_further_patch(before: Pod, after: Pod) -> None:
    member = served(before)
    for change in changes(after, member, TARGET):
        member = apply_pod(member, copy.deepcopy(change.patch))
    assert changes(after, member, TARGET) == []
