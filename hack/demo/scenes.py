"""The scenes of the demo: what a user does with many clusters as one, and what must be true afterwards.

Every scene takes a World in which the members alpha and beta are joined and served. It leaves its objects for later
scenes; `everything_is_deleted` comes last. The end-to-end tests run the same scenes.
"""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from demo.world import ExpectationError, World

IMAGE = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
_MANIFESTS = "hack/demo/manifests"


@dataclass(frozen=True)
class Scene:
    """One thing that a user wants, and the check that it works."""

    title: str
    play: Callable[[World], str]
    """Runs the scene, and returns the observation in one line. Raises ExpectationError if a check fails."""


def nodes(world: World) -> str:
    world.kubectl("get", "nodes", "-L", "vk-provider.io/cluster")
    return f"{len(world.members)} virtual nodes are Ready: {', '.join(sorted(world.members))}"


def plain_deployment(world: World) -> str:
    world.kubectl("create", "deployment", "web", f"--image={IMAGE}", "--replicas=4")
    _expect_rollout(world, "deployment/web", 4)
    return f"4 replicas run: {_spread(world, 'app=web')}"


def pinned(world: World) -> str:
    world.kubectl("apply", "-f", f"{_MANIFESTS}/pinned.yaml")
    _expect_rollout(world, "deployment/pinned", 2)
    _expect(_by_node(world, "app=pinned") == {"beta": 2}, "both replicas of `pinned` are in beta")
    return "nodeSelector vk-provider.io/cluster=beta: both replicas are in beta"


def apart(world: World) -> str:
    world.kubectl("apply", "-f", f"{_MANIFESTS}/apart.yaml")
    _expect_rollout(world, "deployment/apart", 2)
    _expect(_by_node(world, "app=apart") == {"alpha": 1, "beta": 1}, "one replica of `apart` is in each member")
    return "required anti-affinity over vk-provider.io/cluster: one replica in each member"


def daemon_set(world: World) -> str:
    world.kubectl("apply", "-f", f"{_MANIFESTS}/agent.yaml")
    _expect_rollout(world, "daemonset/agent", 2)
    _expect(_by_node(world, "app=agent") == {"alpha": 1, "beta": 1}, "one pod of `agent` is in each member")
    return "a DaemonSet runs one pod per member"


def job(world: World) -> str:
    world.kubectl("create", "job", "sum", "--image=busybox:1.36", "--", "sh", "-c", "expr 20 + 22")
    world.kubectl("wait", "--for=condition=complete", "job/sum", "--timeout=180s")
    world.kubectl("get", "job", "sum")
    (pod,) = world.pods("job-name=sum")
    _expect(pod["status"]["phase"] == "Succeeded", "the pod of the Job has phase Succeeded")
    if world.real:
        code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        _expect(code == 0, "the parent shows the exit code of the container, 0")
    return f"a Job completes, in {pod['spec']['nodeName']}"


def rollout(world: World) -> str:
    before = {pod["metadata"]["uid"] for pod in world.running("app=web")}
    world.kubectl("rollout", "restart", "deployment/web")
    world.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    world.until(
        "all pods of `web` are new",
        lambda: len(after := {pod["metadata"]["uid"] for pod in world.running("app=web")}) == 4 and not after & before,
    )
    _same_on_both_sides(world, "app=web", 4)
    return "a rollout replaces all 4 pods"


def scale(world: World) -> str:
    for replicas in (6, 1):
        world.kubectl("scale", "deployment/web", f"--replicas={replicas}")
        world.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
        _same_on_both_sides(world, "app=web", replicas)
    world.kubectl("get", "pods", "-l", "app=web", "-o", "wide")
    return "6 replicas and then 1 replica run, in the parent and in the members"


def kubelet_api(world: World) -> str:
    """Logs, exec and port-forward work as on any node. Fake nodes have no containers to connect to."""
    if not world.real:
        return "skipped: fake nodes have no containers"
    world.kubectl("create", "deployment", "echo", f"--image={IMAGE}", "--", "/agnhost", "netexec", "--http-port=8080")
    world.kubectl("rollout", "status", "deployment/echo", "--timeout=180s")
    (pod,) = world.running("app=echo")
    name = pod["metadata"]["name"]
    _expect("Started HTTP server" in world.kubectl("logs", "deployment/echo"), "kubectl logs shows the output")
    _expect(world.kubectl("exec", "deployment/echo", "--", "hostname").strip() == name, "kubectl exec runs in the pod")
    with world.port_forward("deployment/echo", 8080) as url, urllib.request.urlopen(f"{url}/hostname") as answer:
        _expect(answer.read().decode() == name, "kubectl port-forward reaches the pod")
    return f"logs, exec and port-forward reach the container of {name} in {pod['spec']['nodeName']}"


def top(world: World) -> str:
    """The upstream metrics-server, which does not know virtual nodes, reads them as it reads any node."""
    if not world.real:
        return "skipped: fake nodes use no resources"
    (pod,) = world.running("app=echo")
    name = pod["metadata"]["name"]
    world.until("metrics-server has metrics of both nodes", lambda: len(world.usage("nodes")) == len(world.members))
    world.until(f"metrics-server has metrics of {name}", lambda: name in world.usage("pods"))
    world.kubectl("top", "nodes")
    world.kubectl("top", "pods", "-l", "app=echo", "--containers")
    return f"kubectl top shows both nodes, and that {name} uses {world.usage('pods')[name]}"


def lost(world: World) -> str:
    """The loss is real: no packets to or from alpha arrive. Its thresholds are short, so that the demo is quick."""
    if not world.real:
        return "skipped: without root, a cluster cannot be cut off"
    world.kubectl("apply", "-f", f"{_MANIFESTS}/moving.yaml")
    world.kubectl("rollout", "status", "deployment/moving", "--timeout=180s")
    _expect(_by_node(world, "app=moving") == {"alpha": 1, "beta": 1}, "one replica of `moving` is in each member")
    health = '{"spec":{"health":{"probeSeconds":0.5,"lostAfterSeconds":3,"returnAfterSeconds":5}}}'
    world.kubectl("patch", "membercluster", "alpha", "--type=merge", "-p", health)
    world.cut("alpha")
    began = time.monotonic()
    world.until("both replicas of `moving` are Ready in beta", lambda: _ready_in(world, "app=moving", "beta") == 2)
    seconds = time.monotonic() - began
    world.kubectl("get", "nodes")
    world.kubectl("get", "pods", "-l", "app=moving", "-o", "wide")
    return f"{seconds:.0f} s after alpha was cut off, both replicas are Ready in beta"


def back(world: World) -> str:
    """Replaced pods are deleted in the member before new pods may arrive. Pods that still belong there run on."""
    if not world.real:
        return "skipped: without root, a cluster cannot be cut off"
    (agent,) = [pod for pod in world.pods("app=agent") if pod["spec"]["nodeName"] == "alpha"]
    world.heal("alpha")
    world.until("alpha is Ready again", world.ready)
    _same_on_both_sides(world, "app=moving", 2)
    world.kubectl("get", "nodes")
    (there,) = world.pods("app=agent", "alpha")
    before, after = [pod["status"]["containerStatuses"][0]["containerID"] for pod in (agent, there)]
    _expect(before == after, "the container of `agent` in alpha has run without interruption")
    return "alpha is back: the replaced replica is deleted there; other pods have run without interruption"


def everything_is_deleted(world: World) -> str:
    deployments = [f"deployment/{name}" for name in ("web", "pinned", "apart", "echo", "moving")]
    made = [*deployments, "daemonset/agent", "job/sum"]
    world.kubectl("delete", "--ignore-not-found", *made)
    world.until("no pod is left in the parent", lambda: not world.pods())
    for member in world.members:
        world.until(f"no pod is left in {member}", lambda member=member: not world.pods(cluster=member))  # type: ignore[misc]
    return "pods that are deleted in the parent are deleted in the members"


SCENES = (
    Scene("Two member clusters are two nodes", nodes),
    Scene("A plain Deployment runs", plain_deployment),
    Scene("A nodeSelector pins it to one cluster", pinned),
    Scene("Anti-affinity puts one replica in each cluster", apart),
    Scene("A DaemonSet runs one pod per cluster", daemon_set),
    Scene("A Job completes", job),
    Scene("Logs, exec and port-forward", kubelet_api),
    Scene("kubectl top", top),
    Scene("A rollout replaces pods", rollout),
    Scene("Scaling up and down", scale),
    Scene("A cluster is lost: its pods move", lost),
    Scene("The cluster comes back", back),
    Scene("Deleted in the parent, gone in the members", everything_is_deleted),
)


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ExpectationError(f"check failed: {what}")


def _expect_rollout(world: World, workload: str, pods: int) -> None:
    """The rollout of KIND/NAME completes, and its pods, which have the label app=NAME, run on both sides."""
    selector = f"app={workload.partition('/')[2]}"
    world.kubectl("rollout", "status", workload, "--timeout=180s")
    world.kubectl("get", "pods", "-l", selector, "-o", "wide")
    _same_on_both_sides(world, selector, pods)


def _by_node(world: World, selector: str) -> dict[str, int]:
    return dict(Counter(pod["spec"]["nodeName"] for pod in world.running(selector)))


def _ready_in(world: World, selector: str, node: str) -> int:
    """The number of Ready pods on the node."""
    conditions = [
        condition
        for pod in world.running(selector)
        if pod["spec"]["nodeName"] == node
        for condition in pod["status"]["conditions"]
    ]
    return sum(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _spread(world: World, selector: str) -> str:
    return ", ".join(f"{count} in {node}" for node, count in sorted(_by_node(world, selector).items()))


def _same_on_both_sides(world: World, selector: str, count: int) -> None:
    """The running pods of the parent are exactly the running pods of the members that their nodes represent."""

    def agree() -> bool:
        parent = {(pod["spec"]["nodeName"], pod["metadata"]["name"]) for pod in world.running(selector)}
        members = {
            (member, pod["metadata"]["name"]) for member in world.members for pod in world.running(selector, member)
        }
        return parent == members and len(parent) == count

    world.until(f"{count} pods with {selector} run in the parent and, under the same names, in the members", agree)
