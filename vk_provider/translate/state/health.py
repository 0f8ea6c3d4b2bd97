"""What is believed of a member. A state machine without I/O and without a clock: times are passed in.

    healthy --probes fail in a row--> suspect --no sign of life, not frozen--> lost
       ^                                 |                                      |
       +------ as many answers in a row -+                                  an answer
       ^                                                                        v
       +-------- answers for long enough, and all is put in order -------- returning --probes fail in a row--> lost

Witnesses of life are answers to the probe and bytes on any watch (the member's nodes renew their Leases every 10 s, so
a watch of a living member is never silent for longer): while one of them is fresh, a member is not lost. Time in which
nothing could be judged does not count as silence: while the process stood still, and while losses are frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import HealthSpec
from vk_provider.errors import VkError
from vk_provider.translate.kubelet.prometheus import escape

_STOOD_STILL: Final = 3  # probes that can be due between two looks; more means that this process did not run


class State(StrEnum):
    """What is believed of a member."""

    HEALTHY = "Healthy"
    SUSPECT = "Suspect"
    LOST = "Lost"
    RETURNING = "Returning"


class Health:
    """Owner of the belief. Times are seconds of one steady clock, and never go back."""

    def __init__(self, spec: HealthSpec, now: float, *, returning: bool = False, waited: bool = False) -> None:
        """`returning`: its node is not Ready, so it has to be put in order first; `waited`: at once, since the member
        was never away (its provider was)."""
        self.spec = spec
        self.state = State.RETURNING if returning else State.HEALTHY
        self.error: VkError | None = None  # of the last probe that failed
        self.heard_at = now  # last sign of life
        self._failures = self._answers = 0  # in a row
        self._was_suspect = False  # at the look before: nobody is lost who was not suspect first
        self._answering_since = now - spec.return_after_seconds if waited else now
        self._silent_since = now  # as far as silence counts
        self._looked_at = now

    def heard(self, at: float) -> None:
        """A sign of life came at that time."""
        self.heard_at = max(self.heard_at, at)
        self._silent_since = max(self._silent_since, at)

    def answered(self, now: float) -> None:
        """A probe was answered."""
        self.heard(now)
        if self._failures:
            self._answering_since = now
        self._failures, self._answers = 0, self._answers + 1
        if self.state is State.LOST:
            self.state, self._answering_since = State.RETURNING, now
        elif self.state is State.SUSPECT and self._answers >= self.spec.suspect_after_failures:
            self.state = State.HEALTHY

    def failed(self, now: float, error: VkError) -> None:
        """A probe was not answered, or not as by a working API server."""
        self.error = error
        self._answers, self._failures = 0, self._failures + 1
        if self._failures < self.spec.suspect_after_failures:
            return
        if self.state is State.HEALTHY:
            self.state = State.SUSPECT
        elif self.state is State.RETURNING:
            self.state = State.LOST

    def judge(self, now: float, *, frozen: bool = False, proven: bool = True, fenced: bool = False) -> None:
        """Declares the member lost where it is time.

        `frozen`: this silence does not count; `proven`: the parent took a write since the last look, so that the fault
        is not on this side; `fenced`: somebody has stated that the member is down, which is all it takes.
        """
        gap, allowed = now - self._looked_at, _STOOD_STILL * self.spec.probe_seconds
        self._looked_at = now
        if frozen and not fenced:
            self._silent_since = now
        elif gap > allowed:
            self._silent_since = min(now, self._silent_since + gap - allowed)
        silent = now - self._silent_since >= self.spec.lost_after_seconds
        suspect_for_a_while, self._was_suspect = self._was_suspect, self.state is State.SUSPECT
        if self.state is State.SUSPECT and (fenced or (suspect_for_a_while and silent and proven and not frozen)):
            self.state = State.LOST

    def is_due(self, now: float) -> bool:
        """Whether a member that returns has answered for long enough."""
        steady = not self._failures and now - self._answering_since >= self.spec.return_after_seconds
        return self.state is State.RETURNING and steady

    def settled(self) -> None:
        """Everything of a member that returns is in order."""
        if self.state is State.RETURNING:
            self.state = State.HEALTHY


@dataclass(frozen=True)
class Belief:
    """What is said of a member at one moment, in conditions, Events and taints.

    `frozen`: why nothing is declared lost; `missing`: what a member that returns is still waiting for.
    """

    state: State = State.HEALTHY
    error: VkError | None = None
    last_heard: str = ""  # RFC 3339
    frozen: str = ""
    missing: str = ""

    @property
    def reason(self) -> str:
        """CamelCase: the state, or that it cannot be judged now."""
        return wellknown.FROZEN if self.frozen and self.state is State.SUSPECT else self.state.value

    @property
    def topic(self) -> tuple[str, ...]:
        """What makes it worth saying anew; times and the words of errors change all the time."""
        cause = self.error.reason if self.error and self.state in (State.SUSPECT, State.LOST) else ""
        return self.reason, cause, self.missing

    @property
    def node_ready(self) -> tuple[bool, str, str]:
        """The Ready condition of the virtual node: whether, reason, message."""
        match self.state:
            case State.LOST:
                return False, "MemberUnreachable", f"the member does not answer: {self.error}"
            case State.RETURNING:
                return False, "MemberReturning", self._returning
        return True, "MemberReady", "the member answers"

    @property
    def cluster_ready(self) -> tuple[bool, str, str]:
        """The Ready condition of the MemberCluster, but for the message of a served one."""
        match self.state:
            case State.SUSPECT | State.LOST:
                return False, self.error.reason if self.error else "Unreachable", str(self.error)
            case State.RETURNING:
                return False, self.state.value, self._returning
        return True, "Serving", ""

    @property
    def reachable(self) -> tuple[str, str, str]:
        """The condition that tells the state: status, reason, message."""
        heard = f"last sign of life {self.last_heard}"
        match self.state:
            case State.HEALTHY:
                return "True", self.reason, "the member answers"
            case State.SUSPECT if self.frozen:
                return "Unknown", self.reason, f"not declared lost: {self.frozen}; {heard}; {self.error}"
            case State.SUSPECT:
                return "Unknown", self.reason, f"probes fail; {heard}; {self.error}"
            case State.LOST:
                return "False", self.reason, f"{heard}; {self.error}"
            case State.RETURNING:
                return "True", self.reason, self._returning

    @property
    def suspended(self) -> bool:
        """Whether new pods are kept off its node."""
        return self.state is not State.HEALTHY

    @property
    def _returning(self) -> str:
        return "the member answers again; " + (self.missing or "waiting until it has done so for long enough")


def figures(member: str, node: str, belief: Belief, heard_seconds: float) -> str:
    """Lines of the Prometheus text format."""
    labels = f'member="{escape(member)}",node="{escape(node)}"'
    lines = [
        "# HELP vk_provider_member_state What is believed of the member: 1 for its state, 0 for the others.",
        "# TYPE vk_provider_member_state gauge",
        *(f'vk_provider_member_state{{{labels},state="{state}"}} {int(state is belief.state)}' for state in State),
        "# HELP vk_provider_member_frozen Whether the member is not declared lost although it is silent.",
        "# TYPE vk_provider_member_frozen gauge",
        f"vk_provider_member_frozen{{{labels}}} {int(belief.reason == wellknown.FROZEN)}",
        "# HELP vk_provider_member_silence_seconds Time since the last sign of life of the member.",
        "# TYPE vk_provider_member_silence_seconds gauge",
        f"vk_provider_member_silence_seconds{{{labels}}} {heard_seconds:.1f}",
    ]
    return "\n".join(lines) + "\n"
