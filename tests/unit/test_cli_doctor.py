"""`vk-provider doctor`: what its findings say, and its exit code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest

from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.cli.checks import Finding, Level, judged
from vk_provider.cli.doctor import summary
from vk_provider.cli.member_checks import Subject, _credential
from vk_provider.errors import ConfigError, ForbiddenError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata

MEMBER = MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("member-west", "vk-provider-system")))


@pytest.mark.parametrize(
    ("problem", "level"),
    [
        (ConfigError("secret vk-provider-system/member-west does not exist"), Level.ERROR),
        (ForbiddenError(403, "Forbidden", "jane may not get secrets"), Level.WARNING),
    ],
)
async def test_what_the_user_of_the_command_may_not_see_is_no_fault_of_the_member(
    problem: VkError, level: Level
) -> None:
    it = Subject(cast(Client, None), MEMBER, None, None, datetime.now(UTC), problem, None)
    assert (await _credential(it)).level is level


@pytest.mark.parametrize(
    ("version", "level"), [("v1.33.9", Level.WARNING), ("v1.34.0+k3s1", Level.OK), ("v1.37.2", Level.OK)]
)
def test_versions_older_than_all_that_are_tested_are_a_warning(version: str, level: Level) -> None:
    assert judged(version).level is level


def test_the_summary_counts_errors_and_warnings() -> None:
    levels = (Level.OK, Level.ERROR, Level.WARNING, Level.WARNING)
    assert summary([Finding("west", "api", level, "") for level in levels]) == "4 checks: 1 error, 2 warnings"
