"""What a user does with many clusters as one, and what must hold after each step.

Every scene takes a World in which the members alpha and beta are joined and served, and leaves what it made there for
`everything_goes`, which comes last. They are the demo, and the first of the end-to-end tests.
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
    """One thing that a user wants, in words, and how to see that it works."""

    title: str
    play: Callable[[World], str]
    """Plays it, raises ExpectationError where something does not hold, and gives what was seen in one line."""


def nodes(world: World) -> str:
    world.kubectl("get", "nodes", "-L", "vk-provider.io/cluster")
    return f"{len(world.members)} virtual nodes are Ready: {', '.join(sorted(world.members))}"


def plain_deployment(world: World) -> str:
    world.kubectl("create", "deployment", "web", f"--image={IMAGE}", "--replicas=4")
    world.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    world.kubectl("get", "pods", "-l", "app=web", "-o", "wide")
    _same_on_both_sides(world, "app=web", 4)
    return f"4 replicas run: {_spread(world, 'app=web')}"


def pinned(world: World) -> str:
    world.kubectl("apply", "-f", f"{_MANIFESTS}/pinned.yaml")
    world.kubectl("rollout", "status", "deployment/pinned", "--timeout=180s")
    world.kubectl("get", "pods", "-l", "app=pinned", "-o", "wide")
    _same_on_both_sides(world, "app=pinned", 2)
    _expect(_by_node(world, "app=pinned") == {"beta": 2}, "both replicas of `pinned` are in beta")
    return "nodeSelector vk-provider.io/cluster=beta: both replicas are in beta"


def apart(world: World) -> str:
    world.kubectl("apply", "-f", f"{_MANIFESTS}/apart.yaml")
    world.kubectl("rollout", "status", "deployment/apart", "--timeout=180s")
    world.kubectl("get", "pods", "-l", "app=apart", "-o", "wide")
    _same_on_both_sides(world, "app=apart", 2)
    _expect(_by_node(world, "app=apart") == {"alpha": 1, "beta": 1}, "one replica of `apart` is in each member")
    return "required anti-affinity over vk-provider.io/cluster: one replica in each member"


def daemon_set(world: World) -> str:
    world.kubectl("apply", "-f", f"{_MANIFESTS}/agent.yaml")
    world.kubectl("rollout", "status", "daemonset/agent", "--timeout=180s")
    world.kubectl("get", "pods", "-l", "app=agent", "-o", "wide")
    _same_on_both_sides(world, "app=agent", 2)
    _expect(_by_node(world, "app=agent") == {"alpha": 1, "beta": 1}, "one pod of `agent` is in each member")
    return "a DaemonSet runs one pod per member"


def job(world: World) -> str:
    world.kubectl("create", "job", "sum", "--image=busybox:1.36", "--", "sh", "-c", "expr 20 + 22")
    world.kubectl("wait", "--for=condition=complete", "job/sum", "--timeout=180s")
    world.kubectl("get", "job", "sum")
    (pod,) = world.pods("job-name=sum")
    _expect(pod["status"]["phase"] == "Succeeded", "the Job's pod has Succeeded")
    if world.real:
        code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        _expect(code == 0, "the container's exit code, 0, is shown in the parent")
    return f"a Job completes (in {pod['spec']['nodeName']})"


def rollout(world: World) -> str:
    before = {pod["metadata"]["uid"] for pod in world.running("app=web")}
    world.kubectl("rollout", "restart", "deployment/web")
    world.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    world.until(
        "all pods of `web` are new ones",
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
    return "scaled to 6 and to 1, in the parent and in the members"


def kubelet_api(world: World) -> str:
    """Logs, exec and port-forward: as on any node. Fake nodes have no containers to talk to."""
    if not world.real:
        return "skipped: fake nodes have no containers"
    world.kubectl("create", "deployment", "echo", f"--image={IMAGE}", "--", "/agnhost", "netexec", "--http-port=8080")
    world.kubectl("rollout", "status", "deployment/echo", "--timeout=180s")
    (pod,) = world.running("app=echo")
    name = pod["metadata"]["name"]
    _expect("Started HTTP server" in world.kubectl("logs", "deployment/echo"), "kubectl logs shows what it printed")
    _expect(world.kubectl("exec", "deployment/echo", "--", "hostname").strip() == name, "exec runs in the pod")
    with world.port_forward("deployment/echo", 8080) as url, urllib.request.urlopen(f"{url}/hostname") as answer:
        _expect(answer.read().decode() == name, "port-forward reaches the pod")
    return f"logs, exec and port-forward reach the container of {name} in {pod['spec']['nodeName']}"


def top(world: World) -> str:
    """The upstream metrics-server, which knows nothing of virtual nodes, reads them as it reads any node."""
    if not world.real:
        return "skipped: fake nodes use nothing"
    (pod,) = world.running("app=echo")
    name = pod["metadata"]["name"]
    world.until("metrics-server has figures of both nodes", lambda: len(world.usage("nodes")) == len(world.members))
    world.until(f"metrics-server has figures of {name}", lambda: name in world.usage("pods"))
    world.kubectl("top", "nodes")
    world.kubectl("top", "pods", "-l", "app=echo", "--containers")
    return f"kubectl top shows both nodes, and that {name} uses {world.usage('pods')[name]}"


def lost(world: World) -> str:
    """The loss is real: no packet of alpha arrives any more. Its thresholds are short, so that nobody waits long."""
    if not world.real:
        return "skipped: without root a cluster cannot be cut off"
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
    return f"{seconds:.0f} s after alpha was cut off both replicas are Ready in beta"


def back(world: World) -> str:
    """What was replaced is deleted in the member before anything new may come; what still belongs there went on."""
    if not world.real:
        return "skipped: without root a cluster cannot be cut off"
    (agent,) = [pod for pod in world.pods("app=agent") if pod["spec"]["nodeName"] == "alpha"]
    world.heal("alpha")
    world.until("alpha is Ready again", world.ready)
    _same_on_both_sides(world, "app=moving", 2)
    world.kubectl("get", "nodes")
    (there,) = world.pods("app=agent", "alpha")
    before, after = [pod["status"]["containerStatuses"][0]["containerID"] for pod in (agent, there)]
    _expect(before == after, "the container of `agent` in alpha went on as if nothing had happened")
    return "alpha is back: the replica that was replaced is gone there, and what stayed went on"


def everything_goes(world: World) -> str:
    deployments = [f"deployment/{name}" for name in ("web", "pinned", "apart", "echo", "moving")]
    made = [*deployments, "daemonset/agent", "job/sum"]
    world.kubectl("delete", "--ignore-not-found", *made)
    world.until("no pod is left in the parent", lambda: not world.pods())
    for member in world.members:
        world.until(f"no pod is left in {member}", lambda member=member: not world.pods(cluster=member))  # type: ignore[misc]
    return "what is deleted in the parent goes in the members"


SCENES = (
    Scene("Two member clusters are two nodes", nodes),
    Scene("A plain deployment lands and runs", plain_deployment),
    Scene("A nodeSelector pins it to one cluster", pinned),
    Scene("Anti-affinity puts one replica in each cluster", apart),
    Scene("A DaemonSet runs one pod per cluster", daemon_set),
    Scene("A Job completes", job),
    Scene("Logs, exec and port-forward", kubelet_api),
    Scene("kubectl top", top),
    Scene("A rollout replaces pods", rollout),
    Scene("Scaling up and down", scale),
    Scene("A cluster is lost: its pods move", lost),
    Scene("It comes back", back),
    Scene("Deleted in the parent, gone in the members", everything_goes),
)


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ExpectationError(f"this does not hold: {what}")


def _by_node(world: World, selector: str) -> dict[str, int]:
    return dict(Counter(pod["spec"]["nodeName"] for pod in world.running(selector)))


def _ready_in(world: World, selector: str, node: str) -> int:
    """How many pods are Ready there."""
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
    """The pods that run in the parent are exactly those that run in the members their nodes stand for."""

    def agree() -> bool:
        parent = {(pod["spec"]["nodeName"], pod["metadata"]["name"]) for pod in world.running(selector)}
        members = {
            (member, pod["metadata"]["name"]) for member in world.members for pod in world.running(selector, member)
        }
        return parent == members and len(parent) == count

    world.until(f"{count} pods with {selector} run in the parent and, under the same names, in the members", agree)
