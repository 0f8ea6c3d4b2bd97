"""The one error of the bench: something cannot be measured."""

from __future__ import annotations


class BenchError(Exception):
    """No figure is better than a wrong one. The message says what did not happen, and where to look."""
