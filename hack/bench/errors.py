"""The only error of the bench: a measurement is impossible."""

from __future__ import annotations


class BenchError(Exception):
    """A value cannot be measured. The message names what did not happen, and where to look for the cause."""
