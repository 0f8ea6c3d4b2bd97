"""The health of a member: a state machine without I/O and without a clock. Times are passed in.

    healthy --several failed probes in a row--> suspect --no sign of life, not frozen--> lost
       ^                                           |                                       |
       +------- as many answers in a row ----------+                                   an answer
       ^                                                                                   v
       +-------- answers for long enough, and everything is in sync ------- returning --several failed probes--> lost

    healthy, suspect, returning --several refused probes in a row--> refused --silent, as a healthy member--> suspect
       ^                                                                |
       +------- as many answers in a row (was returning: returning) ----+---fenced--> lost

A refused probe: the member answers and does not accept the credential, its certificate is out of date, or there is no
credential to ask with. It may live, so it is never declared lost for that. One whose node was not Ready stays so.

Signs of life are answers to a probe and bytes on any watch. (The member's nodes renew their Leases every 10 s, so a
watch of a living member is never silent for longer.) A member with a recent sign of life is never declared lost. Time
in which nothing could be judged does not count as silence: while this process did not run, and during a freeze.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import HealthSpec
from vk_provider.errors import VkError

_MISSED_PROBES: Final = 3  # probes that can be due between two calls of judge(); more: this process did not run


class State(StrEnum):
    """State of a member."""

    HEALTHY = "Healthy"
    SUSPECT = "Suspect"
    LOST = "Lost"
    RETURNING = "Returning"
    REFUSED = "Refused"


class Health:
    """Owns the state of one member. Times are seconds of one steady clock, and never decrease."""

    def __init__(self, spec: HealthSpec, now: float, *, returning: bool = False, waited: bool = False) -> None:
        """`returning`: the node is not Ready, so the member has to be brought in sync first. `waited`: the member does
        not have to answer for `returnAfterSeconds` first, because it was never away (only its provider was)."""
        self.spec = spec
        self.state = State.RETURNING if returning else State.HEALTHY
        self.error: VkError | None = None  # of the last failed probe
        self.last_sign_of_life = now
        self._answers = self._failures = 0  # in a row
        self._silences = self._refusals = 0  # in a row: the two kinds of failures
        self.away = returning  # whether the node is not Ready, because the member was lost or not served
        self._was_suspect = False  # at the previous call of judge(): only a suspect member can become lost
        self._answering_since = now - spec.return_after_seconds if waited else now
        self._silent_since = now  # as far as silence counts
        self._judged_at = now

    def sign_of_life(self, at: float) -> None:
        """A sign of life arrived at that time."""
        self.last_sign_of_life = max(self.last_sign_of_life, at)
        self._silent_since = max(self._silent_since, at)

    def answered(self, now: float) -> None:
        """A probe succeeded."""
        self.sign_of_life(now)
        if self._failures:
            self._answering_since = now
        self._failures = self._silences = self._refusals = 0
        self._answers += 1
        if self.state is State.LOST:
            self.state, self._answering_since = State.RETURNING, now
        elif self.state in (State.SUSPECT, State.REFUSED) and self._answers >= self.spec.suspect_after_failures:
            self.state = State.RETURNING if self.away else State.HEALTHY

    def failed(self, now: float, error: VkError) -> None:
        """A probe had no answer, or an answer that no working API server gives."""
        self.error = error
        self._answers = self._refusals = 0
        self._failures, self._silences = self._failures + 1, self._silences + 1
        self._escalate()

    def refused(self, now: float, error: VkError, *, answered: bool) -> None:
        """The member does not accept this process, or there is no credential to ask it with. `answered`: it did answer.

        A lost member stays lost: nothing can be brought in sync there.
        """
        self.error = error
        self._answers = self._silences = 0
        self._failures, self._refusals = self._failures + 1, self._refusals + 1
        if answered:
            self.sign_of_life(now)
        self._silent_since = max(self._silent_since, now)
        if self.state is not State.LOST and self._refusals >= self.spec.suspect_after_failures:
            self.state = State.REFUSED
        else:
            self._escalate()

    def _escalate(self) -> None:
        """A probe has failed: it may have been one of several in a row."""
        needed = self.spec.suspect_after_failures
        if self.state is State.REFUSED and self._silences >= needed:
            self.state = State.LOST if self.away else State.SUSPECT
        elif self.state is State.HEALTHY and self._failures >= needed:
            self.state = State.SUSPECT
        elif self.state is State.RETURNING and self._failures >= needed:
            self.state = State.LOST

    def judge(self, now: float, *, frozen: bool = False, proven: bool = True, fenced: bool = False) -> None:
        """Declares a suspect member lost when it has been silent for long enough. A refused one only if it is fenced.

        `frozen`: the current silence does not count. `proven`: the parent has accepted a write since the previous call,
        so the fault is not on this side. `fenced`: an administrator declares that the member is down, which is enough.
        """
        gap, allowed = now - self._judged_at, _MISSED_PROBES * self.spec.probe_seconds
        self._judged_at = now
        if frozen and not fenced:
            self._silent_since = now
        elif gap > allowed:
            self._silent_since = min(now, self._silent_since + gap - allowed)
        silent = now - self._silent_since >= self.spec.lost_after_seconds
        suspect_for_a_while, self._was_suspect = self._was_suspect, self.state is State.SUSPECT
        down = fenced and self.state in (State.SUSPECT, State.REFUSED)
        if down or (self.state is State.SUSPECT and suspect_for_a_while and silent and proven and not frozen):
            self.state, self.away = State.LOST, True

    def is_due(self, now: float) -> bool:
        """Whether a returning member has answered for long enough."""
        steady = not self._failures and now - self._answering_since >= self.spec.return_after_seconds
        return self.state is State.RETURNING and steady

    def returned(self) -> None:
        """Everything of a returning member is in sync."""
        if self.state is State.RETURNING:
            self.state, self.away = State.HEALTHY, False


@dataclass(frozen=True)
class Assessment:
    """The health of a member at one moment, as conditions, Events and taints show it.

    `frozen`: why the member is not declared lost. `pending`: what a returning member is still waiting for. `away`:
    whether the node of a refused member was not Ready before, and stays so. `stale`: which list of a member that
    answers is not current.
    """

    state: State = State.HEALTHY
    error: VkError | None = None
    last_sign_of_life: str = ""  # RFC 3339
    frozen: str = ""
    pending: str = ""
    away: bool = False
    stale: str = ""

    @property
    def reason(self) -> str:
        """The reason of conditions, in CamelCase: the state, Frozen or ListsNotCurrent."""
        if self.stale and self.state is State.HEALTHY:
            return wellknown.LISTS_NOT_CURRENT
        return wellknown.FROZEN if self.frozen and self.state is State.SUSPECT else self.state.value

    @property
    def topic(self) -> tuple[str, ...]:
        """Two assessments with the same topic need only one report. Times and error messages change all the time."""
        cause = self.error.reason if self.error and self.state in (State.SUSPECT, State.LOST, State.REFUSED) else ""
        return self.reason, cause, self.pending

    @property
    def node_ready(self) -> tuple[bool, str, str]:
        """The Ready condition of the virtual node: whether it is True, reason, message."""
        match self.state:
            case State.LOST:
                return False, "MemberUnreachable", f"the member does not answer: {self.error}"
            case State.RETURNING:
                return False, "MemberReturning", self._returning
            case State.REFUSED if self.away:
                return False, "MemberReturning", f"the member is not in sync: {self.error}"
            case State.REFUSED:
                return True, "MemberReady", f"the member may run, and cannot be used: {self.error}"
        return True, "MemberReady", f"the member answers; {self.stale}" if self.stale else "the member answers"

    @property
    def cluster_ready(self) -> tuple[bool, str, str]:
        """The Ready condition of the MemberCluster: whether it is True, reason, message. The caller adds the message of
        a member that is served."""
        match self.state:
            case State.SUSPECT | State.LOST | State.REFUSED:
                return False, self.error.reason if self.error else "Unreachable", str(self.error)
            case State.RETURNING:
                return False, self.state.value, self._returning
        return (False, self.reason, self.stale) if self.stale else (True, "Serving", "")

    @property
    def reachable(self) -> tuple[str, str, str]:
        """The condition that shows the state: status, reason, message."""
        sign = f"last sign of life {self.last_sign_of_life}"
        match self.state:
            case State.HEALTHY:
                return "True", self.reason, f"the member answers; {self.stale}" if self.stale else "the member answers"
            case State.SUSPECT if self.frozen:
                return "Unknown", self.reason, f"not declared lost: {self.frozen}; {sign}; {self.error}"
            case State.SUSPECT:
                return "Unknown", self.reason, f"probes fail; {sign}; {self.error}"
            case State.LOST:
                return "False", self.reason, f"{sign}; {self.error}"
            case State.REFUSED:
                return "Unknown", self.reason, f"the member may run, and no pods move; {sign}; {self.error}"
            case State.RETURNING:
                return "True", self.reason, self._returning

    @property
    def suspended(self) -> bool:
        """Whether the scheduler is kept from placing new pods on the node."""
        return self.state is not State.HEALTHY or bool(self.stale)

    @property
    def _returning(self) -> str:
        return "the member answers again; " + (self.pending or "waiting until it has answered for long enough")
