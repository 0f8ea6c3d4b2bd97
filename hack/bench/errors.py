"""The one error of the bench: nothing could be measured."""

from __future__ import annotations


class BenchError(Exception):
    """No figure is better than a wrong one: its text says what did not happen, and where to look."""
