"""Times as API servers read and write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from vk_provider.kube.timestamps import rfc3339, rfc3339_micro

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
