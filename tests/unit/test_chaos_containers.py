"""The long randomized run on real nodes: containers are found by their control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos import containers
from tests.chaos.containers import Containers
from tests.chaos.history import History, Seen
from tests.chaos.observers import Observers

UID = "1efb34b9-a4b4-4eea-94ba-145971d41196"
POD = Seen("alpha", "red/web", UID, "p-1", "alpha-1", "Running", "Always", 0)


def group(root: Path, pod: str, name: str) -> Path:
    """The control group of a container. Its process is this one."""
    place = root / "lk1.alpha.1" / "kubepods" / "burstable" / pod / name
    place.mkdir(parents=True)
    (place / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return place


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setattr(containers, "_command", lambda pid: b"sh -c sleep 10")
    return History([POD])


def test_a_container_starts_when_its_process_is_found_and_ends_when_there_is_none(
    tmp_path: Path, history: History
) -> None:
    found = Containers(history, tmp_path, {"alpha-1": "lk1.alpha.1"})
    place = group(tmp_path, f"pod{UID}", "c1")
    found.look()
    (container,) = history.containers
    assert (container.cluster, container.key, container.parent_uid, container.ended) == (
        "alpha",
        "red/web",
        "p-1",
        None,
    )
    assert found.processes("alpha-1") == [os.getpid()]
    found.look()
    (place / "cgroup.procs").write_text("")
    found.look()
    (container,) = history.containers
    assert container.ended is not None and container.ended >= container.started


def test_the_containers_of_other_pods_are_not_recorded(tmp_path: Path, history: History) -> None:
    found = Containers(history, tmp_path, {"alpha-1": "lk1.alpha.1"})
    group(tmp_path, "pod00000000-0000-0000-0000-000000000000", "c1")
    group(tmp_path, "other", "c2")
    found.look()
    assert history.containers == []


def test_a_node_without_pods_has_no_containers(tmp_path: Path, history: History) -> None:
    found = Containers(history, tmp_path, {"alpha-1": "lk1.alpha.1"})
    found.look()
    assert history.containers == []


def test_an_observer_that_fails_is_reported() -> None:
    async def fail() -> None:
        raise FileNotFoundError("it has vanished")

    with pytest.raises(FileNotFoundError), Observers() as observers:
        future = observers.start(fail())
        assert future.exception(timeout=10)
        assert observers.failures == ["FileNotFoundError('it has vanished')"]
