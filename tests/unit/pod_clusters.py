"""A model of one pod name in a parent and a member, with the users and the member's kubelet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.unit.merge import apply_pod
from tests.unit.pods import pod
from vk_provider.kube.objects import Pod, encode, fields, pod_phase

POLICIES = st.sampled_from(["Always", "OnFailure", "Never"])


class Clusters(RuleBasedStateMachine):
    """Both API servers, the member's kubelet, and the users."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
        self.parent: Pod | None = None
        self.member: Pod | None = None
        self.foreign: Pod | None = None  # a pod of another client
        self.count = 0

    @initialize(policy=POLICIES)
    def the_user_starts(self, policy: str) -> None:
        self._user_creates(policy)

    # Actions of the user in the parent.

    @rule(data=st.data(), policy=POLICIES, pause=st.sampled_from([0, 3, 60]))
    def user(self, data: st.DataObject, policy: str, pause: int) -> None:
        self._user_acts(data, policy)
        self.now += timedelta(seconds=pause)

    def _user_acts(self, data: st.DataObject, policy: str) -> None:
        if self.parent is None:
            self._user_creates(policy)
            return
        what = data.draw(st.sampled_from(["deletes", "deletes by force", "replaces by force", "changes"]))
        if what == "deletes":
            self.parent = self._deleted(self.parent, data.draw(st.sampled_from([1, 5, 30])))
        elif what == "changes":
            image = data.draw(st.sampled_from(["app:1", "app:2"]))
            self.parent = apply_pod(self.parent, {"spec": {"containers": [{"name": "app", "image": image}]}})
        else:
            self.parent = None
            if what == "replaces by force":
                self._user_creates(policy)

    def _user_creates(self, policy: str) -> None:
        self.parent = pod({"restartPolicy": policy, "nodeName": "member-a"}, {"phase": "Pending"}, uid=self._uid("p"))

    # Actions of the member's kubelet.

    @rule(code=st.sampled_from([0, 1]))
    def kubelet(self, code: int) -> None:
        if self.member is None or self.foreign is not None:
            return
        if self.member.metadata.deletion_timestamp is not None:
            self._kubelet_stops()
        elif self._ours_in("Pending"):
            self._kubelet_starts()
        elif self._ours_in("Running"):
            policy = fields(self.member.spec)["restartPolicy"]
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                self._member_status("Failed" if code else "Succeeded", {"terminated": {"exitCode": code}})

    def _kubelet_starts(self) -> None:
        self._member_status("Running", {"running": {"startedAt": self._stamp()}}, ready=True)

    def _kubelet_stops(self) -> None:
        """Ends the containers first, and deletes the pod in the next step."""
        if self._ours_in("Running"):
            self._member_status("Failed", {"terminated": {"exitCode": 137}})
        else:
            self.member = None

    def _ours_in(self, phase: str) -> bool:
        return self.member is not None and self.foreign is None and pod_phase(self.member).phase == phase

    def _member_status(self, phase: str, state: dict[str, Any], *, ready: bool = False) -> None:
        assert self.member is not None
        status = {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": self._stamp()}],
            "containerStatuses": [
                {"name": "app", "image": "app:1", "ready": ready, "restartCount": 0, "state": state, "lastState": {}}
            ],
        }
        self.member = Pod(metadata=self.member.metadata, spec=self.member.spec, status=msgspec.Raw(encode(status)))

    def _deleted(self, one: Pod, grace: int) -> Pod:
        """Behaves like an API server: a second delete can only shorten the grace period."""
        before = one.metadata.deletion_grace_period_seconds
        if before is not None and before <= grace:
            return one
        since = self.now
        if one.metadata.deletion_timestamp is not None and before is not None:
            since = datetime.fromisoformat(one.metadata.deletion_timestamp) - timedelta(seconds=before)
        metadata = msgspec.structs.replace(
            one.metadata,
            deletion_timestamp=(since + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            deletion_grace_period_seconds=grace,
        )
        return Pod(metadata=metadata, spec=one.spec, status=one.status)

    def _uid(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count}"

    def _stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _state(self) -> bytes:
        return encode([self.parent, self.member])
