"""What users of the parent do: a function for each action of the plan. They do not know members."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from tests.chaos import manifests
from tests.chaos.plan import Step
from tests.cluster import DEPLOYMENTS, STRATEGIC, ApiFailure, Json
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, Resource

if TYPE_CHECKING:
    from tests.chaos.world import World

STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")


def _create(world: World, step: Step, resource: Resource, body: Json) -> None:
    namespace, name = step.about.split("/")
    body = {**body, "metadata": body.get("metadata", {}) | {"name": name}}
    try:
        world.parent.create(resource, body, namespace)
    except ApiFailure as failure:
        if failure.status != 404:
            raise
        world.parent.create(NAMESPACES, {"metadata": {"name": namespace}})
        raise


def _creates(resource: Resource, manifest: Callable[[Step], Json]) -> Callable[[World, Step], None]:
    return lambda world, step: _create(world, step, resource, manifest(step))


def _patches(resource: Resource, body: Callable[[Step], Json]) -> Callable[[World, Step], None]:
    def patch(world: World, step: Step) -> None:
        namespace, name = step.about.split("/")
        world.parent.patch(resource, name, body(step), namespace, content_type=STRATEGIC)

    return patch


def _deletes(resource: Resource) -> Callable[[World, Step], None]:
    def delete(world: World, step: Step) -> None:
        namespace, name = step.about.split("/")
        world.parent.delete(resource, name, namespace)

    return delete


def _pod(step: Step) -> Json:
    args = step.args
    lives = args["lives"] if args["policy"] != "Always" else 0
    spec = manifests.pod_spec(args["policy"], lives, args["exit_code"], config=args["config"])
    return {"metadata": manifests.metadata(lives, args["exit_code"]), "spec": spec}


def _another_pod(step: Step) -> Json:
    return {"metadata": manifests.metadata(0, 0), "spec": manifests.pod_spec(step.args["policy"], 0, 0)}


def _delete_pod(world: World, step: Step) -> None:
    namespace, name = step.about.split("/")
    world.end_pod(world.parent, world.parent.get(PODS, name, namespace), step.args["grace"])


def _recreate_pod(world: World, step: Step) -> None:
    try:
        _delete_pod(world, step)
    except ApiFailure as failure:
        if failure.status != 404:
            raise
    _create(world, step, PODS, _another_pod(step))


def _delete_some_pod(world: World, step: Step) -> str | None:
    pods = sorted(world.parent.list(PODS, step.about), key=lambda pod: str(pod["metadata"]["name"]))
    if not pods:
        return "no pod"
    world.end_pod(world.parent, pods[step.args["index"] % len(pods)], step.args["grace"])
    return None


def _delete_job(world: World, step: Step) -> None:
    namespace, name = step.about.split("/")
    world.parent.call("DELETE", JOBS.path(name, namespace), {"propagationPolicy": "Background"})


def _write_config(world: World, step: Step) -> None:
    namespace, name = step.about.split("/")
    data = {"data": {"value": step.args["value"]}}
    try:
        world.parent.patch(CONFIG_MAPS, name, data, namespace)
    except ApiFailure as failure:
        if failure.status != 404:
            raise
        world.parent.create(CONFIG_MAPS, {"metadata": {"name": name}, **data}, namespace)


def _delete_namespace(world: World, step: Step) -> None:
    world.parent.delete(NAMESPACES, step.about)


# Each performs a step; it returns why it did nothing, and raises ApiFailure.
STEPS: Final[Mapping[str, Callable[[World, Step], str | None]]] = {
    "create pod": _creates(PODS, _pod),
    "delete pod": _delete_pod,
    "recreate pod": _recreate_pod,
    "label pod": _patches(PODS, lambda step: {"metadata": {"labels": {"tier": step.args["tier"]}}}),
    "set image of pod": _patches(PODS, lambda step: manifests.image(step.args["image"])),
    "create deployment": _creates(DEPLOYMENTS, manifests.deployment),
    "scale deployment": _patches(DEPLOYMENTS, manifests.replicas),
    "set image of deployment": _patches(
        DEPLOYMENTS, lambda step: {"spec": {"template": manifests.image(step.args["image"])}}
    ),
    "delete deployment": _deletes(DEPLOYMENTS),
    "create statefulset": _creates(STATEFUL_SETS, manifests.stateful_set),
    "scale statefulset": _patches(STATEFUL_SETS, manifests.replicas),
    "delete statefulset": _deletes(STATEFUL_SETS),
    "create job": _creates(JOBS, manifests.job),
    "delete job": _delete_job,
    "delete some pod": _delete_some_pod,
    "write config": _write_config,
    "delete config": _deletes(CONFIG_MAPS),
    "delete namespace": _delete_namespace,
}
