"""Clocks jump: times of the parent are compared with the parent's clock, and deadlines use a monotonic clock.

So only a few places may read the wall clock of this machine (docs/decisions/0005-the-parents-clock.md).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import vk_provider

ROOT: Final = Path(vk_provider.__file__).parent
WALL_CLOCKS: Final = {
    *(("time", name) for name in ("time", "time_ns", "gmtime", "localtime", "ctime", "strftime")),
    *(("datetime", name) for name in ("now", "utcnow", "today")),
    ("date", "today"),
}
# Place -> why it may read the wall clock of this machine.
ALLOWED: Final = {
    "kube/timestamps.py ServerClock.now": "used until the server has sent its time",
    "kube/auth/credentials.py ExecPlugin._due": "the plugin computes the expiry with the same clock",
    "cli/status.py _show": "ages for a person to read; no decision depends on them",
    "cli/status.py table": "ages for a person to read; no decision depends on them",
}


def wall_clocks(file: Path) -> Iterator[str]:
    """The functions of a file that read the wall clock, qualified by their classes."""

    def look(node: ast.AST, inside: tuple[str, ...]) -> Iterator[str]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = (*inside, node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if (owner, node.attr) in WALL_CLOCKS:
                yield f"{file.relative_to(ROOT)} {'.'.join(inside)}"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield f"{file.relative_to(ROOT)} imports functions of time: import the module, so that this test finds them"
        for child in ast.iter_child_nodes(node):
            yield from look(child, inside)

    yield from look(ast.parse(file.read_text()), ())


def test_only_allowed_places_read_the_wall_clock() -> None:
    assert {place for file in ROOT.rglob("*.py") for place in wall_clocks(file)} == set(ALLOWED)
