"""`make conformance`: reading ginkgo's report, and writing the comparison."""

from __future__ import annotations

from typing import Any

from conformance.report import markdown
from conformance.suite import Outcome, outcomes_of


def spec(*texts: str, state: str = "passed", kind: str = "It", failure: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {
        "ContainerHierarchyTexts": list(texts[:-1]),
        "LeafNodeText": texts[-1],
        "LeafNodeType": kind,
        "State": state,
        "RunTime": 1_500_000_000,
    }
    return found | ({"Failure": {"Message": failure}} if failure else {})


def test_only_tests_that_ran_are_read() -> None:
    report: list[dict[str, Any]] = [
        {
            "SpecReports": [
                spec("[sig-node] Pods", "run"),
                spec("[sig-node] Pods", "never", state="skipped"),
                spec("", kind="SynchronizedBeforeSuite"),
                spec("[sig-apps] Job", "fails", state="failed", failure="too slow"),
            ]
        },
        {"SpecReports": None},
    ]
    assert outcomes_of(report) == [
        Outcome("[sig-node] Pods run", "passed", 1.5),
        Outcome("[sig-apps] Job fails", "failed", 1.5, "too slow"),
    ]


def test_the_comparison_counts_by_group_and_names_tests_that_did_not_pass_on_both_sides() -> None:
    good, bad = Outcome("[sig-node] a", "passed", 1), Outcome("[sig-node] b", "failed", 1)
    only_plain = Outcome("[sig-apps] c", "passed", 1)
    text = markdown([good, bad, only_plain], [good, Outcome(bad.name, "passed", 1)])
    assert "| sig-node | 1 of 2 | 2 of 2 |" in text
    assert "| sig-apps | 1 of 1 | 0 of 0 |" in text
    assert "| **all** | 2 of 3 | 2 of 2 |" in text
    assert text.endswith("| passed | skipped | [sig-apps] c |\n| failed | passed | [sig-node] b |\n")
