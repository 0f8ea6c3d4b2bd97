"""The comparison: totals by group, and all tests that did not pass on both sides."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.suite import Outcome


def markdown(plain: Iterable[Outcome], parent: Iterable[Outcome]) -> str:
    """Two tables. A test that was skipped on one side, for example for lack of nodes, counts only on the other."""
    left, right = ({outcome.name: outcome for outcome in side} for side in (plain, parent))
    rows = ["| | plain | parent |", "|---|---|---|"]
    sigs = sorted({outcome.sig for side in (left, right) for outcome in side.values()})
    rows += [f"| {sig} | {_passed(left, sig)} | {_passed(right, sig)} |" for sig in sigs]
    rows += [f"| **all** | {_passed(left)} | {_passed(right)} |", "", "| plain | parent | test |", "|---|---|---|"]
    for name in sorted(left.keys() | right.keys()):
        states = [side[name].state if name in side else "skipped" for side in (left, right)]
        if set(states) != {"passed"}:
            rows.append(f"| {states[0]} | {states[1]} | {name} |")
    return "\n".join(rows) + "\n"


def _passed(side: dict[str, Outcome], sig: str = "") -> str:
    ran = [outcome for outcome in side.values() if sig in ("", outcome.sig)]
    return f"{sum(outcome.passed for outcome in ran)} of {len(ran)}"
