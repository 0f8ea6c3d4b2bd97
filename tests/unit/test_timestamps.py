"""Times in the formats of API servers, and the clock of a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from vk_provider.kube.timestamps import ServerClock, rfc3339, rfc3339_micro

_MOMENT = datetime(2026, 3, 1, 12, 30, 59, 999_999, tzinfo=UTC)


def test_a_time_has_whole_seconds_rounded_down() -> None:
    assert rfc3339(_MOMENT) == "2026-03-01T12:30:59Z"


def test_a_micro_time_always_has_six_digits() -> None:
    assert rfc3339_micro(_MOMENT) == "2026-03-01T12:30:59.999999Z"
    assert rfc3339_micro(_MOMENT.replace(microsecond=0)) == "2026-03-01T12:30:59.000000Z"


def test_other_time_zones_become_utc() -> None:
    local = _MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert rfc3339(local) == "2026-03-01T12:30:59Z"
    assert rfc3339_micro(local) == "2026-03-01T12:30:59.999999Z"


def test_the_clock_of_a_server_continues_from_its_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = 1000.0, ServerClock()
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock.set("Sun, 01 Mar 2026 12:30:00 GMT")
    now = 1002.5
    assert clock.now() == datetime(2026, 3, 1, 12, 30, 2, 500_000, tzinfo=UTC)
    clock.set("Sun, 01 Mar 2026 12:00:00 GMT")
    assert clock.now() == datetime(2026, 3, 1, 12, tzinfo=UTC), "the clock of the server was set back"


@pytest.mark.parametrize("date", ["", "soon", "Sun, 99 Mar 2026 12:30:00 GMT"])
def test_without_a_valid_date_the_clock_of_this_machine_is_used(date: str) -> None:
    clock = ServerClock()
    clock.set(date)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
