"""Links in the docs lead somewhere, and the files that the recipes for contributors name exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that name files as they are now. Decisions name them as they were at their time.
CURRENT: Final = [page for page in PAGES if page.parent.name != "decisions" and page.name != "CHANGELOG.md"]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_every_file_of_the_code_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:vk_provider|tests|manifests|hack)/[\w./-]+\.(?:py|yaml|mod))`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    page = ROOT / "README.md"
    assert leads_somewhere(page, "docs/glossary.md#glossary")
    assert not leads_somewhere(page, "docs/glossary.md#nothing")
    assert not leads_somewhere(page, "docs/nothing.md")
