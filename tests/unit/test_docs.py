"""Links in the docs have a target, and the files that the docs name exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that name current files. Decisions and the CHANGELOG name the files of their time.
CURRENT: Final = [page for page in PAGES if page.parent.name != "decisions" and page.name != "CHANGELOG.md"]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub generates them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def has_target(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_has_a_target(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    assert [link for link in links if not has_target(page, link)] == []


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_every_named_file_exists(page: Path) -> None:
    named = re.findall(r"`((?:vk_provider|tests|manifests|hack)/[\w./-]+\.(?:py|yaml|mod))`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_broken_link_is_found() -> None:
    page = ROOT / "README.md"
    assert has_target(page, "docs/glossary.md#glossary")
    assert not has_target(page, "docs/glossary.md#nothing")
    assert not has_target(page, "docs/nothing.md")
