"""What must never be seen, whatever users, strangers and faults do: pure functions over a history.

`ALWAYS` holds at any moment; `AT_REST` only of a history at whose end everything has settled.
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


def restart_counts_never_shrink(history: History) -> Iterator[str]:
    shown: dict[str, int] = {}
    for seen in history.of(PARENT):
        if seen.restarts < shown.get(seen.uid, 0):
            yield f"{seen.key} ({seen.uid}) had {shown[seen.uid]} restarts and then {seen.restarts}"
        shown[seen.uid] = seen.restarts


def containers_of_one_pod_never_overlap(history: History) -> Iterator[str]:
    """At most one at a time, over all members; but for one that nobody was to wait for."""
    for uid, containers in _by_parent(history).items():
        for one, next_ in pairwise(sorted(containers, key=lambda it: it.started)):
            if one.pod_uid in history.forced:
                continue
            if one.ended is None or one.ended > next_.started:
                yield f"two containers at a time of parent pod {uid}: in {one.cluster} and in {next_.cluster}"


def what_must_not_restart_runs_once(history: History) -> Iterator[str]:
    for uid, containers in _by_parent(history).items():
        if containers[0].policy == "Never" and len(containers) > 1:
            yield f"parent pod {uid} must not restart, and ran {len(containers)} times"


def member_pods_that_must_not_restart_run_once(history: History) -> Iterator[str]:
    """The same as the member's API server tells it, whoever runs the containers."""
    ran: dict[str, set[str]] = defaultdict(set)
    for seen in history.of(*history.members):
        if seen.parent_uid and seen.policy == "Never" and seen.phase == "Running":
            ran[seen.parent_uid].add(seen.uid)
    for uid, pods in ran.items():
        if len(pods) > 1:
            yield f"parent pod {uid} must not restart, and ran as member pods {' and '.join(sorted(pods))}"


def pods_go_after_their_containers(history: History) -> Iterator[str]:
    """Whoever waits for a pod to be gone, as a StatefulSet does, relies on it."""
    gone = {seen.uid: seen for seen in history.of(PARENT) if seen.gone and seen.uid not in history.forced}
    for container in history.containers:
        pod = gone.get(container.parent_uid)
        if (
            pod is not None
            and container.pod_uid not in history.forced
            and (container.ended is None or container.ended > pod.at)
        ):
            yield f"{pod.key} ({pod.uid}) was gone while its container ran in {container.cluster}"


def one_parent_pod_is_in_one_member(history: History) -> Iterator[str]:
    where: dict[str, set[str]] = defaultdict(set)
    for seen in history.of(*history.members):
        if seen.parent_uid:
            where[seen.parent_uid].add(seen.cluster)
    for uid, clusters in where.items():
        if len(clusters) > 1:
            yield f"parent pod {uid} was in {' and '.join(sorted(clusters))}"


def restarts_are_those_of_a_kubelet(history: History) -> Iterator[str]:
    """The parent counts what the member's kubelet counted, and one for each member pod that was made anew."""
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
        # A member pod that somebody removed may be counted before its successor is there.
        pending = sum(1 for member_uid in counts if member_uid in history.interfered)
        if seen.restarts > max(possible, sum(counts.values()) + pending):
            yield f"{seen.key} ({uid}) shows {seen.restarts} restarts, of which {possible} happened"


def member_pods_of_living_pods_stay(history: History) -> Iterator[str]:
    """Who is still wanted at the end lost its member pod only to a stranger."""
    last = {seen.uid: seen for seen in history.of(PARENT)}
    for seen in history.of(*history.members):
        parent = last.get(seen.parent_uid)
        if not (seen.gone or seen.deleting) or parent is None or seen.uid in history.interfered:
            continue
        if not (parent.gone or parent.deleting or parent.phase in TERMINAL):
            yield f"member pod {seen.cluster}/{seen.key} ({seen.uid}) was removed while {parent.uid} was wanted"


def nothing_runs_whose_parent_is_gone(history: History) -> Iterator[str]:
    living = {seen.uid for seen in history.of(PARENT)}
    for seen in history.of(PARENT):
        (living.discard if seen.gone else living.add)(seen.uid)
    for container in history.containers:
        if container.ended is None and container.parent_uid and container.parent_uid not in living:
            yield f"a container of {container.parent_uid} runs in {container.cluster}, and its parent pod is gone"


ALWAYS: Final[tuple[Rule, ...]] = (
    terminal_phases_never_change,
    restart_counts_never_shrink,
    containers_of_one_pod_never_overlap,
    what_must_not_restart_runs_once,
    member_pods_that_must_not_restart_run_once,
    pods_go_after_their_containers,
    one_parent_pod_is_in_one_member,
)
AT_REST: Final[tuple[Rule, ...]] = (
    *ALWAYS,
    restarts_are_those_of_a_kubelet,
    member_pods_of_living_pods_stay,
    nothing_runs_whose_parent_is_gone,
)


def violations(history: History, rules: tuple[Rule, ...]) -> list[str]:
    """Each with the name of its rule; every one once."""
    return list(dict.fromkeys(f"{rule.__name__}: {text}" for rule in rules for text in rule(history)))


def _by_parent(history: History) -> dict[str, list[Container]]:
    found: dict[str, list[Container]] = defaultdict(list)
    for container in history.containers:
        if container.parent_uid:
            found[container.parent_uid].append(container)
    return found
