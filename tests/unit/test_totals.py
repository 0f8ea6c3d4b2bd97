"""Totals of counters over the nodes of a member: the total grows by the growth of each node's counter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vk_provider.translate.kubelet.totals import Totals

Answers = dict[str, float]  # member node -> the value of its counter


def rounds(*answers: Answers) -> list[float | None]:
    """The total after each round; None if no node reported the counter."""
    totals: Totals[str] = Totals()
    return [finish(totals, {node: {"cpu": value} for node, value in given.items()}) for given in answers]


def finish(totals: Totals[str], answers: dict[str, dict[str, float]]) -> float | None:
    one = totals.round()
    for node, counters in answers.items():
        one.take(node, counters)
    return one.finish().get("cpu")


def test_the_first_total_is_the_sum_of_all_nodes() -> None:
    assert rounds({"a": 100, "b": 20}) == [120]


def test_the_total_grows_with_every_node() -> None:
    assert rounds({"a": 100, "b": 20}, {"a": 101, "b": 22}) == [120, 123]


def test_a_node_that_disappears_does_not_reduce_the_total() -> None:
    assert rounds({"a": 100, "b": 20}, {"b": 25}) == [120, 125]


def test_the_first_value_of_a_new_node_adds_nothing() -> None:
    assert rounds({"a": 100}, {"a": 100, "b": 5000}, {"a": 100, "b": 5003}) == [100, 100, 103]


def test_growth_while_a_node_was_skipped_adds_nothing() -> None:
    assert rounds({"a": 100, "b": 20}, {"b": 21}, {"a": 900, "b": 22}, {"a": 901, "b": 22}) == [120, 121, 122, 123]


def test_the_total_continues_after_a_node_restarts() -> None:
    assert rounds({"a": 100}, {"a": 3}, {"a": 5}) == [100, 100, 102]


def test_a_round_without_answers_changes_nothing() -> None:
    assert rounds({"a": 100}, {}, {"a": 150}, {"a": 151}) == [100, None, 100, 101]


def test_a_counter_that_no_node_reports_any_more_is_dropped() -> None:
    totals: Totals[str] = Totals()
    finish(totals, {"a": {"cpu": 100, "other": 1}})
    finish(totals, {"a": {"other": 1}})
    assert finish(totals, {"a": {"cpu": 7, "other": 1}}) == 7


def test_an_unfinished_round_does_not_count() -> None:
    totals: Totals[str] = Totals()
    finish(totals, {"a": {"cpu": 100}})
    totals.round().take("a", {"cpu": 5000})
    assert finish(totals, {"a": {"cpu": 101}}) == 101


nodes = st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000), min_size=1)


@given(st.lists(nodes, min_size=2, max_size=8))
def test_the_total_never_decreases_and_grows_by_no_more_than_nodes_that_answered_twice(given: list[Answers]) -> None:
    totals = rounds(*given)
    for i in range(1, len(given)):
        before, after = totals[i - 1], totals[i]
        assert before is not None and after is not None
        both = given[i - 1].keys() & given[i].keys()
        assert after - before == sum(max(0, given[i][node] - given[i - 1][node]) for node in both)
