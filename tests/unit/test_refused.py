"""A member that does not accept the provider's credential is refused, and not lost for this reason."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.member_api import MemberApi
from vk_provider.api.membercluster import HealthSpec, MemberCluster, MemberClusterSpec, MemberClusterStatus, SecretRef
from vk_provider.cli.fence import _check
from vk_provider.errors import RefusedError, UnauthorizedError, UnreachableError, VkError, api_error
from vk_provider.kube.objects import Condition, Metadata
from vk_provider.sync.membership.access import identify
from vk_provider.translate.state.health import Assessment, Health, State

SPEC: Final = HealthSpec()
SILENCE: Final = UnreachableError("no answer in time")
REFUSAL: Final = RefusedError("401", answered=True)

# One probe: y: answered; n: no answer; r: refused; c: the provider has no credential.
PROBES: Final = "ynrc"


def probed(health: Health, probes: str, start: float = 0.0, *, fenced: bool = False) -> float:
    """A probe every 2 s. Returns the time of the last one."""
    now = start
    for probe in probes:
        now += 2.0
        if probe == "y":
            health.answered(now)
        elif probe == "n":
            health.failed(now, SILENCE)
        else:
            health.refused(now, REFUSAL, answered=probe == "r")
        health.judge(now, fenced=fenced)
    return now


def state_after(probes: str, *, returning: bool = False) -> State:
    health = Health(SPEC, 0.0, returning=returning)
    probed(health, probes)
    return health.state


@pytest.mark.parametrize(
    ("probes", "state"),
    [
        ("rr", State.HEALTHY),
        ("rrr", State.REFUSED),
        ("ccc", State.REFUSED),
        ("rcr", State.REFUSED),
        ("ryrr", State.HEALTHY),
        ("nrn", State.SUSPECT),
        ("nnr", State.SUSPECT),
        ("nnn" + "rrr", State.REFUSED),
        ("r" * 1000, State.REFUSED),
        ("c" * 1000, State.REFUSED),
        ("rrr" + "yy", State.REFUSED),
        ("rrr" + "yyy", State.HEALTHY),
        ("rrr" + "nn" + "r" + "nn", State.REFUSED),
        ("rrr" + "nnn", State.SUSPECT),
        ("rrr" + "n" * 9, State.SUSPECT),
        ("rrr" + "n" * 10, State.LOST),
        ("n" * 10 + "rrr", State.LOST),
        ("n" * 10 + "rrr" + "y", State.RETURNING),
    ],
)
def test_a_history_of_probes(probes: str, state: State) -> None:
    assert state_after(probes) is state


@pytest.mark.parametrize(
    ("probes", "state"),
    [("rrr", State.REFUSED), ("rrr" + "yyy", State.RETURNING), ("rrr" + "nnn", State.LOST), ("nnn", State.LOST)],
)
def test_a_member_whose_node_was_not_ready_has_to_come_back_first(probes: str, state: State) -> None:
    assert state_after(probes, returning=True) is state


def test_a_fenced_member_that_refuses_is_lost_and_stays_so() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "rrr")
    now = probed(health, "r", now, fenced=True)
    assert health.state is State.LOST
    probed(health, "r" * 20, now, fenced=True)
    assert health.state is State.LOST


def test_a_refused_answer_is_a_sign_of_life_and_a_missing_credential_is_none() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "r")
    assert health.last_sign_of_life == now
    probed(health, "c", now)
    assert health.last_sign_of_life == now


histories = st.lists(st.tuples(st.sampled_from(PROBES), st.booleans()), max_size=80)


def lived(history: list[tuple[str, bool]], *, returning: bool = False) -> Iterator[tuple[str, State, State]]:
    """For each probe: what it was, and the state before and after it. A returning member is in sync now and then."""
    health, now = Health(SPEC, 0.0, returning=returning), 0.0
    for probe, in_sync in history:
        before = health.state
        now = probed(health, probe, now)
        if in_sync and health.is_due(now):
            health.returned()
        yield probe, before, health.state


@given(histories, st.booleans())
def test_only_the_documented_transitions_happen(history: list[tuple[str, bool]], returning: bool) -> None:
    transitions = {
        (State.HEALTHY, State.SUSPECT),
        (State.HEALTHY, State.REFUSED),
        (State.SUSPECT, State.HEALTHY),
        (State.SUSPECT, State.LOST),
        (State.SUSPECT, State.REFUSED),
        (State.REFUSED, State.HEALTHY),
        (State.REFUSED, State.SUSPECT),
        (State.LOST, State.RETURNING),
        (State.RETURNING, State.HEALTHY),
        (State.RETURNING, State.LOST),
        (State.RETURNING, State.REFUSED),
    }
    if returning or any(after is State.LOST for _, _, after in lived(history)):
        transitions |= {(State.REFUSED, State.RETURNING), (State.REFUSED, State.LOST)}
    for _, before, after in lived(history, returning=returning):
        assert before is after or (before, after) in transitions


@given(histories)
def test_a_member_is_lost_only_after_silence_while_there_was_a_credential_to_ask_with(
    history: list[tuple[str, bool]],
) -> None:
    silence = 0
    for probe, before, after in lived(history):
        silence = silence + 1 if probe == "n" else 0
        if before in (State.HEALTHY, State.SUSPECT) and after is State.LOST:
            assert silence * 2.0 >= SPEC.lost_after_seconds


@given(st.lists(st.sampled_from("yrc"), max_size=200))
def test_a_member_that_answers_or_cannot_be_asked_is_never_lost(probes: list[str]) -> None:
    assert State.LOST not in [after for _, _, after in lived([(probe, True) for probe in probes])]


@given(histories)
def test_a_member_is_refused_only_after_as_many_refusals_in_a_row_as_for_suspect(
    history: list[tuple[str, bool]],
) -> None:
    refusals = 0
    for probe, before, after in lived(history):
        refusals = refusals + 1 if probe in "rc" else 0
        if before is not State.REFUSED and after is State.REFUSED:
            assert refusals >= SPEC.suspect_after_failures


@given(histories)
def test_a_node_becomes_ready_again_only_through_returning(history: list[tuple[str, bool]]) -> None:
    """Pods that were replaced meanwhile must be deleted in the member first."""
    away = False
    for _, before, after in lived(history):
        away = away or after is State.LOST
        if (before, after) == (State.RETURNING, State.HEALTHY):
            away = False
        assert not (away and after is State.HEALTHY)


@pytest.mark.parametrize(
    ("away", "node"),
    [(False, (True, "MemberReady")), (True, (False, "MemberReturning"))],
)
def test_a_refused_member_is_shown_with_the_reason_and_its_node_stays_as_it_was(
    away: bool, node: tuple[bool, str]
) -> None:
    error = RefusedError("the member does not accept the credential", remedy="create a new token and join again")
    assessment = Assessment(State.REFUSED, error, "10:00", away=away)
    assert assessment.node_ready[:2] == node
    assert assessment.cluster_ready == (False, "Unauthorized", str(error))
    status, reason, message = assessment.reachable
    assert (status, reason) == ("Unknown", "Refused")
    assert "no pods move" in message
    assert "join again" in message
    assert assessment.suspended


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (api_error(401, "Unauthorized", "Unauthorized"), "Unauthorized", "join the member again"),
        (api_error(403, "Forbidden", "no"), "Forbidden", "kubectl apply -f manifests/member/rbac.yaml"),
        (
            UnreachableError("its certificate", reason="CertificateExpired", remedy="renew it"),
            "CertificateExpired",
            "renew",
        ),
    ],
)
async def test_a_probe_that_the_member_refuses_names_the_remedy(error: VkError, reason: str, remedy: str) -> None:
    api = MemberApi()
    api.refusal = error
    with pytest.raises(RefusedError, match=remedy) as refused:
        await identify(api, "west-uid", member="west", deadline=2.0)
    assert refused.value.reason == reason
    assert refused.value.answered


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("no answer in time"),
        UnreachableError("unknown authority", reason="CertificateInvalid"),
        api_error(500, "InternalError", "etcd"),
        api_error(429, "TooManyRequests", "later"),
    ],
    ids=lambda error: error.reason,
)
async def test_any_other_failure_of_a_probe_is_no_refusal(error: VkError) -> None:
    api = MemberApi()
    api.refusal = error
    with pytest.raises(type(error)) as failed:
        await identify(api, "west-uid", member="west", deadline=2.0)
    assert not isinstance(failed.value, RefusedError)


@pytest.mark.parametrize("verify", [False, None])
async def test_an_answer_without_verified_tls_proves_nothing(verify: bool | None) -> None:
    api = MemberApi(server="http://west:8080" if verify is None else "https://west:6443")
    if verify is False:
        api.credentials.ssl.check_hostname = False
        api.credentials.ssl.verify_mode = ssl.CERT_NONE
    api.refusal = api_error(401, "Unauthorized", "Unauthorized")
    with pytest.raises(UnauthorizedError):
        await identify(api, "west-uid", member="west", deadline=2.0)


def test_a_refused_member_can_be_fenced() -> None:
    status = MemberClusterStatus(conditions=[Condition("Reachable", "Unknown", "Refused")])
    _check(MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("s", "n")), status), "True")
