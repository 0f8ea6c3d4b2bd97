"""Invariants that no action and no fault may break: pure functions over a history that yield the violations.

`ALWAYS` holds at any moment; `WHEN_IN_SYNC` only if the parent and the members are in sync at the end of the history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from tests.chaos.history import PARENT, Container, History, Seen

TERMINAL: Final = frozenset({"Succeeded", "Failed"})

Rule = Callable[[History], Iterator[str]]


def terminal_phases_never_change(history: History) -> Iterator[str]:
    final: dict[str, str] = {}
    for seen in history.of(PARENT):
        if final.setdefault(seen.uid, seen.phase) != seen.phase and final[seen.uid] in TERMINAL:
            yield f"{seen.key} ({seen.uid}) was {final[seen.uid]} and became {seen.phase or 'nothing'}"
        if seen.phase in TERMINAL or final[seen.uid] not in TERMINAL:
            final[seen.uid] = seen.phase


def restart_counts_never_decrease(history: History) -> Iterator[str]:
    shown: dict[str, int] = {}
    for seen in history.of(PARENT):
        if seen.restarts < shown.get(seen.uid, 0):
            yield f"{seen.key} ({seen.uid}) had {shown[seen.uid]} restarts and then {seen.restarts}"
        shown[seen.uid] = seen.restarts


def containers_of_one_pod_never_overlap(history: History) -> Iterator[str]:
    """At most one runs at a time, over all members. Containers of pods that were deleted by force are exempt."""
    for uid, containers in _by_parent(history).items():
        for one, next_ in pairwise(sorted(containers, key=lambda it: it.started)):
            if one.pod_uid in history.forced:
                continue
            if one.ended is None or one.ended > next_.started:
                yield f"two containers of parent pod {uid} ran at the same time: in {one.cluster} and {next_.cluster}"


def pods_that_must_not_restart_run_once(history: History) -> Iterator[str]:
    for uid, containers in _by_parent(history).items():
        if containers[0].policy == "Never" and len(containers) > 1:
            yield f"parent pod {uid} must not restart, but ran {len(containers)} times"


def member_pods_that_must_not_restart_run_once(history: History) -> Iterator[str]:
    """The same by the phases that the member's API server reports, independent of the containers."""
    ran: dict[str, set[str]] = defaultdict(set)
    for seen in history.of(*history.members):
        if seen.parent_uid and seen.policy == "Never" and seen.phase == "Running":
            ran[seen.parent_uid].add(seen.uid)
    for uid, pods in ran.items():
        if len(pods) > 1:
            yield f"parent pod {uid} must not restart, but ran as member pods {' and '.join(sorted(pods))}"


def pods_are_removed_after_their_containers_end(history: History) -> Iterator[str]:
    """Controllers rely on it that wait until a pod no longer exists, such as that of StatefulSets."""
    gone = {seen.uid: seen for seen in history.of(PARENT) if seen.gone and seen.uid not in history.forced}
    for container in history.containers:
        pod = gone.get(container.parent_uid)
        if (
            pod is not None
            and container.pod_uid not in history.forced
            and (container.ended is None or container.ended > pod.at)
        ):
            yield f"{pod.key} ({pod.uid}) was removed while its container ran in {container.cluster}"


def a_parent_pod_is_in_one_member(history: History) -> Iterator[str]:
    where: dict[str, set[str]] = defaultdict(set)
    for seen in history.of(*history.members):
        if seen.parent_uid:
            where[seen.parent_uid].add(seen.cluster)
    for uid, clusters in where.items():
        if len(clusters) > 1:
            yield f"parent pod {uid} was in {' and '.join(sorted(clusters))}"


def restart_counts_match_the_member(history: History) -> Iterator[str]:
    """The parent shows the restarts that the member's kubelet counts, plus one for each recreated member pod."""
    per_member_pod: dict[str, dict[str, int]] = defaultdict(dict)
    for seen in history.of(*history.members):
        if seen.parent_uid:
            counts = per_member_pod[seen.parent_uid]
            counts[seen.uid] = max(seen.restarts, counts.get(seen.uid, 0))
    shown: dict[str, Seen] = {}
    for seen in history.of(PARENT):
        if seen.restarts:
            shown[seen.uid] = seen
    for uid, seen in shown.items():
        counts = per_member_pod.get(uid, {})
        possible = sum(counts.values()) + max(0, len(counts) - 1)
        # A member pod that another client deleted may be counted before its successor exists.
        pending = sum(1 for member_uid in counts if member_uid in history.interfered)
        if seen.restarts > max(possible, sum(counts.values()) + pending):
            yield f"{seen.key} ({uid}) shows {seen.restarts} restarts, but {possible} happened"


def member_pods_of_active_pods_are_kept(history: History) -> Iterator[str]:
    """The provider never deletes the member pod of a pod that is active at the end; only other clients do."""
    last = {seen.uid: seen for seen in history.of(PARENT)}
    for seen in history.of(*history.members):
        parent = last.get(seen.parent_uid)
        if not (seen.gone or seen.deleting) or parent is None or seen.uid in history.interfered:
            continue
        if not (parent.gone or parent.deleting or parent.phase in TERMINAL):
            yield f"member pod {seen.cluster}/{seen.key} ({seen.uid}) was removed while {parent.uid} was active"


def no_container_runs_without_its_parent_pod(history: History) -> Iterator[str]:
    living = {seen.uid for seen in history.of(PARENT)}
    for seen in history.of(PARENT):
        (living.discard if seen.gone else living.add)(seen.uid)
    for container in history.containers:
        if container.ended is None and container.parent_uid and container.parent_uid not in living:
            yield f"a container of {container.parent_uid} runs in {container.cluster}, but its parent pod is gone"


ALWAYS: Final[tuple[Rule, ...]] = (
    terminal_phases_never_change,
    restart_counts_never_decrease,
    containers_of_one_pod_never_overlap,
    pods_that_must_not_restart_run_once,
    member_pods_that_must_not_restart_run_once,
    pods_are_removed_after_their_containers_end,
    a_parent_pod_is_in_one_member,
)
WHEN_IN_SYNC: Final[tuple[Rule, ...]] = (
    *ALWAYS,
    restart_counts_match_the_member,
    member_pods_of_active_pods_are_kept,
    no_container_runs_without_its_parent_pod,
)


def violations(history: History, rules: tuple[Rule, ...]) -> list[str]:
    """The violations without duplicates, each with the name of its rule."""
    return list(dict.fromkeys(f"{rule.__name__}: {text}" for rule in rules for text in rule(history)))


def _by_parent(history: History) -> dict[str, list[Container]]:
    found: dict[str, list[Container]] = defaultdict(list)
    for container in history.containers:
        if container.parent_uid:
            found[container.parent_uid].append(container)
    return found
