"""The resume policy of a watch: when it resumes, when it lists again, and how long it pauses; without a server."""

from __future__ import annotations

import logging

import pytest

from tests.unit.jitter import LongestJitter
from vk_provider.errors import ApiError, GoneError, InvalidError, UnreachableError
from vk_provider.kube.resume import NoStreamingListError, Pause, Restore, ResumePolicy, Start


def fresh() -> ResumePolicy:
    return ResumePolicy(0, LongestJitter())


def listed(version: str = "100") -> ResumePolicy:
    """A watch that has its first list and an open connection."""
    policy = fresh()
    policy.start(0)
    policy.listed(policy.asked(0), version, 0)
    return policy


def gone() -> GoneError:
    return GoneError(410, "Expired", "too old resource version")


# The start of a connection


def test_the_first_connection_is_a_streaming_list() -> None:
    assert fresh().start(0) is Start.STREAM


def test_a_watch_that_ended_at_its_timeout_resumes_after_its_last_event() -> None:
    policy = listed()
    policy.version = "107"
    policy.ended(planned=True)
    assert policy.start(0) is Start.WATCH
    assert policy.version == "107"


@pytest.mark.parametrize("broken", [True, False])
def test_a_watch_that_ended_for_another_reason_checks_the_servers_version_first(broken: bool) -> None:
    policy = listed()
    if broken:
        policy.failed(UnreachableError("reset"))
    else:
        policy.ended(planned=False)
    assert policy.start(0) is Start.CHECK
    policy.checked("100")
    assert policy.start(0) is Start.WATCH


def test_a_failed_check_is_repeated() -> None:
    policy = listed()
    policy.failed(UnreachableError("reset"))
    assert policy.start(0) is Start.CHECK
    policy.failed(UnreachableError("no answer to the check"))
    assert policy.start(0) is Start.CHECK


def test_an_expired_version_leads_to_a_new_list() -> None:
    policy = listed()
    policy.failed(gone())
    assert policy.start(0) is Start.STREAM


@pytest.mark.parametrize("error", [InvalidError(422, "Invalid", "forbidden"), NoStreamingListError("no end")])
def test_without_streaming_lists_the_policy_lists_in_pages_at_once_and_from_then_on(error: Exception) -> None:
    policy = fresh()
    policy.start(0)
    assert policy.failed(error) == Pause(0.0, logging.DEBUG)
    assert policy.start(0) is Start.PAGES
    policy.listed(policy.asked(0), "100", 0)
    policy.failed(gone())
    assert policy.start(0) is Start.PAGES


def test_an_invalid_watch_after_the_list_does_not_disable_streaming_lists() -> None:
    policy = listed()
    assert policy.failed(InvalidError(400, "BadRequest", "what?")).seconds > 0
    policy.failed(gone())
    assert policy.start(0) is Start.STREAM


# Restores


def test_a_server_behind_the_last_event_leads_to_a_new_list_which_detects_a_restore() -> None:
    policy = listed()
    policy.version = "150"
    policy.failed(UnreachableError("reset"))
    assert policy.start(0) is Start.CHECK
    policy.checked("149")
    assert policy.start(0) is Start.STREAM
    asked = policy.asked(0)
    assert asked.newest == "150"
    assert policy.listed(asked, "149", 0) is Restore.FOUND
    assert policy.start(1) is Start.WATCH, "the caller has counted the restore: no second list"


def test_a_server_behind_an_observed_write_leads_to_a_new_list() -> None:
    policy = listed()
    policy.observed = "160"
    policy.failed(UnreachableError("reset"))
    policy.start(0)
    policy.checked("150")
    assert policy.start(0) is Start.STREAM
    assert policy.listed(policy.asked(0), "150", 0) is Restore.FOUND


def test_versions_are_compared_as_numbers() -> None:
    policy = listed("999")
    policy.failed(UnreachableError("reset"))
    policy.start(0)
    policy.checked("1000")
    assert policy.start(0) is Start.WATCH


def test_a_restore_that_another_watch_detected_leads_to_a_new_list_for_any_version() -> None:
    policy = listed()
    policy.ended(planned=True)
    assert policy.start(1) is Start.STREAM
    assert policy.listed(policy.asked(1), "500", 1) is Restore.KNOWN
    policy.ended(planned=True)
    assert policy.start(1) is Start.WATCH


def test_a_restore_that_another_watch_detects_during_the_check_leads_to_a_new_list() -> None:
    policy = listed()
    policy.failed(UnreachableError("reset"))
    assert policy.start(0) is Start.CHECK
    policy.checked("500")
    assert policy.start(1) is Start.STREAM


def test_two_watches_that_detect_the_same_restore_count_it_once() -> None:
    first, second = listed(), listed()
    for policy in (first, second):
        policy.failed(gone())
        policy.start(0)
    of_first, of_second = first.asked(0), second.asked(0)
    assert first.listed(of_first, "50", 0) is Restore.FOUND
    assert second.listed(of_second, "50", 1) is Restore.KNOWN
    for policy in (first, second):
        policy.ended(planned=True)
        assert policy.start(1) is Start.WATCH


def test_after_a_restore_versions_are_compared_with_those_of_the_backup() -> None:
    policy = listed("100")
    policy.failed(gone())
    policy.start(0)
    policy.listed(policy.asked(0), "50", 0)
    assert policy.newest == "50"
    policy.failed(UnreachableError("reset"))
    policy.start(1)
    policy.checked("51")
    assert policy.start(1) is Start.WATCH


def test_a_first_list_never_detects_a_restore() -> None:
    policy = fresh()
    policy.start(0)
    assert policy.listed(policy.asked(0), "1", 0) is Restore.NONE


# Pauses


def test_there_is_no_pause_after_a_connection_with_progress() -> None:
    policy = listed()
    assert policy.ended(planned=False) == 0.0


def test_pauses_grow_after_connections_without_progress() -> None:
    policy = listed()
    policy.ended(planned=True)
    pauses = []
    for _ in range(2):
        policy.start(0)
        pauses.append(policy.ended(planned=True))
    policy.start(0)
    pauses.append(policy.failed(UnreachableError("refused")).seconds)
    assert pauses == [0.2, 0.4, 0.8]


def test_an_error_after_progress_counts_as_the_first_failure() -> None:
    policy = listed()
    policy.start(0)
    for _ in range(5):
        policy.failed(UnreachableError("refused"))
    policy.start(0)
    policy.version = "101"
    assert policy.failed(UnreachableError("reset")) == Pause(0.2, logging.DEBUG, 1)


def test_an_incomplete_list_is_no_progress() -> None:
    policy = listed()
    policy.failed(gone())
    policy.start(0)
    assert policy.failed(UnreachableError("reset")).attempt == 2


def test_a_list_at_the_same_version_as_before_is_progress() -> None:
    policy = listed("100")
    policy.failed(gone())
    policy.start(0)
    policy.listed(policy.asked(0), "100", 0)
    assert policy.ended(planned=False) == 0.0


def test_pauses_grow_while_the_server_answers_410_to_every_watch() -> None:
    policy = listed()
    pauses = []
    for version in ("101", "102", "103"):
        pauses.append(policy.failed(gone()).seconds)
        policy.start(0)
        policy.listed(policy.asked(0), version, 0)
    assert pauses == [0.2, 0.4, 0.8]


def test_a_pause_is_retry_after_and_the_back_off() -> None:
    policy = listed()
    policy.start(0)
    assert policy.failed(ApiError(429, "TooManyRequests", "later", retry_after=7.0)).seconds == 7.2
    for _ in range(8):
        pause = policy.failed(ApiError(429, "TooManyRequests", "later", retry_after=7.0))
    assert pause.seconds == 22.0


def test_a_streaming_list_that_broke_off_is_listed_in_pages_once() -> None:
    policy = ResumePolicy(0)
    for start in (Start.STREAM, Start.PAGES):
        assert policy.start(0) is start
        if start is Start.STREAM:
            policy.streams()
        policy.failed(UnreachableError("cut"))
    policy.listed(policy.asked(0), "5", 0)
    policy.failed(GoneError(410, "Expired", "too old"))
    assert policy.start(0) is Start.STREAM


def test_the_third_failure_in_a_row_is_a_warning() -> None:
    policy = listed()
    policy.start(0)
    levels = [policy.failed(UnreachableError("refused")).level for _ in range(4)]
    assert levels == [logging.DEBUG, logging.DEBUG, logging.WARNING, logging.DEBUG]
