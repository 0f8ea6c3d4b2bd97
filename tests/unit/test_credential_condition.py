"""The condition that shows when the credential of a member ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from vk_provider.kube.auth.expiry import Validity
from vk_provider.observable import Observable
from vk_provider.sync.membership.credential import CredentialLoop, condition, until_next

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
HOURS = Validity("token", NOON, NOON + timedelta(hours=10))


class Report:
    """Keeps what is reported: status, reason, message."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, str]] = []

    def has(self, type: str) -> bool:
        return bool(self.found)

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None:
        if not self.found or self.found[-1] != (status, reason, message):
            self.found.append((status, reason, message))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.found]


@pytest.mark.parametrize(
    ("hours", "status", "reason"),
    [
        (0, "True", "CredentialValid"),
        (7.9, "True", "CredentialValid"),
        (8, "True", "CredentialExpiresSoon"),
        (9.9, "True", "CredentialExpiresSoon"),
        (10, "False", "CredentialExpired"),
    ],
)
def test_the_condition_follows_the_time(hours: float, status: str, reason: str) -> None:
    found = condition(HOURS, NOON + timedelta(hours=hours), "west")
    assert found[:2] == (status, reason)
    assert "2030-06-01T22:00:00Z" in found[2]
    assert ("vk-provider join west --kubeconfig FILE" in found[2]) == (reason != "CredentialValid")


def test_a_credential_without_an_end_is_valid() -> None:
    assert condition(None, NOON, "west") == ("True", "CredentialValid", "the credential shows no end")


@pytest.mark.parametrize(
    ("hours", "seconds"), [(0, 3600), (7.5, 1800), (8, 3600), (9.75, 900), (9.9999999, 1), (11, 3600)]
)
def test_it_is_looked_at_again_when_it_may_change(hours: float, seconds: float) -> None:
    assert until_next(HOURS, NOON + timedelta(hours=hours)) == pytest.approx(seconds, abs=1e-3)


@pytest.mark.looptime
async def test_the_warning_comes_in_time_and_a_new_credential_ends_it() -> None:
    loop = asyncio.get_running_loop()
    start, report, validity = loop.time(), Report(), Observable[Validity | None](None)
    running = CredentialLoop(validity, report, lambda: NOON + timedelta(seconds=loop.time() - start), "west")
    task = asyncio.create_task(running.run())
    await asyncio.sleep(0.1 * 3600)
    assert report.reasons == [], "nothing is known of it yet"
    validity.set(HOURS)
    await asyncio.sleep(7.8 * 3600)
    assert report.reasons == ["CredentialValid"]
    await asyncio.sleep(0.2 * 3600)
    assert report.reasons[1:] == ["CredentialExpiresSoon"]
    await asyncio.sleep(2 * 3600)
    assert report.reasons[2:] == ["CredentialExpired"]
    validity.set(None)
    await asyncio.sleep(1)
    assert report.reasons[3:] == ["CredentialValid"]
    task.cancel()


@pytest.mark.looptime
async def test_a_credential_that_never_showed_an_end_has_no_condition() -> None:
    report, validity = Report(), Observable[Validity | None](None)
    running = CredentialLoop(validity, report, lambda: NOON, "west")
    task = asyncio.create_task(running.run())
    await asyncio.sleep(0)
    validity.set(None)
    await asyncio.sleep(10_000)
    assert report.found == []
    task.cancel()
