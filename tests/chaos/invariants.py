"""Invariants that no action and no fault may break: pure functions over a history that yield the violations.

`ALWAYS` holds at any moment; `WHEN_IN_SYNC` only if the parent and the members are in sync at the end of the history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf
from typing import Final

from tests.chaos.history import PARENT, Container, History, NodeSeen, Seen

TERMINAL: Final = frozenset({"Succeeded", "Failed"})
# Faults in which a member answers and does not accept the provider. No pod may move because of them.
REFUSALS: Final = frozenset({"401", "403", "expired certificate", "token expired", "no rights"})
_UNREACHABLE: Final = ("False", "MemberUnreachable")  # the Ready condition of the node of a lost member
_RECENT: Final = 15.0  # seconds before a loss in which its cause began: three times `lostAfterSeconds` of the run
_BACK: Final = 20.0  # seconds without a fault until a deleted Node exists again: ten times what is documented

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


def pods_of_one_name_never_overlap(history: History) -> Iterator[str]:
    """A pod of a StatefulSet, or one without a controller, never runs together with its successor. This is what "at
    most once" means. Pods that were removed by force are exempt."""
    by_key: dict[str, list[Container]] = defaultdict(list)
    for container in history.containers:
        if container.key and container.parent_uid:
            by_key[container.key].append(container)
    exempt = history.exempt
    for key, containers in by_key.items():
        last: Container | None = None
        for one in sorted(containers, key=lambda it: it.started):
            if last is not None and last.parent_uid != one.parent_uid and _end(last) > one.started:
                pods = f"{last.parent_uid} in {last.cluster} and {one.parent_uid} in {one.cluster}"
                yield f"{key} ran twice at the same time: {pods}"
            if not {one.parent_uid, one.pod_uid} & exempt and (last is None or _end(one) > _end(last)):
                last = one


def pods_are_removed_after_their_containers_end(history: History) -> Iterator[str]:
    """Controllers rely on it that wait until a pod no longer exists, such as that of StatefulSets."""
    exempt = history.exempt
    gone = {seen.uid: seen for seen in history.of(PARENT) if seen.gone and seen.uid not in exempt}
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


def refused_members_stay_ready(history: History) -> Iterator[str]:
    """A member that only refuses the provider is never declared lost, so none of its pods is evicted."""
    for name, before, after in _changes_of_nodes(history):
        if after.gone or (after.ready, after.reason) != _UNREACHABLE or (before.ready, before.reason) == _UNREACHABLE:
            continue
        places = (name, f"{name} account")
        recent = {
            each.fault
            for each in history.disturbances
            if each.place in places and each.overlaps(after.at - _RECENT, after.at)
        }
        if recent and recent <= REFUSALS:
            yield f"member {name} was declared lost at {after.at:.2f}, but only refused: {', '.join(sorted(recent))}"


def deleted_nodes_are_back(history: History) -> Iterator[str]:
    """Otherwise the garbage collection of pods removes the pods of the Node by force, after 40 s."""
    for name, before, after in [*_changes_of_nodes(history), *_last_of_nodes(history)]:
        if before.gone and (calm := _longest_calm(history, before.at, after.at)) > _BACK:
            yield f"Node {name} was deleted at {before.at:.2f} and missing for {calm:.0f} s without a fault"


def nodes_with_a_provider_id_lose_no_pod(history: History) -> Iterator[str]:
    """No cloud controller deletes them, and the provider recreates them in time when another client does."""
    exempt = history.exempt
    for uid, seen in history.taken.items():
        if uid not in exempt:
            yield f"{seen.key} ({uid}) on {seen.node} was removed by the garbage collection of pods"


ALWAYS: Final[tuple[Rule, ...]] = (
    terminal_phases_never_change,
    restart_counts_never_decrease,
    containers_of_one_pod_never_overlap,
    pods_that_must_not_restart_run_once,
    member_pods_that_must_not_restart_run_once,
    pods_of_one_name_never_overlap,
    pods_are_removed_after_their_containers_end,
    a_parent_pod_is_in_one_member,
    refused_members_stay_ready,
    deleted_nodes_are_back,
    nodes_with_a_provider_id_lose_no_pod,
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


def _end(container: Container) -> float:
    return inf if container.ended is None else container.ended


def _changes_of_nodes(history: History) -> Iterator[tuple[str, NodeSeen, NodeSeen]]:
    """Name of a Node, and two consecutive observations."""
    by_name: dict[str, list[NodeSeen]] = defaultdict(list)
    for node in history.nodes:
        by_name[node.name].append(node)
    for name, found in by_name.items():
        for before, after in pairwise(found):
            yield name, before, after


def _last_of_nodes(history: History) -> Iterator[tuple[str, NodeSeen, NodeSeen]]:
    """The same for the last observation and the end of the history."""
    for name, node in {node.name: node for node in history.nodes}.items():
        yield name, node, NodeSeen(name, "", "", at=max(history.until, node.at))


def _longest_calm(history: History, since: float, until: float) -> float:
    """The longest time within an interval in which the provider ran and reached the parent."""
    faults = sorted(
        (each.began, inf if each.ended is None else each.ended)
        for each in history.disturbances
        if each.place in (PARENT, "provider") and each.overlaps(since, until)
    )
    longest, begin = 0.0, since
    for began, ended in [*faults, (until, until)]:
        longest, begin = max(longest, min(began, until) - begin), max(begin, ended)
    return longest
