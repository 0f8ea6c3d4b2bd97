"""The comparison of two checkouts, without clusters."""

from __future__ import annotations

import pytest
from bench import compare
from bench.budget import ROWS
from bench.compare import COMPARED, Comparison, Values, compared
from rich.console import Console


def _values(**changed: float) -> Values:
    return dict.fromkeys(COMPARED, 2.0) | changed


def test_checkouts_are_compared_by_their_medians() -> None:
    base = [_values(), _values(), _values(own_cpu_share=9.0)]
    here = [_values(), _values(own_cpu_share=9.0), _values(own_cpu_share=2.1)]
    found = {comparison.key: comparison for comparison in compared(base, here)}
    assert list(found) == list(COMPARED)
    assert found["own_cpu_share"].difference == pytest.approx(5.0)
    assert not any(comparison.worse for comparison in found.values())


@pytest.mark.parametrize(
    ("base", "here", "worse"), [(10, 11, False), (10, 11.1, True), (10, 5, False), (0, 0, False), (0, 1, True)]
)
def test_more_than_ten_per_cent_above_the_base_is_worse(base: float, here: float, worse: bool) -> None:
    assert Comparison("memory_pods", [base], [here]).worse is worse


def test_the_comparison_shows_medians_rounds_and_differences() -> None:
    console = Console(width=140)
    with console.capture() as capture:
        compare.show([Comparison("memory_pods", [90, 80, 85], [100, 100, 99])], "v1", console)
    (row,) = [line for line in capture.get().splitlines() if "memory" in line]
    assert all(text in row for text in ("85.0 MiB (90.0, 80.0, 85.0)", "100.0 MiB", "+17.6 %", "WORSE"))


def test_what_depends_on_the_speed_of_the_machine_is_not_judged() -> None:
    assert not Comparison("parent_requests", [2.0], [3.0]).worse
    assert Comparison("parent_requests_slow", [2.0], [3.0]).worse


def test_each_compared_row_exists_and_less_of_it_is_better() -> None:
    rows = {row.key: row for row in ROWS}
    assert not any(rows[key].at_least for key in COMPARED)


@pytest.mark.parametrize("arguments", [[], ["no-such-commit"], ["HEAD", "--rounds", "0"]])
def test_wrong_usage_of_the_comparison_has_it_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        compare.main(arguments)
    assert end.value.code == 2
