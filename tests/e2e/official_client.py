"""A program with the official Python client: runs the pod of its standard input, and prints its log and a result.

Its arguments are a kubeconfig and a namespace. A process of its own: the client leaves connections to the garbage
collector.
"""

from __future__ import annotations

import json
import sys

from kubernetes import client, config, stream, watch


def main(kubeconfig: str, namespace: str) -> None:
    core = client.CoreV1Api(config.new_client_from_config(kubeconfig))
    name = core.create_namespaced_pod(namespace, json.load(sys.stdin)).to_dict()["metadata"]["name"]
    events = watch.Watch()
    for event in events.stream(core.list_namespaced_pod, namespace, timeout_seconds=120):
        if event["object"].status.phase == "Running":
            events.stop()
    pod = core.read_namespaced_pod(name, namespace).to_dict()
    output = stream.stream(
        core.connect_get_namespaced_pod_exec, name, namespace, command=["expr", "20", "+", "22"], stdout=True
    )
    node = core.read_node(pod["spec"]["node_name"]).to_dict()
    found = {
        "phase": pod["status"]["phase"],
        "output": output,
        "cluster": node["metadata"]["labels"]["vk-provider.io/cluster"],
        "log": core.read_namespaced_pod_log(name, namespace),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
