"""A value that changes, and the handlers that subscribe to it."""

from __future__ import annotations

from vk_provider.observable import Observable


def test_handlers_get_the_new_value_in_the_order_of_their_subscription() -> None:
    found: list[tuple[str, int]] = []
    value = Observable(1)
    value.subscribe(lambda: found.append(("first", value.value)))
    value.subscribe(lambda: found.append(("second", value.value)))
    assert found == []
    value.set(2)
    assert found == [("first", 2), ("second", 2)]
