"""Whether any provider serves a node, which decides what `unjoin` does; in virtual time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from vk_provider.cli.members import may_be_served, until_expired
from vk_provider.errors import NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata

pytestmark = pytest.mark.looptime

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)


class Leases:
    """Replaces the client: the renew times of the Lease in successive answers; None if the Lease does not exist."""

    def __init__(self, renewed: list[datetime | None]) -> None:
        self._renewed = renewed

    async def get(self, resource: Any, name: str, namespace: str, *, type: Any) -> Any:
        renewed = self._renewed.pop(0) if len(self._renewed) > 1 else self._renewed[0]
        if renewed is None:
            raise NotFoundError(404, "NotFound", "no lease")
        lease = type(metadata=Metadata(name=name))
        lease.spec.renew_time = renewed
        return lease


async def _seconds_until_expired(*renewed: datetime | None) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(3600):
        await until_expired(cast(Client, Leases(list(renewed))), "west", lambda: NOW)
    return loop.time() - started


def _ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_a_node_without_a_lease_is_not_served() -> None:
    assert not may_be_served(None, NOW)


def test_a_node_with_an_old_lease_is_not_served() -> None:
    assert not may_be_served(_ago(3600), NOW)


@pytest.mark.parametrize("age", [0, 60, -300])
def test_a_node_with_a_recently_expired_lease_may_be_served(age: float) -> None:
    assert may_be_served(_ago(age), NOW)


async def test_a_fresh_lease_is_watched_until_it_expires() -> None:
    assert 40 <= await _seconds_until_expired(_ago(0)) < 45


@pytest.mark.parametrize("age", [60, -300])
async def test_a_lease_is_watched_for_15_s_even_if_clocks_differ(age: float) -> None:
    assert await _seconds_until_expired(_ago(age)) >= 15


async def test_a_renewal_restarts_the_watch() -> None:
    assert await _seconds_until_expired(_ago(39), _ago(39), _ago(39), _ago(0)) > 40


async def test_a_lease_that_is_deleted_meanwhile_counts_as_in_use() -> None:
    with pytest.raises(TimeoutError):
        await _seconds_until_expired(_ago(5), None)
