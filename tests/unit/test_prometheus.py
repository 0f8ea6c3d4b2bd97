"""Lines of the Prometheus text format, compared with an independent parser."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from vk_provider.translate.kubelet.prometheus import MalformedError, escape, number, parse_sample, written

label_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True).filter(lambda name: name != "__name__")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)
label_sets = st.dictionaries(label_names, texts, max_size=5)


@given(label_sets)
@example({"a": '"'})
@example({"a": "\\"})
@example({"a": '\\"', "b": '",c="'})
@example({"a": "\n}", "b": "} 1 2"})
def test_labels_are_read_as_they_were_written(labels: dict[str, str]) -> None:
    escaped = {name: escape(text) for name, text in labels.items()}
    line = f"metric{written(escaped)} 1.5 1700000000000"
    assert parse_sample(line) == ("metric", escaped, 1.5, 1700000000000)


@given(label_sets)
@example({"a": '\\"', "b": '",c="'})
@example({"a": "\\n", "b": "\n"})
def test_an_independent_parser_reads_the_labels_that_were_written(labels: dict[str, str]) -> None:
    line = f"metric{written({name: escape(text) for name, text in labels.items()})} 1\n"
    (family,) = text_string_to_metric_families(line)
    assert family.samples[0].labels == labels


@given(st.text(max_size=60))
@example('x{a="b\\"} 1')
@example('x{a="b"" } 1')
@example('x{="b"} 1')
@example("x{} ")
def test_any_line_is_a_sample_or_malformed(line: str) -> None:
    try:
        name, labels, _, _ = parse_sample(line)
    except MalformedError:
        return
    (family,) = text_string_to_metric_families(f"{name}{written(labels)} 1\n")
    assert family.samples[0].name == name


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("up 1", ("up", {}, 1.0, None)),
        ("up{} 1 5", ("up", {}, 1.0, 5)),
        ('up { a = "b" , } +Inf -5', ("up", {"a": "b"}, float("inf"), -5)),
        ('job:up:sum{a="",b="}"} 1e3', ("job:up:sum", {"a": "", "b": "}"}, 1000.0, None)),
    ],
)
def test_every_valid_form_is_read(line: str, sample: object) -> None:
    assert parse_sample(line) == sample


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12289048576.0, "12289048576"),
        (8818.066411081, "8818.066411081"),
        (1e300, "1e+300"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
    ],
)
def test_numbers_are_written_in_the_format_of_go(value: float, text: str) -> None:
    assert number(value) == text
