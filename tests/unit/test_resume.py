"""When a watch resumes, when it lists again, and how long it pauses: the decisions without a server."""

from __future__ import annotations

import logging
import random

import pytest

from vk_provider.errors import ApiError, GoneError, InvalidError, UnreachableError
from vk_provider.kube.resume import NoStreamingListError, Pause, Restore, ResumePolicy, Start


class Longest(random.Random):
    """Draws the upper bound each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


def fresh() -> ResumePolicy:
    return ResumePolicy(0, Longest())


def listed(version: str = "100") -> ResumePolicy:
    """A watch that has its first list, and whose connection is open."""
    policy = fresh()
    policy.start(0)
    policy.listed(policy.asked(0), version, 0)
    return policy


def gone() -> GoneError:
    return GoneError(410, "Expired", "too old resource version")


# Where a connection begins


def test_the_first_connection_is_a_streaming_list() -> None:
    assert fresh().start(0) is Start.STREAM


def test_a_watch_that_ended_as_planned_resumes_after_its_last_event() -> None:
    policy = listed()
    policy.version = "107"
    policy.ended(planned=True)
    assert policy.start(0) is Start.WATCH
    assert policy.version == "107"


@pytest.mark.parametrize("broken", [True, False])
def test_a_watch_that_ended_otherwise_resumes_only_after_the_server_was_asked(broken: bool) -> None:
    policy = listed()
    if broken:
        policy.failed(UnreachableError("reset"))
    else:
        policy.ended(planned=False)
    assert policy.start(0) is Start.CHECK
    policy.checked("100")
    assert policy.start(0) is Start.WATCH


def test_a_check_that_fails_is_repeated() -> None:
    policy = listed()
    policy.failed(UnreachableError("reset"))
    assert policy.start(0) is Start.CHECK
    policy.failed(UnreachableError("no answer to the check"))
    assert policy.start(0) is Start.CHECK


def test_a_version_that_is_too_old_is_listed_again() -> None:
    policy = listed()
    policy.failed(gone())
    assert policy.start(0) is Start.STREAM


@pytest.mark.parametrize("error", [InvalidError(422, "Invalid", "forbidden"), NoStreamingListError("no end")])
def test_a_server_without_streaming_lists_is_listed_in_pages_at_once_and_from_then_on(error: Exception) -> None:
    policy = fresh()
    policy.start(0)
    assert policy.failed(error) == Pause(0.0, logging.DEBUG)
    assert policy.start(0) is Start.PAGES
    policy.listed(policy.asked(0), "100", 0)
    policy.failed(gone())
    assert policy.start(0) is Start.PAGES


def test_an_invalid_watch_after_the_list_does_not_blame_the_streaming_list() -> None:
    policy = listed()
    assert policy.failed(InvalidError(400, "BadRequest", "what?")).seconds > 0
    policy.failed(gone())
    assert policy.start(0) is Start.STREAM


# Restores


def test_a_server_that_is_behind_what_the_watch_saw_is_listed_again_and_the_restore_is_found() -> None:
    policy = listed()
    policy.version = "150"
    policy.failed(UnreachableError("reset"))
    assert policy.start(0) is Start.CHECK
    policy.checked("149")
    assert policy.start(0) is Start.STREAM
    asked = policy.asked(0)
    assert asked.newest == "150"
    assert policy.listed(asked, "149", 0) is Restore.FOUND
    assert policy.start(1) is Start.WATCH, "the caller has counted it: no second list"


def test_a_server_that_is_behind_an_observed_write_is_listed_again() -> None:
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


def test_a_restore_that_another_watch_found_makes_this_one_list_whatever_its_versions() -> None:
    policy = listed()
    policy.ended(planned=True)
    assert policy.start(1) is Start.STREAM
    assert policy.listed(policy.asked(1), "500", 1) is Restore.KNOWN
    policy.ended(planned=True)
    assert policy.start(1) is Start.WATCH


def test_a_restore_that_another_watch_finds_during_the_check_counts() -> None:
    policy = listed()
    policy.failed(UnreachableError("reset"))
    assert policy.start(0) is Start.CHECK
    policy.checked("500")
    assert policy.start(1) is Start.STREAM


def test_two_watches_that_find_the_same_restore_count_it_once() -> None:
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


def test_after_a_restore_versions_count_from_the_backup_on() -> None:
    policy = listed("100")
    policy.failed(gone())
    policy.start(0)
    policy.listed(policy.asked(0), "50", 0)
    assert policy.newest == "50"
    policy.failed(UnreachableError("reset"))
    policy.start(1)
    policy.checked("51")
    assert policy.start(1) is Start.WATCH


def test_a_first_list_never_shows_a_restore() -> None:
    policy = fresh()
    policy.start(0)
    assert policy.listed(policy.asked(0), "1", 0) is Restore.NONE


# Pauses


def test_a_connection_that_brought_something_and_ended_is_followed_at_once() -> None:
    policy = listed()
    assert policy.ended(planned=False) == 0.0


def test_connections_that_bring_nothing_are_followed_with_growing_pauses_however_they_end() -> None:
    policy = listed()
    policy.ended(planned=True)
    pauses = []
    for _ in range(2):
        policy.start(0)
        pauses.append(policy.ended(planned=True))
    policy.start(0)
    pauses.append(policy.failed(UnreachableError("refused")).seconds)
    assert pauses == [0.2, 0.4, 0.8]


def test_an_error_after_progress_pauses_as_after_a_first_failure() -> None:
    policy = listed()
    policy.start(0)
    for _ in range(5):
        policy.failed(UnreachableError("refused"))
    policy.start(0)
    policy.version = "101"
    assert policy.failed(UnreachableError("reset")) == Pause(0.2, logging.DEBUG, 1)


def test_a_list_that_breaks_off_is_no_progress() -> None:
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


def test_a_server_that_answers_410_to_every_watch_is_listed_with_growing_pauses() -> None:
    policy = listed()
    pauses = []
    for version in ("101", "102", "103"):
        pauses.append(policy.failed(gone()).seconds)
        policy.start(0)
        policy.listed(policy.asked(0), version, 0)
    assert pauses == [0.2, 0.4, 0.8]


def test_a_pause_is_never_shorter_than_the_server_asks_for() -> None:
    policy = listed()
    policy.start(0)
    assert policy.failed(ApiError(429, "TooManyRequests", "later", retry_after=7.0)).seconds == 7.0
    for _ in range(8):
        pause = policy.failed(ApiError(429, "TooManyRequests", "later", retry_after=7.0))
    assert pause.seconds == 15.0


def test_the_third_failure_in_a_row_is_a_warning() -> None:
    policy = listed()
    policy.start(0)
    levels = [policy.failed(UnreachableError("refused")).level for _ in range(4)]
    assert levels == [logging.DEBUG, logging.DEBUG, logging.WARNING, logging.DEBUG]
