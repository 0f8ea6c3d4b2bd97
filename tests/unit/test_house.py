"""Limits of the code: the lines of a file and of a function, and the files of a folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import vk_provider

ROOT: Final = Path(vk_provider.__file__).parent
FILES: Final = sorted(ROOT.rglob("*.py"))
FOLDERS: Final = sorted({file.parent for file in FILES})

LINES_OF_A_FILE: Final = 300
LINES_OF_A_FUNCTION: Final = 60
LINES_OF_MEMBER_PY: Final = 80
FILES_OF_A_FOLDER: Final = 15


def name(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_file_is_short(file: Path) -> None:
    assert lines(file) <= LINES_OF_A_FILE


@pytest.mark.parametrize("file", FILES, ids=name)
def test_the_functions_of_a_file_are_short(file: Path) -> None:
    found = {each.name: (each.end_lineno or 0) - each.lineno + 1 for each in functions(file)}
    assert not {name: length for name, length in found.items() if length > LINES_OF_A_FUNCTION}


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder.name != "cli"], ids=name)
def test_a_folder_has_few_files(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= FILES_OF_A_FOLDER


def test_member_py_is_short() -> None:
    assert lines(ROOT / "member.py") <= LINES_OF_MEMBER_PY
