"""Programs use the official Python client on the parent as on any cluster."""

from __future__ import annotations

import contextlib
import json

from demo.world import World
from kubernetes import client, config, stream, watch

from tests.e2e.test_pods import FOREVER, manifest


def test_a_program_runs_a_pod_reads_its_log_and_executes_a_command(world: World, namespace: str) -> None:
    with config.new_client_from_config(str(world.parent)) as connection:
        core = client.CoreV1Api(connection)
        core.create_namespaced_pod(namespace, json.loads(manifest("web", f"echo started; {FOREVER}")))
        events = watch.Watch()
        for event in events.stream(core.list_namespaced_pod, namespace, timeout_seconds=120):
            if event["object"].status.phase == "Running":
                events.stop()
        pod = core.read_namespaced_pod("web", namespace).to_dict()
        assert pod["status"]["phase"] == "Running"
        assert [each["ready"] for each in pod["status"]["container_statuses"]] == [True]
        world.until("it has a log", lambda: core.read_namespaced_pod_log("web", namespace) == "started\n")
        command = ["expr", "20", "+", "22"]
        session = stream.stream(
            core.connect_get_namespaced_pod_exec,
            "web",
            namespace,
            command=command,
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        with contextlib.closing(session):
            session.run_forever(timeout=60)
            assert session.read_all() == "42\n"
        node = core.read_node(pod["spec"]["node_name"]).to_dict()
        assert node["metadata"]["labels"]["vk-provider.io/cluster"] == "alpha"
        connection.rest_client.pool_manager.clear()  # the client leaves its connections to the garbage collector
