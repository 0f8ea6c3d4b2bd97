"""The error that localkube raises for what the user can correct."""

from __future__ import annotations


class LocalkubeError(Exception):
    """An error that the user can correct. The text names the object, the cause and what to do next.

    The command line prints it as one line and exits with status 1. Any other exception is a defect, with a traceback.
    """
