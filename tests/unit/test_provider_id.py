"""The warning about a virtual node without a providerID, where a cloud controller may delete it."""

from __future__ import annotations

import pytest

from vk_provider.translate.nodes.provider_id import missing_provider_id


@pytest.mark.parametrize(
    ("ours", "others", "missing"),
    [("", ["aws:///a/i-1", ""], True), ("", ["", ""], False), ("", [], False), ("vk://west", ["aws:///a/i-1"], False)],
)
def test_one_is_missing_where_other_nodes_have_one(ours: str, others: list[str], missing: bool) -> None:
    assert missing_provider_id(ours, others) is missing
