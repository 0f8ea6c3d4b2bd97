"""Answers of the member that are not the pod: each is reported, none is repeated without a pause."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.test_way_of_a_pod import RUNNING, SCHEDULED, SPEC, Server, served
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.errors import ApiError, NotFoundError, api_error
from vk_provider.kube.objects import Metadata
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import Resource
from vk_provider.translate.pods.change import Change, parts

pytestmark = pytest.mark.looptime

NO_ACCOUNT = 'error looking up service account shop/default: serviceaccount "default" not found'


class Member(Server):
    """Answers creates and patches as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: ApiError | None = None
        self.refuses: set[str] = set()  # fields and subresources of a patch
        self.tries: list[float] = []  # loop times of the creates
        self.most = 1000  # creates that are refused

    async def request(self, method: str, path: str, *, body: bytes | None = None, **options: Any) -> bytes:
        written = msgspec.json.decode(body or b"{}")
        if method == "POST":
            self.tries.append(asyncio.get_running_loop().time())
        elif method == "GET":
            raise NotFoundError(404, "NotFound", 'pods "web" not found')
        fields = {*written.get("spec", ()), *written.get("metadata", ()), path.rpartition("/")[2]}
        if self.refusal and (len(self.tries) <= self.most if method == "POST" else fields & self.refuses):
            raise self.refusal
        return await super().request(method, path, body=body, **options)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def note(_recorder: Recorder, _resource: Resource, _about: Metadata, _type: str, reason: str, message: str) -> None:
        found.append((reason, message))

    monkeypatch.setattr(Recorder, "event", note)
    return found


METADATA = {"name": "web", "namespace": "shop", "uid": "p-web", "resourceVersion": "5"}


@asynccontextmanager
async def bound(above: Server, below: Member) -> AsyncIterator[None]:
    """A pod is bound to the virtual node, and its creation is tried once."""
    with pytest.raises(ExceptionGroup):
        async with served(above, below):
            above.feed("ADDED", METADATA, spec=SPEC, status={"phase": "Pending", "conditions": [SCHEDULED]})
            await eventually_here(lambda: below.tries, "the create is sent")
            yield


def reasons(above: Server) -> list[tuple[str, str]]:
    """The waiting reasons that the status writes show."""
    return [
        (waiting["reason"], waiting.get("message", ""))
        for method, _, body in above.written
        if method == "PATCH"
        for container in body["status"].get("containerStatuses", ())
        if (waiting := container["state"].get("waiting"))
    ]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 504, 418])
async def test_every_answer_is_reported_and_tried_again_with_pauses(status: int, events: list[tuple[str, str]]) -> None:
    above, below = Server(), Member()
    below.refusal = api_error(status, "Whatever", "the webhook says no")
    async with bound(above, below):
        await eventually_here(lambda: reasons(above), "the status says why it waits")
        assert (wellknown.MEMBER_REFUSED, "the webhook says no") in events
        assert reasons(above)[0] == (wellknown.MEMBER_REFUSED, "the webhook says no")
        await asyncio.sleep(120)
        assert len(below.tries) < 60, "the pauses grow"
        below.refusal, tries = None, len(below.tries)
        await eventually_here(lambda: len(below.tries) > tries, "it is tried again")
        await eventually_here(lambda: any(method == "POST" for method, _, _ in below.written), "it is created")


async def test_an_answer_that_may_pass_is_not_reported_the_first_time(events: list[tuple[str, str]]) -> None:
    above, below = Server(), Member()
    below.refusal, below.most = api_error(500, "InternalError", "etcdserver: leader changed"), 1
    async with bound(above, below):
        await eventually_here(lambda: below.written, "it is created")
    assert events == []


async def test_a_name_that_seems_taken_and_is_free_is_tried_with_pauses(events: list[tuple[str, str]]) -> None:
    """An admission webhook may choose the answer of a name that is taken."""
    above, below = Server(), Member()
    below.refusal = api_error(409, "AlreadyExists", "not today")
    async with bound(above, below):
        await asyncio.sleep(120)
    assert (wellknown.MEMBER_REFUSED, "not today") in events
    assert len(below.tries) < 60


async def test_a_missing_service_account_is_awaited_with_pauses_and_reported(events: list[tuple[str, str]]) -> None:
    above, below = Server(), Member()
    below.refusal = api_error(403, "Forbidden", NO_ACCOUNT)
    async with bound(above, below):
        await asyncio.sleep(3)
        assert events == [], "a new namespace gets it a moment later"
        await asyncio.sleep(60)
        assert (wellknown.MEMBER_REFUSED, NO_ACCOUNT) in events
        assert len(below.tries) < 12
        below.refusal = None
        await eventually_here(lambda: below.written, "it is created when the account exists")


@pytest.mark.parametrize(
    ("status", "message"),
    [(422, "metadata.annotations: Too long"), (404, "the server could not find the requested resource")],
)
async def test_a_refused_field_does_not_keep_other_changes_away(
    status: int, message: str, events: list[tuple[str, str]]
) -> None:
    """Such as a resize by a member that is older than that subresource, or annotations that are too long."""
    above, below = Server(), Member()
    async with bound(above, below):
        made = below.written[0][2]["metadata"] | {"uid": "m-1", "resourceVersion": "7"}
        below.feed("MODIFIED", made, spec=SPEC, status={"phase": "Running", "containerStatuses": [RUNNING]})
        await eventually_here(lambda: above.written, "the status is written")
        below.written.clear()
        below.refusal = api_error(status, "Whatever", message)
        below.refuses = {"annotations", "resize"}
        changed = {"labels": {"progress": "half"}, "annotations": {"big": "x"}, "resourceVersion": "9"}
        resized = {"name": "web", "image": "w:2", "resources": {"requests": {"cpu": "1"}}}
        above.feed("MODIFIED", METADATA | changed, spec=SPEC | {"containers": [resized]}, status={"phase": "Running"})
        await eventually_here(lambda: len(below.written) > 1, "the rest is patched")
    patched = [body for method, _, body in below.written if method == "PATCH"]
    assert {"labels"} == {key for body in patched for key in body["metadata"] if key != "uid"}
    assert [body["spec"]["containers"][0]["image"] for body in patched if "spec" in body] == ["w:2"]
    assert {text for _, text in events} == {f"update of pods/resize: {message}", f"update of pods: {message}"}


async def test_a_change_that_fails_for_now_is_reported_and_tried_again(events: list[tuple[str, str]]) -> None:
    above, below = Server(), Member()
    async with bound(above, below):
        made = below.written[0][2]["metadata"] | {"uid": "m-1", "resourceVersion": "7"}
        below.feed("MODIFIED", made, spec=SPEC, status={"phase": "Running", "containerStatuses": [RUNNING]})
        await eventually_here(lambda: above.written, "the status is written")
        below.written.clear()
        below.refusal = api_error(500, "InternalError", "failed calling webhook")
        below.refuses = {"labels"}
        above.feed("MODIFIED", METADATA | {"labels": {"a": "b"}, "resourceVersion": "9"}, spec=SPEC, status={})
        await eventually_here(lambda: events, "an Event says so")
        below.refusal = None
        await eventually_here(lambda: below.written, "it is patched later")


def test_a_patch_with_one_field_has_no_smaller_parts() -> None:
    assert parts(Change("", {"metadata": {"uid": "m-1", "labels": {"a": "b"}}})) == []
    assert parts(Change("resize", {"metadata": {"uid": "m-1"}, "spec": {"containers": []}})) == []


def test_the_parts_of_a_patch_have_its_uid() -> None:
    patch = {"metadata": {"uid": "m-1", "labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"containers": []}}
    assert parts(Change("", patch)) == [
        Change("", {"metadata": {"labels": {"a": "b"}, "uid": "m-1"}}),
        Change("", {"spec": {"containers": []}, "metadata": {"uid": "m-1"}}),
        Change("", {"metadata": {"annotations": {"c": "d"}, "uid": "m-1"}}),
    ]
