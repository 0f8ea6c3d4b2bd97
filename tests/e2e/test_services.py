"""Services of the parent, used by containers in a member: by DNS name and by environment variable."""

from __future__ import annotations

import json
from typing import Any

import pytest
from demo.scenes import IMAGE
from demo.world import World

HERE = {"nodeSelector": {"vk-provider.io/cluster": "alpha"}, "terminationGracePeriodSeconds": 1}
SERVER = {
    "name": "server",
    "image": IMAGE,
    "args": ["netexec"],  # HTTP on 8080, UDP on 8081; both say the name of the host
    "readinessProbe": {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1},
}


def workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """A Deployment or StatefulSet with two servers."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {**HERE, "containers": [SERVER]}}
    common = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": common | spec}


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "udp", "port": 53, "targetPort": 8081, "protocol": "UDP"},
    ]
    wanted = {"selector": {"app": name}, "ports": ports} | spec
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": wanted}


def apply(world: World, namespace: str, *manifests: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    world.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)


def report(world: World, namespace: str, name: str, script: str) -> list[str]:
    """Runs a client in the same member until its script ends. Returns the lines of its termination message."""
    setup = 'get() { until curl -sf -m 2 "http://$1"; do sleep 1; done; echo; }\n'
    command = ["sh", "-c", f"{setup}{{ {script}; }} > /dev/termination-log"]
    container = {"name": "client", "image": IMAGE, "command": command}
    spec = {**HERE, "restartPolicy": "Never", "containers": [container]}
    apply(world, namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def status() -> dict[str, Any]:
        found: dict[str, Any] = world.get("pod", name, "-n", namespace)["status"]
        return found

    world.until(f"{name} has completed", lambda: status()["phase"] == "Succeeded")
    message: str = status()["containerStatuses"][0]["state"]["terminated"]["message"]
    return message.splitlines()


@pytest.fixture
def names(world: World, namespace: str) -> set[str]:
    """Creates two servers in `alpha` behind Service `web`. Returns the names of their pods."""
    apply(world, namespace, service("web"), workload("Deployment", "web"))
    world.kubectl("rollout", "status", "deployment/web", "--timeout=180s", "-n", namespace)
    return {pod["metadata"]["name"] for pod in world.pods("app=web", namespace=namespace)}


def test_a_service_is_found_by_all_its_dns_names(world: World, namespace: str, names: set[str]) -> None:
    script = f"get web/hostname; get web.{namespace}/hostname; get web.{namespace}.svc.cluster.local/hostname"
    answers = report(world, namespace, "client", script)
    assert len(answers) == 3
    assert set(answers) <= names


def test_a_service_is_found_by_environment(world: World, namespace: str, names: set[str]) -> None:
    script = (
        "echo $WEB_SERVICE_HOST $WEB_SERVICE_PORT $WEB_SERVICE_PORT_HTTP $WEB_SERVICE_PORT_UDP;"
        " get $WEB_SERVICE_HOST:$WEB_SERVICE_PORT/hostname"
    )
    variables, answer = report(world, namespace, "client", script)
    address = world.get("service", "web", "-n", namespace, cluster="alpha")["spec"]["clusterIP"]
    assert variables == f"{address} 80 80 53"
    assert answer in names


def test_a_service_answers_over_udp(world: World, namespace: str, names: set[str]) -> None:
    (answer,) = report(
        world,
        namespace,
        "client",
        'until [ "$answer" ]; do answer=$(echo hostname | nc -u -w 1 web 53); done; echo $answer',
    )
    assert answer in names


def test_the_pods_of_a_stateful_set_are_found_by_their_dns_names(world: World, namespace: str) -> None:
    apply(world, namespace, service("db", clusterIP="None"), workload("StatefulSet", "db", serviceName="db"))
    script = f"get db-0.db:8080/hostname; get db-1.db.{namespace}.svc.cluster.local:8080/hostname"
    assert report(world, namespace, "client", script) == ["db-0", "db-1"]


def test_an_external_name_resolves_to_another_service(world: World, namespace: str, names: set[str]) -> None:
    target = {"type": "ExternalName", "externalName": f"web.{namespace}.svc.cluster.local"}
    alias = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias"}, "spec": target}
    apply(world, namespace, alias)
    (answer,) = report(world, namespace, "client", "get alias/hostname")
    assert answer in names


def test_after_a_rollout_only_the_new_pods_answer(world: World, namespace: str, names: set[str]) -> None:
    world.kubectl("rollout", "restart", "deployment/web", "-n", namespace)
    world.kubectl("rollout", "status", "deployment/web", "--timeout=180s", "-n", namespace)
    old = [f"pod/{name}" for name in names]
    world.kubectl("wait", "--for=delete", "--timeout=180s", "-n", namespace, *old)
    answers = report(world, namespace, "client", "get web/hostname; get web/hostname; get web/hostname")
    assert len(answers) == 3
    assert not set(answers) & names
