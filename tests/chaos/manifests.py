"""The pods and workloads that the steps of a plan create."""

from __future__ import annotations

from typing import Final

from tests.chaos.kubelet import EXIT_CODE, LIVES
from tests.chaos.plan import Step
from tests.cluster import Json

_MOVES_AFTER: Final = 2  # seconds that pods of workloads tolerate a lost node
# The shell does not exit by itself on SIGTERM, because it is the first process of its container.
_SCRIPT: Final = "trap 'exit 143' TERM; sleep {seconds} & wait $!; exit {code}"
_IMAGES: Final = ("docker.io/library/busybox:1.36", "docker.io/library/busybox:1.37")  # real nodes have them


def pod_spec(policy: str, lives: int, exit_code: int, *, image: int = 0, config: str = "") -> Json:
    script = _SCRIPT.format(seconds=lives or 100000, code=exit_code)
    container: Json = {"name": "main", "image": _image(image), "command": ["sh", "-c", script]}
    if config:
        container["envFrom"] = [{"configMapRef": {"name": config, "optional": True}}]
    return {
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "containers": [container],
    }


def metadata(lives: int, exit_code: int) -> Json:
    return {"annotations": {LIVES: str(lives), EXIT_CODE: str(exit_code)}}


def _template(step: Step, policy: str = "Always", lives: int = 0, exit_code: int = 0) -> Json:
    tolerations = [
        {
            "key": f"node.kubernetes.io/{key}",
            "effect": "NoExecute",
            "operator": "Exists",
            "tolerationSeconds": _MOVES_AFTER,
        }
        for key in ("not-ready", "unreachable")
    ]
    app = step.about.split("/")[1]
    spec = pod_spec(policy, lives, exit_code) | {"tolerations": tolerations}
    return {"metadata": {"labels": {"app": app}, **metadata(lives, exit_code)}, "spec": spec}


def deployment(step: Step) -> Json:
    template = _template(step)
    selector = {"matchLabels": template["metadata"]["labels"]}
    return {"spec": {"replicas": step.args["replicas"], "selector": selector, "template": template}}


def stateful_set(step: Step) -> Json:
    return {"spec": deployment(step)["spec"] | {"serviceName": "db"}}


def job(step: Step) -> Json:
    args = step.args
    return {
        "spec": {
            "completions": args["completions"],
            "parallelism": 2,
            "backoffLimit": 3,
            "template": _template(step, args["policy"], 2, args["exit_code"]),
        }
    }


def replicas(step: Step) -> Json:
    return {"spec": {"replicas": step.args["replicas"]}}


def image(number: int) -> Json:
    return {"spec": {"containers": [{"name": "main", "image": _image(number)}]}}


def _image(number: int) -> str:
    return _IMAGES[number % len(_IMAGES)]
