"""No text uses a retired word: each has a better term, which readers of client-go and the kubelet know.

Code spans and code blocks of Markdown are not checked: they quote names and output of programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
CHECKED: Final = (
    "README.md",
    "CHANGELOG.md",
    "docs/**/*.md",
    "vk_provider/**/*.py",
    "hack/*/*.py",
    "tests/**/*.py",
)

# Word or phrase (a regular expression, in lower case; a space stands for any white space or `_`) -> what to write.
RETIRED: Final = {
    "anew": "again; to make anew: recreate",
    "as ever": "as before, still",
    "belief|beliefs|believe|believes|believed|believing": "health, assessment",
    "beside": "next to, in addition to",
    "blind": "unknown",
    "by way of": "over, through",
    "comes? to rest": "is idle, is stable",
    "deed|deeds": "difference",
    "doubt|doubts|doubted": "suspicion, silent",
    "figures": "metrics, numbers",
    "heard": "observed",
    "in good order": "gracefully",
    "it is said|is said in": "is reported",
    "its words|own words|words of|in words": "message",
    "let go|lets go|letting go": "release, delete",
    "made up for": "applied afterwards",
    "nobody": "no one, no client, no component",
    "on top of": "in addition to",
    "one too many": "surplus",
    "puts? right|putting right": "restore, revert, correct",
    "said|told": "reported, written",
    "settled|unsettled": "in sync, out of sync",
    "somebody|anybody": "an administrator, a user, another client",
    "speaks? of": "refers to",
    "stated|states that": "declared",
    "stray|strays": "orphan",
    "strangers?": "other clients",
    "taken up|takes? up|took up|taking up": "apply, adopt",
    "the like of|their like|its like": "and other",
    "troubles?": "error",
    "whoever|whom": "name the person, client or component",
    "wish|wishes": "preference, preferred term, wanted state",
}


def pattern(words: str) -> re.Pattern[str]:
    """Matches whole words, also in snake_case and CamelCase names and across line breaks."""
    spaced = re.sub(" ", r"(?:[\\s_]|\n[ ]*#)+", words)
    camel = "|".join(each.capitalize() for each in words.split("|"))
    return re.compile(rf"(?:(?<![A-Za-z])(?i:{spaced})|(?<=[a-z])(?:{camel}))(?![a-z])")


PATTERNS: Final = {pattern(words): term for words, term in RETIRED.items()}


def prose(text: str) -> str:
    """Markdown without code spans and code blocks. The line numbers stay the same."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", ".", match[0])

    return re.sub(r"^```.*?^```|``[^`]*``|`[^`]*`", blank, text, flags=re.MULTILINE | re.DOTALL)


def retired(text: str) -> Iterator[tuple[int, str, str]]:
    """The line number, the words, and what to write instead, for each retired word."""
    for words, term in PATTERNS.items():
        for match in words.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match[0], term


def files() -> list[Path]:
    """Without this one, which lists the words."""
    return sorted(path for glob in CHECKED for path in ROOT.glob(glob) if path != Path(__file__).resolve())


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_word_is_used(path: Path) -> None:
    text = path.read_text()
    found = sorted(retired(prose(text) if path.suffix == ".md" else text))
    assert not found, "\n".join(f"{path.relative_to(ROOT)}:{line}: {words!r}: {term}" for line, words, term in found)


def test_every_pattern_of_files_matches_some() -> None:
    assert [glob for glob in CHECKED if not any(ROOT.glob(glob))] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\na deed of it", 2),
        ("class StrayPods:", 1),
        ("self._has_deeds = 1", 1),
        ("def lets_go() -> None:", 1),
        ("# it is put\n    # right", 1),
        ("Whoever asks", 1),
    ],
)
def test_a_retired_word_is_found_in_prose_and_in_names(text: str, line: int) -> None:
    assert [found for found, _, _ in retired(text)] == [line]


@pytest.mark.parametrize("text", ["indeed", "besides", "deeded", "blindly", "troubleshoot"])
def test_other_words_that_contain_a_retired_word_are_not_found(text: str) -> None:
    assert list(retired(text)) == []


def test_code_in_markdown_is_not_prose() -> None:
    found = retired(prose("```\na deed\n```\n`a stray` and\na wish"))
    assert [(line, words) for line, words, _ in found] == [(5, "wish")]
