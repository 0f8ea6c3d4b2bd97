"""docs/reference contains every name that scripts of users may read: labels, taints, conditions, reasons ..."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from vk_provider.api import wellknown
from vk_provider.translate.state.health import State

ROOT: Final = Path(__file__).resolve().parents[2]
REFERENCE: Final = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "reference").glob("*.md")))

# Prefixes of names, which are no names themselves.
PARTS: Final = frozenset({"DOMAIN"})
# Reasons that are only logged, and never the reason of a condition or of an Event.
ONLY_LOGGED: Final = frozenset({"ClientCaMissing"})
# Reasons of errors in commands and at the start of `run`, which print only the message.
ONLY_PRINTED: Final = frozenset({"CrdMissing", "ShadowsLeft"})


def names() -> dict[str, str]:
    """All constants of wellknown, and all entries of those that are mappings: name in the code -> the text."""
    found: dict[str, str] = {}
    for constant, value in vars(wellknown).items():
        if not constant.isupper() or constant in PARTS:
            continue
        entries = value if isinstance(value, dict) else {"": value}
        found |= {f"{constant} {entry}".strip(): text for entry, text in entries.items()}
    return found


def reasons() -> Iterator[str]:
    """Reasons of errors that become conditions and Events: `reason="..."` outside the commands."""
    for path in sorted((ROOT / "vk_provider").rglob("*.py")):
        if path.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            pairs: list[tuple[str | None, ast.expr | None]] = []
            if isinstance(node, ast.Call):
                pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
            elif isinstance(node, ast.ClassDef):
                assignments = [each for each in node.body if isinstance(each, ast.Assign)]
                pairs = [(ast.unparse(each.targets[0]), each.value) for each in assignments]
            for name, value in pairs:
                if name == "reason":
                    yield from re.findall(r"'([A-Z][A-Za-z]+)'", ast.unparse(value) if value else "")


def in_reference(name: str) -> bool:
    """Whether a code span of the reference contains the whole name."""
    spans = re.findall(r"`[^`\n]+`", REFERENCE)
    whole = re.compile(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])")
    return any(whole.search(span) for span in spans)


@pytest.mark.parametrize("constant", names())
def test_every_well_known_name_is_in_the_reference(constant: str) -> None:
    assert in_reference(names()[constant]), f"{names()[constant]} ({constant}): add it to docs/reference"


@pytest.mark.parametrize("reason", sorted(set(reasons()) - ONLY_LOGGED - ONLY_PRINTED))
def test_every_reason_of_an_error_is_in_the_reference(reason: str) -> None:
    assert in_reference(reason), f"{reason}: add it to docs/reference/conditions.md"


@pytest.mark.parametrize(
    "name", [text.format(state) for state in [*State, wellknown.FROZEN] for text in ("{}", "Member{}")]
)
def test_every_health_state_and_the_reason_of_its_event_is_in_the_reference(name: str) -> None:
    assert in_reference(name), f"{name}: add it to docs/reference/conditions.md"


def test_a_part_of_another_name_does_not_count() -> None:
    assert in_reference("vk-provider.io/parent-uid")
    assert not in_reference("vk-provider.io/par")
    assert not in_reference("vk-provider.io/parent-u")


def test_the_reasons_in_the_code_are_found() -> None:
    assert {"KubeconfigInvalid", "CertificateExpired", "Unreachable", "AlreadyJoined"} <= set(reasons())
