"""hack/localkube on a real kernel: clusters start, fail, heal, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import localkube
import pytest
from localkube import ClusterInfo, LocalkubeError, processes
from localkube.state import State

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="clusters with their own network need root"),
]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The state directory of the test. It is empty afterwards."""
    yield tmp_path / "state"
    localkube.down(root=tmp_path / "state")


def test_a_second_up_does_not_change_the_cluster(root: Path) -> None:
    first = localkube.up(["one", "few:fake=3,cpu=8"], root=root)
    before = pids(root)
    assert localkube.up(["few:fake=3,cpu=8", "one"], root=root)["one"] == first["one"]
    assert pids(root) == before
    assert kubectl(root, first["few"], "get", "nodes", "-o", "jsonpath={.items[*].status.capacity.cpu}") == "8 8 8"
    with pytest.raises(LocalkubeError, match="cluster few is up as fake=3"):
        localkube.up(["few:fake=4"], root=root)


def test_a_cut_cluster_does_not_answer_until_it_is_healed(root: Path) -> None:
    one = localkube.up(["one"], root=root)["one"]
    localkube.cut("one", root=root)
    localkube.cut("one", root=root)
    assert localkube.status(root=root)[0].cut
    with pytest.raises(TimeoutError):
        request(one, timeout=1)
    localkube.heal("one", root=root)
    eventually(lambda: answers(one), "the healed cluster answers")


def test_a_killed_api_server_refuses_connections_until_it_is_started(root: Path) -> None:
    one = localkube.up(["one"], root=root)["one"]
    localkube.stop("one", "apiserver", root=root)
    with pytest.raises(ConnectionRefusedError):
        request(one, timeout=1)
    assert not localkube.status(root=root)[0].services["apiserver"]
    localkube.start("one", "apiserver", root=root)
    eventually(lambda: answers(one), "the API server answers again")
    with pytest.raises(LocalkubeError, match="no service 'kubelet'; its services: etcd"):
        localkube.stop("one", "kubelet", root=root)


def test_up_restarts_services_that_have_exited(root: Path) -> None:
    one = localkube.up(["one"], root=root)["one"]
    kubectl(root, one, "create", "configmap", "kept")
    for service in ("etcd", "scheduler"):
        localkube.stop("one", service, root=root)
    localkube.up(["one"], root=root)
    assert all(localkube.status(root=root)[0].services.values())
    kubectl(root, one, "get", "configmap", "kept")


@pytest.mark.parametrize("moment", ["sleep", "etcd", "containerd"])
def test_down_after_a_killed_up_leaves_nothing(root: Path, moment: str) -> None:
    interface = Path("/sys/class/net", f"lk{State(root).ident}")
    command = [sys.executable, "-m", "localkube", "up", "parent", "alpha:real"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "hack"), "LOCALKUBE_STATE": str(root)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as up:
        eventually(lambda: any(program == moment for _, program in pids(root)), f"{moment} runs", 90)
        up.send_signal(signal.SIGKILL)
        up.communicate()
    assert interface.exists() or moment == "sleep"
    localkube.down(root=root)
    assert pids(root) == set()
    assert localkube.status(root=root) == []
    assert not interface.exists()
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    assert list(Path("/sys/fs/cgroup").glob(f"**/lk{State(root).ident}*")) == []
    assert localkube.down(root=root) == []


def test_two_state_directories_are_independent(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    try:
        ours = localkube.up(["same"], root=root)["same"]
        theirs = localkube.up(["same"], root=other)["same"]
        assert ours.address != theirs.address
        localkube.down(root=other)
        assert answers(ours)
    finally:
        localkube.down(root=other)


def test_without_root_clusters_share_the_loopback_interface(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    made = localkube.up(["parent", "beta:fake=2"], root=root)
    assert {info.address for info in made.values()} == {"127.0.0.1"}
    assert all(answers(info) for info in made.values())
    with pytest.raises(LocalkubeError, match="start it as root"):
        localkube.cut("beta", root=root)
    with pytest.raises(LocalkubeError, match="real nodes need root"):
        localkube.up(["alpha:real"], root=root)


def test_containers_run_on_a_real_node(root: Path) -> None:
    made = localkube.up(["parent", "alpha:real"], root=root, audit=True)
    alpha = made["alpha"]
    image = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
    kubectl(root, alpha, "create", "deployment", "web", f"--image={image}", "--", "/agnhost", "netexec")
    kubectl(root, alpha, "expose", "deployment", "web", "--port=80", "--target-port=8080")
    kubectl(root, alpha, "run", "box", "--image=busybox", "--", "sleep", "1000")
    kubectl(root, alpha, "wait", "pod/box", "--for=condition=Ready", "--timeout=60s")
    kubectl(root, alpha, "rollout", "status", "deployment/web", "--timeout=60s")
    hostname = ("exec", "deploy/web", "--", "curl", "-sS", "-m", "2", "http://web.default.svc.cluster.local/hostname")
    eventually(lambda: kubectl(root, alpha, *hostname, check=False).startswith("web-"), "DNS and the Service work")
    assert "Started HTTP server" in kubectl(root, alpha, "logs", "deploy/web")
    assert kubectl(root, alpha, "exec", "box", "--", "hostname").strip() == "box"
    parent_api = ("exec", "deploy/web", "--", "curl", "-sSk", "-m", "5", f"{made['parent'].server}/livez")
    assert kubectl(root, alpha, *parent_api) == "ok"
    localkube.stop("alpha", "containerd", root=root)
    localkube.up(["alpha:real"], root=root, audit=True)
    assert kubectl(root, alpha, "exec", "box", "--", "hostname").strip() == "box"
    assert alpha.audit_log is not None
    lines = alpha.audit_log.read_text().splitlines()
    assert any(json.loads(line)["objectRef"].get("name") == "box" for line in lines if '"box"' in line)


def test_invalid_input_is_reported_before_anything_starts(root: Path) -> None:
    for spec, words in {
        "Alpha": "'Alpha' cannot be a cluster's name",
        "alpha:docker": "unknown kind 'docker'",
        "alpha:real=99": "99 nodes of kind real",
        "alpha:fake=2,disk=1": "unknown option 'disk=1'",
        "alpha:fake=2,memory=much": "memory=much is not a quantity",
    }.items():
        with pytest.raises(LocalkubeError, match=words):
            localkube.up([spec], root=root)
    with pytest.raises(LocalkubeError, match="named 2 times"):
        localkube.up(["alpha", "alpha:real"], root=root)
    with pytest.raises(LocalkubeError, match="no cluster 'alpha'"):
        localkube.cut("alpha", root=root)
    assert localkube.status(root=root) == []


def pids(root: Path) -> set[tuple[int, str]]:
    return {(process.pid, process.program) for process in processes.find(State(root).ident)}


def request(cluster: ClusterInfo, timeout: float) -> str:
    """The answer of /livez. Raises the error of the network without the wrapper of urllib."""
    context = ssl.create_default_context(cafile=str(cluster.directory / "pki" / "ca.crt"))
    try:
        with urllib.request.urlopen(f"{cluster.server}/livez", timeout=timeout, context=context) as answer:
            return str(answer.read(), "utf-8")
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else error from None


def answers(cluster: ClusterInfo) -> bool:
    try:
        return request(cluster, timeout=2) == "ok"
    except OSError:
        return False


def kubectl(root: Path, cluster: ClusterInfo, *arguments: str, check: bool = True) -> str:
    program = str(localkube.program("kubectl", root=root))
    command = [program, f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def eventually(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"timeout after {seconds:.0f} s: {what}"
        time.sleep(0.05)
