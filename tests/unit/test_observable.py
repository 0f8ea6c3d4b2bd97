"""A value that changes, and those who depend on it."""

from __future__ import annotations

from vk_provider.observable import Observable


def test_handlers_see_the_new_value_in_the_order_in_which_they_subscribed() -> None:
    found: list[tuple[str, int]] = []
    value = Observable(1)
    value.subscribe(lambda: found.append(("first", value.value)))
    value.subscribe(lambda: found.append(("second", value.value)))
    assert found == []
    value.set(2)
    assert found == [("first", 2), ("second", 2)]
