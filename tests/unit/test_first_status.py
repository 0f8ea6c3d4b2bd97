"""When the first status is written: early for a pod that must not run twice, late for others, to save writes."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.test_way_of_a_pod import RUNNING, SCHEDULED, SPEC, Server, served
from tests.waiting import eventually_here
from vk_provider.api import wellknown

pytestmark = pytest.mark.looptime


async def first_status(policy: str, runs_after: float) -> tuple[float, list[str]]:
    """Seconds from the create to the first status, and the phases of all that are written within 30 s. The member's
    kubelet reports nothing before the pod runs.
    """
    above, below = Server(), Server()
    seconds, phases = 0.0, list[str]()
    with pytest.raises(ExceptionGroup):
        async with served(above, below):
            metadata = {"name": "web", "namespace": "shop", "uid": "p-web", "resourceVersion": "5"}
            spec = SPEC | {"restartPolicy": policy}
            above.feed("ADDED", metadata, spec=spec, status={"phase": "Pending", "conditions": [SCHEDULED]})
            await eventually_here(lambda: below.written, "the member pod is created")
            loop = asyncio.get_running_loop()
            began = loop.time()
            made = below.written[0][2]["metadata"] | {"uid": "m-1", "resourceVersion": "7"}
            status = {"phase": "Running", "containerStatuses": [RUNNING]}
            loop.call_later(runs_after, lambda: below.feed("MODIFIED", made, spec=SPEC, status=status))
            await eventually_here(lambda: above.written, "the status is written")
            seconds = loop.time() - began
            written = above.written[0][2]["status"]["conditions"]
            assert wellknown.CREATED_CONDITION in {condition["type"] for condition in written}
            await asyncio.sleep(30)
            phases += [body["status"].get("phase", "") for _, _, body in above.written]
    return seconds, phases


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
async def test_a_pod_that_runs_within_ten_seconds_costs_one_write(policy: str) -> None:
    _, phases = await first_status(policy, runs_after=8)
    assert phases == ["Running"]


async def test_the_creation_of_a_pod_that_must_not_restart_is_recorded_after_two_seconds() -> None:
    seconds, phases = await first_status("Never", runs_after=8)
    assert seconds == pytest.approx(2, abs=0.2)
    assert phases == ["", "Running"], "the phase was Pending, and is not written again"


async def test_the_creation_of_other_pods_is_recorded_after_ten_seconds() -> None:
    seconds, _ = await first_status("Always", runs_after=20)
    assert seconds == pytest.approx(10, abs=0.2)
