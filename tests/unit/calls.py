"""Follows the calls of Python functions while a block runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


def file_in(folder: Path, frame: FrameType) -> str | None:
    """The file of a frame, relative to the folder; None if it is outside."""
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else None


@contextmanager
def calls(folder: Path, note: Callable[[FrameType, str], None]) -> Iterator[None]:
    """While the block runs, calls `note(frame, file)` when a function in a file of the folder is called or resumed."""

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        file = file_in(folder, frame)
        if event == "call" and file is not None:
            note(frame, file)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
