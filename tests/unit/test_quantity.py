"""Quantities are exact, ordered, and written in the notation of API servers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vk_provider.translate.quantity import parse, render

thousandths = st.integers(0, 2**63).map(lambda value: Fraction(value, 1000))
exact = thousandths | st.integers(0, 2**60).map(Fraction) | st.integers(0, 2**30).map(lambda v: Fraction(v * 1024**3))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", Fraction(0)),
        ("1", Fraction(1)),
        ("+1", Fraction(1)),
        ("-1", Fraction(-1)),
        ("100m", Fraction(1, 10)),
        ("1500m", Fraction(3, 2)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1.", Fraction(1)),
        ("5u", Fraction(5, 10**6)),
        ("5n", Fraction(5, 10**9)),
        ("1k", Fraction(1000)),
        ("1Ki", Fraction(1024)),
        ("1.5Gi", Fraction(3 * 2**29)),
        ("1M", Fraction(10**6)),
        ("2Ei", Fraction(2 * 2**60)),
        ("1E", Fraction(10**18)),
        ("1e3", Fraction(1000)),
        ("1E3", Fraction(1000)),
        ("12e-1", Fraction(6, 5)),
        (2, Fraction(2)),
        (0.25, Fraction(1, 4)),
    ],
)
def test_a_quantity_is_parsed_exactly(text: str | float, value: Fraction) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", ".", "1KB", "1K", "1 Gi", "1\n", "--1", "1mi", "e3", "1e", "0x10", "\u0661"]
)
def test_text_that_is_no_quantity_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_a_huge_exponent_is_rejected_without_computing_it() -> None:
    with pytest.raises(ValueError):
        parse("1e999999999")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(110), "110"),
        (Fraction(3, 2), "1500m"),
        (Fraction(1, 10**6), "1m"),
        (Fraction(2001, 1000), "2001m"),
        (Fraction(1999999, 10**6), "2"),
        (Fraction(64 * 2**30), "64Gi"),
        (Fraction(3 * 2**40), "3Ti"),
        (Fraction(1000), "1k"),
        (Fraction(1234567), "1234567"),
    ],
)
def test_a_quantity_is_rendered_like_by_an_api_server(value: Fraction, text: str) -> None:
    assert render(value) == text


def test_only_quantities_in_bytes_have_binary_suffixes() -> None:
    assert render(Fraction(1024), binary=False) == "1024"


@given(exact, st.booleans())
def test_a_rendered_quantity_parses_to_the_same_value(value: Fraction, binary: bool) -> None:
    assert parse(render(value, binary=binary)) == value


@given(exact, st.booleans())
def test_a_canonical_quantity_stays_the_same(value: Fraction, binary: bool) -> None:
    text = render(value, binary=binary)
    assert render(parse(text), binary=binary) == text


@given(st.fractions(0, 10**6))
def test_rounding_adds_less_than_a_thousandth(value: Fraction) -> None:
    assert 0 <= parse(render(value)) - value < Fraction(1, 1000)


@given(thousandths, thousandths)
def test_rounding_keeps_the_order(one: Fraction, other: Fraction) -> None:
    assert (one <= other) == (parse(render(one)) <= parse(render(other)))
