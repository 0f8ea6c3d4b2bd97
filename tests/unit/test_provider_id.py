"""The warning about a virtual node without a providerID, where a cloud controller may delete it."""

from __future__ import annotations

import pytest

from tests.unit.api_server import ApiServer
from vk_provider.cli.clouds import provider_id_warning
from vk_provider.kube.resources import NODES
from vk_provider.translate.nodes.provider_id import missing_provider_id


@pytest.mark.parametrize(
    ("ours", "others", "missing"),
    [("", ["aws:///a/i-1", ""], True), ("", ["", ""], False), ("", [], False), ("vk://west", ["aws:///a/i-1"], False)],
)
def test_one_is_missing_where_other_nodes_have_one(ours: str, others: list[str], missing: bool) -> None:
    assert missing_provider_id(ours, others) is missing


@pytest.mark.asyncio
async def test_the_warning_names_the_node_and_the_remedy() -> None:
    parent = ApiServer()
    parent.put(NODES, "west", spec={})
    assert await provider_id_warning(parent, "west", "west") == ""
    parent.put(NODES, "worker-1", spec={"providerID": "aws:///a/i-1"})
    warning = await provider_id_warning(parent, "west", "west")
    assert "west has none" in warning
    assert "spec.providerID" in warning
    parent.put(NODES, "west", spec={"providerID": "vk://west"})
    assert await provider_id_warning(parent, "west", "west") == ""
    assert await provider_id_warning(parent, "east", "east") == ""
